/* script_folder: which program of a folder (--script-dir) a request's path names, as CGI has it
 * (RFC 3875 3.3): /MOUNT/a/b.sh/rest is the file a/b.sh, and what follows is its PATH_INFO. */
#ifndef TOVA_HANDLER_SCRIPT_SCRIPT_FOLDER_H
#define TOVA_HANDLER_SCRIPT_SCRIPT_FOLDER_H

#include <stdbool.h>

#include "common/span.h"

#define SCRIPT_FOLDER_PATH_MAX 4096

struct script_found {
	char file[SCRIPT_FOLDER_PATH_MAX]; /* to be executed; has a slash */
	size_t n;			   /* bytes of `below` that name it */
};

/* Is there this folder, and can it be looked into? False with a sentence in why. */
bool script_folder_check(const char *dir, char *why, size_t why_cap);
/* below: the path behind the mount's, empty or with a slash in front. The folder is looked at anew
 * each time. Nothing outside of it is found, by path or by symbolic link, nor what has a name that
 * begins with a dot. Returns 0, or the status of the answer, 404 or 403, with what is wrong in
 * *why_r. */
int script_folder_find(const char *dir, struct span below, struct script_found *found_r,
		       const char **why_r);

#endif
