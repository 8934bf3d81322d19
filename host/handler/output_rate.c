#include "handler/output_rate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define OUTPUT_RATE_MS 1000

struct output_rate {
	uint16_t magic; /* CHECK_OUTPUT_RATE */
	struct output_rate *next;
	struct loop *loop;
	struct loop_timer report;
	uint64_t since; /* that `passed` counts */
	uint64_t suppressed;
	enum log_level worst; /* of those */
	uint32_t passed;
	unsigned users;
	char mount[256], name[64];
};

static void output_rate_report(void *arg)
{
	struct output_rate *r = arg;
	CHECK_IS(r, CHECK_OUTPUT_RATE);
	if (r->suppressed > 0)
		LOG(r->loop->log, r->worst, LOG_WORKER_OUTPUT,
		    "more than 1,000 lines in a second: the rest was suppressed",
		    LOG_STR("mount", r->mount), LOG_STR("worker", r->name),
		    LOG_U64("suppressed", r->suppressed));
	r->suppressed = 0;
}

static void output_rate_free(struct output_rate *r)
{
	loop_timer_cancel(&r->report);
	output_rate_report(r);
	r->magic = CHECK_GONE;
	free(r);
}

/* One that nobody uses stays until its second is over, as scripts come and go. */
static void output_rates_sweep(struct output_rates *rates)
{
	struct output_rate **at = &rates->list;
	while (*at != NULL) {
		struct output_rate *r = *at;
		if (r->users > 0 || loop_now(r->loop) - r->since < OUTPUT_RATE_MS) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		output_rate_free(r);
	}
}

struct output_rate *output_rate_join(struct output_rates *rates, const char *mount,
				     const char *name)
{
	struct output_rate *r = rates->list;
	while (r != NULL && (strcmp(r->mount, mount) != 0 || strcmp(r->name, name) != 0))
		r = r->next;
	if (r == NULL) {
		output_rates_sweep(rates);
		r = calloc(1, sizeof *r);
		if (r == NULL)
			return NULL;
		r->magic = CHECK_OUTPUT_RATE;
		r->loop = rates->loop;
		snprintf(r->mount, sizeof r->mount, "%s", mount);
		snprintf(r->name, sizeof r->name, "%s", name);
		loop_timer_init(rates->loop, &r->report, output_rate_report, r);
		r->next = rates->list;
		rates->list = r;
	}
	r->users++;
	return r;
}

void output_rate_leave(struct output_rate *r)
{
	if (r != NULL)
		r->users--;
}

bool output_rate_admits(struct output_rate *r, enum log_level level)
{
	if (r == NULL)
		return true;
	uint64_t now = loop_now(r->loop);
	if (now - r->since >= OUTPUT_RATE_MS) {
		r->since = now;
		r->passed = 0;
	}
	if (r->passed < OUTPUT_RATE_MAX) {
		r->passed++;
		return true;
	}
	if (r->suppressed++ == 0 || level < r->worst)
		r->worst = level;
	if (!loop_timer_is_set(&r->report))
		loop_timer_set(&r->report, OUTPUT_RATE_MS);
	return false;
}

void output_rates_free(struct output_rates *rates)
{
	while (rates->list != NULL) {
		struct output_rate *r = rates->list;
		rates->list = r->next;
		output_rate_free(r);
	}
}
