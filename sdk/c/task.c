#include "c/task.h"

#include <stdlib.h>
#include <sys/random.h>

#include "c/worker.h"
#include "common/utf8.h"

#define TASK_ACK_SIZE 64 /* more than what stands around the commands of an acknowledgement */

void task_begin(struct task *t, enum task_phase phase)
{
	task_clear(t);
	t->phase = phase;
	t->event = (tova_event){.size = sizeof t->event, .attempt = 1};
	commands_begin(&t->commands, TOVA_NONE);
}

void task_begin_event(struct task *t, enum task_phase phase, const struct task_facts *facts)
{
	task_begin(t, phase);
	t->json = facts->json;
	t->is_event = true;
	t->is_close = facts->is_close;
	t->s = facts->s;
	t->link = worker_link(t->worker);
	t->has_ws = facts->has_ws;
	t->event.ws = facts->ws;
	t->event.sequence = facts->seq;
	t->event.attempt = facts->attempt;
	t->room = facts->room;
	t->state = facts->state;
	t->state_len = facts->state_len;
	who_copy(&t->who, &facts->who);
	commands_begin(&t->commands, facts->ws);
	if (!who_is_whole(&t->who)) /* not to be taken for nobody */
		commands_spoil(&t->commands, TOVA_E_MEMORY);
}

/* --- data ------------------------------------------------------------------------------------- */

bool task_bring_data_over(struct task *t)
{
	const tova_plugin *plugin = worker_plugin(t->worker);
	uint32_t size = plugin->data_size;
	if (t->state == NULL || t->state_len == size || size == 0)
		return true;
	enum task_phase phase = t->phase;
	if (plugin->migrate == NULL) {
		tova_fail(&t->api,
			  "the connection keeps %zu bytes and %s %s keeps %u, and has no migrate()",
			  t->state_len, plugin->name, plugin->version, size);
		return false;
	}
	memset(t->before, 0, size);
	memset(t->data, 0, size);
	t->data_used = t->data_new = true;
	t->phase = TASK_SILENT;
	t->callback = "migrate";
	int result = plugin->migrate(&t->api, t->event.ws, t->state, t->state_len, "");
	t->callback = NULL;
	t->phase = phase;
	return result == 0;
}

void *task_data(struct task *t)
{
	uint32_t size = worker_plugin(t->worker)->data_size;
	if (size == 0 || (!t->data_used && !t->has_ws && t->phase != TASK_UPGRADE))
		return NULL;
	if (!t->data_used) {
		memset(t->before, 0, size);
		if (t->state != NULL)
			memcpy(t->before, t->state, t->state_len < size ? t->state_len : size);
		memcpy(t->data, t->before, size);
		t->data_used = true;
	}
	return t->data;
}

static bool task_data_changed(const struct task *t)
{
	return t->data_used && (t->data_new || memcmp(t->before, t->data,
						      worker_plugin(t->worker)->data_size) != 0);
}

/* --- what is kept for the mount --------------------------------------------------------------- */

/* In a callback of an event; that of an upgrade may only read it. */
void *task_mount_data(struct task *t)
{
	const struct task_mount *kept = worker_mount_data(t->worker);
	if (kept->size == 0 || !t->is_event)
		return NULL;
	if (t->mount_data == NULL && (t->mount_data = malloc(kept->size)) != NULL) {
		memcpy(t->mount_data, kept->bytes, kept->size);
		t->mount_version = kept->version;
	}
	return t->mount_data;
}

/* Versions are names that nobody else gives. */
static uint64_t task_new_version(void)
{
	uint64_t bits;
	if (getrandom(&bits, sizeof bits, 0) != sizeof bits)
		return 0;
	return bits >> 11 | 1;
}

/* What the next event finds is this, unless the host tells something else. */
static void task_keep_mount_data(struct task *t)
{
	struct task_mount *kept = worker_mount_data(t->worker);
	bool same = t->mount_data == NULL || t->phase == TASK_UPGRADE ||
		    (t->mount_version == kept->version &&
		     memcmp(t->mount_data, kept->bytes, kept->size) == 0);
	uint64_t next = same ? 0 : task_new_version();
	if (same)
		return;
	if (next == 0) {
		commands_spoil(&t->commands, TOVA_E_MEMORY);
		return;
	}
	if (commands_set_mount(&t->commands, t->mount_data, kept->size, t->mount_version, next) !=
	    TOVA_OK)
		return;
	memcpy(kept->bytes, t->mount_data, kept->size);
	kept->version = next;
}

/* --- what comes of it ------------------------------------------------------------------------- */

const char *task_failure(struct task *t, int result)
{
	int error = t->commands.error;
	if (result != 0 && t->fail_len > 0)
		return t->fail;
	if (error != TOVA_OK)
		return commands_error_text(error);
	return result != 0 ? "the plugin gave no reason" : NULL;
}

static void task_write_accept(struct task *t, struct buffer *b, bool state)
{
	buffer_addf(b, ",\"accept\":{\"headers\":[");
	buffer_add(b, t->answer.headers.p, t->answer.headers.n);
	buffer_addf(b, "]");
	if (t->answer.subprotocol != NULL) {
		buffer_addf(b, ",\"subprotocol\":");
		buffer_add_json(b, t->answer.subprotocol, strlen(t->answer.subprotocol));
	}
	if (t->answer.has_user) {
		buffer_addf(b, ",\"user\":");
		buffer_add_json(b, t->answer.user, strlen(t->answer.user));
	}
	if (t->answer.has_info) {
		buffer_addf(b, ",\"info\":");
		buffer_add_json(b, t->answer.info, strlen(t->answer.info));
	}
	if (state)
		buffer_addf(b, ",\"state_bin\":%u", worker_plugin(t->worker)->data_size);
	buffer_add(b, "}", 1);
}

