#include "cluster/redis.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/check.h"
#include "cluster/redis_link.h"
#include "common/random.h"

#define REDIS_TICK_MS 500
#define REDIS_CONNECT_MS 5000
#define REDIS_SILENCE_MS 10000 /* without an answer that is awaited */
#define REDIS_RETRY_MS 100     /* the first time at most, then twice that, and so on */
#define REDIS_RETRY_MAX_MS 5000
#define REDIS_FULL (8u << 20)
#define REDIS_WHY_MAX 512
#define REDIS_WORDS_MAX 128 /* channels of one SUBSCRIBE */

/* What an answer on the connection for commands belongs to. */
enum redis_asked {
	REDIS_ASKED_LOGIN, /* AUTH, SELECT: it has to be OK */
	REDIS_ASKED_CLAIM, /* SET NX, and PEXPIRE: what GET says counts */
	REDIS_ASKED_VALUE, /* GET */
	REDIS_ASKED_BATCH, /* MULTI, each PUBLISH, EXEC */
};

struct redis_asked_for {
	uint8_t what;
	uint8_t claim;
	uint32_t answers; /* that are still to come */
	uint32_t size;	  /* bytes of a batch */
	uint64_t batch;
};

struct redis {
	struct engine base;
	uint16_t magic; /* CHECK_REDIS */
	struct loop *loop;
	struct redis_url url;
	char where[REDIS_URL_TEXT];
	char *password;
	struct addrinfo *addresses, *next_address;
	struct engine_claim claims[REDIS_CLAIMS_MAX];
	size_t n_claims;
	char why_refused[REDIS_WHY_MAX]; /* what a claim or an order was answered; empty: fine */
	enum engine_trouble trouble;
	struct redis_link commands, subscriptions;
	struct buffer asked; /* of struct redis_asked_for */
	size_t under_way;    /* bytes of batches that are not answered */
	uint32_t n_subscribing; /* that are not confirmed */
	uint32_t logins;	/* answers to AUTH that come before others on `subscriptions` */
	bool began, claimed, up;
	uint64_t heard[2]; /* when something came, or began to be awaited */
	unsigned failures; /* attempts in a row */
	struct loop_timer tick, retry;
};

static struct redis *redis_of(struct engine *e)
{
	struct redis *r = (struct redis *)e;
	CHECK_IS(r, CHECK_REDIS);
	return r;
}

/* --- it breaks, and is tried again ------------------------------------------------------------ */

static void redis_close(struct redis *r)
{
	redis_link_close(&r->commands);
	redis_link_close(&r->subscriptions);
	buffer_free(&r->asked);
	r->under_way = 0;
	r->n_subscribing = r->logins = 0;
	r->began = r->claimed = r->up = false;
	loop_timer_cancel(&r->tick);
}

/* Full jitter: somewhere before a bound that doubles. */
static uint64_t redis_retry_ms(struct redis *r)
{
	uint32_t random = 0;
	uint64_t bound = REDIS_RETRY_MS << (r->failures < 6 ? r->failures : 6);
	bound = bound < REDIS_RETRY_MAX_MS ? bound : REDIS_RETRY_MAX_MS;
	if (!random_bytes(&random, sizeof random))
		random = 0;
	r->failures++;
	return 1 + random % bound;
}

static void redis_fail(struct redis *r, enum engine_trouble trouble, const char *why)
{
	char said[REDIS_WHY_MAX];
	snprintf(said, sizeof said, "%s", why);
	redis_close(r);
	loop_timer_set(&r->retry, redis_retry_ms(r));
	r->base.events.away(r->base.events.ctx, trouble, said);
}

/* What the other connection has still to say was said before this one broke. */
static void redis_on_lost(struct redis *r, struct redis_link *other, const char *why)
{
	char said[REDIS_WHY_MAX];
	snprintf(said, sizeof said, "%s", why);
	if (r->up && other->fd >= 0) {
		redis_link_drain(other);
		if (loop_timer_is_set(&r->retry))
			return; /* it broke, too, and all of this was done */
	}
	redis_fail(r, ENGINE_UNREACHABLE, said);
}

static void redis_on_commands_lost(void *ctx, const char *why)
{
	struct redis *r = ctx;
	CHECK_IS(r, CHECK_REDIS);
	redis_on_lost(r, &r->subscriptions, why);
}

