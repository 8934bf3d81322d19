/* api_params: what the query of a request's target asks for: ?mount=/chat&limit=10. */
#ifndef TOVA_OPS_API_PARAMS_H
#define TOVA_OPS_API_PARAMS_H

#include "ops/api_call.h"

#define API_PARAMS_MAX 8
#define API_PARAMS_BYTES 2048
/* Items of one page of a list. */
#define API_PAGE 100
#define API_PAGE_MAX 10000

struct api_params {
	struct span values[API_PARAMS_MAX]; /* in the order of the route's; p NULL: not given */
	char bytes[API_PARAMS_BYTES];
};

/* Reads it: each of the route's names at most once, and no other. False: it was answered. */
bool api_params_read(struct api_call *call, struct api_params *p);
/* A whole number up to most; `initial` if it is not given. False: it was answered. */
bool api_params_number(struct api_call *call, const char *name, struct span value, uint64_t initial,
		       uint64_t most, uint64_t *number_r);
/* The mount of that path; NULL where none is named. False: it was answered, as there is no such
 * one, or this token may not read it. */
bool api_params_mount(struct api_call *call, struct span path, struct mount **mount_r);

#endif
