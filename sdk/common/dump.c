#include "common/dump.h"

#include <stdlib.h>

char *dump_text(const json_t *value, size_t flags)
{
	size_t n = value != NULL ? json_dumpb(value, NULL, 0, flags) : 0;
	char *text = n > 0 ? malloc(n + 1) : NULL;
	if (text == NULL)
		return NULL;
	/* Less than before if there was no memory in the middle. */
	if (json_dumpb(value, text, n, flags) != n) {
		free(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}
