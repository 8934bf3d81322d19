/* connection: one of them, as those who look after hosts see it. */
#ifndef TOVA_OPS_CONNECTION_H
#define TOVA_OPS_CONNECTION_H

#include "handler/worker/codec.h"
#include "hub/hub.h"

/* An object: whose it is, where it came from, how long it has been there, and what waits for it. */
void connection_describe(struct session *s, struct codec_out *o);
/* Does it read too slowly? */
bool connection_is_slow(const struct session *s);

#endif
