/* event: an event of the host becomes a call of the handler. */
#ifndef TOVA_SDK_EVENT_H
#define TOVA_SDK_EVENT_H

#include "c/task.h"

/* What the handler wants to hear of, as the members of an array in JSON. */
void event_write_wants(const tova_plugin *plugin, struct buffer *b);

/* Does a message of this type bring an event? */
bool event_is(const char *type);

/* Calls the handler for the event that the task has begun. Returns its result. */
int event_call(struct task *t, const tova_plugin *plugin);
/* The same for a message, whose bytes have a writable one behind them. */
int event_call_message(struct task *t, const tova_plugin *plugin, bool binary, void *bytes,
		       size_t len);

#endif
