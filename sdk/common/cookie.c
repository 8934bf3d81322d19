#include "common/cookie.h"

bool cookie_next(struct span *rest, struct span *name_r, struct span *value_r)
{
	while (rest->n > 0) {
		struct span value = span_trim(span_cut(rest, ';'));
		struct span name = span_cut(&value, '=');
		if (name.n == 0)
			continue;
		*name_r = name;
		*value_r = value;
		return true;
	}
	return false;
}
