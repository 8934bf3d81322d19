/* Commits that other hosts see: looked at, published, and applied when they have come back. */
#include <stdlib.h>

#include "base/check.h"
#include "cluster/cluster_parts.h"
#include "hub/delivery.h"
#include "hub/selection.h"
#include "net/outq_notes.h"
#include "ws/frame.h"

/* --- what a commit is ------------------------------------------------------------------------- */

static bool cluster_publishes(const struct command *command)
{
	return command->kind == COMMAND_BROADCAST || command->kind == COMMAND_BROADCAST_TO ||
	       command->kind == COMMAND_BROADCAST_AMONG || command->kind == COMMAND_CLOSE_ROOM;
}

/* Its room, if it has one of its own. */
static const struct span *cluster_room_of(const struct commit *commit,
					  const struct command *command, struct span *room)
{
	*room = commit_text(commit, command);
	return command->kind == COMMAND_BROADCAST_TO ? room : NULL;
}

static size_t cluster_channel_of(struct cluster *c, const struct mount *m,
				 const struct commit *commit, const struct command *command,
				 char name[CHANNEL_NAME_MAX])
{
	struct span room;
	return channel_name(&c->channels, m, cluster_room_of(commit, command, &room), name);
}

/* In silence for others: they see by the numbers that something is missing. */
static void cluster_count_unsent(struct cluster *c, const struct mount *m,
				 const struct commit *commit)
{
	char name[CHANNEL_NAME_MAX];
	uint64_t series, number;
	for (uint32_t i = 0; i < commit->n; i++) {
		if (!cluster_publishes(&commit->commands[i]))
			continue;
		size_t n = cluster_channel_of(c, m, commit, &commit->commands[i], name);
		numbers_next(&c->numbers, (struct span){name, n}, &series, &number);
	}
}

static enum commit_error cluster_wrong(const struct command *command)
{
	if (command_is_judged(command))
		return COMMIT_E_CONDITION;
	if (command->kind == COMMAND_SET_ROOM)
		return COMMIT_E_ALONE;
	return cluster_publishes(command) && command_has_frame(command) &&
			       command->frame.len > CLUSTER_MESSAGE_MAX
		       ? COMMIT_E_BIG
		       : COMMIT_OK;
}

/* Does it wait, by what it does itself? */
static bool cluster_look_at(struct cluster *c, struct mount *m, const struct commit *commit,
			    const struct command *command)
{
	if (cluster_publishes(command))
		return true;
	if (command->kind != COMMAND_JOIN)
		return false;
	const struct channel *at = cluster_follow(c, m, commit_text(commit, command));
	return at == NULL || !at->heard;
}

static enum gate_verdict cluster_on_look(void *ctx, struct mount *m, struct commit *commit)
{
	struct cluster *c = cluster_of(ctx);
	bool waits = false;
	uint64_t bytes = 0;
	uint32_t messages = 0;
	for (uint32_t i = 0; i < commit->n; i++) {
		const struct command *command = &commit->commands[i];
		enum commit_error wrong = cluster_wrong(command);
		if (cluster_publishes(command)) {
			bytes +=
				command_has_frame(command) ? command->frame.len : command->text_len;
			messages++;
		}
		if (bytes > CLUSTER_COMMIT_MAX || messages > CLUSTER_COMMIT_MESSAGES)
			wrong = COMMIT_E_BIG;
		if (wrong != COMMIT_OK) {
			commit_spoil_at(commit, wrong, i);
			return GATE_REFUSE;
		}
		waits = cluster_look_at(c, m, commit, command) || waits;
	}
	if (waits && c->local && !c->up) {
		cluster_count_unsent(c, m, commit);
		return GATE_PASS;
	}
	return waits ? GATE_WAIT : GATE_PASS;
}

static void cluster_on_parked(void *ctx, struct mount *m)
{
	struct cluster *c = cluster_of(ctx);
	(void)m;
	c->due = c->hub->loop->again = true;
}

static bool cluster_on_knows(void *ctx, uint64_t host)
{
	return cluster_host(cluster_of(ctx), host) != NULL;
}

const struct gate cluster_gate = {.look = cluster_on_look,
				  .parked = cluster_on_parked,
				  .knows = cluster_on_knows};

/* --- batches ---------------------------------------------------------------------------------- */

static void cluster_batch_free(struct cluster_batch **b_p)
{
	struct cluster_batch *b = *b_p;
	*b_p = NULL;
	if (b == NULL)
		return;
	buffer_free(&b->bytes);
	free(b->parts);
	free(b);
}

static struct cluster_batch *cluster_batch(struct cluster *c)
{
	if (c->building == NULL && (c->building = calloc(1, sizeof *c->building)) != NULL)
		c->building->number = c->batches + 1;
	return c->building;
}

