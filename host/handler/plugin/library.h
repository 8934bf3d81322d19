/* library: a plugin's shared object, from a private copy of its file. */
#ifndef TOVA_HANDLER_PLUGIN_LIBRARY_H
#define TOVA_HANDLER_PLUGIN_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

#include "tova_plugin.h"

struct library {
	void *handle;
	/* of the private copy; open as long as the library is loaded, as its name for the loader is
	 * its number */
	int fd;
	tova_plugin plugin; /* what it exports; fields that its version does not know are zero */
};

/* Loads and checks. The file may be replaced, truncated or removed at any time from here on.
 * Returns false with a sentence in why. */
bool library_load(struct library *lib, const char *path, char *why, size_t why_cap);
void library_unload(struct library *lib);

#define LIBRARY_DIGEST 65
/* What is in a file, as text; false: it can not be read. */
bool library_digest(const char *path, char digest_r[LIBRARY_DIGEST]);
/* Is what was loaded the same, byte for byte, as what is in this file now? */
bool library_is_same(const struct library *lib, const char *path);

#endif
