/* harness: a plugin's life without a host. */
#include "test/harness.h"

#include <stdio.h>
#include <stdlib.h>

void *harness_alloc(size_t size)
{
	void *made = calloc(1, size);
	if (made == NULL)
		abort();
	return made;
}

static char *harness_text(const char *text)
{
	return text != NULL ? strcpy(harness_alloc(strlen(text) + 1), text) : NULL;
}

static struct harness_peer *harness_any(const tova_test *t, tova_ws ws)
{
	struct harness_peer *p = t->peers;
	while (p != NULL && !tova_ws_eq(p->ws, ws))
		p = p->next;
	return p;
}

struct harness_peer *harness_find(const tova_test *t, tova_ws ws)
{
	struct harness_peer *p = harness_any(t, ws);
	return p != NULL && !p->gone ? p : NULL;
}

/* --- one callback ----------------------------------------------------------------------------- */

static void harness_begin(tova_test *t, enum harness_phase phase, struct harness_peer *own)
{
	t->phase = phase;
	t->own = own;
	t->error = TOVA_OK;
	t->fail[0] = '\0';
	t->data_used = t->mount_used = false;
	*(own != NULL ? &own->sequence : &t->sequence) += 1;
}

/* What comes of it; true: it succeeded, and its commands have happened. */
static bool harness_end(tova_test *t, int result)
{
	struct harness_peer *own = t->own;
	if (result == 0 && t->error == TOVA_OK)
		commit_apply(t);
	t->failed = result != 0 || t->error != TOVA_OK;
	if (t->failed)
		snprintf(t->why, sizeof t->why, "%s",
			 t->fail[0] != '\0'    ? t->fail
			 : t->error != TOVA_OK ? commit_error_text(t->error)
					       : "the plugin gave no reason");
	else if (own != NULL && t->data_used)
		memcpy(own->data, t->data, sizeof own->data);
	if (!t->failed && t->mount_used)
		memcpy(t->mount_data, t->mount_copy, t->plugin.mount_size);
	commit_drop(t);
	scratch_clear(&t->scratch);
	t->phase = HARNESS_IDLE;
	t->own = NULL;
	return !t->failed;
}

/* --- what follows ----------------------------------------------------------------------------- */

static void harness_follow(tova_test *t);

static int harness_by_name(const void *left, const void *right)
{
	return strcmp(((const tova_room_user *)left)->name, ((const tova_room_user *)right)->name);
}

/* Each user once, by name; those of whom a watch still knows have no connection. */
static size_t harness_users(const tova_test *t, const char *room, const tova_member *members,
			    size_t n, tova_room_user *users)
{
	size_t found = 0, k;
	for (size_t i = 0; i < n; i++) {
		if (members[i].user == NULL)
			continue;
		for (k = 0; k < found && strcmp(users[k].name, members[i].user) != 0; k++)
			;
		found += k == found;
		users[k].name = members[i].user;
		users[k].connections++;
	}
	for (const char *lost = presence_lost(t, room, NULL); lost != NULL;
	     lost = presence_lost(t, room, lost))
		users[found++].name = lost;
	qsort(users, found, sizeof *users, harness_by_name);
	return found;
}

