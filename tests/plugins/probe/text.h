/* text: one that grows, mostly JSON for a test to read. Begins as {0}. */
#ifndef PROBE_TEXT_H
#define PROBE_TEXT_H

#include <stddef.h>

#include "tova_plugin.h"

struct text {
	char *p; /* malloc, with a NUL behind it */
	size_t n, cap;
};

void text_bytes(struct text *t, const void *p, size_t n);
/* At most 1,023 bytes at once. */
__attribute__((format(printf, 2, 3))) void text_add(struct text *t, const char *format, ...);
/* In quotes, escaped. */
void text_json(struct text *t, const char *p, size_t n);
void text_string(struct text *t, const char *p);
/* Behind another member; NULL is null. */
void text_member(struct text *t, const char *key, const char *value);
void text_ws(struct text *t, tova_mount *m, tova_ws ws);

/* An object that begins with what happened to whom; text_report ends it. */
struct text text_event(tova_mount *m, const char *event, tova_ws ws);
/* Tells the observers, and the log, whose lines stay even when the callback fails. Ends the object
 * and frees it. */
void text_report(tova_mount *m, struct text *t);
/* Sends it and frees it; what the host's function returned. */
int text_send(tova_mount *m, tova_ws ws, struct text *t);

#endif
