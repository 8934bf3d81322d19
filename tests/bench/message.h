/* The messages of the benchmark: each names its sender and its place in the sender's sequence, the
 * rest follows from both. */
#ifndef BENCH_MESSAGE_H
#define BENCH_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

enum { MESSAGE_MIN = 16, MESSAGE_MAX = 16 << 20 };

enum message_verdict { MESSAGE_RIGHT, MESSAGE_REPEATED, MESSAGE_EARLY, MESSAGE_WRONG };

/* Must be called once before the others. words: text as people write it, which can be compressed;
 * else letters by chance. */
void message_init(int words);

/* Writes the message of `size` bytes that `sender` sends as number `seq`. */
void message_build(uint8_t *to, size_t size, uint32_t sender, uint32_t seq);

/* Judges received bytes against the one message that is due. EARLY: a later one of the same sender,
 * so some are missing; its number is in *seq_r. REPEATED: an earlier one again. WRONG: not what the
 * sender sent. */
enum message_verdict message_check(const uint8_t *got, size_t len, size_t size, uint32_t sender,
				   uint32_t seq, uint32_t *seq_r);

#endif