static void redis_on_subscriptions_lost(void *ctx, const char *why)
{
	struct redis *r = ctx;
	CHECK_IS(r, CHECK_REDIS);
	redis_on_lost(r, &r->commands, why);
}

/* --- asking ----------------------------------------------------------------------------------- */

static bool redis_ask(struct redis *r, const struct redis_asked_for *asked, size_t n,
		      const struct span *words)
{
	if (r->asked.n == 0)
		r->heard[0] = loop_now(r->loop);
	if (!buffer_append(&r->asked, asked, sizeof *asked))
		return false;
	if (redis_link_say(&r->commands, n, words))
		return true;
	r->asked.n -= sizeof *asked;
	return false;
}

static bool redis_login(struct redis *r, struct redis_link *l, size_t *n_r)
{
	struct span words[3] = {SPAN("AUTH")};
	size_t n = 1;
	*n_r = 0;
	if (r->password == NULL)
		return true;
	if (r->url.user[0] != '\0')
		words[n++] = span_of(r->url.user);
	words[n++] = span_of(r->password);
	*n_r = 1;
	return redis_link_say(l, n, words);
}

static bool redis_ask_claim(struct redis *r, size_t i)
{
	const struct engine_claim *claim = &r->claims[i];
	const struct redis_asked_for set = {.what = REDIS_ASKED_CLAIM, .claim = (uint8_t)i,
					    .answers = 1},
				     get = {.what = REDIS_ASKED_VALUE, .claim = (uint8_t)i,
					    .answers = 1};
	char ms[24];
	snprintf(ms, sizeof ms, "%llu", (unsigned long long)claim->ms);
	const struct span name = span_of(claim->name), time = span_of(ms),
			  make[] = {SPAN("SET"), name, claim->value, SPAN("NX"), SPAN("PX"), time},
			  look[] = {SPAN("GET"), name}, keep[] = {SPAN("PEXPIRE"), name, time};
	/* one that is somebody else's is not kept alive by us: it was looked at before */
	return redis_ask(r, &set, 6, make) && redis_ask(r, &get, 2, look) &&
	       (!r->claimed || redis_ask(r, &set, 3, keep));
}

static void redis_keep(struct engine *e)
{
	struct redis *r = redis_of(e);
	if (r->commands.fd < 0 || r->commands.connecting)
		return;
	for (size_t i = 0; i < r->n_claims; i++)
		if (!redis_ask_claim(r, i))
			break;
	redis_link_flush(&r->commands);
}

static void redis_on_commands_open(void *ctx)
{
	struct redis *r = ctx;
	CHECK_IS(r, CHECK_REDIS);
	const struct redis_asked_for login = {.what = REDIS_ASKED_LOGIN, .answers = 1};
	char database[16];
	size_t n;
	bool ok = redis_login(r, &r->commands, &n);
	ok = ok && (n == 0 || buffer_append(&r->asked, &login, sizeof login));
	snprintf(database, sizeof database, "%u", r->url.database);
	const struct span choose[] = {SPAN("SELECT"), span_of(database)};
	ok = ok && (r->url.database == 0 || redis_ask(r, &login, 2, choose));
	r->heard[0] = loop_now(r->loop);
	for (size_t i = 0; ok && i < r->n_claims; i++)
		ok = redis_ask_claim(r, i);
	if (!ok)
		redis_fail(r, ENGINE_UNREACHABLE, "no memory");
}

static void redis_on_subscriptions_open(void *ctx)
{
	struct redis *r = ctx;
	CHECK_IS(r, CHECK_REDIS);
	size_t n;
	if (!redis_login(r, &r->subscriptions, &n)) {
		redis_fail(r, ENGINE_UNREACHABLE, "no memory");
		return;
	}
	r->logins = (uint32_t)n;
	r->heard[1] = loop_now(r->loop);
	r->began = true;
	r->base.events.begins(r->base.events.ctx);
}

static void redis_look_up(struct redis *r)
{
	if (r->up || !r->began || !r->claimed || r->n_subscribing > 0 || r->logins > 0)
		return;
	r->up = true;
	r->failures = 0;
	r->base.events.up(r->base.events.ctx);
}

/* --- answers to commands ---------------------------------------------------------------------- */

static bool redis_begins(struct span text, const char *with)
{
	size_t n = strlen(with);
	return text.n >= n && memcmp(text.p, with, n) == 0;
}

