#include "ops/api_openapi.h"

#include <ctype.h>
#include <stdio.h>

#include "base/check.h"
#include "ops/api_schemas.h"

/* --- pieces ----------------------------------------------------------------------------------- */

/* JSON as it is in the tables: ' is ". */
static void api_openapi_raw(struct codec_out *o, const char *json)
{
	for (const char *p = json; *p != '\0';) {
		size_t n = strcspn(p, "'");
		codec_raw(o, p, n);
		p += n;
		if (*p == '\'') {
			codec_raw(o, "\"", 1);
			p++;
		}
	}
}

static void api_openapi_key(struct codec_out *o, const char *key, bool first)
{
	codec_raw(o, ",", !first);
	codec_string(o, span_of(key));
	codec_raw(o, ":", 1);
}

static void api_openapi_text(struct codec_out *o, const char *key, const char *text, bool first)
{
	api_openapi_key(o, key, first);
	codec_string(o, span_of(text));
}

/* "lines/…": an object in each line. */
static void api_openapi_content(struct codec_out *o, const char *schema, size_t n)
{
	bool lines = n > 6 && strncmp(schema, "lines/", 6) == 0;
	schema += lines ? 6 : 0;
	n -= lines ? 6 : 0;
	api_openapi_raw(o, lines ? "'content':{'application/x-ndjson':"
				 : "'content':{'application/json':");
	api_openapi_raw(o, "{'schema':{'$ref':'#/components/schemas/");
	codec_raw(o, schema, n);
	api_openapi_raw(o, "'}}}");
}

/* --- an operation ----------------------------------------------------------------------------- */

/* "get_connections_id" */
static void api_openapi_id(const struct api_route *route, char id[96])
{
	const char *from =
		strncmp(route->path, "/api/v1/", 8) == 0 ? route->path + 8 : route->path + 1;
	size_t n = 0;
	for (const char *p = route->method; *p != '\0' && n < 16; p++)
		id[n++] = (char)tolower((unsigned char)*p);
	id[n++] = '_';
	for (const char *p = from; *p != '\0' && n < 80; p++) {
		if (*p == '*')
			n += (size_t)snprintf(id + n, 3, "id");
		else
			id[n++] = *p == '/' || *p == '.' ? '_' : *p;
	}
	id[n] = '\0';
}

static const struct api_parameter *api_openapi_parameter(const char *name)
{
	size_t i = 0;
	while (i < api_parameters_n && strcmp(api_parameters[i].name, name) != 0)
		i++;
	CHECK(i < api_parameters_n);
	return &api_parameters[i];
}

static void api_openapi_put_parameter(struct codec_out *o, const char *name, bool path, bool first)
{
	const struct api_parameter *p = api_openapi_parameter(name);
	codec_raw(o, ",{", first ? 0 : 2);
	codec_raw(o, "{", first);
	api_openapi_text(o, "name", name, true);
	api_openapi_text(o, "in", path ? "path" : "query", false);
	api_openapi_text(o, "description", p->about, false);
	api_openapi_raw(o, path ? ",'required':true,'schema':" : ",'schema':");
	api_openapi_raw(o, p->json);
	codec_raw(o, "}", 1);
}

static void api_openapi_parameters(struct codec_out *o, const struct api_route *route)
{
	bool path = strchr(route->path, '*') != NULL;
	api_openapi_raw(o, ",'parameters':[");
	if (path)
		api_openapi_put_parameter(o, "id", true, true);
	for (size_t i = 0; route->params != NULL && route->params[i] != NULL; i++)
		api_openapi_put_parameter(o, route->params[i], false, i == 0 && !path);
	codec_raw(o, "]", 1);
}

/* "200:Reloaded 202:Begun" */
static void api_openapi_responses(struct codec_out *o, const struct api_route *route)
{
	api_openapi_raw(o, ",'responses':{");
	for (const char *p = route->gives; *p != '\0'; p += strspn(p, " ")) {
		size_t n = strcspn(p, " ");
		codec_raw(o, "\"", 1);
		codec_raw(o, p, 3);
		api_openapi_raw(o, "':{'description':");
		codec_string(o, span_of(request_status_text(atoi(p))));
		codec_raw(o, ",", 1);
		if (strncmp(p + 4, "text", n - 4) == 0)
			api_openapi_raw(o, "'content':{'text/plain':{'schema':{'type':'string'}}}");
		else
			api_openapi_content(o, p + 4, n - 4);
		codec_raw(o, "},", 2);
		p += n;
	}
	api_openapi_raw(o, "'default':{'description':'it was refused, and this is why',");
	api_openapi_content(o, "Error", 5);
	codec_raw(o, "}}", 2);
}

