/* api_schemas: what bodies and answers of the API look like, as JSON Schema (2020-12). What the
 * tests are answered is held against it. */
#ifndef TOVA_OPS_API_SCHEMAS_H
#define TOVA_OPS_API_SCHEMAS_H

#include <stddef.h>

/* json: with ' for ", as no text in it has one. */
struct api_schema {
	const char *name, *json;
};
extern const struct api_schema api_schemas[];
extern const size_t api_schemas_n;

/* Parameters of queries. */
struct api_parameter {
	const char *name, *about, *json;
};
extern const struct api_parameter api_parameters[];
extern const size_t api_parameters_n;

#endif
