/* privileges: a host that was started as root to have its ports, keys and files, and goes on as
 * somebody who can do less. */
#ifndef TOVA_OPS_PRIVILEGES_H
#define TOVA_OPS_PRIVILEGES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct privileges {
	uid_t uid;
	gid_t gid;
	char name[64], home[256]; /* empty: the user has no entry */
};

/* Looks up names, or numbers. group NULL: the user's own. False with the name of the option that is
 * wrong and a sentence in why: no such user or group, the superuser, or a process that may not
 * change who it is. */
bool privileges_find(struct privileges *p, const char *user, const char *group,
		     const char **option_r, char *why, size_t why_cap);

/* A group's name, or its number. False: there is none of that name. */
bool privileges_group_find(const char *group, gid_t *gid_r);

/* The user, for a while, and root again; all threads of the process. What is opened or bound
 * meanwhile is what the user may. */
void privileges_enter(const struct privileges *p);
void privileges_leave(void);

/* Is it root alone who decides what this path names: the file itself, and each folder and link on
 * the way? Else the user could lead root to a file of its choice, and what root is to open there is
 * opened as the user. */
bool privileges_owns(const struct privileges *p, const char *path);
/* Then: makes a file that is not there yet, for the user to own. One that is there is nobody's to
 * give away. */
void privileges_make_file(const struct privileges *p, const char *path, mode_t mode);
/* Then: gives the user a Unix socket that was just bound. group: (gid_t)-1: the user's. */
void privileges_give_socket(const struct privileges *p, const char *path, gid_t group);

/* Becomes the user, for good: no other groups, no capabilities, none to be had from programs that
 * are run, not to be traced or dumped by others of that user. The environment of programs that are
 * run becomes the user's. False with errno. */
bool privileges_drop(const struct privileges *p);

#endif
