/* api: what people and programs can do over HTTP, at the addresses of --api and --admin.
 *
 * Their connections are conns of their own on the hub's loop, with bounds of their own, so that a
 * crowd there takes nobody's place and the other way round. A request is found in one table
 * (api.c): method, path, scope, function. What that function answers it writes as JSON
 * (api_call.h), or, if it is long, piece by piece (api_list.h).
 */
#ifndef TOVA_OPS_API_H
#define TOVA_OPS_API_H

#include "auth/api_token.h"
#include "handler/worker/codec.h"
#include "ops/idempotency.h"
#include "ops/loop_lag.h"
#include "ops/readiness.h"
#include "ops/reload.h"
#include "ops/replay.h"
#include "ops/trace_sampler.h"
#include "ops/visitors.h"
#include "settings/settings.h"

/* What is done to the host by those who may. */
struct api_manage_actions {
	struct reloads *reloads;
	struct replay *letters;
	void (*drain)(void *ctx);
	bool (*admin_url)(void *ctx, char *url_r, size_t cap); /* false: there is none */
	void *ctx;
};

/* What the requests of both kinds of address share. */
struct api {
	uint16_t magic; /* CHECK_API */
	struct hub *hub;
	struct readiness *readiness;
	struct api_tokens tokens;
	char *hosts;	   /* names beside the obvious ones, see authority_listed; NULL: none */
	uint64_t body_max; /* bytes */
	struct idempotency idempotency;
	struct visitors visitors;	   /* who look at the page without a token */
	const struct listeners *clients; /* where those connect */
	const struct settings *settings; /* in effect */
	const struct cluster *cluster;	 /* NULL: there is this host only */
	struct api_manage_actions manage;
	const struct trace_sampler *sampler; /* what is kept of traces */
	LIST_HEAD(, api_late) lates; /* see api_late.h */
	/* What requests and lists took of this turn, in microseconds; and of its thread's CPU time,
	 * and most of that of a turn. */
	uint64_t spent_us, cpu_us, longest_us;
	struct loop_hook hook;
	struct loop_lag lag; /* runs where metrics can be asked for */
	/* Of the request that is being handled. */
	struct codec_batch batch;
	struct codec_out out;
};

/* What it is given is borrowed; the actions are copied. */
void api_init(struct api *api, struct hub *hub, struct readiness *readiness,
	      const struct settings *settings, const struct api_manage_actions *manage);
/* The conns are gone, and nobody is at work for it any more. */
void api_free(struct api *api);

/* A piece of work for it begins: two clocks; and has ended. */
struct api_clock {
	uint64_t us, cpu_us;
};
struct api_clock api_clock_begin(void);
void api_clock_end(struct api *api, const struct api_clock *began);

/* The ctx of the conns of one kind of address. */
struct api_door {
	uint16_t magic; /* CHECK_API_DOOR */
	struct api *api;
	bool admin; /* it has more than the API alone */
};
extern const struct conn_ops api_conn_ops;

#endif
