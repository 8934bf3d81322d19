#include "net/health.h"

#include <stdio.h>

#include "net/answer.h"

#define HEALTH_METHODS "Allow: GET, HEAD, OPTIONS\r\n"

void health_init(struct health *h)
{
	*h = (struct health){.ready = false};
	pthread_mutex_init(&h->lock, NULL);
}

void health_free(struct health *h)
{
	buffer_free(&h->text);
	pthread_mutex_destroy(&h->lock);
}

void health_set_path(struct health *h, const char *path)
{
	pthread_mutex_lock(&h->lock);
	snprintf(h->path, sizeof h->path, "%s", path != NULL ? path : "");
	pthread_mutex_unlock(&h->lock);
}

void health_set(struct health *h, bool ready, struct span text)
{
	pthread_mutex_lock(&h->lock);
	h->ready = ready;
	if (buffer_reserve(&h->text, text.n)) { /* else what was said before is */
		buffer_drop(&h->text, h->text.n);
		buffer_append(&h->text, text.p, text.n);
	}
	pthread_mutex_unlock(&h->lock);
}

bool health_is_asked(struct health *h, const struct request *r)
{
	pthread_mutex_lock(&h->lock);
	bool asked = h->path[0] != '\0' && span_eq(r->path, span_of(h->path));
	pthread_mutex_unlock(&h->lock);
	return asked;
}

void health_answer(struct health *h, struct conn *c, const struct request *r)
{
	if (span_eq(r->method, SPAN("OPTIONS"))) {
		answer_respond(c, 204, SPAN(HEALTH_METHODS), NULL, (struct span){0});
		return;
	}
	if (!span_eq(r->method, SPAN("GET")) && !span_eq(r->method, SPAN("HEAD"))) {
		answer_refuse(c, LOG_HTTP, r, 405, SPAN(HEALTH_METHODS),
			      "only GET, HEAD and OPTIONS are for this path");
		return;
	}
	pthread_mutex_lock(&h->lock);
	answer_respond(c, h->ready ? 200 : 503, SPAN("Cache-Control: no-store\r\n"),
		       "application/json", (struct span){h->text.p, h->text.n});
	pthread_mutex_unlock(&h->lock);
}
