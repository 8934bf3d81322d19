#include "ops/api_params.h"

#include <stdio.h>

#include "base/check.h"
#include "ops/named_mount.h"

/* "a, b and c" */
static void api_params_names(const char *const *names, size_t n, char text[256])
{
	size_t at = 0;
	text[0] = '\0';
	for (size_t i = 0; i < n && at < 200; i++)
		at += (size_t)snprintf(text + at, 256 - at, "%s%s",
				       i == 0	    ? ""
				       : i + 1 == n ? " and "
						    : ", ",
				       names[i]);
}

static bool api_params_unknown(struct api_call *call, const char *const *names, size_t n,
			       struct span name)
{
	char known[256];
	api_params_names(names, n, known);
	if (n > 0)
		api_call_refuse(call, 400, "\"%.*s\" is no name of a parameter here; expected %s",
				name.n < 64 ? (int)name.n : 64, name.p, known);
	else
		api_call_refuse(call, 400, "this takes no parameters, but got \"%.*s\"",
				name.n < 64 ? (int)name.n : 64, name.p);
	return false;
}

/* As forms write it: a plus is a space. Returns its length, or -1. */
static long api_params_decode(struct span raw, char *dst, size_t cap)
{
	char plain[API_PARAMS_BYTES];
	if (raw.n > sizeof plain)
		return -1;
	for (size_t i = 0; i < raw.n; i++)
		plain[i] = raw.p[i] == '+' ? ' ' : raw.p[i];
	return request_decode((struct span){plain, raw.n}, dst, cap);
}

static bool api_params_add(struct api_call *call, const char *const *names, size_t n,
			   struct span pair, struct api_params *p, size_t *used)
{
	const char *equals = memchr(pair.p, '=', pair.n);
	struct span name = {pair.p, equals != NULL ? (size_t)(equals - pair.p) : pair.n}, value;
	size_t i = 0;
	while (i < n && !span_eq(name, span_of(names[i])))
		i++;
	if (i == n)
		return api_params_unknown(call, names, n, name);
	value = equals != NULL ? (struct span){equals + 1, pair.n - name.n - 1} : SPAN("");
	long len = api_params_decode(value, p->bytes + *used, sizeof p->bytes - *used);
	if (len < 0 || p->values[i].p != NULL) {
		api_call_refuse(
			call, 400,
			len < 0 ? "the parameter %s can not be read: a bad escape, or too long"
				: "the parameter %s comes twice",
			names[i]);
		return false;
	}
	p->values[i] = (struct span){p->bytes + *used, (size_t)len};
	*used += (size_t)len;
	return true;
}

bool api_params_read(struct api_call *call, struct api_params *p)
{
	const char *const *names = call->route->params;
	struct span rest = call->request->query;
	size_t used = 0, n = 0;
	while (names != NULL && names[n] != NULL)
		n++;
	CHECK(n <= API_PARAMS_MAX);
	for (size_t i = 0; i < API_PARAMS_MAX; i++)
		p->values[i] = (struct span){NULL, 0};
	while (rest.n > 0) {
		const char *end = memchr(rest.p, '&', rest.n);
		struct span pair = {rest.p, end != NULL ? (size_t)(end - rest.p) : rest.n};
		size_t skip = pair.n + (end != NULL);
		if (pair.n > 0 && !api_params_add(call, names, n, pair, p, &used))
			return false;
		rest = (struct span){rest.p + skip, rest.n - skip};
	}
	return true;
}

bool api_params_number(struct api_call *call, const char *name, struct span value, uint64_t initial,
		       uint64_t most, uint64_t *number_r)
{
	uint64_t number = 0;
	bool ok = value.n > 0 && value.n <= 19;
	*number_r = initial;
	if (value.p == NULL)
		return true;
	for (size_t i = 0; ok && i < value.n; i++) {
		ok = value.p[i] >= '0' && value.p[i] <= '9';
		number = number * 10 + (uint64_t)(value.p[i] - '0');
	}
	if (ok && number <= most) {
		*number_r = number;
		return true;
	}
	api_call_refuse(call, 400, "%s is \"%.*s\"; expected a whole number up to %llu", name,
			value.n < 64 ? (int)value.n : 64, value.p, (unsigned long long)most);
	return false;
}

bool api_params_mount(struct api_call *call, struct span path, struct mount **mount_r)
{
	*mount_r = NULL;
	if (path.p == NULL)
		return true;
	*mount_r = api_call_mount(call, path);
	return *mount_r != NULL && api_call_may(call, API_SCOPE_READ, *mount_r);
}
