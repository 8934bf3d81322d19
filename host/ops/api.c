#include "ops/api.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "ops/api_command.h"
#include "ops/api_connections.h"
#include "ops/api_history.h"
#include "ops/api_host.h"
#include "ops/api_late.h"
#include "ops/api_manage.h"
#include "ops/api_openapi.h"
#include "ops/api_rooms.h"
#include "ops/api_trace.h"
#include "ops/metrics.h"
#include "ops/page.h"
#include "ws/authority.h"
#include "ws/upgrade.h"

/* --- small ones ------------------------------------------------------------------------------- */

/* The loop turns, or nobody would answer. */
static void api_healthz(struct api_call *call)
{
	struct codec_out *o = api_call_out(call);
	codec_raw(o, "{\"alive\":true}", 14);
	api_call_answer(call, 200, (struct span){NULL, 0});
}

static void api_readyz(struct api_call *call)
{
	bool ready = readiness_describe(call->api->readiness, api_call_out(call));
	api_call_answer(call, ready ? 200 : 503, (struct span){NULL, 0});
}

/* --- the table -------------------------------------------------------------------------------- */

#define API_COMMAND (API_ROUTE_BODY | API_ROUTE_MOUNT)
#define API_PARAMS(...) (const char *const[]){__VA_ARGS__, NULL}
#define API_ONE(name, scope, schema, about) \
	{ \
		"POST", "/api/v1/" name, API_SCOPE_##scope, API_COMMAND, api_command_one, about, \
			"200:Receivers", schema, NULL \
	}
#define API_GET(path, is, run, about, gives, params) \
	{"GET", path, API_SCOPE_READ, is, run, about, gives, NULL, params}
