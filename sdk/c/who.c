#include "c/who.h"

#include <stdlib.h>
#include <string.h>

void who_set(struct who *who, enum who_text which, const char *text)
{
	who->has[which] = text != NULL;
	if (text != NULL && who->text[which] != NULL && strcmp(text, who->text[which]) == 0)
		return;
	free(who->text[which]);
	who->text[which] = text != NULL ? strdup(text) : NULL;
}

void who_copy(struct who *to, const struct who *from)
{
	for (int i = 0; i < WHO_TEXTS; i++) {
		who_set(to, (enum who_text)i, from->text[i]);
		to->has[i] = from->has[i];
	}
}

bool who_is_whole(const struct who *who)
{
	for (int i = 0; i < WHO_TEXTS; i++)
		if (who->has[i] && who->text[i] == NULL)
			return false;
	return true;
}

void who_clear(struct who *who)
{
	for (int i = 0; i < WHO_TEXTS; i++)
		who_set(who, (enum who_text)i, NULL);
}
