/* descriptors: file descriptors that are held back, so that a crowd of clients does not keep
 * workers, tova-ctl and a reload out.
 *
 * Nothing is counted: the kernel hands out the lowest number that is free, so the number of a new
 * descriptor says how many are taken at least. Who has got one asks whether the number is one it
 * may have, and gives it back, or stops taking more, if not.
 */
#ifndef TOVA_BASE_DESCRIPTORS_H
#define TOVA_BASE_DESCRIPTORS_H

#include <stdbool.h>
#include <stdint.h>

#define DESCRIPTORS_HELD_MAX 64 /* held back; a quarter of all where there are few */

/* Who wants one. Those further down may take what those above may not. */
enum descriptors_user {
	DESCRIPTORS_CLIENT, /* and what is opened on behalf of one: scripts, files */
	DESCRIPTORS_WORKER, /* a peer at a socket for workers, a worker process */
	DESCRIPTORS_HOST,   /* tova-ctl, a reload, the log: all there are */
};

struct descriptors {
	uint32_t most; /* that this process may have */
};

/* By the limit of this process as it is now. */
struct descriptors descriptors_of_process(void);
/* May this user have a descriptor of this number? */
bool descriptors_may(const struct descriptors *d, enum descriptors_user user, int fd);
/* fd, or, if this user may not have it, -1 with EMFILE: it is closed then. fd may be -1 already. */
int descriptors_take(const struct descriptors *d, enum descriptors_user user, int fd);
/* pipe2 with O_CLOEXEC. False with errno. */
bool descriptors_pipe(const struct descriptors *d, enum descriptors_user user, int pipe[2]);
/* Is there one that this user may have, now? Costs two system calls. */
bool descriptors_left(const struct descriptors *d, enum descriptors_user user);

#endif
