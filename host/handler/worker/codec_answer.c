/* codec_answer: what a worker says to an upgrade. */
#include <stdlib.h>

#include "common/header.h"
#include "common/rules.h"
#include "handler/worker/codec_parts.h"

void codec_answer_read(struct reader *r, struct codec_answer_text *t)
{
	static const struct field fields[] = {
		TEXT_FIELD(struct codec_answer_text, "subprotocol", subprotocol),
		TEXT_FIELD(struct codec_answer_text, "state", state),
		TEXT_FIELD(struct codec_answer_text, "type", type),
		TEXT_FIELD(struct codec_answer_text, "body", body),
		TEXT_FIELD(struct codec_answer_text, "user", user),
		TEXT_FIELD(struct codec_answer_text, "info", info),
		LOOSE_FIELD(struct codec_answer_text, "status", status, bad_status),
		COUNTED_FIELD(struct codec_answer_text, "state_bin", state_bin, has_state_bin),
		COUNTED_FIELD(struct codec_answer_text, "bin", bin, has_bin),
		{.key = {0}},
	};
	struct span name;
	*t = (struct codec_answer_text){.status = 0};
	for (bool first = json_enter(&r->j, '{'); json_next_key(&r->j, &first, &name);) {
		if (span_eq(name, SPAN("headers")))
			json_skip(&r->j, &t->headers);
		else if (!codec_read_field(&r->j, name, t, fields))
			json_skip(&r->j, NULL);
	}
	t->state_bin_at = codec_read_claim(r, t->state_bin);
	t->bin_at = codec_read_claim(r, t->bin);
}

static bool codec_answer_copy_text(char *dst, size_t cap, struct json_string *s)
{
	struct span text = s->p != NULL ? codec_text(s) : (struct span){0};
	if (text.n >= cap || (text.n > 0 && memchr(text.p, '\0', text.n) != NULL))
		return false;
	if (text.n > 0)
		memcpy(dst, text.p, text.n);
	dst[text.n] = '\0';
	return true;
}

static const char *codec_answer_headers(struct event_answer *answer, struct span json)
{
	struct json j = {.p = json.p, .end = json.p + json.n};
	struct json_string pair[2];
	for (bool first = json_enter(&j, '['); json_next(&j, ']', &first);) {
		char name[256], value[RULES_HEAD_MAX];
		unsigned n = 0;
		for (bool inner = json_enter(&j, '['); json_next(&j, ']', &inner); n++)
			if (n >= 2 || !json_read_string(&j, &pair[n]))
				return "a header of the answer is not [\"Name\",\"value\"]";
		if (j.why != NULL || n != 2 ||
		    !codec_answer_copy_text(name, sizeof name, &pair[0]) ||
		    !codec_answer_copy_text(value, sizeof value, &pair[1]) ||
		    !event_answer_header(answer, name, value))
			return "a header of the answer can not be sent";
	}
	return j.why;
}

/* Bytes or text, in memory of their own. */
static void *codec_answer_copy_of(struct span bytes)
{
	void *copy = malloc(bytes.n + 1);
	if (copy != NULL && bytes.n > 0)
		memcpy(copy, bytes.p, bytes.n);
	return copy;
}

const char *codec_answer(const struct codec_batch *b, struct codec_item *item,
			 struct event_answer *answer, void **data_r)
{
	bool refuse = item->refuse.p != NULL;
	struct span json = refuse ? item->refuse : item->accept;
	if (json.p == NULL)
		return NULL;
	struct reader r = {.j = {.p = json.p, .end = json.p + json.n},
			   .binary = item->answer_at,
			   .limit = UINT64_MAX};
	struct codec_answer_text t;
	codec_answer_read(&r, &t);
	if (t.headers.p != NULL && codec_answer_headers(answer, t.headers) != NULL)
		return "a header of the answer can not be sent";
	if (!codec_answer_copy_text(answer->subprotocol, sizeof answer->subprotocol,
				    &t.subprotocol) ||
	    !codec_answer_copy_text(answer->type, sizeof answer->type, &t.type))
		return "the answer's subprotocol or type is too long";
	if (!header_ok("X-Type", answer->type))
		return "the answer's type has a control character";
	if (refuse) {
		struct span body =
			t.has_bin ? (struct span){(const char *)b->binary + t.bin_at, t.bin}
			: t.body.p != NULL ? codec_text(&t.body)
					   : (struct span){0};
		if (t.bad_status || t.status < 300 || t.status > 599)
			return "a refusal needs a status of 300 to 599";
		answer->status = (int)t.status;
		answer->body = codec_answer_copy_of(body);
		answer->body_len = answer->body != NULL ? body.n : 0;
		return NULL;
	}
	struct span state =
		t.has_state_bin
			? (struct span){(const char *)b->binary + t.state_bin_at, t.state_bin}
		: t.state.p != NULL ? codec_text(&t.state)
				    : (struct span){0};
	if (state.n > RULES_DATA_MAX)
		return "the state has more than 4,096 bytes";
	struct span none = {NULL, 0};
	if (!event_answer_identity(answer, t.info.p != NULL ? codec_text(&t.info) : none,
				   t.user.p != NULL ? codec_text(&t.user) : none))
		return "the answer's user has not 1 to 255 bytes of UTF-8 without NUL, or its "
		       "info more than 1,024";
	*data_r = state.n > 0 ? codec_answer_copy_of(state) : NULL;
	answer->data = *data_r;
	answer->data_len = *data_r != NULL ? state.n : 0;
	return NULL;
}
