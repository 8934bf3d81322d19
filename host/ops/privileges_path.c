/* privileges_path: who decides what a path names? Root opens nothing where that is somebody
 * else. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "ops/privileges.h"

#define PATH_LINKS_MAX 40 /* as the kernel has it */

struct walk {
	const struct privileges *p;
	int at;			 /* the folder that has been reached */
	char rest[2 * PATH_MAX]; /* of the path, from there */
	unsigned links;
};

/* May anybody but root make, rename or remove names in this folder? Members of the group are
 * others, unless it is the user's. */
static bool privileges_path_is_others(const struct walk *w, const struct stat *st)
{
	bool lists = (st->st_mode & S_IWGRP) != 0 &&
		     fgetxattr(w->at, "system.posix_acl_access", NULL, 0) > 0;
	return st->st_uid != 0 || (st->st_mode & S_IWOTH) != 0 ||
	       ((st->st_mode & S_IWGRP) != 0 && st->st_gid == w->p->gid) || lists;
}

static bool privileges_path_to(struct walk *w, int fd)
{
	if (fd < 0)
		return false;
	if (w->at >= 0)
		close(w->at);
	w->at = fd;
	return true;
}

static bool privileges_path_begin(struct walk *w)
{
	return privileges_path_to(w, open(w->rest[0] == '/' ? "/" : ".",
					  O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

/* Takes the first name off the rest; false: there is none. */
static bool privileges_path_name(struct walk *w, char name[NAME_MAX + 1])
{
	size_t skip = strspn(w->rest, "/"), n = strcspn(w->rest + skip, "/");
	if (n == 0 || n > NAME_MAX)
		return false;
	memcpy(name, w->rest + skip, n);
	name[n] = '\0';
	memmove(w->rest, w->rest + skip + n, strlen(w->rest + skip + n) + 1);
	return true;
}

/* A link is followed by putting what it says in front of the rest. */
static bool privileges_path_link(struct walk *w, const char *name)
{
	char target[PATH_MAX], whole[2 * PATH_MAX];
	ssize_t n = readlinkat(w->at, name, target, sizeof target - 1);
	if (n <= 0 || ++w->links > PATH_LINKS_MAX)
		return false;
	target[n] = '\0';
	if ((size_t)snprintf(whole, sizeof whole, "%s%s", target, w->rest) >= sizeof whole)
		return false;
	strcpy(w->rest, whole);
	return target[0] != '/' || privileges_path_begin(w);
}

/* One name on. False at the last one, which is then no link, with *done_r; or where others decide.
 * In a sticky folder, such as /tmp, what is root's stays what it is. */
static bool privileges_path_step(struct walk *w, char name[NAME_MAX + 1], bool *done_r)
{
	struct stat folder, st;
	if (!privileges_path_name(w, name) || fstat(w->at, &folder) != 0)
		return false;
	bool last = w->rest[strspn(w->rest, "/")] == '\0',
	     others = privileges_path_is_others(w, &folder);
	bool there = fstatat(w->at, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	bool kept =
		(folder.st_mode & S_ISVTX) != 0 && folder.st_uid == 0 && there && st.st_uid == 0;
	if (others && (!kept || (last && !S_ISLNK(st.st_mode))))
		return false;
	if (there && S_ISLNK(st.st_mode))
		return privileges_path_link(w, name);
	*done_r = last;
	return !last &&
	       privileges_path_to(w, openat(w->at, name,
					    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

/* The folder in which it lies, opened, and its name there, which is no link. -1: somebody else
 * decides. */
static int privileges_path_folder(const struct privileges *p, const char *path,
				  char name_r[NAME_MAX + 1])
{
	struct walk w = {.p = p, .at = -1};
	bool done = false;
	if ((size_t)snprintf(w.rest, sizeof w.rest, "%s", path) >= PATH_MAX ||
	    !privileges_path_begin(&w))
		return -1;
	while (privileges_path_step(&w, name_r, &done))
		;
	if (done)
		return w.at;
	close(w.at);
	return -1;
}

bool privileges_owns(const struct privileges *p, const char *path)
{
	char name[NAME_MAX + 1];
	int folder = privileges_path_folder(p, path, name);
	if (folder >= 0)
		close(folder);
	return folder >= 0;
}

void privileges_make_file(const struct privileges *p, const char *path, mode_t mode)
{
	char name[NAME_MAX + 1];
	int folder = privileges_path_folder(p, path, name);
	int fd = folder >= 0 ? openat(folder, name,
				      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)
			     : -1;
	if (fd >= 0 && fchown(fd, p->uid, p->gid) != 0)
		unlinkat(folder, name, 0);
	/* else it is there, or who opens it will say why it can not be made */
	if (fd >= 0)
		close(fd);
	if (folder >= 0)
		close(folder);
}

void privileges_give_socket(const struct privileges *p, const char *path, gid_t group)
{
	char name[NAME_MAX + 1];
	struct stat st;
	int folder = privileges_path_folder(p, path, name);
	int fd = folder >= 0 ? openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : -1;
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_uid == 0 &&
	    st.st_nlink == 1 &&
	    fchownat(fd, "", p->uid, group != (gid_t)-1 ? group : p->gid, AT_EMPTY_PATH) != 0)
		errno = EPERM;
	if (fd >= 0)
		close(fd);
	if (folder >= 0)
		close(folder);
}
