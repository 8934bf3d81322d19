/* user_limit: how many connections of each user, as tokens name them ("sub"), a mount has:
 * --limit-user. Those that are away count; the one that is away for longest gives way to a new one.
 */
#ifndef TOVA_HUB_USER_LIMIT_H
#define TOVA_HUB_USER_LIMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/hash.h"
#include "base/hash_table.h"

struct mount;
struct session;
struct user_limit;

/* Of one mount. */
struct user_limits {
	struct hash_table table;
	uint32_t max; /* of each user; 0: any number, and nobody is counted */
	struct hash_key key;
};

/* From now on. Who is there is counted, and stays. False without memory: as it was. */
bool user_limits_set(struct mount *m, uint32_t max);
/* Every session has been told to leave. */
void user_limits_free(struct user_limits *all);

/* May this user have one more? If that takes the end of a session of his that is away, that one is
 * in *gives_way_r, else NULL. subject: NULL is nobody, who may. */
bool user_limits_admit(struct mount *m, const char *subject, struct session **gives_way_r);
/* The session, whose token is known, is one of its user's. False without memory. */
bool user_limits_enter(struct mount *m, struct session *s);
/* It has ended. */
void user_limits_leave(struct mount *m, struct session *s);

#endif
