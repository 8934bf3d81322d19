/* script_option: what stands in front of a script's command, as NAME=VALUE: conditions of a join,
 * and who is left out of a broadcast, or meant besides. */
#ifndef TOVA_HANDLER_SCRIPT_SCRIPT_OPTION_H
#define TOVA_HANDLER_SCRIPT_SCRIPT_OPTION_H

#include "handler/script/script_parts.h"

struct script_options {
	bool judged, selects;
	struct commit_conditions conditions;
	struct selection others; /* further rooms, and who is left out */
};

/* None yet. */
void script_option_init(struct script_options *options);
/* Takes those off the front that there are, and adds them; other words are left. NULL, or what is
 * wrong: a static sentence. */
const char *script_option_read(const struct script *x, struct span *rest,
			       struct script_options *options);
/* To the command that was added last, which is one that they are for. NULL, or what is wrong. */
const char *script_option_apply(struct commit *c, const struct script_options *options);

#endif
