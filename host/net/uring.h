/* uring: sends on many sockets with one system call, by io_uring.
 *
 * A turn that has output for many connections, as a broadcast has, costs a system call for each.
 * Here they are written down as entries of a ring, and one call has the kernel do them all: every
 * send is tried at once and without waiting (MSG_DONTWAIT), so that all results are there when the
 * call returns. Nothing is under way between two turns. Where the kernel does not have it, or may
 * not have it (seccomp, a container), uring_begin says so and each send is its own call.
 */
#ifndef TOVA_NET_URING_H
#define TOVA_NET_URING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define URING_MAX 1024 /* sends of one call */

struct uring_send {
	void *item; /* the caller's */
	int result; /* what send(2) would have returned, or -errno; URING_NOT_TRIED */
};
#define URING_NOT_TRIED INT32_MIN

/* One loop's; all zero at first. */
struct uring {
	struct io_uring *ring; /* NULL: not set up yet, or not there */
	struct uring_send *sends;
	unsigned n, queued; /* sends, and those of them that are in the ring */
	bool off;	    /* it was tried and is not to be had */
};

/* Sets it up when it is first called; false: send as usual. */
bool uring_begin(struct uring *u);
/* One more, of at most URING_MAX. The bytes stay where they are until uring_run. */
void uring_add(struct uring *u, int fd, const void *bytes, size_t len, void *item);
/* One that is not sent here, but has its place among the others. */
void uring_skip(struct uring *u, void *item);
/* Does all that were added; sends[0..n-1] have their results until uring_clear. If the kernel fails
 * in the middle of it, what it has taken without saying what became of it has -EIO: it is not to be
 * sent again. */
void uring_run(struct uring *u);
void uring_clear(struct uring *u);
void uring_free(struct uring *u);

#endif
