/* What the conns of an I/O loop tell: it goes up to the hub as records. */
#include <stdlib.h>

#include "base/check.h"
#include "net/answer.h"
#include "threads/io_thread_parts.h"

/* bytes of a message that goes over with its memory, if it has memory of its own */
#define IO_THREAD_BLOCK_MIN 4096

static void io_thread_up_on_upgrade(void *ctx, struct conn *c, struct request *r)
{
	struct io_thread *s = ctx;
	CHECK(s->magic == CHECK_IO_THREAD && conn_user(c) == NULL);
	struct io_thread_conn *sc = malloc(sizeof *sc);
	struct channel_upgrade *u;
	struct channel_record *record = NULL;
	struct conn *stub = sc != NULL ? remote_conn_stub_new(c) : NULL;
	struct tls_facts tls;
	conn_tls_facts(c, &tls);
	size_t subject = tls.subject != NULL ? strlen(tls.subject) + 1 : 0,
	       name = tls.name != NULL ? strlen(tls.name) + 1 : 0;
	if (stub != NULL)
		record = channel_up(&s->remote_conn.channel, CHANNEL_UPGRADE,
				    sizeof *u + r->head.n + 1 + r->forwarded_host.n + subject +
					    name);
	if (record == NULL) {
		if (stub != NULL)
			remote_conn_stub_free(&stub);
		free(sc);
		answer_refuse(c, LOG_UPGRADE, r, 503, SPAN("Retry-After: 1\r\n"),
			      "no memory for another connection");
		return;
	}
	*sc = (struct io_thread_conn){.magic = CHECK_IO_THREAD_CONN, .conn = c, .stub = stub};
	conn_set_user(c, sc);
	record->conn = stub;
	u = (struct channel_upgrade *)record->bytes;
	*u = (struct channel_upgrade){.local = conn_local(c),
				      .secure = r->secure || conn_is_secure(c),
				      .host_len = (uint32_t)r->forwarded_host.n,
				      .version = tls.version,
				      .cipher = tls.cipher,
				      .subject_len = (uint32_t)subject,
				      .name_len = (uint32_t)name};
	memcpy(u->head, r->head.p, r->head.n);
	u->head[r->head.n] = '\0';
	if (r->forwarded_host.n > 0)
		memcpy(u->head + r->head.n + 1, r->forwarded_host.p, r->forwarded_host.n);
	uint8_t *texts = u->head + r->head.n + 1 + r->forwarded_host.n;
	if (subject > 0)
		memcpy(texts, tls.subject, subject);
	if (name > 0)
		memcpy(texts + subject, tls.name, name);
}

static void io_thread_up_on_request(void *ctx, struct conn *c, struct request *r)
{
	struct io_thread *s = ctx;
	CHECK_IS(s, CHECK_IO_THREAD);
	files_serve(&s->files, c, r);
}

/* NULL without memory. */
static struct channel_record *io_thread_up_put_message(struct conn *c, const uint8_t *data,
						       size_t len)
{
	struct io_thread *s = io_thread_of(c);
	struct budget *b = io_thread_conn_of(c)->budget;
	struct channel_block block = {.len = len, .budget = b};
	if (len >= IO_THREAD_BLOCK_MIN)
		block.memory = conn_take(c, &block.data, &block.size);
	struct channel_record *r =
		block.memory != NULL
			? channel_up(&s->remote_conn.channel, CHANNEL_BLOCK, sizeof block)
			: channel_up(&s->remote_conn.channel, CHANNEL_MESSAGE, len + 1);
	if (r == NULL)
		free(block.memory);
	else if (block.memory == NULL && len > 0)
		memcpy(r->bytes, data, len);
	else if (block.memory != NULL)
		*(struct channel_block *)r->bytes = block;
	if (r != NULL && block.memory != NULL && b != NULL)
		budget_add(&b->moving, block.size);
	return r;
}

static void io_thread_up_on_message(struct conn *c, enum frame_opcode opcode, uint8_t *data,
				    size_t len)
{
	struct channel_record *r = io_thread_up_put_message(c, data, len);
	if (r == NULL) {
		io_thread_break(c, "no memory for its message");
		return;
	}
	r->conn = io_thread_conn_of(c)->stub;
	r->code = (uint16_t)opcode;
	io_thread_ready(c);
}

static struct budget *io_thread_up_budget(struct conn *c)
{
	return io_thread_conn_of(c)->budget;
}

static void io_thread_up_on_dropped(struct conn *c, uint32_t n)
{
	struct channel_record *r =
		channel_up(&io_thread_of(c)->remote_conn.channel, CHANNEL_DROPPED, 0);
	/* it is counted, and what counts next will be told */
	if (r == NULL)
		return;
	r->conn = io_thread_conn_of(c)->stub;
	r->cost = n;
}

static void io_thread_up_on_relieved(void *ctx)
{
	(void)ctx; /* the hub ends them */
}

static void io_thread_up_on_unanswered(struct conn *c)
{
	struct io_thread_conn *sc = io_thread_conn_of(c);
	struct channel_record *r =
		channel_up(&io_thread_of(c)->remote_conn.channel, CHANNEL_UNANSWERED, 0);
	if (r != NULL)
		r->conn = sc->stub;
}

static bool io_thread_up_on_gone(struct conn *c)
{
	struct io_thread *s = io_thread_of(c);
	struct io_thread_conn *sc = io_thread_conn_of(c);
	struct channel_record *r;
	if (sc == NULL)
		return true;
	io_thread_leave_list(s, sc);
	if (sc->shown)
		TAILQ_REMOVE(&s->shown, sc, shown_link);
	sc->shown = false;
	if (s->ended) { /* the main thread speaks: nobody else knows the stub */
		remote_conn_forget(&s->remote_conn, sc->stub);
		free(sc);
		return true;
	}
	r = channel_up(&s->remote_conn.channel, CHANNEL_GONE, 0);
	if (r == NULL) {
		loop_timer_set(&s->retry, IO_THREAD_RETRY_MS);
		return false;
	}
	r->conn = sc->stub;
	free(sc);
	return true;
}

const struct conn_ops io_thread_ops = {
	.upgrade = io_thread_up_on_upgrade,
	.request = io_thread_up_on_request,
	.message = io_thread_up_on_message,
	.budget = io_thread_up_budget,
	.ready = io_thread_ready,
	.ended = io_thread_on_ended,
	.dropped = io_thread_up_on_dropped,
	.withdrawn = io_thread_on_withdrawn,
	.unanswered = io_thread_up_on_unanswered,
	.gave_up = io_thread_on_gave_up,
	.memory_limit = io_thread_on_memory_limit,
	.relieved = io_thread_up_on_relieved,
	.drained = io_thread_on_drained,
	.gone = io_thread_up_on_gone,
};
