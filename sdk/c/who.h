/* who: what is known of whoever is at the other end of a connection, as texts. */
#ifndef TOVA_SDK_WHO_H
#define TOVA_SDK_WHO_H

#include <stdbool.h>

enum who_text {
	WHO_SUBJECT,
	WHO_USER,
	WHO_INFO,
	WHO_CLAIMS,
	WHO_TRACEPARENT,
	WHO_TRACESTATE,
	WHO_TEXTS
};

/* All zero: nothing is known. */
struct who {
	bool has[WHO_TEXTS];
	char *text[WHO_TEXTS]; /* NULL where there is one: there was no memory for it */
};

/* Becomes a copy. What is the same already is left as it is. */
void who_copy(struct who *to, const struct who *from);
/* NULL: there is none. */
void who_set(struct who *who, enum who_text which, const char *text);
/* Was there memory for all of it? */
bool who_is_whole(const struct who *who);
void who_clear(struct who *who);

#endif
