/* abi: what of tova_plugin.h means the same wherever a plugin runs, in the host or in a worker:
 * what it may hand over, and what it says of itself. */
#ifndef TOVA_COMMON_ABI_H
#define TOVA_COMMON_ABI_H

#include <stdbool.h>
#include <stddef.h>

#include "common/span.h"
#include "tova_plugin.h"

/* Is it a message? Fields that the plugin's version does not know are not looked at, nor is whether
 * text is UTF-8. */
static inline bool abi_payload_ok(const tova_payload *p)
{
	return p != NULL && p->size >= offsetof(tova_payload, flags) &&
	       (p->kind == TOVA_TEXT || p->kind == TOVA_BINARY) && (p->data != NULL || p->len == 0);
}
/* Its conflation key, which lies in it; n == 0: it has none. */
static inline struct span abi_payload_key(const tova_payload *p)
{
	bool knows_keys = p->size >= offsetof(tova_payload, key_len) + sizeof p->key_len;
	return knows_keys && p->key != NULL ? (struct span){p->key, p->key_len} : (struct span){0};
}

/* Is it one that rooms do not remember? */
static inline bool abi_payload_unkept(const tova_payload *p)
{
	return p->size >= offsetof(tova_payload, flags) + sizeof p->flags &&
	       (p->flags & TOVA_UNKEPT) != 0;
}
/* Is it something that somebody who joins can want? */
static inline bool abi_history_ok(const tova_history *want)
{
	return want != NULL && want->size >= sizeof *want && want->how >= TOVA_HISTORY_LAST &&
	       want->how <= TOVA_HISTORY_SINCE_OR_FAIL &&
	       (want->how == TOVA_HISTORY_LAST || want->since == 0 || want->epoch != 0);
}
/* Has the query what one of the kind HISTORY needs? */
static inline bool abi_query_has_since(const tova_query *q)
{
	return q->size >= offsetof(tova_query, limit) + sizeof q->limit;
}
/* Is it what somebody who joins may ask for, is it a list of whom something is for? */
static inline bool abi_join_if_ok(const tova_conditions *c)
{
	return c != NULL && c->size >= sizeof *c && c->first <= 1 && c->replace <= 1;
}
bool abi_among_ok(const tova_among *among);
/* Does the query need a room? */
static inline bool abi_query_has_room(uint32_t kind)
{
	return kind == TOVA_QUERY_COUNT || kind == TOVA_QUERY_MEMBERS ||
	       kind == TOVA_QUERY_HISTORY || kind == TOVA_QUERY_USERS ||
	       kind == TOVA_QUERY_ROOM_STATE;
}
/* Is there such a kind? */
static inline bool abi_query_is(uint32_t kind)
{
	return kind >= TOVA_QUERY_COUNT && kind <= TOVA_QUERY_ROOM_STATE;
}

/* May an upgrade be refused so? type: of the body, or NULL. */
bool abi_refusal_ok(unsigned status, const char *type, const char *body, size_t body_len);

#define ABI_FAIL_MAX 512
/* The text of a failure as it is handed on: as much as there is room for, up to a NUL, no half a
 * character and nothing else that is no text. Writes a NUL behind it; returns the length. */
size_t abi_fail_text(char dst[ABI_FAIL_MAX], const char *text, size_t len);

/* What the plugin says of this setting of its; NULL: nothing. */
const tova_setting_spec *abi_setting(const tova_plugin *plugin, const char *key);
/* May the operator give it this setting? One that says nothing of settings takes all. False with a
 * sentence in why that names those there are. */
bool abi_setting_ok(const tova_plugin *plugin, const char *key, char *why, size_t why_cap);

#endif
