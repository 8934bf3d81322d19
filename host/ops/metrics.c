#include "ops/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/resident.h"
#include "handler/worker/worker.h"
#include "ops/api_list.h"
#include "cluster/cluster.h"
#include "ops/metrics_text.h"

/* What of histograms is written: up to half a minute, and up to 16 million. */
#define METRICS_TIME 25
#define METRICS_SIZE 24
#define METRICS_SECONDS 1e6 /* of microseconds */

struct metrics {
	uint16_t magic; /* CHECK_METRICS */
	const struct api *api;
	struct stats stats;	   /* as of the beginning, so that they belong together */
	size_t next;		   /* of metrics_stats, and then of metrics_others */
	const struct mount *mount; /* that is next, of one that is written mount by mount */
	bool begun;		   /* so it is not the first */
};

/* --- the counters of all loops ---------------------------------------------------------------- */

/* What `tova-ctl stats` shows, with its texts. */
static const struct {
	const char *name, *metric, *text;
} metrics_stats[] = {
#define METRICS_STAT(name, metric, text) {#name, #metric, text},
	STATS_TABLE(METRICS_STAT)
#undef METRICS_STAT
};
#define METRICS_STATS (sizeof metrics_stats / sizeof *metrics_stats)
/* Those before go down again. */
#define METRICS_GAUGES (offsetof(struct stats, accepted) / sizeof(uint64_t))
/* Which of them are told of each mount instead. */
#define METRICS_BY_MOUNT(i) \
	((i) == offsetof(struct stats, connections) / sizeof(uint64_t) || \
	 (i) == offsetof(struct stats, rooms) / sizeof(uint64_t))

static const struct metrics_text_labels metrics_no_labels;

static void metrics_put_stat(struct codec_out *o, const struct stats *stats, size_t i)
{
	char name[64];
	bool gauge = i < METRICS_GAUGES,
	     time = i == offsetof(struct stats, loop_turn_max_us) / sizeof(uint64_t);
	uint64_t value = ((const uint64_t *)stats)[i];
	snprintf(name, sizeof name, "%s%s", metrics_stats[i].metric, gauge ? "" : "_total");
	metrics_text_head(o, name, gauge ? "gauge" : "counter", metrics_stats[i].text);
	if (time)
		metrics_text_line(o, "tova_%s %.6f\n", name, (double)value / METRICS_SECONDS);
	else
		metrics_text_value(o, name, &metrics_no_labels, value);
}

/* --- by a reason ------------------------------------------------------------------------------ */

static void metrics_put_drops(struct metrics *l, struct codec_out *o)
{
	const struct {
		const char *reason;
		uint64_t n;
	} drops[] = {{"slow", l->stats.dropped - l->stats.conflated},
		     {"conflated", l->stats.conflated},
		     {"rate_limit", l->stats.rate_dropped}};
	metrics_text_head(
		o, "drops_total", "counter",
		"messages that were given up or not taken, by why: dropped, conflated and "
		"rate_dropped together");
	for (size_t i = 0; i < sizeof drops / sizeof *drops; i++) {
		const struct metrics_text_labels labels = {.name = "reason",
							   .value = drops[i].reason};
		metrics_text_value(o, "drops_total", &labels, drops[i].n);
	}
}

static void metrics_put_refusals(struct metrics *l, struct codec_out *o)
{
	static const int statuses[STATS_REFUSALS] = STATS_REFUSAL_STATUSES;
	char status[16];
	metrics_text_head(o, "refusals_total", "counter",
			  "upgrades refused, by the status that was answered: refused by why");
	for (size_t i = 0; i < STATS_REFUSALS; i++) {
		const struct metrics_text_labels labels = {.name = "status", .value = status};
		snprintf(status, sizeof status, statuses[i] != 0 ? "%d" : "other", statuses[i]);
		metrics_text_value(o, "refusals_total", &labels, l->stats.refused_by[i]);
	}
}

static void metrics_put_closes(struct metrics *l, struct codec_out *o)
{
	const struct close_counts *closes = &l->api->hub->closes;
	char code[16];
	struct metrics_text_labels labels = {.name = "code", .value = code};
	metrics_text_head(o, "closes_total", "counter",
			  "connections that have ended, by the code of their close event");
	for (unsigned i = 0; i < closes->n; i++) {
		snprintf(code, sizeof code, "%u", closes->codes[i].code);
		metrics_text_value(o, "closes_total", &labels, closes->codes[i].n);
	}
	labels.value = "other";
	metrics_text_value(o, "closes_total", &labels, closes->others);
}

