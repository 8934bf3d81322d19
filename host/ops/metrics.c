#include "ops/metrics.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "ops/api_list.h"

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define METRICS_LINE 512

/* --- the counters of all loops ---------------------------------------------------------------- */

/* What `tova-ctl stats` shows, with its texts. */
static const struct {
	const char *name, *text;
} metrics_stats[] = {
#define METRICS_STAT(name, text) {#name, text},
	STATS_TABLE(METRICS_STAT)
#undef METRICS_STAT
};
#define METRICS_STATS (sizeof metrics_stats / sizeof *metrics_stats)
/* Those before go down again. */
#define METRICS_GAUGES (offsetof(struct stats, accepted) / sizeof(uint64_t))

/* Where a name of ours would not say the unit. */
static const char *const metrics_units[][2] = {
	{"kept", "kept_bytes"},
	{"buffered", "buffered_bytes"},
	{"deflate_memory", "deflate_memory_bytes"},
	{"loop_turn_max_us", "loop_turn_max_seconds"},
	{"bytes_in", "received_bytes"},
	{"bytes_out", "sent_bytes"},
	{"deflated_from", "deflate_input_bytes"},
	{"deflated_to", "deflate_output_bytes"},
};

static const char *metrics_name(const char *name)
{
	for (size_t i = 0; i < sizeof metrics_units / sizeof *metrics_units; i++)
		if (strcmp(metrics_units[i][0], name) == 0)
			return metrics_units[i][1];
	return name;
}

/* --- writing ---------------------------------------------------------------------------------- */

struct metrics {
	const struct api *api;
	struct stats stats; /* as of the beginning, so that they belong together */
	size_t next;
};

__attribute__((format(printf, 2, 3))) static void metrics_line(struct codec_out *o,
							       const char *format, ...)
{
	char line[METRICS_LINE];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (n > 0)
		codec_raw(o, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

static void metrics_head(struct codec_out *o, const char *name, const char *type, const char *text)
{
	metrics_line(o, "# HELP tova_%s %s\n# TYPE tova_%s %s\n", name, text, name, type);
}

static void metrics_put_stat(struct codec_out *o, const struct stats *stats, size_t i)
{
	char name[64];
	bool gauge = i < METRICS_GAUGES,
	     time = strcmp(metrics_stats[i].name, "loop_turn_max_us") == 0;
	uint64_t value = ((const uint64_t *)stats)[i];
	snprintf(name, sizeof name, "%s%s", metrics_name(metrics_stats[i].name),
		 gauge ? "" : "_total");
	metrics_head(o, name, gauge ? "gauge" : "counter", metrics_stats[i].text);
	if (time)
		metrics_line(o, "tova_%s %.6f\n", name, (double)value / 1e6);
	else
		metrics_line(o, "tova_%s %llu\n", name, (unsigned long long)value);
}

/* A value of a label: a backslash, a quote and a line end are escaped, as the format asks. */
static void metrics_put_mount(struct codec_out *o, const char *name, const struct mount *m,
			      uint64_t value)
{
	metrics_line(o, "tova_%s{mount=\"", name);
	for (const char *p = m->path; *p != '\0'; p++) {
		codec_raw(o, "\\", *p == '"' || *p == '\\' || *p == '\n');
		codec_raw(o, *p == '\n' ? "n" : p, 1);
	}
	metrics_line(o, "\"} %llu\n", (unsigned long long)value);
}

static uint64_t metrics_connections(const struct mount *m)
{
	return m->n_sessions;
}

static uint64_t metrics_rooms(const struct mount *m)
{
	return m->rooms.table.n;
}

static uint64_t metrics_held(const struct mount *m)
{
	return budget_held(m->budget);
}

static const struct {
	const char *name, *text;
	uint64_t (*value)(const struct mount *m);
} metrics_of_mounts[] = {
	{"mount_connections", "connections of a mount, with those that are away",
	 metrics_connections},
	{"mount_rooms", "rooms of a mount with a member", metrics_rooms},
	{"mount_held_bytes",
	 "bytes of memory for what clients of a mount have sent and its handler has not settled",
	 metrics_held},
};
#define METRICS_OF_MOUNTS (sizeof metrics_of_mounts / sizeof *metrics_of_mounts)

static void metrics_put_mounts(struct codec_out *o, const struct hub *hub, size_t i)
{
	metrics_head(o, metrics_of_mounts[i].name, "gauge", metrics_of_mounts[i].text);
	for (const struct mount *m = hub->mounts; m != NULL; m = m->next)
		metrics_put_mount(o, metrics_of_mounts[i].name, m, metrics_of_mounts[i].value(m));
}

/* --- the process ------------------------------------------------------------------------------ */

/* The second number of statm: pages that are in memory; 0: it is not to be known. */
static uint64_t metrics_resident(void)
{
	unsigned long long size, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (f == NULL)
		return 0;
	if (fscanf(f, "%llu %llu", &size, &resident) != 2)
		resident = 0;
	fclose(f);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void metrics_put_process(struct codec_out *o, const struct metrics *l)
{
	struct timespec cpu;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	metrics_head(o, "info", "gauge", "which host this is");
	metrics_line(o, "tova_info{version=\"" TOVA_VERSION "\"} 1\n");
	metrics_head(o, "uptime_seconds", "gauge", "time since the start");
	metrics_line(o, "tova_uptime_seconds %.3f\n",
		     (double)(loop_now(l->api->hub->loop) - l->api->hub->started_ms) / 1000);
	metrics_head(o, "cpu_seconds_total", "counter", "processor time of the host");
	metrics_line(o, "tova_cpu_seconds_total %lld.%06ld\n", (long long)cpu.tv_sec,
		     cpu.tv_nsec / 1000);
	metrics_head(o, "resident_memory_bytes", "gauge", "resident memory of the host");
	metrics_line(o, "tova_resident_memory_bytes %llu\n",
		     (unsigned long long)metrics_resident());
}

static enum api_list_found metrics_next(void *ctx, struct codec_out *o)
{
	struct metrics *l = ctx;
	size_t i = l->next++;
	if (i < METRICS_STATS)
		metrics_put_stat(o, &l->stats, i);
	else if (i < METRICS_STATS + METRICS_OF_MOUNTS)
		metrics_put_mounts(o, l->api->hub, i - METRICS_STATS);
	else if (i == METRICS_STATS + METRICS_OF_MOUNTS)
		metrics_put_process(o, l);
	else
		return API_LIST_END;
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
	*l = (struct metrics){.api = call->api, .stats = hub_stats(call->api->hub)};
	api_list_answer_text(call, METRICS_TYPE, &list);
}