static void harness_reply(tova_test *t, const struct harness_command *c)
{
	tova_reply reply = {.size = sizeof reply,
			    .kind = c->query.kind,
			    .id = c->query.id,
			    .asker = c->query.asker};
	const struct harness_peer *of = harness_find(t, c->query.ws);
	tova_stats stats = {.size = sizeof stats, .uptime_ms = t->now};
	size_t n = 0;
	for (const struct harness_peer *p = t->peers; p != NULL; p = p->next)
		n++;
	for (const struct harness_room *r = of != NULL ? of->rooms : NULL; r != NULL; r = r->next)
		n++;
	for (const char *lost = presence_lost(t, c->name, NULL); lost != NULL;
	     lost = presence_lost(t, c->name, lost))
		n++;
	tova_ws *connections = harness_alloc((n + 1) * sizeof *connections);
	const char **rooms = harness_alloc((n + 1) * sizeof *rooms);
	bool to_room = abi_query_has_room(c->query.kind);
	tova_remembered *messages = NULL;
	for (const struct harness_peer *p = t->peers; p != NULL; p = p->next) {
		stats.connections += !p->gone;
		if (!p->gone && c->query.kind != TOVA_QUERY_ROOMS &&
		    (!to_room || commit_is_member(p, c->name)))
			connections[reply.count++] = p->ws;
	}
	for (const struct harness_room *r = of != NULL ? of->rooms : NULL;
	     r != NULL && c->query.kind == TOVA_QUERY_ROOMS; r = r->next)
		rooms[reply.count++] = r->name;
	tova_member *members = harness_alloc((n + 1) * sizeof *members);
	for (size_t i = 0; i < reply.count && c->query.kind != TOVA_QUERY_ROOMS; i++) {
		const struct harness_peer *p = harness_find(t, connections[i]);
		members[i] = (tova_member){connections[i], commit_user(p),
					   p->info[0] != '\0' ? p->info : NULL};
	}
	tova_room_user *users = harness_alloc((n + 1) * sizeof *users);
	if (c->query.kind == TOVA_QUERY_USERS)
		reply.count = harness_users(t, c->name, members, reply.count, users);
	reply.members = c->query.kind == TOVA_QUERY_MEMBERS ? members : NULL;
	reply.users = c->query.kind == TOVA_QUERY_USERS ? users : NULL;
	reply.connections =
		c->query.kind == TOVA_QUERY_MEMBERS || c->query.kind == TOVA_QUERY_CONNECTIONS
			? connections
			: NULL;
	reply.rooms = c->query.kind == TOVA_QUERY_ROOMS ? rooms : NULL;
	reply.stats = c->query.kind == TOVA_QUERY_STATS ? &stats : NULL;
	if (c->query.kind == TOVA_QUERY_STATS || c->query.kind == TOVA_QUERY_HISTORY ||
	    c->query.kind == TOVA_QUERY_ROOM_STATE)
		reply.count = 0;
	tova_room_state state;
	kept_state(t, c->name, &state);
	reply.room_state = c->query.kind == TOVA_QUERY_ROOM_STATE ? &state : NULL;
	if (c->query.kind == TOVA_QUERY_HISTORY)
		messages = history_reply(t, c, &reply);
	harness_begin(t, HARNESS_COMMANDS, NULL);
	harness_end(t, t->plugin.on_reply(&t->api, &reply));
	free(connections);
	free(members);
	free(users);
	free(rooms);
	free(messages);
}

static void harness_wake(tova_test *t)
{
	harness_begin(t, HARNESS_COMMANDS, NULL);
	harness_end(t, t->plugin.on_wake != NULL ? t->plugin.on_wake(&t->api) : 0);
}

static int harness_end_peer(tova_test *t, struct harness_peer *p, uint16_t code, const char *reason)
{
	const char **rooms = harness_alloc(sizeof *rooms);
	size_t n = 0;
	p->gone = true;
	for (const struct harness_room *r = p->rooms; r != NULL; r = r->next) {
		const char **wider = realloc(rooms, (n + 1) * sizeof *rooms);
		if (wider == NULL)
			abort();
		rooms = wider;
		rooms[n++] = r->name;
	}
	const tova_close why = {.size = sizeof why,
				.code = code,
				.reason = reason != NULL ? reason : "",
				.reason_len = reason != NULL ? strlen(reason) : 0,
				.rooms = rooms,
				.n_rooms = n};
	p->left = p->rooms;
	p->rooms = NULL;
	commit_cancel_all(t, p->ws);
	harness_begin(t, HARNESS_COMMANDS, p);
	int result = t->plugin.on_close != NULL ? t->plugin.on_close(&t->api, p->ws, &why) : 0;
	harness_end(t, result);
	p->rooms = p->left;
	p->left = NULL;
	commit_leave_all(p);
	free(rooms);
	return result;
}

/* Of the first that a callback has closed and that has not had its close event yet. */
static bool harness_close_one(tova_test *t)
{
	for (struct harness_peer *p = t->peers; p != NULL; p = p->next) {
		if (p->gone || p->closed == 0)
			continue;
		harness_end_peer(t, p, p->closed, NULL);
		return true;
	}
	return false;
}