static void api_openapi_operation(struct codec_out *o, const struct api_route *route)
{
	static const char *const scopes[] = {[API_SCOPE_PUBLISH] = "publish",
					     [API_SCOPE_READ] = "read",
					     [API_SCOPE_ADMIN] = "admin"};
	char id[96], method[16] = "";
	for (size_t i = 0; i < sizeof method - 1 && route->method[i] != '\0'; i++)
		method[i] = (char)tolower((unsigned char)route->method[i]);
	api_openapi_id(route, id);
	codec_string(o, span_of(method));
	codec_raw(o, ":{", 2);
	api_openapi_text(o, "operationId", id, true);
	api_openapi_text(o, "summary", route->about, false);
	if ((route->is & API_ROUTE_OPEN) != 0)
		api_openapi_raw(o, ",'security':[]");
	else
		api_openapi_text(o, "x-scope", scopes[route->scope], false);
	api_openapi_parameters(o, route);
	if (route->takes != NULL) {
		api_openapi_raw(o, (route->is & API_ROUTE_BODY) != 0
					   ? ",'requestBody':{'required':true,"
					   : ",'requestBody':{'required':false,");
		api_openapi_content(o, route->takes, strlen(route->takes));
		codec_raw(o, "}", 1);
	}
	api_openapi_responses(o, route);
	codec_raw(o, "}", 1);
}

/* --- all -------------------------------------------------------------------------------------- */

static bool api_openapi_shown(const struct api_call *call, const struct api_route *route)
{
	return route->about != NULL && ((route->is & API_ROUTE_ADMIN) == 0 || call->door->admin);
}

/* The path's first route writes all of it. */
static bool api_openapi_is_first(const struct api_call *call, const struct api_route *route)
{
	const struct api_route *first = call->routes;
	while (strcmp(first->path, route->path) != 0)
		first++;
	return first == route;
}

static void api_openapi_path(struct codec_out *o, const struct api_call *call,
			     const struct api_route *first)
{
	const char *path = first->path, *star = strchr(path, '*');
	bool any = false;
	codec_raw(o, "\"", 1);
	codec_raw(o, path, star != NULL ? (size_t)(star - path) : strlen(path));
	codec_raw(o, "{id}", star != NULL ? 4 : 0);
	codec_raw(o, "\":{", 3);
	for (const struct api_route *r = first; r < call->routes + call->n_routes; r++) {
		if (strcmp(r->path, path) != 0)
			continue;
		codec_raw(o, ",", any);
		api_openapi_operation(o, r);
		any = true;
	}
	codec_raw(o, "}", 1);
}

void api_openapi_answer(struct api_call *call)
{
	struct codec_out *o = api_call_out(call);
	bool any = false;
	api_openapi_raw(
		o, "{'openapi':'3.1.0','info':{'title':'tova-host','version':'" TOVA_VERSION
		   "','description':'Commands for connections and rooms, what there is, and what "
		   "operators do. A scope is what a --api-token is for; admin is for all.'},"
		   "'security':[{'token':[]}],'paths':{");
	for (const struct api_route *r = call->routes; r < call->routes + call->n_routes; r++) {
		if (!api_openapi_shown(call, r) || !api_openapi_is_first(call, r))
			continue;
		codec_raw(o, ",", any);
		api_openapi_path(o, call, r);
		any = true;
	}
	api_openapi_raw(
		o, "},'components':{'securitySchemes':{'token':{'type':'http','scheme':'bearer'}},"
		   "'schemas':{");
	for (size_t i = 0; i < api_schemas_n; i++) {
		api_openapi_key(o, api_schemas[i].name, i == 0);
		api_openapi_raw(o, api_schemas[i].json);
	}
	codec_raw(o, "}}}", 3);
	api_call_answer(call, 200, (struct span){NULL, 0});
}
