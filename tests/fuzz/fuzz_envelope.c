/* What one host of a cluster reads of what was published: anything. What is read is written again as
 * the same bytes, but for selections, which have one form for each meaning. */
#include "cluster/envelope.h"
#include "fuzz.h"

static void counts(struct envelope e)
{
	struct envelope_count count;
	uint32_t n = e.n_counts;
	while (envelope_count(&e, &count))
		n--;
	MUST(n == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct envelope e, again;
	struct selection selection;
	struct buffer bytes = {0};
	if (!envelope_read(&e, (struct span){(const char *)data, size}))
		return 0;
	MUST(e.kind > 0 && e.kind < ENVELOPE_KINDS);
	bool selects = e.kind == ENVELOPE_AMONG || e.kind == ENVELOPE_CLOSE;
	if (selects) {
		envelope_selection(&e, &selection);
		MUST(selection.n_except == 0 && selection.rooms.n <= RULES_LIST_MAX);
	}
	if (e.kind == ENVELOPE_HOST)
		counts(e);
	envelope_add(&bytes, &e, selects ? &selection : NULL);
	MUST(!bytes.failed && bytes.n == size && memcmp(bytes.p, data, size) == 0);
	MUST(envelope_read(&again, (struct span){bytes.p, bytes.n}) &&
		   again.number == e.number && again.data.n == e.data.n);
	buffer_free(&bytes);
	return 0;
}
