/* readiness: would the host take a client, and if not, why? */
#ifndef TOVA_OPS_READINESS_H
#define TOVA_OPS_READINESS_H

#include "hub/hub.h"
#include "net/health.h"
#include "net/listener.h"

struct readiness {
	uint16_t magic; /* CHECK_READINESS */
	struct hub *hub;
	const struct listeners *listeners; /* of clients */
	struct health *health;		   /* what the other loops know of it */
	struct loop_timer tick;
};

/* All of them are borrowed, to readiness_stop. */
void readiness_init(struct readiness *r, struct hub *hub, const struct listeners *listeners,
		    struct health *health);
/* [hub] The handlers are there. beside: other loops answer, too, and are told it again and again.
 */
void readiness_start(struct readiness *r, bool beside);
void readiness_stop(struct readiness *r);
/* [hub] Finds it out, and puts it into r->health. */
void readiness_look(struct readiness *r);

/* Appends {"ready":…,"checks":[{"name":…,"ok":…},…]}, where what is not "ok" has a "reason".
 * Returns whether all is. */
struct codec_out;
bool readiness_describe(const struct readiness *r, struct codec_out *o);

#endif
