/* output_rate: how many lines of what processes write pass into the log in a second, for each mount
 * and name of a process: none that talks a lot hides what others say. */
#ifndef TOVA_HANDLER_OUTPUT_RATE_H
#define TOVA_HANDLER_OUTPUT_RATE_H

#include <stdbool.h>

#include "net/loop.h"

#define OUTPUT_RATE_MAX 1000 /* lines in a second */

struct output_rate;

struct output_rates {
	struct loop *loop;
	struct output_rate *list;
};

/* The account of that mount's processes of that name (worker 1, or all of its scripts), until
 * output_rate_leave. NULL without memory. */
struct output_rate *output_rate_join(struct output_rates *rates, const char *mount,
				     const char *name);
void output_rate_leave(struct output_rate *r);
/* May a line pass? What does not is counted, and its number logged within a second. NULL: it
 * may. */
bool output_rate_admits(struct output_rate *r, enum log_level level);
void output_rates_free(struct output_rates *rates);

#endif
