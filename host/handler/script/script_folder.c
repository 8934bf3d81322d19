#include "handler/script/script_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Below the folder; the kernel refuses every way out of it. -1 with errno. */
static int script_folder_open(int root, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

bool script_folder_check(const char *dir, char *why, size_t why_cap)
{
	int root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int self = root >= 0 ? script_folder_open(root, ".") : -1;
	bool ok = self >= 0 && faccessat(root, ".", X_OK, AT_EACCESS) == 0;
	if (!ok)
		snprintf(why, why_cap, "%s; expected a folder with programs", strerror(errno));
	if (self >= 0)
		close(self);
	if (root >= 0)
		close(root);
	return ok;
}

/* What stands at this path? The mode of the file or folder, or 0. */
static mode_t script_folder_mode(int root, const char *path)
{
	struct stat st;
	int fd = script_folder_open(root, path);
	mode_t mode = fd >= 0 && fstat(fd, &st) == 0 ? st.st_mode : 0;
	if (fd >= 0)
		close(fd);
	return mode;
}

/* Appends "/SEGMENT". False: it can not be the name of a script, or is too long. */
static bool script_folder_append(struct script_found *found, size_t *len, struct span segment)
{
	bool ok = segment.n > 0 && segment.p[0] != '.' &&
		  memchr(segment.p, '\0', segment.n) == NULL &&
		  *len + segment.n + 2 <= sizeof found->file;
	if (!ok)
		return false;
	found->file[(*len)++] = '/';
	memcpy(found->file + *len, segment.p, segment.n);
	*len += segment.n;
	found->file[*len] = '\0';
	return true;
}

/* Goes down folder by folder, to the first file. */
static mode_t script_folder_walk(int root, size_t top, struct span below,
				 struct script_found *found)
{
	size_t len = top, at = 0;
	mode_t mode = S_IFDIR;
	while (S_ISDIR(mode) && at < below.n) {
		const char *begin = below.p + at + 1;
		const char *slash = memchr(begin, '/', below.n - at - 1);
		size_t n = slash != NULL ? (size_t)(slash - begin) : below.n - at - 1;
		if (!script_folder_append(found, &len, (struct span){begin, n}))
			return 0;
		mode = script_folder_mode(root, found->file + top + 1);
		at += 1 + n;
	}
	found->n = at;
	return mode;
}

int script_folder_find(const char *dir, struct span below, struct script_found *found_r,
		       const char **why_r)
{
	int n = snprintf(found_r->file, sizeof found_r->file, "%s", dir);
	int root = n > 0 && (size_t)n < sizeof found_r->file
			   ? open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC)
			   : -1;
	mode_t mode = root >= 0 ? script_folder_walk(root, (size_t)n, below, found_r) : 0;
	/* with the rights that it would be started with */
	bool runs = S_ISREG(mode) && faccessat(AT_FDCWD, found_r->file, X_OK, AT_EACCESS) == 0;
	if (root >= 0)
		close(root);
	*why_r = runs		 ? NULL
		 : S_ISREG(mode) ? "this script can not be executed"
				 : "there is no such script";
	return runs ? 0 : S_ISREG(mode) ? 403 : 404;
}