static bool harness_answer_one(tova_test *t)
{
	struct harness_command *c = t->queries;
	if (c == NULL)
		return false;
	t->queries = c->next;
	if (t->queries == NULL)
		t->queries_end = &t->queries;
	if (t->plugin.on_reply != NULL)
		harness_reply(t, c);
	free(c);
	return true;
}

static bool harness_presence_one(tova_test *t)
{
	tova_presence who;
	bool come;
	if (!presence_next(t, &who, &come))
		return false;
	int (*tell)(tova_mount *m, const tova_presence *who) =
		come ? t->plugin.on_join : t->plugin.on_leave;
	harness_begin(t, HARNESS_COMMANDS, NULL);
	harness_end(t, tell != NULL ? tell(&t->api, &who) : 0);
	return true;
}

/* Until nothing does. What the event itself came to is what the test is told. */
static void harness_follow(tova_test *t)
{
	char why[HARNESS_FAIL_MAX];
	bool failed = t->failed;
	memcpy(why, t->why, sizeof why);
	while (harness_close_one(t) || harness_answer_one(t) || harness_presence_one(t))
		;
	t->failed = failed;
	memcpy(t->why, why, sizeof t->why);
}

/* An event of a connection: its failure is told to on_error, which is not told of its own. */
static int harness_finish(tova_test *t, struct harness_peer *p, int result)
{
	if (!harness_end(t, result) && t->plugin.on_error != NULL && !p->gone) {
		char why[HARNESS_FAIL_MAX];
		memcpy(why, t->why, sizeof why);
		const tova_error error = {.size = sizeof error,
					  .kind = TOVA_ERROR_HANDLER,
					  .text = why,
					  .text_len = strlen(why)};
		harness_begin(t, HARNESS_COMMANDS, p);
		harness_end(t, t->plugin.on_error(&t->api, p->ws, &error));
		t->failed = true;
		memcpy(t->why, why, sizeof t->why);
	}
	harness_follow(t);
	return t->failed ? (result != 0 ? result : -1) : 0;
}

/* --- start and stop --------------------------------------------------------------------------- */

static bool harness_knows(const tova_plugin *plugin, const tova_pair *settings)
{
	char why[512];
	for (; settings != NULL && settings->name != NULL; settings++) {
		if (abi_setting_ok(plugin, settings->name, why, sizeof why))
			continue;
		fprintf(stderr, "tova_test: %s\n", why);
		return false;
	}
	return true;
}

tova_test *tova_test_new(const tova_plugin *plugin, const tova_pair *settings)
{
	if (!harness_knows(plugin, settings))
		return NULL;
	tova_test *t = harness_alloc(sizeof *t);
	memcpy(&t->plugin, plugin,
	       plugin->size < sizeof t->plugin ? plugin->size : sizeof t->plugin);
	t->mount_data = harness_alloc(t->plugin.mount_size + 1);
	t->mount_copy = harness_alloc(t->plugin.mount_size + 1);
	t->api.host = &harness_table;
	t->settings = settings;
	t->thread = pthread_self();
	t->commands_end = &t->commands;
	t->queries_end = &t->queries;
	pthread_mutex_init(&t->log_lock, NULL);
	harness_begin(t, HARNESS_COMMANDS, NULL);
	if (harness_end(t, t->plugin.start != NULL ? t->plugin.start(&t->api) : 0)) {
		harness_follow(t);
		return t;
	}
	fprintf(stderr, "tova_test: start() of %s failed: %s\n", plugin->name, t->why);
	t->plugin.stop = NULL;
	tova_test_free(t);
	return NULL;
}

static void harness_free_peers(tova_test *t)
{
	for (struct harness_peer *p; (p = t->peers) != NULL; free(p)) {
		t->peers = p->next;
		commit_leave_all(p);
		commit_free_messages(p->inbox);
		commit_free_messages(p->taken);
		free(p->subject);
		free(p->claims);
	}
}

