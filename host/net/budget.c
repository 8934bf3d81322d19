#include "net/budget.h"

#include <stdlib.h>

#include "base/check.h"

void budgets_init(struct budgets *all)
{
	*all = (struct budgets){.first = NULL};
	atomic_init(&all->common, UINT64_MAX);
}

void budgets_free(struct budgets *all)
{
	struct budget *next;
	for (struct budget *b = all->first; b != NULL; b = next) {
		next = b->next;
		free(b);
	}
	all->first = NULL;
}

struct budget *budget_new(struct budgets *all, unsigned n_loops)
{
	CHECK(n_loops <= BUDGET_LOOPS_MAX);
	struct budget *b = calloc(1, sizeof *b + n_loops * sizeof *b->queues);
	if (b == NULL)
		return NULL;
	b->all = all;
	b->next = all->first;
	all->first = b;
	atomic_init(&b->max, UINT64_MAX);
	atomic_init(&b->share, UINT64_MAX);
	atomic_init(&b->easy, UINT64_MAX);
	for (unsigned i = 0; i < n_loops; i++)
		for (int which = 0; which < BUDGET_WAITS; which++)
			TAILQ_INIT(&b->queues[i].waiting[which]);
	return b;
}

/* A part of the half that is divided, by what each may hold. */
static uint64_t budgets_share(const struct budgets *all, uint64_t max, uint64_t sum)
{
	return (uint64_t)((double)(all->max / 2) * ((double)max / (double)sum));
}

void budgets_set(struct budgets *all, uint64_t max)
{
	uint64_t sum = 0, shares = 0;
	all->max = max;
	for (struct budget *b = all->first; b != NULL; b = b->next)
		sum = sum + b->max < sum ? UINT64_MAX : sum + b->max;
	bool bounds = max != 0 && max < sum;
	for (struct budget *b = all->first; b != NULL; b = b->next) {
		uint64_t share = bounds ? budgets_share(all, b->max, sum) : UINT64_MAX;
		atomic_store(&b->share, share);
		atomic_store(&b->easy, (share < b->max ? share : b->max) / 2);
		shares += share;
	}
	atomic_store(&all->common, bounds && max > shares ? max - shares : bounds ? 0 : UINT64_MAX);
	for (struct budget *b = all->first; b != NULL; b = b->next)
		budget_wake(b);
}

/* --- what there is ---------------------------------------------------------------------------- */

/* What others have taken of that which is nobody's share. */
static uint64_t budget_taken_by_others(const struct budget *b)
{
	uint64_t taken = 0;
	for (const struct budget *other = b->all->first; other != NULL; other = other->next) {
		uint64_t held = other != b ? budget_held(other) : 0,
			 share = atomic_load_explicit(&other->share, memory_order_relaxed);
		taken += held > share ? held - share : 0;
	}
	return taken;
}

uint64_t budget_bound(const struct budget *b)
{
	uint64_t max = atomic_load_explicit(&b->max, memory_order_relaxed);
	uint64_t common = atomic_load_explicit(&b->all->common, memory_order_relaxed);
	if (common == UINT64_MAX)
		return max;
	uint64_t taken = budget_taken_by_others(b),
		 share = atomic_load_explicit(&b->share, memory_order_relaxed);
	uint64_t bound = share + (common > taken ? common - taken : 0);
	return bound < max ? bound : max;
}

bool budget_admits(const struct budget *b, bool rests)
{
	uint64_t bound = budget_bound(b);
	return budget_held(b) < bound &&
	       (rests || atomic_load_explicit(&b->input, memory_order_relaxed) < bound - bound / 4);
}

/* What came in part does not count beyond its three quarters: who sends halves of messages shall
 * not keep others out. */
bool budget_refuses(const struct budget *b)
{
	uint64_t bound = budget_bound(b);
	return budget_held(b) >= bound && budget_whole(b) >= bound / 4;
}

bool budget_pass(struct budget *b)
{
	return budget_whole(b) <= budget_bound(b) / 4 && !atomic_exchange(&b->passed, true);
}

void budget_end_pass(struct budget *b)
{
	CHECK(atomic_exchange(&b->passed, false));
	budget_freed(b);
}

void budget_wake(struct budget *b)
{
	uint64_t loops = atomic_load(&b->waiting);
	for (unsigned i = 0; loops != 0; i++, loops >>= 1)
		if ((loops & 1) != 0 && b->all->wakers[i] != NULL)
			loop_wake(b->all->wakers[i]);
}
