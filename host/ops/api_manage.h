/* api_manage: what is done to the host and its handlers over HTTP: reload, drain, dead letters. */
#ifndef TOVA_OPS_API_MANAGE_H
#define TOVA_OPS_API_MANAGE_H

#include "ops/api_call.h"

/* {"mount":…,"wait":true}, or nothing: all is read again, or one mount's handler; with wait it is
 * answered when that came up (200), or did not (500). */
void api_manage_reload(struct api_call *call);
void api_manage_drain(struct api_call *call);
/* Those that were not given back. */
void api_manage_letters(struct api_call *call);
/* {"mount":…,"id":…}: gives them back; without id all, of the mount or of all. */
void api_manage_replay(struct api_call *call);

#endif