void tova_test_free(tova_test *t)
{
	if (t == NULL)
		return;
	harness_begin(t, HARNESS_SILENT, NULL);
	if (t->plugin.stop != NULL)
		t->plugin.stop(&t->api);
	harness_end(t, 0);
	for (struct harness_peer *p = t->peers; p != NULL; p = p->next)
		commit_cancel_all(t, p->ws);
	history_forget(t);
	presence_forget(t);
	kept_forget(t);
	free(t->mount_data);
	free(t->mount_copy);
	commit_cancel_all(t, TOVA_NONE);
	harness_free_peers(t);
	for (struct harness_command *c; (c = t->queries) != NULL; free(c))
		t->queries = c->next;
	buffer_free(&t->headers);
	buffer_free(&t->body);
	pthread_mutex_destroy(&t->log_lock);
	free(t);
}

/* --- events ----------------------------------------------------------------------------------- */

static const char *harness_or(const char *text, const char *otherwise)
{
	return text != NULL ? text : otherwise;
}

static tova_request harness_request(const tova_request *given)
{
	tova_request r = {.size = sizeof r};
	if (given != NULL) {
		r = *given;
		r.size = sizeof r;
	}
	r.method = harness_or(r.method, "GET");
	r.mount = harness_or(r.mount, "/");
	r.path = harness_or(r.path, "/");
	r.query = harness_or(r.query, "");
	r.host = harness_or(r.host, "localhost");
	r.remote_addr = harness_or(r.remote_addr, "127.0.0.1");
	r.local_addr = harness_or(r.local_addr, "127.0.0.1");
	return r;
}

/* Asks on_upgrade. False: the client is refused. */
static bool harness_upgrade(tova_test *t, const tova_request *r, unsigned char *data_r)
{
	t->status = 0;
	t->subprotocol = NULL;
	t->user[0] = t->info[0] = '\0';
	buffer_clear(&t->headers);
	buffer_clear(&t->body);
	t->request = r;
	harness_begin(t, HARNESS_UPGRADE, NULL);
	int result = t->plugin.on_upgrade != NULL ? t->plugin.on_upgrade(&t->api, r) : 0;
	bool used = t->data_used;
	memcpy(data_r, t->data, sizeof t->data);
	if (!used)
		memset(data_r, 0, sizeof t->data);
	bool ok = harness_end(t, result) && t->status == 0;
	if (t->failed)
		t->status = 500;
	else if (ok)
		t->status = 101;
	t->request = NULL;
	return ok;
}

tova_ws tova_test_open(tova_test *t, const tova_request *request)
{
	const tova_request r = harness_request(request);
	unsigned char data[RULES_DATA_MAX];
	if (!harness_upgrade(t, &r, data)) {
		harness_follow(t);
		return TOVA_NONE;
	}
	struct harness_peer *p = harness_alloc(sizeof *p), **end = &t->peers;
	p->ws = (tova_ws){0x7465737400000001, ++t->ids};
	p->subject = harness_text(r.subject);
	p->claims = harness_text(r.claims);
	memcpy(p->data, data, sizeof p->data);
	strcpy(p->user, t->user);
	strcpy(p->info, t->info);
	while (*end != NULL)
		end = &(*end)->next;
	*end = p;
	harness_begin(t, HARNESS_COMMANDS, p);
	harness_finish(t, p, t->plugin.on_open != NULL ? t->plugin.on_open(&t->api, p->ws, &r) : 0);
	return p->ws;
}

static int harness_message(tova_test *t, tova_ws ws, uint32_t kind, const void *data, size_t len)
{
	struct harness_peer *p = harness_find(t, ws);
	if (p == NULL)
		return -1;
	unsigned char *copy = harness_alloc(len + 1); /* exactly: what reads behind it is found */
	if (len > 0)
		memcpy(copy, data, len);
	const tova_payload message = {.size = sizeof message,
				      .data = copy,
				      .len = len,
				      .kind = kind};
	harness_begin(t, HARNESS_COMMANDS, p);
	int result = t->plugin.on_message != NULL ? t->plugin.on_message(&t->api, ws, &message) : 0;
	result = harness_finish(t, p, result);
	free(copy);
	return result;
}

int tova_test_message(tova_test *t, tova_ws ws, const char *text)
{
	return harness_message(t, ws, TOVA_TEXT, text, strlen(text));
}

