#include "net/meter.h"

void meter_init(struct meter *m, const struct meter_rule *rule, uint64_t now)
{
	*m = (struct meter){.rule = rule};
	bucket_fill(&m->bucket, &rule->rate, now);
}

bool meter_take(struct meter *m, uint64_t now, uint32_t n)
{
	/* A reload may have taken the limit away. */
	if (m->rule->rate.n == 0 || bucket_take_some(&m->bucket, &m->rule->rate, now, n))
		return true;
	m->dropped++;
	return false;
}

uint32_t meter_rest(struct meter *m)
{
	uint32_t n = m->dropped;
	m->dropped = 0;
	return n;
}

uint32_t meter_due(struct meter *m, uint64_t now)
{
	if (m->dropped == 0 || (m->told_at != 0 && now < m->told_at + m->rule->rate.ms))
		return 0;
	m->told_at = now;
	return meter_rest(m);
}
