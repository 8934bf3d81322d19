/* word: what a script is made of. */
#include "word.h"

#include <stdlib.h>

static int word_hex(int c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* Decodes %XX in place; returns the length. The text still ends in NUL. */
size_t word_unescape(char *s)
{
	char *to = s;
	for (const char *p = s; *p != '\0'; p++) {
		if (p[0] == '%' && word_hex(p[1]) >= 0 && word_hex(p[2]) >= 0) {
			*to++ = (char)(word_hex(p[1]) << 4 | word_hex(p[2]));
			p += 2;
		} else {
			*to++ = *p;
		}
	}
	*to = '\0';
	return (size_t)(to - s);
}

/* Cuts the next word off *rest, still escaped; "" when there is none. */
char *word_next(char **rest)
{
	char *start = *rest, *end = strchr(start, ' ');
	if (end == NULL) {
		*rest = start + strlen(start);
	} else {
		*end = '\0';
		*rest = end + 1;
	}
	return start;
}

uint64_t word_number(char **rest)
{
	return strtoull(word_next(rest), NULL, 10);
}

tova_ws word_ws(struct probe_run *r, char **rest)
{
	const char *id = word_next(rest);
	tova_ws ws = TOVA_NONE;
	if (strcmp(id, "me") == 0)
		return r->me;
	if (strcmp(id, "ghost") == 0)
		return (tova_ws){0x1234, 0x5678};
	if (strcmp(id, "none") != 0 && tova_ws_parse(r->m, id, &ws) != 0)
		tova_log(r->m, TOVA_LOG_WARN, "no connection: %s", id);
	return ws;
}

/* Value of a query parameter, escaped, or NULL; the n-th of that name. To be freed. */
char *word_parameter(const char *query, const char *name, int n)
{
	size_t len = strlen(name);
	for (const char *p = query; p != NULL; p = strchr(p, '&')) {
		p += *p == '&';
		if (strncmp(p, name, len) == 0 && p[len] == '=' && n-- == 0)
			return strndup(p + len + 1, strcspn(p + len + 1, "&"));
	}
	return NULL;
}
