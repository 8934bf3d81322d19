/* http: requests to a host's API, on libcurl. */
#ifndef TOVA_CTL_HTTP_H
#define TOVA_CTL_HTTP_H

#include <curl/curl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Where the API is. */
struct http_place {
	const char *url;	/* http://, https://, or unix:/PATH */
	const char *token_file; /* NULL: none is needed */
	const char *ca;		/* PEM file of whom to trust; NULL: whom the system trusts */
};

struct http {
	CURL *curl;
	struct curl_slist *headers;
	char *base;	  /* of each URL, without a slash at its end */
	const char *name; /* for people */
	bool timed_out;
	unsigned long nobody; /* names of the last request that are nobody's, as its answer says */
	char why[512];	      /* what went wrong, a sentence; empty: nothing */
	char curl_why[CURL_ERROR_SIZE];
};

struct http_request {
	const char *method;
	const char *path; /* behind /api/v1/, escaped; with what stands behind a ? */
	const char *body; /* NULL: none */
	size_t n;
};

/* Nothing is connected yet. False: h->why. */
bool http_open(struct http *h, const struct http_place *place, int timeout_ms);
/* Asks and waits for the answer, an object, and its status. NULL: h->why. */
json_t *http_ask(struct http *h, const struct http_request *r, long *status_r);
/* Asks for a path and hands over each line of the answer, an object, as it comes, until `each` says
 * true: that was enough. *status_r is not 200: the answer is one object, returned, that says why.
 * NULL: the answer has ended, or h->why. */
json_t *http_follow(struct http *h, const char *path, bool (*each)(void *ctx, json_t *line),
		    void *ctx, long *status_r);
/* A piece of a path or of a query, escaped; to be freed with curl_free. NULL without memory. */
char *http_escape(struct http *h, const char *text);
void http_close(struct http *h);

#endif
