/* dashboard: shows the machine and the host live. Whoever connects gets
 *	{"type":"init","data":STATS}
 * and from then on, as a member of room dashboard, at each interval
 *	{"type":"update","data":STATS}
 * STATS:
 *	{"time":ms since 1970, "load":[1, 5, 15 minutes], "memory":{"total":bytes,"used":bytes},
 *	 "host":{"uptime":s,"connections":n,"rooms":n,"messages_in":n,"messages_out":n,"bytes_in":n,"bytes_out":n,
 *		 "slow":n,"dropped":n,"refused":n}}
 * load or memory are null where the system does not tell.
 */
#define _DEFAULT_SOURCE
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <time.h>

#include "tova_plugin.h"

#define INTERVAL_MIN_MS 100
#define INTERVAL_MAX_MS 3600000

enum question { INIT = 1, UPDATE = 2 }; /* why the counters were asked for */

/* The host's counters come with a later callback. Until then, those who have just connected wait
 * here for their init. */
struct dashboard {
	tova_ws *waiting;
	size_t n_waiting;
};

static json_t *load(void)
{
	double average[3];
	if (getloadavg(average, 3) != 3)
		return json_null();
	return json_pack("[f, f, f]", average[0], average[1], average[2]);
}

static json_t *memory(void)
{
	uint64_t total = 0, available = 0;
	char row[128];
	FILE *file = fopen("/proc/meminfo", "re");
	if (file == NULL)
		return json_null();
	while (fgets(row, sizeof row, file) != NULL)
		if (sscanf(row, "MemTotal: %" SCNu64, &total) == 0)
			(void)sscanf(row, "MemAvailable: %" SCNu64, &available);
	fclose(file);
	if (total == 0)
		return json_null();
	return json_pack("{s:I, s:I}", "total", (json_int_t)(total * 1024), "used",
			 (json_int_t)((total - available) * 1024));
}

static json_t *host(const tova_stats *s)
{
	const struct {
		const char *name;
		uint64_t value;
	} counters[] = {
		{"uptime", s->uptime_ms / 1000},
		{"connections", s->connections},
		{"rooms", s->rooms},
		{"messages_in", s->messages_in},
		{"messages_out", s->messages_out},
		{"bytes_in", s->bytes_in},
		{"bytes_out", s->bytes_out},
		{"slow", s->slow},
		{"dropped", s->dropped + s->rate_dropped},
		{"refused", s->refused + s->limited},
	};
	json_t *object = json_object();
	for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
		json_object_set_new(object, counters[i].name,
				    json_integer((json_int_t)counters[i].value));
	return object;
}

/* Text that the caller frees, whole, or NULL: what json_dumps of jansson 2.14 returns without
 * memory may lack a part. */
static char *dump(const json_t *value)
{
	size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(6), n = json_dumpb(value, NULL, 0, flags);
	char *text = n > 0 ? calloc(1, n + 1) : NULL;
	if (text != NULL && json_dumpb(value, text, n, flags) == n)
		return text;
	free(text);
	return NULL;
}

/* Returns text that the caller frees, or NULL. */
static char *stats_text(const char *type, const tova_stats *s)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	json_int_t ms = (json_int_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	json_t *value = json_pack("{s:s, s:{s:I, s:o, s:o, s:o}}", "type", type, "data", "time", ms,
				  "load", load(), "memory", memory(), "host", host(s));
	char *text = dump(value);
	json_decref(value);
	return text;
}

static int start(tova_mount *m)
{
	const char *text = tova_setting(m, "interval-ms");
	char *end;
	unsigned long long ms = strtoull(text, &end, 10);
	if (*end != '\0' || ms < INTERVAL_MIN_MS || ms > INTERVAL_MAX_MS)
		return tova_fail(m, "interval-ms is %d to %d, not \"%s\"", INTERVAL_MIN_MS,
				 INTERVAL_MAX_MS, text);
	tova_every(m, "update", UPDATE, ms, ms);
	m->user = calloc(1, sizeof(struct dashboard));
	return m->user != NULL ? 0 : tova_fail(m, "out of memory");
}

static void stop(tova_mount *m)
{
	struct dashboard *d = m->user;
	free(d->waiting);
	free(d);
}