#define API_POST(name, scope, is, run, about, gives, takes) \
	{"POST", "/api/v1/" name, API_SCOPE_##scope, is, run, about, gives, takes, NULL}

/* Of the page: nobody's business but a browser's. */
#define API_PART(path, run) \
	{ \
		"GET", path, API_SCOPE_READ, API_ROUTE_OPEN | API_ROUTE_ADMIN, run, NULL, NULL, NULL, \
			NULL \
	}

static const struct api_route api_routes[] = {
	API_GET("/healthz", API_ROUTE_OPEN, api_healthz, "Is it alive?", "200:Alive", NULL),
	API_GET("/readyz", API_ROUTE_OPEN, api_readyz, "Would it take a client, and if not, why?",
		"200:Ready 503:Ready", NULL),
	API_GET("/api/v1/openapi.json", API_ROUTE_OPEN, api_openapi_answer, "This page",
		"200:OpenApi", NULL),
	API_ONE("send", PUBLISH, "Send", "A message to one connection"),
	API_ONE("broadcast", PUBLISH, "Broadcast", "A message to all connections of a mount"),
	API_ONE("broadcast_to", PUBLISH, "BroadcastTo", "A message to the members of a room, or of several"),
	API_ONE("join", ADMIN, "Join", "A connection joins a room"),
	API_ONE("leave", ADMIN, "Leave", "A connection leaves a room"),
	API_ONE("leave_all", ADMIN, "LeaveAll", "A connection leaves all of its rooms"),
	API_ONE("prolong", ADMIN, "Prolong", "Gives a connection a fresh token for its own"),
	API_ONE("info", ADMIN, "Info", "Says who a connection is"),
	API_ONE("close_room", ADMIN, "CloseRoom", "Ends all connections of a room, or of several"),
	API_ONE("close", ADMIN, "Close", "Ends a connection"),
	API_ONE("set", ADMIN, "Set", "Sets the state of a connection"),
	API_ONE("set_room", ADMIN, "SetRoom", "Keeps a state with a room"),
	API_POST("commands", PUBLISH, API_COMMAND, api_command_list,
		 "Several commands, done whole or not at all", "200:Receivers", "Commands"),
	API_GET("/metrics", API_ROUTE_ADMIN, metrics_answer, "Metrics, for Prometheus", "200:text",
		NULL),
	API_GET("/api/v1/mounts", API_ROUTE_MOUNT, api_host_mounts,
		"Mounts, what serves each, and since when", "200:Mounts", API_PARAMS("mount")),
	API_GET("/api/v1/workers", API_ROUTE_MOUNT, api_host_workers, "Workers and their state",
		"200:Workers", API_PARAMS("mount")),
	API_GET("/api/v1/settings", 0, api_host_settings,
		"Settings in effect, and when a change of each holds", "200:Settings", NULL),
	API_GET("/api/v1/stats", 0, api_host_stats, "What the host counts", "200:Stats", NULL),
	API_GET("/api/v1/cluster", 0, api_host_cluster,
		"The hosts that share rooms with this one, and the engine between them",
		"200:Cluster", NULL),
	API_GET("/api/v1/connections", API_ROUTE_MOUNT, api_connections_list,
		"Connections, a page after the other", "200:Connections",
		API_PARAMS("mount", "room", "limit", "cursor", "user", "address", "slow")),
	API_GET("/api/v1/connections/*", API_ROUTE_MOUNT, api_connections_one,
		"A connection in full", "200:ConnectionInFull", NULL),
	{"DELETE", "/api/v1/connections/*", API_SCOPE_ADMIN, API_ROUTE_MOUNT,
	 api_connections_delete, "Ends a connection", "200:Closed", NULL,
	 API_PARAMS("code", "reason")},
	API_GET("/api/v1/rooms", API_ROUTE_MOUNT, api_rooms_list,
		"Rooms and how many members they have, a page after the other", "200:Rooms",
		API_PARAMS("mount", "limit", "cursor", "min_members")),
	API_GET("/api/v1/members", API_ROUTE_MOUNT, api_connections_members,
		"Who is in a room, a page after the other", "200:Members",
		API_PARAMS("mount", "room", "limit", "cursor")),
	API_GET("/api/v1/users", API_ROUTE_MOUNT, api_history_users,
		"Which users are in a room, each once, a page after the other", "200:RoomUsers",
		API_PARAMS("mount", "room", "limit", "cursor")),
	API_GET("/api/v1/history", API_ROUTE_MOUNT, api_history,
		"What a room remembers: the newest messages, or those behind an offset",
		"200:History", API_PARAMS("mount", "room", "since", "epoch", "limit")),
	API_GET("/api/v1/room_state", API_ROUTE_MOUNT, api_history_room_state,
		"What handlers keep with a room, and its version", "200:RoomState",
		API_PARAMS("mount", "room")),
	API_GET("/api/v1/trace", API_ROUTE_MOUNT, api_trace,
		"What becomes of events, line by line while it happens: of a connection, of a "
		"user's, or of a mount's",
		"200:lines/TraceLine", API_PARAMS("mount", "conn", "user", "for")),
	API_GET("/api/v1/dead_letters", API_ROUTE_MOUNT, api_manage_letters,
		"What was set aside and not given back", "200:DeadLetters", API_PARAMS("mount")),
	API_POST("replay", ADMIN, API_ROUTE_MOUNT, api_manage_replay,
		 "Gives dead letters back to their connections", "200:Replayed", "Replay"),
	API_POST("reload", ADMIN, API_ROUTE_MOUNT, api_manage_reload,
		 "Reads the settings and all handlers again, or the handler of one mount",
		 "200:Reloaded 202:Begun 500:Reloaded", "Reload"),
	API_POST("drain", ADMIN, 0, api_manage_drain, "Stops the host without dropping anybody",
		 "202:Begun", "Drain"),
	API_PART("/", page_answer),
	API_PART("/page.js", page_answer_script),
	API_PART("/page.css", page_answer_style),
	{"POST", "/api/v1/enter", API_SCOPE_READ, API_ROUTE_OPEN | API_ROUTE_ADMIN | API_ROUTE_BODY,
	 page_enter, NULL, NULL, NULL, NULL},
	API_POST("admin_url", ADMIN, 0, page_admin_url,
		 "A URL of the admin page, with a code that is good once and for ten minutes",
		 "200:AdminUrl", "Drain"),
	API_GET("/api/v1/host", 0, page_host, "Which host this is, and where clients connect",
		"200:Host", NULL),
	API_GET("/api/v1/log", 0, page_log, "The last lines of the log, the newest first",
		"200:LogLines", API_PARAMS("which")),
};
#define API_ROUTES (sizeof api_routes / sizeof *api_routes)

/* Takes a segment off the front of a path, without its slash. */
static struct span api_segment(struct span *path)
{
	struct span segment = {path->p + 1, 0};
	while (segment.n + 1 < path->n && segment.p[segment.n] != '/')
		segment.n++;
	path->p += segment.n + 1;
	path->n -= segment.n + 1;
	return segment;
}

static bool api_route_matches(const struct api_route *route, struct span path,
			      struct span args[API_ARGS_MAX])
{
	struct span pattern = span_of(route->path);
	unsigned n = 0;
	while (path.n > 0 && pattern.n > 0) {
		struct span want = api_segment(&pattern), have = api_segment(&path);
		bool any = span_eq(want, SPAN("*"));
		if (any ? have.n == 0 : !span_eq(want, have))
			return false;
		if (any)
			args[n++] = have;
	}
	return path.n == 0 && pattern.n == 0;
}

static bool api_route_takes(const struct api_route *route, struct span method)
{
	return span_eq(method, span_of(route->method)) ||
	       (span_eq(method, SPAN("HEAD")) && strcmp(route->method, "GET") == 0);
}

/* "Allow: GET, HEAD, OPTIONS" of what there is at the path. */
static void api_allow(const struct api_call *call, char lines[128])
{
	struct span args[API_ARGS_MAX];
	int n = snprintf(lines, 128, "Allow: ");
	for (size_t i = 0; i < API_ROUTES; i++)
		if (api_route_matches(&api_routes[i], call->request->path, args))
			n += snprintf(lines + n, 128 - (size_t)n, "%s, %s", api_routes[i].method,
				      strcmp(api_routes[i].method, "GET") == 0 ? "HEAD, " : "");
	snprintf(lines + n, 128 - (size_t)n, "OPTIONS\r\n");
}

/* Finds what the request asks for. False: it was answered, as there is no such thing, or not by
 * that method. */
static bool api_find(struct api_call *call)
{
	const struct request *r = call->request;
	char allow[128];
	bool there = false;
	for (size_t i = 0; i < API_ROUTES && call->route == NULL; i++) {
		const struct api_route *route = &api_routes[i];
		if (((route->is & API_ROUTE_ADMIN) != 0 && !call->door->admin) ||
		    !api_route_matches(route, r->path, call->args))
			continue;
		there = true;
		call->route = api_route_takes(route, r->method) ? route : NULL;
	}
	if (call->route != NULL)
		return true;
	if (!there) {
		api_call_refuse(call, 404, "there is nothing at this path");
		return false;
	}
	api_allow(call, allow);
	if (span_eq(r->method, SPAN("OPTIONS")))
		answer_respond(call->conn, 204, span_of(allow), NULL, (struct span){NULL, 0});
	else
		api_call_error(call->conn, 405, span_of(allow),
			       "this path does not take that method");
	return false;
}

/* --- who asks --------------------------------------------------------------------------------- */

/* A page can have its own name pointed at this machine (DNS rebinding), but no number. */
static bool api_host_ok(const struct api *api, const struct request *r)
{
	struct span asked = r->forwarded_host.n > 0 ? r->forwarded_host : r->host, host;
	unsigned port = 0;
	if (asked.n == 0) /* HTTP/1.0, which no browser speaks */
		return true;
	return authority_split(asked, &host, &port) &&
	       (authority_is_number(host) || span_eq_nocase(host, SPAN("localhost")) ||
		(api->hosts != NULL && authority_listed(api->hosts, asked)));
}

/* What a page of another origin sends is no request of the one whom the browser belongs to. */
static bool api_origin_ok(struct api_call *call)
{
	struct request *r = call->request;
	r->secure = r->secure || conn_is_secure(call->conn);
	return span_eq(r->method, SPAN("GET")) || span_eq(r->method, SPAN("HEAD")) ||
	       (request_header_count(r, "Origin") <= 1 && upgrade_origin_ok(r, NULL, 0));
}

/* Where nobody needs a token it is as nobody but this machine comes; a proxy brings others. */
static bool api_is_relayed(const struct request *r)
{
	return request_header_count(r, "Forwarded") > 0 ||
	       request_header_count(r, "X-Forwarded-For") > 0 || request_header_count(r, "Via") > 0;
}

/* RFC 6750 2.1. n 0: there is none. */
static struct span api_bearer(const struct request *r)
{
	struct span v = request_header(r, "Authorization");
	if (request_header_count(r, "Authorization") != 1 || v.n < 7 ||
	    !span_eq_nocase((struct span){v.p, 7}, SPAN("Bearer ")))
		return (struct span){NULL, 0};
	for (v.p += 7, v.n -= 7; v.n > 0 && v.p[0] == ' '; v.p++, v.n--)
		;
	return v;
}

/* Says so in the log, too: who refuses may have to find out why. */
static bool api_turn_away(struct api_call *call, int status, struct span head, const char *why)
{
	call->api->hub->loop->stats.api_refused++;
	answer_note(call->conn, LOG_NOTICE, LOG_API, call->request, status, why,
		    (struct span){NULL, 0});
	api_call_error(call->conn, status, head, why);
	return false;
}

static bool api_knows(struct api_call *call)
{
	struct api_tokens *tokens = &call->api->tokens;
	struct span token = api_bearer(call->request);
	if ((call->route->is & API_ROUTE_OPEN) != 0)
		return true;
	if (!api_token_find(tokens, token, &call->grant))
		call->grant.visitor = visitors_know(&call->api->visitors, token,
						    loop_now(call->api->hub->loop), call->grant.id);
	if (!call->grant.all && !call->grant.visitor && call->grant.which == 0)
		return api_turn_away(
			call, 401,
			token.n == 0
				? SPAN("WWW-Authenticate: Bearer realm=\"tova\"\r\n")
				: SPAN("WWW-Authenticate: Bearer realm=\"tova\", error=\"invalid_token\"\r\n"),
			token.n == 0 ? "a token is needed: Authorization: Bearer TOKEN"
				     : "the token is wrong");
	if (call->grant.all && api_is_relayed(call->request))
		return api_turn_away(call, 403, (struct span){NULL, 0},
				     "this came through a proxy, for which --api-token is needed");
	if ((call->route->is & API_ROUTE_MOUNT) != 0 &&
	    api_token_may_somewhere(tokens, &call->grant, call->route->scope))
		return true;
	return api_call_may(call, call->route->scope, NULL);
}

/* Bodies are taken as they are. */
static bool api_is_coded(const struct request *r)
{
	struct span coding = request_header(r, "Content-Encoding");
	return coding.n > 0 && !span_eq_nocase(coding, SPAN("identity"));
}

/* All that the head decides. False: it was answered. */
static bool api_admits(struct api_call *call)
{
	if (!api_host_ok(call->api, call->request))
		return api_turn_away(call, 421, (struct span){NULL, 0},
				     "nothing is served under this name: see --api-host");
	if (!api_find(call))
		return false;
	if (!api_origin_ok(call))
		return api_turn_away(call, 403, (struct span){NULL, 0},
				     "pages of this origin may not ask for that");
	if (!api_knows(call))
		return false;
	if (!api_is_coded(call->request))
		return true;
	api_call_refuse(call, 415, "a Content-Encoding; expected a body as it is");
	return false;
}

/* --- what conns tell -------------------------------------------------------------------------- */

static struct api_call api_call_of(void *ctx, struct conn *c, struct request *r)
{
	struct api_door *door = ctx;
	CHECK(door->magic == CHECK_API_DOOR && loop_is_own(c->conns->loop));
	return (struct api_call){.api = door->api,
				 .routes = api_routes,
				 .n_routes = API_ROUTES,
				 .door = door,
				 .conn = c,
				 .request = r};
}

static bool api_on_body(void *ctx, struct conn *c, struct request *r, uint64_t *max_r)
{
	struct api_call call = api_call_of(ctx, c, r);
	*max_r = call.api->body_max;
	return api_admits(&call);
}

/* A body that is empty has a length. */
static bool api_has_length(const struct request *r)
{
	return r->has_body || request_header_count(r, "Content-Length") > 0;
}

/* --- repeated ones ---------------------------------------------------------------------------- */

/* Whoever has asked the same by this key is told what he was told. False: it was answered. */
static bool api_is_new(struct api_call *call, const struct idempotency_request *asked)
{
	struct api *api = call->api;
	bool same;
	uint64_t now = loop_now(api->hub->loop);
	const struct idempotency_done *before =
		idempotency_find(&api->idempotency, asked, now, &same);
	if (before == NULL) {
		call->once = idempotency_begin(&api->idempotency, asked, now);
		if (call->once == NULL)
			api_call_refuse(call, 503, "no memory for an Idempotency-Key");
	} else if (!same) {
		api_call_refuse(call, 422, "this Idempotency-Key was that of another request");
	} else if (before->status == 0) {
		api_call_refuse(call, 409, "a request with this Idempotency-Key is still being done");
	} else {
		api_call_answer_text(call, before->status, (struct span){NULL, 0},
				     idempotency_answer(before));
	}
	return call->once != NULL;
}

/* Is it for this run of the host? What was given to the one before must not be done again by this
 * one, which can not know that it was done. */
static bool api_is_for_this_run(const struct api_call *call)
{
	char run[API_RUN_TEXT];
	struct span asked = request_header(call->request, "Tova-Instance");
	return asked.p == NULL || span_eq(asked, span_of(api_call_run(call, run)));
}

/* False: it was answered. */
static bool api_is_to_be_done(struct api_call *call)
{
	const struct request *r = call->request;
	struct span key = request_header(r, "Idempotency-Key");
	struct idempotency_request asked;
	if (!api_is_for_this_run(call)) {
		api_call_refuse(call, 412,
				"this is another run of the host than the one that is asked for");
		return false;
	}
	if (key.p == NULL || strcmp(call->route->method, "GET") == 0)
		return true;
	if (request_header_count(r, "Idempotency-Key") > 1 || key.n == 0 ||
	    key.n > IDEMPOTENCY_KEY_MAX)
		api_call_refuse(call, 400,
				"an Idempotency-Key has 1 to %d characters, and comes once",
				IDEMPOTENCY_KEY_MAX);
	else if (!idempotency_request_make(&asked, call->grant.id, key, r->method, r->path,
					   r->body))
		api_call_refuse(call, 503, "no memory for an Idempotency-Key");
	else
		return api_is_new(call, &asked);
	return false;
}

static void api_request(void *ctx, struct conn *c, struct request *r)
{
	struct api_call call = api_call_of(ctx, c, r);
	call.api->hub->loop->stats.api_requests++;
	if (!api_admits(&call))
		return;
	if ((call.route->is & API_ROUTE_BODY) != 0 && !api_has_length(r))
		api_call_refuse(&call, 411, "a body is needed, and so is its Content-Length");
	else if (api_is_to_be_done(&call))
		call.route->run(&call);
	CHECK(call.once == NULL); /* it is answered, or nobody could be told what became of it */
}

/* What it takes counts as what lists take of the turn: they wait for the next one then. */
static void api_on_request(void *ctx, struct conn *c, struct request *r)
{
	struct api *api = ((struct api_door *)ctx)->api;
	struct api_clock began = api_clock_begin();
	api_request(ctx, c, r);
	api_clock_end(api, &began);
}

static void api_on_upgrade(void *ctx, struct conn *c, struct request *r)
{
	(void)ctx;
	answer_refuse(c, LOG_API, r, 404, (struct span){NULL, 0},
		      "there is no WebSocket here: clients connect at an address of --listen");
}

const struct conn_ops api_conn_ops = {.upgrade = api_on_upgrade,
				      .request = api_on_request,
				      .body = api_on_body,
				      .withdrawn = api_late_withdrawn,
				      .error = api_call_error};

static void api_on_turn(void *arg)
{
	struct api *api = arg;
	CHECK_IS(api, CHECK_API);
	if (api->cpu_us > api->longest_us)
		api->longest_us = api->cpu_us;
	api->spent_us = api->cpu_us = 0;
}

void api_init(struct api *api, struct hub *hub, struct readiness *readiness,
	      const struct settings *settings, const struct api_manage_actions *manage)
{
	*api = (struct api){.magic = CHECK_API,
			    .hub = hub,
			    .readiness = readiness,
			    .settings = settings,
			    .manage = *manage};
	LIST_INIT(&api->lates);
	idempotency_init(&api->idempotency, &hub->key);
	api->hook = (struct loop_hook){.run = api_on_turn, .arg = api};
	loop_add_hook(hub->loop, &api->hook);
}

void api_free(struct api *api)
{
	loop_remove_hook(api->hub->loop, &api->hook);
	loop_lag_stop(&api->lag);
	api_late_free_all(api);
	api_token_free(&api->tokens);
	free(api->hosts);
	idempotency_free(&api->idempotency);
	codec_batch_free(&api->batch);
	codec_free(&api->out);
}
