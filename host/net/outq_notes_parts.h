/* outq_notes_parts: what the parts of outq_notes share: outq_notes_list.c is where runs stand, and
 * their memory. */
#ifndef TOVA_NET_OUTQ_NOTES_PARTS_H
#define TOVA_NET_OUTQ_NOTES_PARTS_H

#include "net/outq_notes.h"

static inline bool outq_notes_is_key(uint64_t note)
{
	return note != 0 && note != OUTQ_NOTES_KEEP;
}

/* Room for one more. */
bool outq_notes_make_room(struct outq_notes *b);
/* Takes over the slice's reference; there is room. */
uint32_t outq_notes_push(struct outq_notes *b, struct slice s, uint64_t note, uint32_t n);
/* Before all others; there is room. */
void outq_notes_put_first(struct outq_notes *b, struct slice s);
/* Takes the run out; its place is free. */
void outq_notes_remove(struct outq_notes *b, struct outq_notes_run *run);
/* They come. */
void outq_notes_count(struct outq_notes *b, const struct slice *s, uint64_t note);
/* So many bytes of the run go. */
void outq_notes_uncount(struct outq_notes *b, const struct outq_notes_run *run, uint32_t len);
/* Room in the index for one more key. */
bool outq_notes_reserve_index(struct outq_notes *b);
/* Where the key's newest message is noted, or may be. */
uint32_t *outq_notes_find(const struct outq_notes *b, uint64_t key);
/* There are no keys any more. */
void outq_notes_drop_index(struct outq_notes *b);
/* Room for so much in the chunk that is being filled. */
bool outq_notes_reserve_fill(struct outq_notes *b, uint32_t len);
/* The chunk that is being filled is done with. */
void outq_notes_drop_fill(struct outq_notes *b);
/* A copy of it there, for which there is room. */
struct slice outq_notes_copy(struct outq_notes *b, const struct slice *s);
/* Some of what has little in its chunks is packed anew: len bytes are about to come. */
void outq_notes_tidy(struct outq_notes *b, uint32_t len);
/* The queue does not use that chunk any more. */
void outq_notes_unref(struct outq_notes *b, struct chunk **c_p);

#endif