/* --- of the host ------------------------------------------------------------------------------ */

static void metrics_put_queues(struct metrics *l, struct codec_out *o)
{
	metrics_text_head(o, "queue_bytes", "histogram",
			  "bytes that waited for a connection, each time its socket took no more");
	metrics_text_histogram(o, "queue_bytes", &metrics_no_labels, &l->stats.queues, 1,
			       METRICS_SIZE);
}

static void metrics_put_turns(struct metrics *l, struct codec_out *o)
{
	metrics_text_head(
		o, "loop_turn_seconds", "histogram",
		"CPU time of turns of loops; those below a millisecond are counted together");
	metrics_text_histogram(o, "loop_turn_seconds", &metrics_no_labels, &l->stats.turns,
			       METRICS_SECONDS, METRICS_TIME);
}

static void metrics_put_lag(struct metrics *l, struct codec_out *o)
{
	metrics_text_head(
		o, "loop_lag_seconds", "histogram",
		"how late the hub's loop came to a timer, which is looked at several times a "
		"second (up to 5 ms are the clock's)");
	metrics_text_histogram(o, "loop_lag_seconds", &metrics_no_labels, &l->api->lag.lag,
			       METRICS_SECONDS, METRICS_TIME);
}

static void metrics_put_process(struct metrics *l, struct codec_out *o)
{
	struct timespec cpu;
	const struct hub *hub = l->api->hub;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	metrics_text_head(o, "info", "gauge", "which host this is");
	metrics_text_line(o, "tova_info{version=\"" TOVA_VERSION "\"} 1\n");
	metrics_text_head(
		o, "api_turn_max_seconds", "gauge",
		"most that requests and lists at --api and --admin took of one turn of the loop");
	metrics_text_line(o, "tova_api_turn_max_seconds %.6f\n",
			  (double)l->api->longest_us / METRICS_SECONDS);
	metrics_text_head(o, "draining", "gauge", "1: the host is stopping");
	metrics_text_value(o, "draining", &metrics_no_labels, hub->draining);
	metrics_text_head(o, "uptime_seconds", "gauge", "time since the start");
	metrics_text_line(o, "tova_uptime_seconds %.3f\n",
			  (double)(loop_now(hub->loop) - hub->started_ms) / 1000);
	metrics_text_head(o, "cpu_seconds_total", "counter", "processor time of the host");
	metrics_text_line(o, "tova_cpu_seconds_total %lld.%06ld\n", (long long)cpu.tv_sec,
			  cpu.tv_nsec / 1000);
	metrics_text_head(o, "resident_memory_bytes", "gauge", "resident memory of the host");
	metrics_text_value(o, "resident_memory_bytes", &metrics_no_labels, resident_bytes(0));
}

/* --- of a mount ------------------------------------------------------------------------------- */

static void metrics_put_cluster(struct metrics *l, struct codec_out *o)
{
	struct cluster_seen seen;
	if (l->api->cluster == NULL)
		return;
	cluster_look(l->api->cluster, &seen);
	const struct {
		const char *name, *text;
		uint64_t value;
	} gauges[] = {{"cluster_up", "1: the engine between the hosts can be used", seen.up},
		      {"cluster_hosts", "hosts that are there, this one among them", seen.hosts},
		      {"cluster_waiting", "commits that wait for the engine", seen.parked},
		      {"cluster_channels", "channels that are subscribed to", seen.channels}};
	for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++) {
		metrics_text_head(o, gauges[i].name, "gauge", gauges[i].text);
		metrics_text_value(o, gauges[i].name, &metrics_no_labels, gauges[i].value);
	}
	metrics_text_head(o, "cluster_lag_seconds", "gauge",
			  "time until what was published last came back");
	metrics_text_line(o, "tova_cluster_lag_seconds %.6f\n", (double)seen.lag_us / METRICS_SECONDS);
