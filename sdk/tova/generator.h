/* generator: a checked tree to Lua. */
#ifndef TOVA_SDK_GENERATOR_H
#define TOVA_SDK_GENERATOR_H

#include "common/buffer.h"
#include "tova/checker.h"

/* What is generated is a function of (B, T, H, K, S, R):
 *	B	the library by name; T the program's names; H its handlers, from 1
 *	K	the key under which an object keeps the order of its keys
 *	S	orders of keys that the text of the program says, from 1, made by it
 *	R	helpers by name, see runtime.h
 * Each of its functions has an argument in front that counts for methods only, so that a call with
 * and without a receiver are one. Each operation that can fail stands in a line of its own. */
struct generated {
	struct buffer lua;
	struct position *lines; /* lines[i] is where line i of the Lua text comes from; malloc'd */
	size_t n_lines;
};

/* False without memory. What is in *g_r is the caller's to free either way. */
bool generator_write(const struct node *program, const struct checker_found *found,
		     struct generated *g_r);
void generated_free(struct generated *g);

#endif
