/* api_host: what the host is made of, over HTTP: mounts, workers, settings. */
#ifndef TOVA_OPS_API_HOST_H
#define TOVA_OPS_API_HOST_H

#include "ops/api_call.h"

/* Answers with a list, an object for each. */
void api_host_mounts(struct api_call *call);
void api_host_workers(struct api_call *call);
/* In effect, each with what it is where nobody sets it, and when a change holds. */
void api_host_settings(struct api_call *call);

/* The host's counters. */
void api_host_stats(struct api_call *call);
/* The other hosts, and the engine between them. */
void api_host_cluster(struct api_call *call);

#endif