#define METRICS_CLUSTER(field, name, text) \
	metrics_text_head(o, "cluster_" #name "_total", "counter", text); \
	metrics_text_value(o, "cluster_" #name "_total", &metrics_no_labels, seen.counts.field);
	CLUSTER_COUNTS(METRICS_CLUSTER)
#undef METRICS_CLUSTER
}

static struct metrics_text_labels metrics_of(const struct mount *m)
{
	return (struct metrics_text_labels){.name = "mount", .value = m->path};
}

static void metrics_put_connections(const struct mount *m, struct codec_out *o)
{
	const struct metrics_text_labels labels = metrics_of(m);
	metrics_text_value(o, "connections", &labels, m->n_sessions);
}

static void metrics_put_rooms(const struct mount *m, struct codec_out *o)
{
	const struct metrics_text_labels labels = metrics_of(m);
	metrics_text_value(o, "rooms", &labels, m->rooms.table.n);
}

static void metrics_put_held(const struct mount *m, struct codec_out *o)
{
	const struct metrics_text_labels labels = metrics_of(m);
	metrics_text_value(o, "held_bytes", &labels, budget_held(m->budget));
}

static void metrics_put_ready(const struct mount *m, struct codec_out *o)
{
	const struct metrics_text_labels labels = metrics_of(m);
	metrics_text_value(o, "mount_ready", &labels, !worker_is(m) || worker_count(m) > 0);
}

static void metrics_put_deployed(const struct mount *m, struct codec_out *o)
{
	const struct metrics_text_labels labels = metrics_of(m);
	metrics_text_value(o, "deploy_failed", &labels, m->deploy.failed != 0);
}

static void metrics_put_failures(const struct mount *m, struct codec_out *o)
{
	const struct metrics_text_labels labels = metrics_of(m);
	metrics_text_value(o, "mount_failures_total", &labels, m->faults.failures);
}

static void metrics_put_redelivered(const struct mount *m, struct codec_out *o)
{
	const struct metrics_text_labels labels = metrics_of(m);
	metrics_text_value(o, "mount_redelivered_total", &labels, m->faults.redelivered);
}

static void metrics_put_quarantined(const struct mount *m, struct codec_out *o)
{
	const struct metrics_text_labels labels = metrics_of(m);
	metrics_text_value(o, "mount_quarantined_total", &labels, m->faults.quarantined);
}

static void metrics_put_dropped(const struct mount *m, struct codec_out *o)
{
	const struct metrics_text_labels labels = metrics_of(m);
	metrics_text_value(o, "mount_dropped_total", &labels, m->faults.dropped);
}

static void metrics_put_workers(const struct mount *m, struct codec_out *o)
{
	static const char *const states[] = {"starting", "ready", "draining", "down"};
	if (!worker_is(m))
		return;
	const struct worker_states s = worker_states(m);
	const unsigned n[] = {s.starting, s.ready, s.draining, s.down};
	for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
		struct metrics_text_labels labels = metrics_of(m);
		labels.more = "state";
		labels.more_value = states[i];
		metrics_text_value(o, "workers", &labels, n[i]);
	}
}

/* Of kinds that have come. */
static void metrics_put_latency(const struct mount *m, struct codec_out *o)
{
	for (int kind = 0; m->meters != NULL && kind < EVENT_KINDS; kind++) {
		const struct histogram *h = &m->meters->latency[kind];
		struct metrics_text_labels labels = metrics_of(m);
		uint64_t any = 0;
		labels.more = "event";
		labels.more_value = event_name((enum event_kind)kind);
		for (unsigned k = 0; k < HISTOGRAM_BUCKETS; k++)
			any |= h->buckets[k];
		if (any != 0)
			metrics_text_histogram(o, "event_seconds", &labels, h, METRICS_SECONDS,
					       METRICS_TIME);
	}
}

static void metrics_put_meter(const struct mount *m, struct codec_out *o, const char *name,
			      const struct histogram *h, double unit, unsigned most)
{
	const struct metrics_text_labels labels = metrics_of(m);
	metrics_text_histogram(o, name, &labels, h, unit, most);
}

static void metrics_put_handler(const struct mount *m, struct codec_out *o)
{
	if (m->meters != NULL)
		metrics_put_meter(m, o, "handler_seconds", &m->meters->handler, METRICS_SECONDS,
				  METRICS_TIME);
}

static void metrics_put_cast_size(const struct mount *m, struct codec_out *o)
{
	if (m->meters != NULL)
		metrics_put_meter(m, o, "broadcast_receivers", &m->meters->cast_size, 1,
				  METRICS_SIZE);
}

static void metrics_put_cast_time(const struct mount *m, struct codec_out *o)
{
	if (m->meters != NULL)
		metrics_put_meter(m, o, "broadcast_seconds", &m->meters->cast_time, METRICS_SECONDS,
				  METRICS_TIME);
}

