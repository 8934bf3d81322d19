#include "ws/tova_v1.h"

#include <stdio.h>

#include "common/json.h"
#include "ws/frame.h"

#define TOVA_V1_RETURN "tova.resume."

/* --- the offer -------------------------------------------------------------------------------- */

static bool tova_v1_is_ours(struct span item)
{
	const struct span back = SPAN(TOVA_V1_RETURN);
	return span_eq(item, SPAN(TOVA_V1_NAME)) ||
	       (item.n >= back.n && memcmp(item.p, back.p, back.n) == 0);
}

static bool tova_v1_is_token(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_';
}

/* Digits without a needless zero, as numbers are in JSON. */
static bool tova_v1_number(struct span text, uint64_t *value_r)
{
	*value_r = 0;
	if (text.n == 0 || text.n > 16 || (text.n > 1 && text.p[0] == '0'))
		return false;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		*value_r = *value_r * 10 + (uint64_t)(text.p[i] - '0');
	}
	return *value_r <= JSON_INTEGER_MAX;
}

/* tova.resume.TOKEN.17 */
static void tova_v1_read_return(struct span item, struct tova_v1_offer *offer)
{
	size_t at = sizeof TOVA_V1_RETURN - 1, i = 0;
	if (offer->returns || item.n <= at + TOVA_V1_TOKEN || item.p[at + TOVA_V1_TOKEN] != '.')
		return;
	for (; i < TOVA_V1_TOKEN && tova_v1_is_token(item.p[at + i]); i++)
		offer->token[i] = item.p[at + i];
	offer->token[i] = '\0';
	at += TOVA_V1_TOKEN + 1;
	offer->returns = i == TOVA_V1_TOKEN &&
			 tova_v1_number((struct span){item.p + at, item.n - at}, &offer->got);
}

bool tova_v1_is_offered(const struct request *r)
{
	struct request_walk walk = {.r = r, .name = SPAN("Sec-WebSocket-Protocol")};
	struct span item;
	while (request_walk_next(&walk, &item))
		if (span_eq(item, SPAN(TOVA_V1_NAME)))
			return true;
	return false;
}

/* The list without what is ours; returns where the writing stands then. `to` may be where the list
 * begins, or before it. */
static char *tova_v1_copy_rest(char *to, struct span list, bool *any_r)
{
	struct span item;
	*any_r = false;
	while (request_list_next(&list, &item)) {
		if (tova_v1_is_ours(item))
			continue;
		if (*any_r)
			*to++ = ',';
		memmove(to, item.p, item.n);
		to += item.n;
		*any_r = true;
	}
	return to;
}

/* Writes the head anew over itself, each line of the header with what is left of it or not at all.
 * Returns its length. */
static size_t tova_v1_cut(const struct request *r, char *head)
{
	const char *from = head, *end = head + r->head.n;
	char *to = head;
	for (unsigned i = 0; i < r->n_headers; i++) {
		const struct request_header *h = &r->headers[i];
		bool any;
		if (!span_eq_nocase(h->name, SPAN("Sec-WebSocket-Protocol")))
			continue;
		size_t before = (size_t)(h->value.p - from);
		char *line = to + (h->name.p - from);
		const char *next = memchr(h->value.p + h->value.n, '\n',
					  (size_t)(end - (h->value.p + h->value.n)));
		memmove(to, from, before);
		to = tova_v1_copy_rest(to + before, h->value, &any);
		from = next + 1;
		if (!any) {
			to = line;
			continue;
		}
		*to++ = '\r';
		*to++ = '\n';
	}
	memmove(to, from, (size_t)(end - from));
	return (size_t)(to - head) + (size_t)(end - from);
}

void tova_v1_take(struct request *r, struct tova_v1_offer *offer_r)
{
	struct request_walk walk = {.r = r, .name = SPAN("Sec-WebSocket-Protocol")};
	struct span item;
	bool ours = false;
	*offer_r = (struct tova_v1_offer){.offered = false};
	while (request_walk_next(&walk, &item)) {
		offer_r->offered = offer_r->offered || span_eq(item, SPAN(TOVA_V1_NAME));
		if (!tova_v1_is_ours(item))
			continue;
		ours = true;
		if (!span_eq(item, SPAN(TOVA_V1_NAME)))
			tova_v1_read_return(item, offer_r);
	}
	if (!ours)
		return;
	const struct span forwarded_host = r->forwarded_host;
	const bool secure = r->secure;
	char *head = (char *)(uintptr_t)r->head.p;
	request_parse_kept(r, (struct span){head, tova_v1_cut(r, head)});
	r->forwarded_host = forwarded_host;
	r->secure = secure;
	offer_r->returns = offer_r->returns && offer_r->offered;
}

/* --- what a client says ----------------------------------------------------------------------- */