/* Of an error: is it one that passes? */
static enum engine_trouble redis_trouble(struct span error)
{
	return redis_begins(error, "LOADING") || redis_begins(error, "MASTERDOWN") ||
			       redis_begins(error, "BUSY") || redis_begins(error, "TRYAGAIN") ||
			       redis_begins(error, "ERR max number of clients")
		       ? ENGINE_UNREACHABLE
		       : ENGINE_REFUSED;
}

static void redis_copy(char to[REDIS_WHY_MAX], const char *before, struct span text)
{
	size_t n = (size_t)snprintf(to, REDIS_WHY_MAX, "%s", before);
	for (size_t i = 0; i < text.n && n + 1 < REDIS_WHY_MAX; i++)
		to[n++] = text.p[i] >= ' ' && text.p[i] < 0x7f ? text.p[i] : '?';
	to[n] = '\0';
}

static void redis_fail_by(struct redis *r, struct span error)
{
	char why[REDIS_WHY_MAX];
	redis_copy(why, "it says: ", error);
	redis_fail(r, redis_trouble(error), why);
}

static bool redis_span_equal(struct span a, struct span b)
{
	return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

/* What was answered to SET is kept for the GET behind it. */
static void redis_on_claim(struct redis *r, const struct resp_value *v)
{
	if (v->kind != RESP_ERROR)
		return;
	redis_copy(r->why_refused, "it says: ", v->text);
	r->trouble = redis_trouble(v->text);
}

static void redis_on_value(struct redis *r, size_t i, const struct resp_value *v)
{
	char why[REDIS_WHY_MAX];
	bool ours = v->kind == RESP_TEXT && redis_span_equal(v->text, r->claims[i].value);
	bool theirs = v->kind == RESP_TEXT && !ours;
	bool refused = !ours && !theirs && r->why_refused[0] != '\0';
	snprintf(why, sizeof why, "%s", refused ? r->why_refused : "a key is gone at once");
	if (v->kind == RESP_ERROR)
		redis_copy(why, "it says: ", v->text);
	if (theirs)
		redis_copy(why, r->claims[i].taken, v->text);
	r->why_refused[0] = '\0';
	enum engine_trouble trouble = theirs	? ENGINE_TAKEN
				      : refused ? r->trouble
						: ENGINE_REFUSED;
	if (!ours && r->claimed) {
		r->base.events.unclaimed(r->base.events.ctx, trouble, why);
	} else if (!ours) {
		redis_fail(r, trouble, why);
	} else if (i + 1 == r->n_claims && !r->claimed) {
		r->claimed = true;
		redis_look_up(r);
	}
}

static void redis_on_batch(struct redis *r, const struct redis_asked_for *asked,
			   const struct resp_value *v)
{
	if (v->kind == RESP_ERROR)
		redis_fail_by(r, v->text);
	else if (asked->answers == 0 && v->kind != RESP_LIST)
		redis_fail(r, ENGINE_UNREACHABLE, "it answers to something else than was asked");
	else if (asked->answers == 0)
		r->base.events.taken(r->base.events.ctx, asked->batch);
}

static void redis_on_answer(void *ctx, const struct resp_value *v)
{
	struct redis *r = ctx;
	CHECK_IS(r, CHECK_REDIS);
	struct redis_asked_for asked;
	r->heard[0] = loop_now(r->loop);
	if (r->asked.n < sizeof asked) {
		redis_fail(r, ENGINE_UNREACHABLE, "it answers what was not asked");
		return;
	}
	memcpy(&asked, r->asked.p, sizeof asked);
	asked.answers--;
	memcpy(r->asked.p, &asked, sizeof asked);
	if (asked.answers == 0) {
		buffer_drop(&r->asked, sizeof asked);
		r->under_way -= asked.size;
	}
	if (asked.what == REDIS_ASKED_LOGIN && v->kind == RESP_ERROR)
		redis_fail_by(r, v->text);
	else if (asked.what == REDIS_ASKED_CLAIM)
		redis_on_claim(r, v);
	else if (asked.what == REDIS_ASKED_VALUE)
		redis_on_value(r, asked.claim, v);
	else if (asked.what == REDIS_ASKED_BATCH)
		redis_on_batch(r, &asked, v);
}

/* --- what is subscribed to -------------------------------------------------------------------- */

static void redis_on_said(void *ctx, const struct resp_value *v)
{
	struct redis *r = ctx;
	CHECK_IS(r, CHECK_REDIS);
	struct span kind = resp_text_at(v, 0), channel = resp_text_at(v, 1);
	r->heard[1] = loop_now(r->loop);
	if (v->kind == RESP_ERROR) {
		redis_fail_by(r, v->text);
	} else if (v->kind != RESP_LIST) {
		r->logins -= r->logins > 0;
	} else if (redis_begins(kind, "message") && v->n == 3) {
		r->base.events.message(r->base.events.ctx, channel, resp_text_at(v, 2));
	} else if (redis_begins(kind, "subscribe") && r->n_subscribing > 0) {
		r->n_subscribing--;
		r->base.events.subscribed(r->base.events.ctx, channel);
	} else if (!redis_begins(kind, "unsubscribe")) {
		redis_fail(r, ENGINE_UNREACHABLE, "it says what was not asked for");
		return;
	}
	if (r->subscriptions.fd >= 0)
		redis_look_up(r);
}

static bool redis_subscribe(struct engine *e, const struct span *channels, size_t n)
{
	struct redis *r = redis_of(e);
	struct span words[1 + REDIS_WORDS_MAX] = {SPAN("SUBSCRIBE")};
	bool ok = r->began;
	if (r->n_subscribing == 0)
		r->heard[1] = loop_now(r->loop);
	for (size_t done = 0; ok && done < n;) {
		size_t some = n - done < REDIS_WORDS_MAX ? n - done : REDIS_WORDS_MAX;
		memcpy(words + 1, channels + done, some * sizeof *words);
		ok = redis_link_say(&r->subscriptions, 1 + some, words);
		done += some;
		r->n_subscribing += ok ? (uint32_t)some : 0;
	}
	redis_link_flush(&r->subscriptions);
	return ok;
}

/* One that is not said is not heeded when it comes. */
static void redis_unsubscribe(struct engine *e, const struct span *channels, size_t n)
{
	struct redis *r = redis_of(e);
	struct span words[1 + REDIS_WORDS_MAX] = {SPAN("UNSUBSCRIBE")};
	bool ok = r->began;
	for (size_t done = 0; ok && done < n;) {
		size_t some = n - done < REDIS_WORDS_MAX ? n - done : REDIS_WORDS_MAX;
		memcpy(words + 1, channels + done, some * sizeof *words);
		ok = redis_link_say(&r->subscriptions, 1 + some, words);
		done += some;
	}
	redis_link_flush(&r->subscriptions);
}

/* --- publishing ------------------------------------------------------------------------------- */

static bool redis_publish(struct engine *e, uint64_t batch, const struct engine_message *v,
			  size_t n)
{
	struct redis *r = redis_of(e);
	struct redis_link *l = &r->commands;
	const struct span begin = SPAN("MULTI"), end = SPAN("EXEC");
	size_t before = l->queue.n;
	struct redis_asked_for asked = {.what = REDIS_ASKED_BATCH,
					.answers = (uint32_t)n + 2,
					.batch = batch};
	bool ok = r->up && redis_link_say(l, 1, &begin);
	for (size_t i = 0; ok && i < n; i++) {
		const struct span words[] = {SPAN("PUBLISH"), v[i].channel, v[i].bytes};
		ok = redis_link_say(l, 3, words);
	}
	ok = ok && redis_link_say(l, 1, &end);
	asked.size = (uint32_t)(l->queue.n - before);
	ok = ok && buffer_append(&r->asked, &asked, sizeof asked);
	if (!ok) {
		if (l->fd >= 0)
			l->queue.n = before;
		return false;
	}
	if (r->asked.n == sizeof asked)
		r->heard[0] = loop_now(r->loop);
	r->under_way += asked.size;
	redis_link_flush(l);
	return true;
}

static bool redis_is_full(const struct engine *e)
{
	return ((const struct redis *)e)->under_way > REDIS_FULL;
}

/* --- its life --------------------------------------------------------------------------------- */

static socklen_t redis_unix(const struct redis *r, struct sockaddr_un *un)
{
	*un = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(un->sun_path, r->url.path, strlen(r->url.path) + 1);
	return sizeof *un;
}

static void redis_connect(void *arg)
{
	struct redis *r = arg;
	CHECK_IS(r, CHECK_REDIS);
	struct sockaddr_un un;
	socklen_t len = redis_unix(r, &un);
	const struct sockaddr *to = (const struct sockaddr *)&un;
	if (r->addresses != NULL) {
		struct addrinfo *at = r->next_address != NULL ? r->next_address : r->addresses;
		to = at->ai_addr;
		len = at->ai_addrlen;
		r->next_address = at->ai_next;
	}
	r->heard[0] = r->heard[1] = loop_now(r->loop);
	r->why_refused[0] = '\0';
	if (!redis_link_connect(&r->commands, to, len) ||
	    !redis_link_connect(&r->subscriptions, to, len))
		redis_fail(r, ENGINE_UNREACHABLE, strerror(errno));
	else
		loop_timer_set(&r->tick, REDIS_TICK_MS);
}

/* Who owes an answer and is silent for too long is as good as gone. */
static void redis_on_tick(void *arg)
{
	struct redis *r = arg;
	CHECK_IS(r, CHECK_REDIS);
	uint64_t now = loop_now(r->loop), most = r->up ? REDIS_SILENCE_MS : REDIS_CONNECT_MS;
	bool owes = !r->up || r->asked.n > 0, owes_too = !r->up || r->n_subscribing > 0;
	if ((owes && now - r->heard[0] > most) || (owes_too && now - r->heard[1] > most))
		redis_fail(r, ENGINE_UNREACHABLE, "it does not answer");
	else
		loop_timer_set(&r->tick, REDIS_TICK_MS);
}

static void redis_start(struct engine *e)
{
	redis_connect(redis_of(e));
}

static void redis_again(struct engine *e, const char *why)
{
	struct redis *r = redis_of(e);
	if (r->commands.fd >= 0 || r->subscriptions.fd >= 0)
		redis_fail(r, ENGINE_UNREACHABLE, why);
}

static const char *redis_where(const struct engine *e)
{
	return ((const struct redis *)e)->where;
}

static void redis_free(struct engine *e)
{
	struct redis *r = redis_of(e);
	redis_close(r);
	loop_timer_cancel(&r->retry);
	if (r->addresses != NULL)
		freeaddrinfo(r->addresses);
	if (r->password != NULL)
		explicit_bzero(r->password, strlen(r->password));
	free(r->password);
	r->magic = CHECK_GONE;
	free(r);
}

static const struct engine_ops redis_ops = {
	.start = redis_start,
	.publish = redis_publish,
	.is_full = redis_is_full,
	.subscribe = redis_subscribe,
	.unsubscribe = redis_unsubscribe,
	.keep = redis_keep,
	.again = redis_again,
	.where = redis_where,
	.free = redis_free,
};

static bool redis_resolve(struct redis *r, char *why, size_t why_cap)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	char port[16];
	if (r->url.host[0] == '\0')
		return true;
	snprintf(port, sizeof port, "%u", r->url.port);
	int error = getaddrinfo(r->url.host, port, &hints, &r->addresses);
	if (error != 0)
		snprintf(why, why_cap, "its name can not be looked up: %s", gai_strerror(error));
	return error == 0;
}