static bool cluster_batch_add(struct cluster_batch *b, struct span channel,
			      const struct envelope *e, const struct selection *selection)
{
	size_t before = b->bytes.n;
	if (b->n == b->cap) {
		uint32_t cap = b->cap == 0 ? 8 : 2 * b->cap;
		struct cluster_part *wider = realloc(b->parts, cap * sizeof *wider);
		if (wider == NULL)
			return false;
		b->parts = wider;
		b->cap = cap;
	}
	struct cluster_part part = {.channel = (uint32_t)before,
				    .channel_len = (uint32_t)channel.n};
	buffer_add(&b->bytes, channel.p, channel.n);
	part.at = (uint32_t)b->bytes.n;
	envelope_add(&b->bytes, e, selection);
	part.len = (uint32_t)(b->bytes.n - part.at);
	if (b->bytes.failed) {
		b->bytes.failed = false;
		b->bytes.n = before;
		return false;
	}
	b->parts[b->n++] = part;
	return true;
}

static bool cluster_batch_publish(struct cluster *c, struct cluster_batch *b)
{
	struct engine_message *v = malloc(b->n * sizeof *v);
	if (v == NULL)
		return false;
	for (uint32_t i = 0; i < b->n; i++) {
		const struct cluster_part *part = &b->parts[i];
		v[i] = (struct engine_message){{b->bytes.p + part->channel, part->channel_len},
					       {b->bytes.p + part->at, part->len}};
	}
	b->sent = c->engine->ops->publish(c->engine, b->number, v, b->n);
	free(v);
	c->counts.batches += b->sent;
	return b->sent;
}

/* In their order; what can not be sent now waits for the next time. */
static void cluster_send_batches(struct cluster *c)
{
	for (struct cluster_batch *b = c->first; b != NULL && c->up; b = b->next)
		if (!b->sent && !cluster_batch_publish(c, b))
			return;
}

/* A mark is the last of it: that comes back, too, and to nobody else. */
static bool cluster_batch_end(struct cluster *c)
{
	struct cluster_batch *b = c->building;
	if (b == NULL || b->n == 0)
		return true;
	const struct envelope mark = {.kind = ENVELOPE_MARK,
				      .host = c->hub->host_id,
				      .number = c->nonce,
				      .mark = b->number};
	if (!cluster_batch_add(b, channel_text(c->self), &mark, NULL))
		return false;
	c->batches++;
	CHECK(c->batches == b->number);
	if (c->last != NULL)
		c->last->next = b;
	else
		c->first = b;
	c->last = b;
	c->building = NULL;
	return true;
}

void cluster_drop_batches(struct cluster *c)
{
	struct cluster_batch *next;
	for (struct cluster_batch *b = c->first; b != NULL; b = next) {
		next = b->next;
		cluster_batch_free(&b);
	}
	c->first = c->last = NULL;
	cluster_batch_free(&c->building);
}

/* --- publishing ------------------------------------------------------------------------------- */

static void cluster_envelope(const struct commit *commit, const struct command *command,
			     struct envelope *e, struct selection *selection, bool *selects_r)
{
	*selects_r =
		command->kind == COMMAND_BROADCAST_AMONG || command->kind == COMMAND_CLOSE_ROOM;
	if (command->kind == COMMAND_CLOSE_ROOM) {
		selection_read(selection, commit->arena + command->more.text);
		e->kind = ENVELOPE_CLOSE;
		e->code = command->code;
		e->data = commit_text(commit, command);
		return;
	}
	const uint8_t *frame = slice_bytes(&command->frame);
	e->data = frame_payload(frame, command->frame.len);
	e->binary = frame_is_binary(frame);
	e->key = command->key;
	e->unkept = command->kind != COMMAND_BROADCAST && command->code == 1;
	e->kind = command->kind == COMMAND_BROADCAST_TO ? ENVELOPE_ROOM : ENVELOPE_MOUNT;
	if (*selects_r) {
		selection_read(selection, (const uint8_t *)commit_text(commit, command).p);
		e->kind = ENVELOPE_AMONG;
	}
}

/* False without memory. A number that is taken and not used is a gap that nobody has had: so it
 * is tried again with the same commit, whose earlier messages are in the batch. */
static bool cluster_publish_one(struct cluster *c, const struct mount *m,
				const struct commit *commit, const struct command *command)
{
	struct selection selection;
	struct envelope e = {.host = c->hub->host_id};
	char name[CHANNEL_NAME_MAX];
	bool selects;
	struct cluster_batch *b = cluster_batch(c);
	cluster_envelope(commit, command, &e, &selection, &selects);
	struct span channel = {name, cluster_channel_of(c, m, commit, command, name)};
	if (b == NULL || !numbers_next(&c->numbers, channel, &e.series, &e.number))
		return false;
	c->counts.published++;
	return cluster_batch_add(b, channel, &e, selects ? &selection : NULL);
}

