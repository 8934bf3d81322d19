/* deadletter: the file of events that were quarantined. One JSON object a line, synced to the disk before the connection goes on,
 * by a thread of its own so that no loop waits for a disk. */
#ifndef TOVA_HANDLER_DEADLETTER_H
#define TOVA_HANDLER_DEADLETTER_H

#include "net/loop.h"

struct deadletter;

typedef void deadletter_done(void *ctx, void *item);

/* path NULL: there is no file, and entries are done at once. NULL with errno set. */
struct deadletter *deadletter_open(struct loop *loop, const char *path);
/* Finishes what was begun, without callbacks. */
void deadletter_close(struct deadletter *d);
const char *deadletter_path(const struct deadletter *d);
/* Goes on in another file; what still waits is written there, too. NULL: in none, what waits is done. False with errno set: it can not be
 * opened, the old one stays in use. */
bool deadletter_move(struct deadletter *d, const char *path);
/* Takes over the line (malloc, without line feed). `done` is called on the loop once it is on the disk; while that fails it is tried
 * again every second, and said once. */
void deadletter_write(struct deadletter *d, char *line, deadletter_done *done, void *ctx, void *item);

#endif
