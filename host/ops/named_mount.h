/* named_mount: the mount that somebody names, over HTTP or by tova-ctl, or means without naming it.
 */
#ifndef TOVA_OPS_NAMED_MOUNT_H
#define TOVA_OPS_NAMED_MOUNT_H

#include "hub/hub.h"

#define NAMED_MOUNT_WHY_MAX 2048

/* path.p NULL: the only one there is. NULL: there is no such one. */
struct mount *named_mount_find(const struct hub *hub, struct span path);
/* What is wrong with a path that was not found, and which there are. how: how one is named. */
struct span named_mount_why(const struct hub *hub, struct span path, const char *how,
			    char why[NAMED_MOUNT_WHY_MAX]);

/* Appends an object that says what serves the mount, and how much there is of it. */
struct codec_out;
void named_mount_describe(const struct mount *m, struct codec_out *o);

#endif
