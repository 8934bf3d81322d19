#include "hub/roster.h"

/* The page is a heap while it is filled: of those found so far the last in order stands first, and
 * gives way to one that comes before it. */
static void roster_sink(const struct session **heap, uint32_t n, uint32_t at)
{
	for (uint32_t child; (child = 2 * at + 1) < n; at = child) {
		if (child + 1 < n && heap[child + 1]->local > heap[child]->local)
			child++;
		if (heap[child]->local <= heap[at]->local)
			return;
		const struct session *s = heap[at];
		heap[at] = heap[child];
		heap[child] = s;
	}
}

static void roster_rise(const struct session **heap, uint32_t at)
{
	while (at > 0 && heap[(at - 1) / 2]->local < heap[at]->local) {
		const struct session *s = heap[at];
		heap[at] = heap[(at - 1) / 2];
		at = (at - 1) / 2;
		heap[at] = s;
	}
}

static void roster_sort(const struct session **heap, uint32_t n)
{
	while (n-- > 1) {
		const struct session *last = heap[0];
		heap[0] = heap[n];
		heap[n] = last;
		roster_sink(heap, n, 0);
	}
}

void roster_members(struct roster_page *page, const struct room *r, uint64_t after,
		    uint32_t limit)
{
	limit = limit > 0 && limit < ROSTER_PAGE ? limit : ROSTER_PAGE;
	page->n = 0;
	page->more = false;
	for (uint32_t i = 0; i < r->n; i++) {
		const struct session *s = room_session(r, i);
		if (s->local <= after)
			continue;
		page->more = page->more || page->n == limit;
		if (page->n < limit) {
			page->members[page->n] = s;
			roster_rise(page->members, page->n++);
		} else if (s->local < page->members[0]->local) {
			page->members[0] = s;
			roster_sink(page->members, page->n, 0);
		}
	}
	roster_sort(page->members, page->n);
}
