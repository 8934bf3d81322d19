/* deadletter: the file of events that were quarantined. One JSON object a line, synced to the disk
 * before the connection goes on, by a thread of its own so that no loop waits for a disk. */
#ifndef TOVA_HANDLER_WORKER_DEADLETTER_H
#define TOVA_HANDLER_WORKER_DEADLETTER_H

#include "net/loop.h"

struct deadletter;

typedef void deadletter_done(void *ctx, void *item);

/* path NULL: there is no file, and entries are done at once. NULL with errno set. */
struct deadletter *deadletter_open(struct loop *loop, const char *path);
/* Finishes what was begun, without callbacks. What can not be written is in the log, whole. */
void deadletter_close(struct deadletter **d_p);
/* [any-thread] deadletter_close waits for the work that runs. */
bool deadletter_is_closing(const struct deadletter *d);
const char *deadletter_path(const struct deadletter *d);
/* Goes on in another file; what still waits is written there, too. NULL: in none, what waits is
 * done. False with errno set: it can not be opened, the old one stays in use. */
bool deadletter_move(struct deadletter *d, const char *path);
/* Takes over the line (malloc, without line feed). `done` is called on the loop once it is on the
 * disk; while that fails it is tried again every second, and said once. */
void deadletter_write(struct deadletter *d, char *line, deadletter_done *done, void *ctx,
		      void *item);

/* [deadletter-thread] The file as it is now, to be read and appended to: a descriptor, or -1 with
 * errno set. It stays the same file whatever a reload or a rotation makes of its name. */
int deadletter_open_file(struct deadletter *d);
/* [deadletter-thread] Whole lines to be appended (malloc) to *fd_r, or NULL: nothing is, or with an
 * errno in *error_r: it failed. */
typedef char *deadletter_work(void *ctx, int *fd_r, int *error_r);
/* error: 0, or the errno of what failed, the work or the writing: nothing of the lines is in the
 * file then. */
typedef void deadletter_tried(void *ctx, int error);
/* Has the thread do some work with the file, before letters that wait, and then append what that
 * gives, once. `tried` is called on the loop when it is on the disk; never if the host ends before
 * that. Only where there is a file. False without memory. */
bool deadletter_try(struct deadletter *d, deadletter_work *work, deadletter_tried *tried,
		    void *ctx);

#endif
