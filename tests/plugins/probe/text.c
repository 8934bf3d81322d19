/* text: one that grows, mostly JSON for a test to read. */
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "probe.h"

void text_bytes(struct text *t, const void *p, size_t n)
{
	if (t->n + n + 1 > t->cap) {
		t->cap = (t->n + n + 1) * 2;
		t->p = realloc(t->p, t->cap);
	}
	memcpy(t->p + t->n, p, n);
	t->n += n;
	t->p[t->n] = '\0';
}

void text_add(struct text *t, const char *format, ...)
{
	char piece[1024];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(piece, sizeof piece, format, args);
	va_end(args);
	text_bytes(t, piece, n < (int)sizeof piece ? (size_t)n : sizeof piece - 1);
}

void text_json(struct text *t, const char *p, size_t n)
{
	text_add(t, "\"");
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)p[i] < 0x20 || p[i] == '"' || p[i] == '\\' || p[i] == 0x7f)
			text_add(t, "\\u%04x", (unsigned char)p[i]);
		else
			text_bytes(t, p + i, 1);
	}
	text_add(t, "\"");
}

void text_string(struct text *t, const char *p)
{
	text_json(t, p, strlen(p));
}

void text_member(struct text *t, const char *key, const char *value)
{
	text_add(t, ",\"%s\":", key);
	if (value == NULL)
		text_add(t, "null");
	else
		text_string(t, value);
}

void text_ws(struct text *t, tova_mount *m, tova_ws ws)
{
	char id[TOVA_WS_TEXT];
	text_add(t, "\"%s\"", tova_ws_text(m, ws, id));
}

struct text text_event(tova_mount *m, const char *event, tova_ws ws)
{
	struct text t = {NULL, 0, 0};
	text_add(&t, "{\"event\":\"%s\",\"ws\":", event);
	text_ws(&t, m, ws);
	return t;
}

int text_send(tova_mount *m, tova_ws ws, struct text *t)
{
	tova_payload p = tova_text_n(t->p, t->n);
	int result = tova_send_payload(m, ws, &p);
	free(t->p);
	return result;
}

/* Tells the observers, and the log, whose lines stay even when the callback fails. Ends the object
 * and frees it. */
void text_report(tova_mount *m, struct text *t)
{
	text_add(t, "}");
	tova_payload p = tova_text_n(t->p, t->n);
	tova_broadcast_payload_to(m, "observers", &p, TOVA_NONE);
	if (probe_of(m)->log_events)
		tova_log(m, TOVA_LOG_NOTICE, "%s", t->p);
	free(t->p);
}
