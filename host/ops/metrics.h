/* metrics: what the host counts, in the text format of Prometheus. */
#ifndef TOVA_OPS_METRICS_H
#define TOVA_OPS_METRICS_H

#include "ops/api_call.h"

/* GET /metrics. One metric after the other while they are sent, so that no scrape holds the loop
 * up. */
void metrics_answer(struct api_call *call);

#endif