int tova_test_binary(tova_test *t, tova_ws ws, const void *data, size_t len)
{
	return harness_message(t, ws, TOVA_BINARY, data, len);
}

int tova_test_close(tova_test *t, tova_ws ws, uint16_t code, const char *reason)
{
	struct harness_peer *p = harness_find(t, ws);
	if (p == NULL)
		return -1;
	p->lost = true;
	int result = harness_end_peer(t, p, code, reason);
	harness_follow(t);
	return result;
}

int tova_test_error(tova_test *t, tova_ws ws, uint32_t kind, const char *text)
{
	struct harness_peer *p = harness_find(t, ws);
	const tova_error error = {.size = sizeof error,
				  .kind = kind,
				  .text = text,
				  .text_len = strlen(text)};
	if (p == NULL)
		return -1;
	harness_begin(t, HARNESS_COMMANDS, p);
	int result = t->plugin.on_error != NULL ? t->plugin.on_error(&t->api, ws, &error) : 0;
	harness_end(t, result);
	harness_follow(t);
	return result;
}

int tova_test_away(tova_test *t, tova_ws ws, uint16_t code)
{
	struct harness_peer *p = harness_find(t, ws);
	if (p == NULL)
		return -1;
	harness_begin(t, HARNESS_COMMANDS, p);
	return harness_finish(t, p,
			      t->plugin.on_away != NULL ? t->plugin.on_away(&t->api, ws, code) : 0);
}

int tova_test_back(tova_test *t, tova_ws ws, const tova_request *request)
{
	struct harness_peer *p = harness_find(t, ws);
	const tova_request r = harness_request(request);
	if (p == NULL)
		return -1;
	harness_begin(t, HARNESS_COMMANDS, p);
	return harness_finish(t, p,
			      t->plugin.on_back != NULL ? t->plugin.on_back(&t->api, ws, &r) : 0);
}

/* The one that is due first, up to a time; those set first come first. */
static struct harness_timer *harness_due(const tova_test *t, uint64_t until)
{
	struct harness_timer *first = NULL;
	for (struct harness_timer *timer = t->timers; timer != NULL; timer = timer->next)
		if (timer->due <= until &&
		    (first == NULL || timer->due < first->due ||
		     (timer->due == first->due && timer->order < first->order)))
			first = timer;
	return first;
}

static void harness_run_timer(tova_test *t, struct harness_timer *timer)
{
	struct harness_timer copy = *timer, **at = &t->timers;
	struct harness_peer *own = harness_find(t, copy.ws);
	const tova_timer told = {.size = sizeof told,
				 .ws = copy.ws,
				 .name = copy.name,
				 .id = copy.id,
				 .delay_ms = copy.delay_ms,
				 .period_ms = copy.period_ms};
	t->now = copy.due > t->now ? copy.due : t->now;
	if (copy.period_ms > 0) {
		timer->due += copy.period_ms;
		timer->order = ++t->orders;
	} else {
		while (*at != timer)
			at = &(*at)->next;
		*at = timer->next;
		free(timer);
	}
	harness_begin(t, HARNESS_COMMANDS, own);
	int result = t->plugin.on_timer != NULL ? t->plugin.on_timer(&t->api, &told) : 0;
	if (own != NULL) {
		harness_finish(t, own, result);
		return;
	}
	harness_end(t, result);
	harness_follow(t);
}

unsigned tova_test_pass(tova_test *t, uint64_t ms)
{
	uint64_t until = t->now + ms;
	struct harness_timer *timer;
	uint64_t gone;
	unsigned n = 0;
	do {
		gone = presence_due(t);
		for (; (timer = harness_due(t, gone < until ? gone : until)) != NULL; n++)
			harness_run_timer(t, timer);
		t->now = gone < until ? gone : until;
		harness_follow(t);
	} while (gone < until);
	return n;
}

int tova_test_wait_wake(tova_test *t)
{
	if (!atomic_exchange(&t->woken, false))
		return 0;
	harness_wake(t);
	harness_follow(t);
	return 1;
}

/* --- what came of it -------------------------------------------------------------------------- */

const char *tova_test_why(const tova_test *t)
{
	return t->failed ? t->why : NULL;
}

unsigned tova_test_status(const tova_test *t)
{
	return t->status;
}