/* True: it is in the batch, or had nothing to publish. */
static bool cluster_publish(struct cluster *c, const struct mount *m, struct gate_parked *p)
{
	struct cluster_batch *before = c->building;
	uint32_t n = before != NULL ? before->n : 0;
	size_t bytes = before != NULL ? before->bytes.n : 0;
	bool any = false;
	for (uint32_t i = 0; i < p->commit.n; i++) {
		if (!cluster_publishes(&p->commit.commands[i]))
			continue;
		any = true;
		if (cluster_publish_one(c, m, &p->commit, &p->commit.commands[i]))
			continue;
		if (c->building != NULL) { /* as it was */
			c->building->n = n;
			c->building->bytes.n = bytes;
		}
		return false;
	}
	if (any)
		p->batch = c->building->number;
	return true;
}

/* Are all rooms that it joins listened to? */
static bool cluster_hears(struct cluster *c, struct mount *m, const struct commit *commit)
{
	bool all = true;
	for (uint32_t i = 0; i < commit->n; i++) {
		const struct command *command = &commit->commands[i];
		const struct channel *at =
			command->kind == COMMAND_JOIN
				? cluster_follow(c, m, commit_text(commit, command))
				: NULL;
		all = all && (command->kind != COMMAND_JOIN || (at != NULL && at->heard));
	}
	return all;
}

/* The first that was not looked at: true if the next one can be. */
static bool cluster_go_on_with(struct cluster *c, struct mount *m, struct gate_parked *p)
{
	bool first = p == m->parked.first;
	if (!cluster_hears(c, m, &p->commit))
		return false;
	if (gate_is_exclusive(m, &p->commit)) {
		if (!first)
			return false;
		if (!delivery_check_first(m)) {
			delivery_release(m);
			return true;
		}
	}
	if (!cluster_publish(c, m, p))
		return false;
	if (p->batch == 0 && first) {
		delivery_release(m);
		return true;
	}
	/* with those before it, if it has nothing of its own */
	m->parked.unsent = p->next;
	return true;
}

static bool cluster_batch_is_full(const struct cluster *c)
{
	return c->building != NULL && (c->building->bytes.n >= CLUSTER_BATCH_BYTES ||
				       c->building->n >= CLUSTER_BATCH_MESSAGES);
}

void cluster_go_on(struct cluster *c)
{
	if (!c->up)
		return;
	for (struct mount *m = c->hub->mounts; m != NULL; m = m->next) {
		struct gate_parked *p;
		while (c->up && !c->engine->ops->is_full(c->engine) &&
		       (p = m->parked.unsent) != NULL && cluster_go_on_with(c, m, p))
			if (cluster_batch_is_full(c) && !cluster_batch_end(c))
				break;
	}
	if (cluster_batch_end(c))
		cluster_send_batches(c);
}

/* --- what has come back ----------------------------------------------------------------------- */

/* One without messages of its own goes with the one in front of it. */
static void cluster_release(struct cluster *c, struct mount *m, uint64_t batch)
{
	struct gate_parked *p;
	(void)c;
	while ((p = m->parked.first) != NULL && p != m->parked.unsent && p->batch <= batch)
		delivery_release(m);
}

void cluster_came_back(struct cluster *c, uint64_t batch)
{
	struct cluster_batch *b;
	if (c->first == NULL || batch < c->first->number || batch > c->batches)
		return; /* again, or one that was served here alone */
	while ((b = c->first) != NULL && b->number <= batch) {
		c->first = b->next;
		if (c->first == NULL)
			c->last = NULL;
		cluster_batch_free(&b);
	}
	for (struct mount *m = c->hub->mounts; m != NULL; m = m->next)
		cluster_release(c, m, batch);
	c->due = c->hub->loop->again = true; /* one may wait to be the first */
}

void cluster_taken(struct cluster *c, uint64_t batch)
{
	for (struct cluster_batch *b = c->first; b != NULL; b = b->next)
		if (b->number == batch)
			b->taken = true;
}

static void cluster_serve_alone(struct cluster *c)
{
	cluster_drop_batches(c);
	for (struct mount *m = c->hub->mounts; m != NULL; m = m->next)
		while (m->parked.first != NULL) {
			if (m->parked.first == m->parked.unsent)
				cluster_count_unsent(c, m, &m->parked.first->commit);
			delivery_release(m);
		}
}

void cluster_fell(struct cluster *c)
{
	uint64_t done = 0;
	for (struct cluster_batch *b = c->first; b != NULL && b->taken; b = b->next)
		done = b->number;
	for (struct cluster_batch *b = c->first; b != NULL; b = b->next)
		b->sent = b->sent && b->taken;
	if (done > 0)
		cluster_came_back(c, done);
	if (c->local)
		cluster_serve_alone(c);
}

void cluster_send_again(struct cluster *c)
{
	cluster_send_batches(c);
	c->due = c->hub->loop->again = true;
}
