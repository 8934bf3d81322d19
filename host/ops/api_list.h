/* api_list: answers of any length: written an item after the other while they are sent, so that
 * neither memory nor a turn of the loop grows with them.
 *
 * Between two items anything may happen: connections and rooms come and go. So a list keeps numbers
 * and names, no pointers.
 */
#ifndef TOVA_OPS_API_LIST_H
#define TOVA_OPS_API_LIST_H

#include "ops/api_call.h"

enum api_list_found {
	API_LIST_ITEM,	  /* it was appended, or several with a comma between them */
	API_LIST_NOTHING, /* what was looked at is none: go on */
	API_LIST_END,	  /* there are no more */
};

struct api_list {
	/* Looks at what comes next, a little of it: where few of many are items, it says so in
	 * between.
	 */
	enum api_list_found (*next)(void *ctx, struct codec_out *o);
	/* What follows the array: members, each with a comma before it. May be NULL. */
	void (*end)(void *ctx, struct codec_out *o);
	/* Exactly once. */
	void (*free)(void *ctx);
	void *ctx;
};

/* Answers with {"name":[item,…]}. Takes the list over. */
void api_list_answer(struct api_call *call, const char *name, const struct api_list *list);
/* Answers with the items as they are, one behind the other: lines of text. */
void api_list_answer_text(struct api_call *call, const char *type, const struct api_list *list);

#endif