static void tova_v1_read_member(struct json *j, struct span key, struct tova_v1_control *c)
{
	struct json_string text;
	struct span skipped;
	if (span_eq(key, SPAN("got"))) {
		if (json_read_uint(j, &c->got))
			c->said |= TOVA_V1_GOT;
	} else if (span_eq(key, SPAN("token"))) {
		if (!json_read_string(j, &text))
			return;
		char *at = (char *)(uintptr_t)text.p;
		c->jwt = (struct span){at, json_unescape(&text, at)};
		c->said |= TOVA_V1_JWT;
	} else {
		if (span_eq(key, SPAN("ping")))
			c->said |= TOVA_V1_PING;
		else if (span_eq(key, SPAN("bye")))
			c->said |= TOVA_V1_BYE;
		json_skip(j, &skipped);
	}
}

void tova_v1_read(char *text, size_t len, struct tova_v1_control *control_r)
{
	struct json j = {.p = text, .end = text + len};
	struct span key;
	*control_r = (struct tova_v1_control){.said = 0};
	bool first = json_enter(&j, '{');
	while (json_next_key(&j, &first, &key))
		tova_v1_read_member(&j, key, control_r);
	if (!json_at_end(&j))
		*control_r = (struct tova_v1_control){.said = TOVA_V1_BAD};
}

/* --- what the host says ----------------------------------------------------------------------- */

/* snprintf's result; the texts are ours, and there is room. */
static size_t tova_v1_len(int n)
{
	return n > 0 && n < TOVA_V1_MAX ? (size_t)n : 0;
}

size_t tova_v1_welcome(char dst[TOVA_V1_MAX], const struct tova_v1_welcome *w)
{
	const char *quote = w->token != NULL ? "\"" : "";
	return tova_v1_len(snprintf(
		dst, TOVA_V1_MAX,
		"\1{\"session\":%s%s%s,\"resumed\":%s,\"got\":%llu,\"done\":%llu,\"keep_ms\":%llu,\"protocol\":\"%.*s\"}",
		quote, w->token != NULL ? w->token : "null", quote, w->resumed ? "true" : "false",
		(unsigned long long)w->got, (unsigned long long)w->done,
		(unsigned long long)w->keep_ms, (int)w->protocol.n,
		w->protocol.n > 0 ? w->protocol.p : ""));
}

size_t tova_v1_done(char dst[TOVA_V1_MAX], uint64_t done, const uint64_t *failed, size_t n_failed)
{
	size_t n = tova_v1_len(
		snprintf(dst, TOVA_V1_MAX, "\1{\"done\":%llu", (unsigned long long)done));
	for (size_t i = 0; i < n_failed; i++)
		n += tova_v1_len(snprintf(dst + n, TOVA_V1_MAX - n, "%s%llu",
					  i == 0 ? ",\"failed\":[" : ",",
					  (unsigned long long)failed[i]));
	return n + tova_v1_len(snprintf(dst + n, TOVA_V1_MAX - n, n_failed > 0 ? "]}" : "}"));
}

size_t tova_v1_pong(char dst[TOVA_V1_MAX])
{
	return tova_v1_len(snprintf(dst, TOVA_V1_MAX, "\1{\"pong\":1}"));
}

size_t tova_v1_lost(char dst[TOVA_V1_MAX], uint64_t lost, uint64_t next)
{
	return tova_v1_len(snprintf(dst, TOVA_V1_MAX, "\1{\"lost\":%llu,\"next\":%llu}",
				    (unsigned long long)lost, (unsigned long long)next));
}

size_t tova_v1_history(char dst[TOVA_V1_HISTORY_MAX], const struct tova_v1_history *h)
{
	size_t n = (size_t)sprintf(dst, "\1{\"history\":{\"room\":");
	n += json_escape(dst + n, h->room.p, h->room.n);
	return n + (size_t)sprintf(
			   dst + n,
			   ",\"epoch\":%llu,\"from\":%llu,\"to\":%llu,\"complete\":%s}}",
			   (unsigned long long)h->epoch, (unsigned long long)h->from,
			   (unsigned long long)h->to, h->complete ? "true" : "false");
}

size_t tova_v1_refused(char dst[TOVA_V1_MAX], int status, uint64_t retry_ms)
{
	return tova_v1_len(snprintf(dst, TOVA_V1_MAX, "\1{\"refused\":%d,\"retry_ms\":%llu}",
				    status, (unsigned long long)retry_ms));
}

size_t tova_v1_renewed(char dst[TOVA_V1_MAX], uint64_t expires_ms)
{
	return tova_v1_len(snprintf(dst, TOVA_V1_MAX, "\1{\"token\":\"ok\",\"expires_ms\":%llu}",
				    (unsigned long long)expires_ms));
}

unsigned tova_v1_close_code(int status)
{
	switch (status) {
	case 401:
		return 4401;
	case 403:
		return 4403;
	case 429:
		return 4429;
	case 503:
		return CLOSE_TRY_LATER;
	default:
		return 0;
	}
}
