/* reply: the host's answer to a query in the form that handlers see. */
#ifndef TOVA_SDK_REPLY_H
#define TOVA_SDK_REPLY_H

#include <jansson.h>

#include "c/pending.h"
#include "c/task.h"

/* Calls the plugin's on_reply in this task. Returns its result. */
int reply_deliver(struct task *t, const tova_plugin *plugin, const struct query *query,
		  const json_t *json);

#endif
