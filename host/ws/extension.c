#include "ws/extension.h"

#include "common/header.h"

static void extension_skip_space(struct span *s)
{
	while (s->n > 0 && (s->p[0] == ' ' || s->p[0] == '\t'))
		s->p++, s->n--;
}

/* Takes a token off the front of s, with white space around it; an empty one if there is none. */
static struct span extension_take_token(struct span *s)
{
	struct span token;

	extension_skip_space(s);
	token = (struct span){s->p, 0};
	while (token.n < s->n && header_is_token((struct span){s->p + token.n, 1}))
		token.n++;
	s->p += token.n;
	s->n -= token.n;
	extension_skip_space(s);
	return token;
}

/* A value is a token, or a quoted string that holds one; an empty result is wrong. */
static struct span extension_take_value(struct span *s)
{
	struct span value;
	size_t n = 1;

	extension_skip_space(s);
	if (s->n == 0 || s->p[0] != '"')
		return extension_take_token(s);
	for (; n < s->n && s->p[n] != '"'; n++) {
		if (s->p[n] == '\\')
			n++;
		if (n == s->n || !header_is_token((struct span){s->p + n, 1}))
			return (struct span){0};
	}
	if (n >= s->n)
		return (struct span){0};
	value = (struct span){s->p + 1, n - 1};
	s->p += n + 1;
	s->n -= n + 1;
	extension_skip_space(s);
	return value;
}

struct request_walk extension_walk(const struct request *r)
{
	return (struct request_walk){.r = r, .name = SPAN("Sec-WebSocket-Extensions")};
}

bool extension_next(struct request_walk *w, struct span *name_r, struct span *params_r)
{
	if (!request_walk_next(w, params_r))
		return false;
	*name_r = extension_take_token(params_r);
	return true;
}

bool extension_param_next(struct span *params, struct extension_param *param_r)
{
	struct span s = *params;

	*param_r = (struct extension_param){0};
	if (s.n == 0 || s.p[0] != ';')
		return false;
	s.p++, s.n--;
	param_r->name = extension_take_token(&s);
	if (param_r->name.n == 0)
		return false;
	if (s.n > 0 && s.p[0] == '=') {
		s.p++, s.n--;
		param_r->value = extension_take_value(&s);
		if (param_r->value.n == 0)
			return false;
	}
	if (s.n > 0 && s.p[0] != ';')
		return false;
	*params = s;
	return true;
}
