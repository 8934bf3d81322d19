/* uptake: what a peer has taken of what was written to its socket, by what the kernel knows. A
 * write that succeeds only says that there was room in the socket's buffer, which can hold
 * megabytes. */
#ifndef TOVA_NET_UPTAKE_H
#define TOVA_NET_UPTAKE_H

#include <stdint.h>

/* Bytes that the kernel holds for the peer and that it has not acknowledged; the end of our stream
 * counts as one. */
uint32_t uptake_held(int fd);
/* A number that grows by as many bytes as the peer takes. waiting: how many wait to be written to
 * the socket yet, which matters where the peer acknowledges nothing (a Unix socket): there the
 * number is right only as long as nothing is added to them. Never 0. */
uint64_t uptake_count(int fd, uint64_t waiting);

#endif
