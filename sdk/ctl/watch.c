#include "ctl/watch.h"

#include <string.h>
#include <time.h>

#include "ctl/print.h"

#define WATCH_STEP_MS 500 /* to look at the clock */

static int64_t watch_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const char *watch_text(const json_t *line, const char *key)
{
	const char *text = json_string_value(json_object_get(line, key));
	return text != NULL ? text : "";
}

/* 12:34:56.123456 given message 3: bytes=12 attempt=1 to=worker 1 ... */
static void watch_print(FILE *f, const json_t *line, bool one)
{
	static const char *const members[] = {"bytes", "attempt", "commands"};
	const char *time = watch_text(line, "time");
	json_t *seq = json_object_get(line, "seq"), *missed = json_object_get(line, "dropped");
	if (missed != NULL) {
		fprintf(f, "%lld lines were not read in time, and are missing here\n",
			(long long)json_integer_value(missed));
		return;
	}
	fprintf(f, "%.15s %-12s ", strlen(time) > 11 ? time + 11 : time, watch_text(line, "point"));
	print_text(f, watch_text(line, "event"));
	if (seq != NULL)
		fprintf(f, " %lld", (long long)json_integer_value(seq));
	for (size_t i = 0; i < sizeof members / sizeof *members; i++)
		if (json_object_get(line, members[i]) != NULL)
			fprintf(f, " %s=%lld", members[i],
				(long long)json_integer_value(json_object_get(line, members[i])));
	static const char *const texts[] = {"to", "conn", "user", "mount", "error"};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		if (json_object_get(line, texts[i]) == NULL || (one && i > 0 && i < 4))
			continue;
		fprintf(f, " %s=", texts[i]);
		print_text(f, watch_text(line, texts[i]));
	}
	fputc('\n', f);
}

/* Is that the end of the only connection that is watched? */
static bool watch_is_over(const struct watch *watch, const json_t *line)
{
	const char *point = watch_text(line, "point");
	return watch->conn != NULL && strcmp(watch_text(line, "event"), "close") == 0 &&
	       (strcmp(point, "committed") == 0 || strcmp(point, "failed") == 0);
}

bool watch_line(const struct watch *watch, json_t *line, FILE *f)
{
	json_object_del(line, "t");
	json_object_del(line, "q");
	if (watch->json)
		print_json(f, line);
	else
		watch_print(f, line, watch->conn != NULL);
	return watch_is_over(watch, line) || fflush(f) != 0;
}

bool watch_show(struct door *door, const struct watch *watch, FILE *f)
{
	int64_t until = watch_ms() + (int64_t)watch->for_s * 1000, left = WATCH_STEP_MS;
	bool over = false;
	while (!over && left > 0) {
		json_t *line = session_hear(&door->session, "trace",
					    left < WATCH_STEP_MS ? (int)left : WATCH_STEP_MS);
		if (line == NULL && !door->session.timed_out) {
			snprintf(door->why, sizeof door->why, "%s", door->session.why);
			return false;
		}
		over = line != NULL && watch_line(watch, line, f);
		json_decref(line);
		left = watch->for_s > 0 ? until - watch_ms() : WATCH_STEP_MS;
	}
	return true;
}
