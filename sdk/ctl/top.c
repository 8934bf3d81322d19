#include "ctl/top.h"

#include <string.h>
#include <unistd.h>

#include "ctl/print.h"

#define TOP_SLOW 10 /* connections that are shown */

/* What is counted, shown as so many in a second, and what it is called. */
static const struct top_rate {
	const char *counter, *name;
} top_rates[] = {
	{"opened", "connections opened"},
	{"refused", "upgrades refused"},
	{"messages_in", "messages in"},
	{"messages_out", "messages out"},
	{"bytes_in", "bytes in"},
	{"bytes_out", "bytes out"},
	{"events", "events"},
	{"failures", "events failed"},
	{"pushes", "pushes"},
	{"api_requests", "API requests"},
	{"dropped", "messages dropped"},
	{"redelivered", "events redelivered"},
};
#define TOP_RATES (sizeof top_rates / sizeof *top_rates)

static const char *const top_gauges[] = {"connections", "away",	    "rooms",
					 "slow",	"buffered", "loop_turn_max_us"};

/* What one look has found; members NULL: nothing yet. */
struct top_look {
	json_t *stats, *mounts, *slow;
};

static void top_forget(struct top_look *look)
{
	json_decref(look->stats);
	json_decref(look->mounts);
	json_decref(look->slow);
	*look = (struct top_look){NULL, NULL, NULL};
}

static json_t *top_ask(struct door *door, const char *what, const char *member, unsigned *number)
{
	json_t *answer = door_ask(door,
				  json_pack("{s:s, s:i, s:s}", "t", "query", "q", (int)++*number,
					    "what", what),
				  NULL, 0, "q");
	json_t *found = json_incref(json_object_get(answer, member));
	const char *error = json_string_value(json_object_get(answer, "error"));
	if (error != NULL)
		snprintf(door->why, sizeof door->why, "the host refuses: %s", error);
	else if (answer != NULL && found == NULL)
		snprintf(door->why, sizeof door->why, "the host does not tell its %s", member);
	json_decref(answer);
	return found;
}

static bool top_look(struct door *door, struct top_look *look_r, unsigned *number)
{
	look_r->stats = top_ask(door, "stats", "stats", number);
	look_r->mounts = look_r->stats != NULL ? top_ask(door, "mounts", "mounts", number) : NULL;
	look_r->slow = look_r->mounts != NULL
			       ? top_ask(door, "slow_connections", "connections", number)
			       : NULL;
	return look_r->slow != NULL;
}

static double top_count(const json_t *stats, const char *name)
{
	return json_number_value(json_object_get(stats, name));
}

/* In a second, by the host's own clock. Since its start, at the first look. */
static double top_rate(const struct top_look *before, const struct top_look *now, const char *name)
{
	double ms = top_count(now->stats, "uptime_ms") - top_count(before->stats, "uptime_ms");
	double n = top_count(now->stats, name) - top_count(before->stats, name);
	return ms > 0 && n > 0 ? n * 1000 / ms : 0;
}

static json_t *top_object(const struct top_look *before, const struct top_look *now)
{
	json_t *rates = json_object(), *gauges = json_object();
	for (size_t i = 0; i < TOP_RATES; i++)
		json_object_set_new(rates, top_rates[i].counter,
				    json_real(top_rate(before, now, top_rates[i].counter)));
	for (size_t i = 0; i < sizeof top_gauges / sizeof *top_gauges; i++)
		json_object_set(gauges, top_gauges[i], json_object_get(now->stats, top_gauges[i]));
	return json_pack("{s:O, s:o, s:o, s:O, s:O}", "uptime_ms",
			 json_object_get(now->stats, "uptime_ms"), "now", gauges, "per_second",
			 rates, "mounts", now->mounts, "slow", now->slow);
}

/* 1234567 as 1.23M. */
static void top_number(char text[32], double n)
{
	static const char units[] = {' ', 'k', 'M', 'G', 'T'};
	size_t unit = 0;
	while (n >= 10000 && unit + 1 < sizeof units) {
		n /= 1000;
		unit++;
	}
	snprintf(text, 32, "%.*f%c", n < 100 && n > 0 ? 1 : 0, n, units[unit]);
}

static void top_print_numbers(FILE *f, const struct top_look *before, const struct top_look *now)
{
	char text[32];
	size_t n = 0;
	for (size_t i = 0; i < sizeof top_gauges / sizeof *top_gauges; i++) {
		top_number(text, top_count(now->stats, top_gauges[i]));
		fprintf(f, "%9s %-22s%s", text, top_gauges[i], ++n % 3 == 0 ? "\n" : "");
	}
	fputc('\n', f);
	for (size_t i = 0; i < TOP_RATES; i++) {
		top_number(text, top_rate(before, now, top_rates[i].counter));
		fprintf(f, "%9s %-22s%s", text, top_rates[i].name, ++n % 3 == 0 ? "\n" : "");
	}
	fputc('\n', f);
}

static void top_print_slow(FILE *f, const json_t *slow)
{
	json_t *some = json_array(), *row;
	size_t i;
	json_array_foreach(slow, i, row) if (i < TOP_SLOW) json_array_append(some, row);
	if (json_array_size(some) > 0) {
		fprintf(f, "\nread too slowly: %zu\n", json_array_size(slow));
		print_table(f, some);
	}
	json_decref(some);
}

static void top_print(FILE *f, const struct top_look *before, const struct top_look *now)
{
	uint64_t s = (uint64_t)top_count(now->stats, "uptime_ms") / 1000;
	fprintf(f, "up %llud %02llu:%02llu:%02llu; in a second%s:\n\n",
		(unsigned long long)(s / 86400), (unsigned long long)(s / 3600 % 24),
		(unsigned long long)(s / 60 % 60), (unsigned long long)(s % 60),
		before->stats == NULL ? ", since the start" : "");
	top_print_numbers(f, before, now);
	print_table(f, now->mounts);
	top_print_slow(f, now->slow);
}

bool top_show(struct door *door, const struct top *top, FILE *f)
{
	struct top_look before = {NULL, NULL, NULL}, now;
	bool ok = true, terminal = !top->json && isatty(fileno(f));
	unsigned number = 0;
	for (unsigned n = 0; ok && (top->times == 0 || n < top->times); n++) {
		if (n > 0)
			sleep(top->every_s);
		ok = top_look(door, &now, &number);
		if (ok && top->json) {
			json_t *object = top_object(&before, &now);
			print_json(f, object);
			json_decref(object);
		} else if (ok) {
			fputs(terminal ? "\033[H\033[2J" : n > 0 ? "\n" : "", f);
			top_print(f, &before, &now);
		}
		top_forget(&before);
		before = now;
		ok = ok && fflush(f) == 0;
	}
	top_forget(&before);
	return ok;
}