/* --- all -------------------------------------------------------------------------------------- */

#define METRICS_SAMPLED "of one in 64: "

static const struct {
	/* One of the two: mount by mount, behind this head, or at once. */
	const char *name, *type, *text;
	void (*of_mount)(const struct mount *m, struct codec_out *o);
	void (*put)(struct metrics *l, struct codec_out *o);
} metrics_others[] = {
	{.put = metrics_put_drops},
	{.put = metrics_put_refusals},
	{.put = metrics_put_closes},
	{.put = metrics_put_queues},
	{.put = metrics_put_turns},
	{.put = metrics_put_lag},
	{.put = metrics_put_process},
	{.put = metrics_put_cluster},
	{"connections", "gauge", "connections of a mount, with those that are away",
	 metrics_put_connections, NULL},
	{"rooms", "gauge", "rooms of a mount with a member", metrics_put_rooms, NULL},
	{"held_bytes", "gauge",
	 "bytes of memory for what clients of a mount have sent and its handler has not settled",
	 metrics_put_held, NULL},
	{"mount_ready", "gauge", "1: a handler of the mount takes events", metrics_put_ready, NULL},
	{"deploy_failed", "gauge", "1: the last reload did not replace the handler of the mount",
	 metrics_put_deployed, NULL},
	{"mount_failures_total", "counter", "events of a mount that its handler failed",
	 metrics_put_failures, NULL},
	{"mount_redelivered_total", "counter",
	 "events of a mount given to another worker because theirs ended", metrics_put_redelivered,
	 NULL},
	{"mount_quarantined_total", "counter", "events of a mount quarantined",
	 metrics_put_quarantined, NULL},
	{"mount_dropped_total", "counter",
	 "messages that clients of a mount did not get for reading too slowly, counted when these have caught up or ended",
	 metrics_put_dropped, NULL},
	{"workers", "gauge", "workers of a mount, by their state", metrics_put_workers, NULL},
	{"event_seconds", "histogram", METRICS_SAMPLED "time of events from receipt to commit",
	 metrics_put_latency, NULL},
	{"handler_seconds", "histogram",
	 METRICS_SAMPLED
	 "time that the handler had an event, from a worker's being given it to its "
	 "acknowledgement",
	 metrics_put_handler, NULL},
	{"broadcast_receivers", "histogram",
	 METRICS_SAMPLED "to how many connections a broadcast went", metrics_put_cast_size, NULL},
	{"broadcast_seconds", "histogram",
	 METRICS_SAMPLED "time it took to queue a broadcast for all of them", metrics_put_cast_time,
	 NULL},
};
#define METRICS_OTHERS (sizeof metrics_others / sizeof *metrics_others)

/* One mount of one metric; with the last, it is over. */
static void metrics_put_mount(struct metrics *l, struct codec_out *o, size_t i)
{
	if (!l->begun) {
		metrics_text_head(o, metrics_others[i].name, metrics_others[i].type,
				  metrics_others[i].text);
		l->mount = l->api->hub->mounts;
	}
	if (l->mount != NULL) {
		metrics_others[i].of_mount(l->mount, o);
		l->mount = l->mount->next;
	}
	l->begun = l->mount != NULL;
	l->next += l->mount == NULL;
}

static enum api_list_found metrics_next(void *ctx, struct codec_out *o)
{
	struct metrics *l = ctx;
	CHECK_IS(l, CHECK_METRICS);
	size_t i = l->next - METRICS_STATS;
	if (l->next < METRICS_STATS) {
		if (!METRICS_BY_MOUNT(l->next))
			metrics_put_stat(o, &l->stats, l->next);
		l->next++;
	} else if (i == METRICS_OTHERS) {
		return API_LIST_END;
	} else if (metrics_others[i].put == NULL) {
		metrics_put_mount(l, o, i);
	} else {
		metrics_others[i].put(l, o);
		l->next++;
	}
	return API_LIST_ITEM;
}

void metrics_answer(struct api_call *call)
{
	struct metrics *l = malloc(sizeof *l);
	const struct api_list list = {.next = metrics_next, .free = free, .ctx = l};
	if (l == NULL) {
		api_call_refuse(call, 503, "no memory for a list");
		return;
	}
	*l = (struct metrics){.magic = CHECK_METRICS,
			      .api = call->api,
			      .stats = hub_stats(call->api->hub)};
	api_list_answer_text(call, METRICS_TEXT_TYPE, &list);
}