static void task_write_refuse(const struct task *t, struct buffer *b, struct buffer *binary)
{
	const struct buffer *body = &t->answer.body;
	buffer_addf(b, ",\"refuse\":{\"status\":%u,\"headers\":[", t->answer.status);
	buffer_add(b, t->answer.headers.p, t->answer.headers.n);
	buffer_addf(b, "]");
	if (utf8_valid(body->p, body->n)) {
		buffer_addf(b, ",\"body\":");
		buffer_add_json(b, body->p, body->n);
	} else {
		buffer_addf(b, ",\"bin\":%zu", body->n);
		buffer_add(binary, body->p, body->n);
	}
	if (t->answer.type[0] != '\0') {
		buffer_addf(b, ",\"type\":");
		buffer_add_json(b, t->answer.type, strlen(t->answer.type));
	}
	buffer_add(b, "}", 1);
}

/* The bytes of an object follow each other in the order of its text. */
static void task_write_answer(struct task *t, struct buffer *b, struct buffer *binary)
{
	bool state = task_data_changed(t),
	     plain = t->answer.headers.n == 0 && t->answer.subprotocol == NULL &&
		     !t->answer.has_user && !t->answer.has_info;
	if (t->answer.status != 0) {
		task_write_refuse(t, b, binary);
	} else if (state || !plain) {
		task_write_accept(t, b, state);
		if (state)
			buffer_add(binary, t->data, worker_plugin(t->worker)->data_size);
	}
}

/* An answer to an upgrade may lack memory; what an event commands is whole, or was refused
 * before. */
static bool task_write_ack(struct task *t, struct batch *out)
{
	struct buffer text = {0}, binary = {0};
	const struct commands *c = &t->commands;
	if (t->phase == TASK_UPGRADE)
		task_write_answer(t, &text, &binary);
	bool ok = !text.failed && !binary.failed;
	if (!ok)
		goto end;
	batch_begin(out, text.n + binary.n + c->text.n + c->binary.n + TASK_ACK_SIZE);
	buffer_add_text(&out->text, "{\"t\":\"ack\",\"s\":");
	buffer_add_number(&out->text, t->s);
	buffer_add(&out->text, text.p, text.n);
	buffer_add(&out->binary, binary.p, binary.n);
	if (c->text.n > 0) {
		buffer_add_text(&out->text, ",\"commands\":[");
		buffer_add(&out->text, c->text.p, c->text.n);
		buffer_add_text(&out->text, "]");
		buffer_add(&out->binary, c->binary.p, c->binary.n);
	}
	buffer_add_text(&out->text, "}");
end:
	buffer_free(&text);
	buffer_free(&binary);
	return ok;
}

bool task_acknowledge(struct task *t, struct batch *out)
{
	struct commands *c = &t->commands;
	if (t->has_ws && !t->is_close && task_data_changed(t))
		commands_set(c, t->event.ws, t->data, worker_plugin(t->worker)->data_size);
	if (c->error == TOVA_OK)
		task_keep_mount_data(t);
	if (c->text.failed || c->binary.failed)
		commands_spoil(c, TOVA_E_MEMORY);
	if (c->error == TOVA_OK && !task_write_ack(t, out))
		commands_spoil(c, TOVA_E_MEMORY);
	if (c->error != TOVA_OK)
		task_refuse(t, commands_error_text(c->error), out);
	return c->error == TOVA_OK;
}

void task_refuse(struct task *t, const char *why, struct batch *out)
{
	struct buffer text = {0};
	buffer_addf(&text, "{\"t\":\"nack\",\"s\":%llu,\"error\":", (unsigned long long)t->s);
	buffer_add_json(&text, why, strlen(why));
	if (t->retry)
		buffer_addf(&text, ",\"retry_ms\":%u", t->retry_ms);
	buffer_add(&text, "}", 1);
	batch_add(out, text.p, text.n, NULL, 0);
	out->text.failed |= text.failed;
	buffer_free(&text);
}

/* --- the end ---------------------------------------------------------------------------------- */

void task_clear(struct task *t)
{
	if (t->json != NULL)
		json_decref(t->json);
	for (struct query *q; (q = t->queries) != NULL; pending_free_query(q))
		t->queries = q->next;
	scratch_clear(&t->scratch);
	who_clear(&t->who);
	t->callback = NULL;
	buffer_free(&t->answer.headers);
	buffer_free(&t->answer.body);
	t->answer.status = 0;
	t->answer.head_len = 0;
	t->answer.subprotocol = NULL;
	t->answer.type[0] = '\0';
	t->answer.has_user = t->answer.has_info = false;
	free(t->mount_data);
	t->mount_data = NULL;
	t->room.room = NULL;
	t->json = NULL;
	t->phase = TASK_IDLE;
	t->is_event = t->has_ws = t->is_close = t->deferred = t->aborted = t->retry = t->data_used =
		t->data_new = false;
	t->state = NULL;
	t->state_len = t->fail_len = 0;
}

void task_free(struct task *t)
{
	task_clear(t);
	commands_free(&t->commands);
	free(t);
}
