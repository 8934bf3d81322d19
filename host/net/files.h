/* files: serves the files of one folder to plain GET and HEAD requests. */
#ifndef TOVA_NET_FILES_H
#define TOVA_NET_FILES_H

#include "net/health.h"

struct files {
	int root; /* the open folder; -1: none, everything is 404 */
	/* paths of WebSocket clients, ended by NULL: a page that is missing there is told so; or
	 * NULL */
	const char *const *mounts;
	struct health *health; /* which stands in front of them all; NULL: none */
	bool web_library;      /* see web_library.h */
	bool dev_console;      /* see dev_console.h */
};

/* dir NULL: no folder. Returns false with errno set. */
bool files_open(struct files *f, const char *dir);
void files_close(struct files *f);
/* Answers the request. Nothing outside of the folder is reached, by path or by symbolic link; names
 * that begin with a dot are not served, except below /.well-known. */
void files_serve(const struct files *f, struct conn *c, const struct request *r);

#endif