const char *tova_test_subprotocol(const tova_test *t)
{
	return t->subprotocol;
}

const char *tova_test_body(const tova_test *t)
{
	return t->body.n > 0 ? t->body.p : "";
}

const char *tova_test_header(const tova_test *t, const char *name)
{
	for (const char *at = t->headers.p; at != NULL && at < t->headers.p + t->headers.n;) {
		const char *value = at + strlen(at) + 1;
		if (strcmp(at, name) == 0)
			return value;
		at = value + strlen(value) + 1;
	}
	return NULL;
}

const tova_payload *tova_test_take(tova_test *t, tova_ws ws)
{
	struct harness_peer *p = harness_any(t, ws);
	struct harness_message *m = p != NULL ? p->inbox : NULL;
	if (m == NULL)
		return NULL;
	p->inbox = m->next;
	m->next = NULL;
	commit_free_messages(p->taken);
	p->taken = m;
	return &m->payload;
}

int tova_test_got(tova_test *t, tova_ws ws, const char *text)
{
	const struct harness_peer *p = harness_any(t, ws);
	const tova_payload *next = p != NULL && p->inbox != NULL ? &p->inbox->payload : NULL;
	if (next != NULL && next->kind == TOVA_TEXT && next->len == strlen(text) &&
	    memcmp(next->data, text, next->len) == 0) {
		tova_test_take(t, ws);
		return 1;
	}
	fprintf(stderr, "tova_test: \"%s\" was expected, and there is %s%s%s\n", text,
		next == NULL		    ? "nothing"
		: next->kind == TOVA_BINARY ? "a binary message"
					    : "\"",
		next != NULL && next->kind == TOVA_TEXT ? (const char *)next->data : "",
		next != NULL && next->kind == TOVA_TEXT ? "\"" : "");
	return 0;
}

int tova_test_quiet(tova_test *t)
{
	char id[TOVA_WS_TEXT];
	for (const struct harness_peer *p = t->peers; p != NULL; p = p->next) {
		if (p->inbox == NULL)
			continue;
		fprintf(stderr, "tova_test: %s was sent \"%s\", which nobody took\n",
			tova_ws_text(&t->api, p->ws, id),
			p->inbox->payload.kind == TOVA_TEXT ? (const char *)p->inbox->payload.data
							    : "(binary)");
		return 0;
	}
	return 1;
}

uint16_t tova_test_closed(const tova_test *t, tova_ws ws)
{
	const struct harness_peer *p = harness_any(t, ws);
	return p != NULL ? p->closed : 0;
}

int tova_test_is_member(const tova_test *t, tova_ws ws, const char *room)
{
	const struct harness_peer *p = harness_find(t, ws);
	return p != NULL && commit_is_member(p, room);
}

uint64_t tova_test_members(const tova_test *t, const char *room)
{
	uint64_t n = 0;
	for (const struct harness_peer *p = t->peers; p != NULL; p = p->next)
		n += !p->gone && commit_is_member(p, room);
	return n;
}

const void *tova_test_data(const tova_test *t, tova_ws ws)
{
	const struct harness_peer *p = harness_find(t, ws);
	return p != NULL && t->plugin.data_size > 0 ? p->data : NULL;
}

const void *tova_test_room_state(const tova_test *t, const char *room, size_t *len_r)
{
	tova_room_state state;
	kept_state(t, room, &state);
	*len_r = state.len;
	return state.data;
}

void tova_test_set_room(tova_test *t, const char *room, const void *data, size_t len)
{
	kept_set(t, room, data, len);
}

const void *tova_test_mount_data(const tova_test *t)
{
	return t->plugin.mount_size > 0 ? t->mount_data : NULL;
}

int tova_test_has_timer(const tova_test *t, tova_ws ws, const char *name)
{
	const struct harness_timer *timer = t->timers;
	while (timer != NULL && !(tova_ws_eq(timer->ws, ws) && strcmp(timer->name, name) == 0))
		timer = timer->next;
	return timer != NULL;
}

uint64_t tova_test_stale(const tova_test *t)
{
	return t->stale;
}

const char *tova_test_log(const tova_test *t)
{
	return t->log;
}
