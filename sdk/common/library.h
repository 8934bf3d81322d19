/* library: a plugin's shared object: where it is, and how it is loaded, from a private copy of its
 * file. */
#ifndef TOVA_COMMON_LIBRARY_H
#define TOVA_COMMON_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

#include "tova_plugin.h"

struct library {
	void *handle;
	/* of the private copy; open as long as the library is loaded, as its name for the loader is
	 * its number */
	int fd;
	char *file;	    /* the one it was copied from, as an absolute path; NULL: not known */
	tova_plugin plugin; /* what it exports; fields that its version does not know are zero */
};

/* Loads and checks. The file may be replaced, truncated or removed at any time from here on.
 * Returns false with a sentence in why. */
bool library_load(struct library *lib, const char *path, char *why, size_t why_cap);
void library_unload(struct library *lib);

/* For a process that is about to end with a core: what reads that finds the library by the file's
 * own name, as the copy is gone with the process. Good in a signal's handler. */
void library_name_for_core(struct library *lib);

/* Where is this plugin? A name with a slash in it is a path. Any other is looked for in the current
 * folder, beside the binary, in `plugins` beside it and in the installed plugin folder, ".so"
 * appended if it lacks it. exe_dir NULL: the folder of the running program. Returns false with a
 * sentence in why that names the places tried. */
bool library_find(const char *name, const char *exe_dir, char *path_r, size_t cap, char *why,
		  size_t why_cap);

#endif