struct engine *redis_new(struct loop *loop, const struct redis_settings *settings,
			 const struct engine_events *events, char *why, size_t why_cap)
{
	static const struct redis_link_events commands = {redis_on_commands_open, redis_on_answer,
							  redis_on_commands_lost},
					      subscriptions = {redis_on_subscriptions_open,
							       redis_on_said,
							       redis_on_subscriptions_lost};
	struct redis *r = calloc(1, sizeof *r);
	snprintf(why, why_cap, "no memory");
	if (r == NULL)
		return NULL;
	*r = (struct redis){.base = {.ops = &redis_ops, .events = *events},
			    .magic = CHECK_REDIS,
			    .loop = loop,
			    .url = settings->url,
			    .n_claims = settings->n_claims};
	CHECK(settings->n_claims > 0 && settings->n_claims <= REDIS_CLAIMS_MAX);
	memcpy(r->claims, settings->claims, settings->n_claims * sizeof *r->claims);
	redis_url_text(&r->url, r->where);
	redis_link_init(&r->commands, loop, &commands, r);
	redis_link_init(&r->subscriptions, loop, &subscriptions, r);
	loop_timer_init(loop, &r->tick, redis_on_tick, r);
	loop_timer_init(loop, &r->retry, redis_connect, r);
	if ((settings->password == NULL || (r->password = strdup(settings->password)) != NULL) &&
	    redis_resolve(r, why, why_cap))
		return &r->base;
	redis_free(&r->base);
	return NULL;
}