static int on_open(tova_mount *m, tova_ws ws, const tova_request *request)
{
	struct dashboard *d = m->user;
	(void)request;
	tova_ws *waiting = realloc(d->waiting, (d->n_waiting + 1) * sizeof *waiting);
	if (waiting == NULL)
		return tova_fail(m, "out of memory");
	d->waiting = waiting;
	d->waiting[d->n_waiting++] = ws;
	tova_join(m, ws, "dashboard");
	return tova_query_ws(m, TOVA_QUERY_STATS, TOVA_NONE, INIT);
}

static int on_timer(tova_mount *m, const tova_timer *timer)
{
	return tova_query_ws(m, TOVA_QUERY_STATS, TOVA_NONE, timer->id);
}

/* With a conflation key, one who reads slowly can be given the newest update instead of all that he
 * missed. */
static void push(tova_mount *m, const char *update)
{
	tova_payload payload = tova_text_n(update, strlen(update));
	payload.key = "stats";
	payload.key_len = strlen(payload.key);
	tova_broadcast_payload_to(m, "dashboard", &payload, TOVA_NONE);
}

static int on_reply(tova_mount *m, const tova_reply *reply)
{
	struct dashboard *d = m->user;
	char *init = d->n_waiting > 0 ? stats_text("init", reply->stats) : NULL;
	char *update = reply->id == UPDATE ? stats_text("update", reply->stats) : NULL;
	for (size_t i = 0; init != NULL && i < d->n_waiting; i++)
		tova_send(m, d->waiting[i], init);
	if (update != NULL)
		push(m, update);
	d->n_waiting = 0;
	free(init);
	free(update);
	return 0;
}

static int answer_error(tova_mount *m, tova_ws ws, const char *text)
{
	json_t *value = json_pack("{s:s, s:s}", "type", "error", "text", text);
	char *answer = dump(value);
	int result = answer != NULL ? tova_send(m, ws, answer) : tova_fail(m, "out of memory");
	free(answer);
	json_decref(value);
	return result;
}

static int act(tova_mount *m, tova_ws ws, json_t *data)
{
	const char *action = json_string_value(json_object_get(data, "action"));
	const char *channel = json_string_value(json_object_get(data, "channel"));
	int subscribe = action != NULL && strcmp(action, "subscribe") == 0;
	if (!subscribe && (action == NULL || strcmp(action, "unsubscribe") != 0))
		return answer_error(m, ws, "Unknown action");
	if (channel == NULL)
		return answer_error(m, ws, "An action needs a channel, a string");
	return subscribe ? tova_join(m, ws, channel) : tova_leave(m, ws, channel);
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	json_t *data = json_loadb(message->data, message->len, 0, NULL);
	int result =
		data != NULL ? act(m, ws, data) : answer_error(m, ws, "A message is a JSON object");
	json_decref(data);
	return result;
}

/* The connection has left room dashboard by itself; what is left to do is not to keep it
 * waiting. */
static int on_close(tova_mount *m, tova_ws ws, const tova_close *why)
{
	struct dashboard *d = m->user;
	size_t kept = 0;
	(void)why;
	for (size_t i = 0; i < d->n_waiting; i++)
		if (!tova_ws_eq(d->waiting[i], ws))
			d->waiting[kept++] = d->waiting[i];
	d->n_waiting = kept;
	return 0;
}

static int on_error(tova_mount *m, tova_ws ws, const tova_error *error)
{
	tova_log(m, TOVA_LOG_WARN, "%s", error->text);
	/* A timer or a reply that failed concerns nobody in particular. */
	return error->kind == TOVA_ERROR_HANDLER && !tova_ws_eq(ws, TOVA_NONE)
		       ? answer_error(m, ws, error->text)
		       : 0;
}

static const tova_setting_spec settings[] = {
	{"interval-ms", "1000", "milliseconds between two updates"},
	{NULL, NULL, NULL},
};

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("dashboard", "1.0"),
	.settings = settings,
	.start = start,
	.stop = stop,
	.on_open = on_open,
	.on_message = on_message,
	.on_close = on_close,
	.on_error = on_error,
	.on_timer = on_timer,
	.on_reply = on_reply,
};
