#include "ops/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define PRIVILEGES_ENTRY_MAX 16384

/* A number that is a valid id; -1, which the kernel takes for "as it is", is none. */
static bool privileges_number(const char *text, unsigned *id_r)
{
	char *end;
	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	unsigned long value = strtoul(text, &end, 10);
	*id_r = (unsigned)value;
	return *end == '\0' && errno == 0 && value < 0xFFFFFFFFul;
}

static bool privileges_fail(const char **option_r, const char *option, char *why, size_t cap,
			    const char *what)
{
	*option_r = option;
	snprintf(why, cap, "%s", what);
	return false;
}

/* False: neither a name nor a number. */
static bool privileges_user(struct privileges *p, const char *user, bool *known_r)
{
	struct passwd entry, *found = NULL;
	char text[PRIVILEGES_ENTRY_MAX];
	unsigned id = 0;
	bool number = false;
	getpwnam_r(user, &entry, text, sizeof text, &found);
	if (found == NULL && (number = privileges_number(user, &id)))
		getpwuid_r(id, &entry, text, sizeof text, &found);
	*known_r = found != NULL;
	p->uid = found != NULL ? found->pw_uid : id;
	if (found != NULL) {
		p->gid = found->pw_gid;
		snprintf(p->name, sizeof p->name, "%s", found->pw_name);
		snprintf(p->home, sizeof p->home, "%s", found->pw_dir);
	}
	return found != NULL || number;
}

bool privileges_group_find(const char *group, gid_t *gid_r)
{
	struct group entry, *found = NULL;
	char text[PRIVILEGES_ENTRY_MAX];
	unsigned id = 0;
	getgrnam_r(group, &entry, text, sizeof text, &found);
	bool number = found == NULL && privileges_number(group, &id);
	*gid_r = found != NULL ? found->gr_gid : id;
	return found != NULL || number;
}

bool privileges_find(struct privileges *p, const char *user, const char *group,
		     const char **option_r, char *why, size_t why_cap)
{
	bool known = false;
	*p = (struct privileges){.gid = 0};
	if (user == NULL)
		return privileges_fail(option_r, "group", why, why_cap, "needs --user");
	if (!privileges_user(p, user, &known))
		return privileges_fail(option_r, "user", why, why_cap, "there is no such user");
	if (!known && group == NULL)
		return privileges_fail(option_r, "user", why, why_cap,
				       "a number without an entry needs --group");
	if (p->uid == 0)
		return privileges_fail(option_r, "user", why, why_cap,
				       "that is the superuser; expected one who can do less");
	if (group != NULL && !privileges_group_find(group, &p->gid))
		return privileges_fail(option_r, "group", why, why_cap, "there is no such group");
	if (p->gid == 0)
		return privileges_fail(
			option_r, group != NULL ? "group" : "user", why, why_cap,
			"its group is the superuser's; expected --group with one that can do less");
	if (geteuid() != 0)
		return privileges_fail(
			option_r, "user", why, why_cap,
			"only a host that root starts can become another user; start it as that "
			"user, without --user");
	return true;
}

void privileges_enter(const struct privileges *p)
{
	/* as root it must not go on */
	if (setgroups(0, NULL) != 0 || setegid(p->gid) != 0 || seteuid(p->uid) != 0)
		abort();
}

void privileges_leave(void)
{
	if (seteuid(0) != 0 || setegid(0) != 0)
		abort();
}

static void privileges_environment(const struct privileges *p)
{
	static const char *const others[] = {"XDG_RUNTIME_DIR", "MAIL",	    "SUDO_USER",
					     "SUDO_UID",	"SUDO_GID", "SUDO_COMMAND"};
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		unsetenv(others[i]);
	setenv("HOME", p->home[0] != '\0' ? p->home : "/", 1);
	if (p->name[0] != '\0') {
		setenv("USER", p->name, 1);
		setenv("LOGNAME", p->name, 1);
	} else {
		unsetenv("USER");
		unsetenv("LOGNAME");
	}
}

bool privileges_drop(const struct privileges *p)
{
	if (setgroups(0, NULL) != 0 || setresgid(p->gid, p->gid, p->gid) != 0 ||
	    setresuid(p->uid, p->uid, p->uid) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return false;
	/* whatever let it keep that */
	if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0 || getgroups(0, NULL) != 0) {
		errno = EPERM;
		return false;
	}
	privileges_environment(p);
	return true;
}
