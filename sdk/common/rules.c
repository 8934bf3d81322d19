#include "common/rules.h"

#include "common/utf8.h"

bool rules_name_ok(struct span name)
{
	return name.p != NULL && name.n >= 1 && name.n <= RULES_NAME_MAX &&
	       memchr(name.p, '\0', name.n) == NULL && utf8_valid(name.p, name.n);
}

/* 1004 is reserved, 1005, 1006 and 1015 are for local use, 1012 to 1014 came with the IANA
 * registry. */
bool rules_close_code_ok(unsigned code)
{
	return code == 1000 || code == 1001 || code == 1003 || (code >= 1007 && code <= 1014) ||
	       (code >= 3000 && code <= 4999);
}

bool rules_close_ok(unsigned code, struct span reason)
{
	return (code == 0 ? reason.n == 0 : rules_close_code_ok(code)) &&
	       reason.n <= RULES_REASON_MAX && (reason.p != NULL || reason.n == 0);
}
