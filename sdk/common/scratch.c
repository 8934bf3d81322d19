#include "common/scratch.h"

#include <stdlib.h>

#include "common/json.h"

struct scratch_text {
	struct scratch_text *next;
	char bytes[];
};

const char *scratch_quote(struct scratch *s, const char *text, size_t len, int *limit_r)
{
	size_t size = len < SCRATCH_BYTES_MAX ? json_escaped_size(text, len) + 1 : len;
	*limit_r = size > SCRATCH_BYTES_MAX - s->bytes;
	struct scratch_text *made = *limit_r ? NULL : malloc(sizeof *made + size);
	if (made == NULL)
		return NULL;
	made->bytes[json_escape(made->bytes, text, len)] = '\0';
	made->next = s->first;
	s->first = made;
	s->bytes += size;
	return made->bytes;
}

void scratch_clear(struct scratch *s)
{
	for (struct scratch_text *made; (made = s->first) != NULL; free(made))
		s->first = made->next;
	s->bytes = 0;
}
