/* meters: how long things take at a mount, for /metrics: where nobody can ask for that there are
 * none, and it costs nothing.
 *
 * A clock costs more than a short message, so one event and one broadcast of so many are looked at.
 */
#ifndef TOVA_HUB_METERS_H
#define TOVA_HUB_METERS_H

#include "base/histogram.h"
#include "hub/event.h"

#define METERS_SAMPLE 64

/* Of one mount. Times are in microseconds. */
struct meters {
	uint32_t events, casts; /* so many there were */
	/* from receipt to commit, of each kind of event */
	struct histogram latency[EVENT_KINDS];
	struct histogram handler; /* that a handler had an event */
	struct histogram cast_size, cast_time;
};

/* Is this one looked at? */
static inline bool meters_sample(uint32_t *n)
{
	return (*n)++ % METERS_SAMPLE == 0;
}

/* Microseconds of a clock that never goes back; never 0. */
uint64_t meters_micros(void);
/* The same for events that wait: its low bits, which come again after 71 minutes. */
static inline uint32_t meters_stamp(void)
{
	return (uint32_t)meters_micros() | 1;
}

/* An event that was looked at was settled at once. received: its stamp if it waited, or 0. */
void meters_handled(struct meters *t, enum event_kind kind, uint32_t received, uint64_t began,
		    uint64_t ended);
/* The same of one that was settled later. */
void meters_settled(struct meters *t, const struct event_held *h);
void meters_cast(struct meters *t, uint64_t size, uint64_t began);

#endif
