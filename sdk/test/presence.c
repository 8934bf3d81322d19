/* presence: rooms that are watched. What the plugin knows of each is compared with who is there. */
#include <stdlib.h>

#include "test/harness.h"

/* Somebody of whom the plugin was told. */
struct presence_known {
	struct presence_known *next;
	tova_ws ws; /* with which he has come, or of those that he has the last */
	char *user; /* NULL: nobody in particular */
	char info[RULES_INFO_MAX + 1];
	bool lost;
	uint64_t until; /* lost */
};

struct presence_watch {
	struct presence_watch *next;
	char room[RULES_NAME_MAX + 1];
	uint32_t grace_ms, n;
	struct presence_known *known; /* oldest first */
	char *told;		      /* texts that the last presence_next has handed out */
};

static void presence_known_free(struct presence_known *k)
{
	free(k->user);
	free(k);
}

static struct presence_watch **presence_find(tova_test *t, const char *room)
{
	struct presence_watch **at = &t->watches;
	while (*at != NULL && strcmp((*at)->room, room) != 0)
		at = &(*at)->next;
	return at;
}

void presence_watch(tova_test *t, const struct harness_command *c)
{
	struct presence_watch **at = presence_find(t, c->name);
	if (*at == NULL) {
		*at = harness_alloc(sizeof **at);
		strcpy((*at)->room, c->name);
	}
	(*at)->grace_ms = c->grace_ms;
}

void presence_unwatch(tova_test *t, const char *room)
{
	struct presence_watch **at = presence_find(t, room), *w = *at;
	if (w == NULL)
		return;
	*at = w->next;
	for (struct presence_known *k; (k = w->known) != NULL; presence_known_free(k))
		w->known = k->next;
	free(w->told);
	free(w);
}

void presence_forget(tova_test *t)
{
	while (t->watches != NULL)
		presence_unwatch(t, t->watches->room);
}

static bool presence_is(const struct presence_known *k, const struct harness_peer *p)
{
	const char *user = commit_user(p);
	return k->user == NULL || user == NULL ? k->user == user && tova_ws_eq(k->ws, p->ws)
					       : strcmp(k->user, user) == 0;
}

/* One of his connections that is there; NULL: none is. */
static const struct harness_peer *presence_peer(const tova_test *t, const struct presence_watch *w,
						const struct presence_known *k)
{
	const struct harness_peer *p = t->peers;
	while (p != NULL && (p->gone || !commit_is_member(p, w->room) || !presence_is(k, p)))
		p = p->next;
	return p;
}

static bool presence_is_known(const struct presence_watch *w, const struct harness_peer *p)
{
	const struct presence_known *k = w->known;
	while (k != NULL && !presence_is(k, p))
		k = k->next;
	return k != NULL;
}

/* The first who is there and not known. */
static const struct harness_peer *presence_new(const tova_test *t, const struct presence_watch *w)
{
	const struct harness_peer *p = t->peers;
	while (p != NULL && (p->gone || !commit_is_member(p, w->room) || presence_is_known(w, p)))
		p = p->next;
	return p;
}

static bool presence_was_lost(const tova_test *t, const struct presence_known *k)
{
	const struct harness_peer *p = t->peers;
	while (p != NULL && !tova_ws_eq(p->ws, k->ws))
		p = p->next;
	return p != NULL && p->lost && k->user != NULL;
}

/* Notes who is there, and since when somebody is not. Returns whether he has gone. */
static bool presence_look(const tova_test *t, const struct presence_watch *w,
			  struct presence_known *k)
{
	const struct harness_peer *p = presence_peer(t, w, k);
	if (p != NULL) {
		k->ws = p->ws;
		strcpy(k->info, p->info);
		k->lost = false;
		return false;
	}
	if (!k->lost) {
		k->lost = true;
		k->until = t->now + (presence_was_lost(t, k) ? w->grace_ms : 0);
	}
	return k->until <= t->now;
}

/* Its texts outlive the watch's next change, and not more. */
static void presence_tell(struct presence_watch *w, const struct presence_known *k,
			  tova_presence *who_r)
{
	size_t user_len = k->user != NULL ? strlen(k->user) : 0, info_len = strlen(k->info);
	size_t room_len = strlen(w->room);
	char *texts = harness_alloc(room_len + user_len + info_len + 3);
	strcpy(texts, w->room);
	strcpy(texts + room_len + 1, k->user != NULL ? k->user : "");
	strcpy(texts + room_len + user_len + 2, k->info);
	free(w->told);
	w->told = texts;
	*who_r = (tova_presence){.size = sizeof *who_r,
				 .room = texts,
				 .room_len = room_len,
				 .user = texts + room_len + 1,
				 .user_len = user_len,
				 .info = texts + room_len + user_len + 2,
				 .info_len = info_len,
				 .ws = k->ws,
				 .users = w->n};
}

static void presence_come(struct presence_watch *w, const struct harness_peer *p,
			  tova_presence *who_r)
{
	struct presence_known *k = harness_alloc(sizeof *k), **end = &w->known;
	const char *user = commit_user(p);
	k->ws = p->ws;
	strcpy(k->info, p->info);
	if (user != NULL) {
		k->user = harness_alloc(strlen(user) + 1);
		strcpy(k->user, user);
	}
	while (*end != NULL)
		end = &(*end)->next;
	*end = k;
	w->n++;
	presence_tell(w, k, who_r);
}

bool presence_next(tova_test *t, tova_presence *who_r, bool *come_r)
{
	const struct harness_peer *p;
	for (struct presence_watch *w = t->watches; w != NULL; w = w->next) {
		for (struct presence_known **at = &w->known, *k; (k = *at) != NULL;) {
			if (!presence_look(t, w, k)) {
				at = &k->next;
				continue;
			}
			*at = k->next;
			w->n--;
			presence_tell(w, k, who_r);
			presence_known_free(k);
			*come_r = false;
			return true;
		}
		if ((p = presence_new(t, w)) == NULL)
			continue;
		presence_come(w, p, who_r);
		return *come_r = true;
	}
	return false;
}

bool presence_is_empty(const tova_test *t, const char *room)
{
	const struct presence_watch *w = *presence_find((tova_test *)t, room);
	return w == NULL || (w->known == NULL && presence_new(t, w) == NULL);
}

uint64_t presence_due(const tova_test *t)
{
	uint64_t due = UINT64_MAX;
	for (const struct presence_watch *w = t->watches; w != NULL; w = w->next)
		for (const struct presence_known *k = w->known; k != NULL; k = k->next)
			if (k->lost && k->until < due)
				due = k->until;
	return due;
}

const char *presence_lost(const tova_test *t, const char *room, const char *after)
{
	const struct presence_watch *w = *presence_find((tova_test *)t, room);
	for (const struct presence_known *k = w != NULL ? w->known : NULL; k != NULL; k = k->next) {
		if (after == NULL && k->lost && k->user != NULL && presence_peer(t, w, k) == NULL)
			return k->user;
		if (k->user == after)
			after = NULL;
	}
	return NULL;
}
