#include "net/rate_limit.h"

void rate_limit_init(struct rate_limit *m, const struct rate_limit_rule *rule, uint64_t now)
{
	*m = (struct rate_limit){.rule = rule};
	bucket_fill(&m->bucket, &rule->rate, now);
}

bool rate_limit_take(struct rate_limit *m, uint64_t now, uint32_t n)
{
	/* A reload may have taken the limit away. */
	if (m->rule->rate.n == 0 || bucket_take_some(&m->bucket, &m->rule->rate, now, n))
		return true;
	m->dropped++;
	return false;
}

uint32_t rate_limit_rest(struct rate_limit *m)
{
	uint32_t n = m->dropped;
	m->dropped = 0;
	return n;
}

uint32_t rate_limit_due(struct rate_limit *m, uint64_t now)
{
	if (m->dropped == 0 || (m->told_at != 0 && now < m->told_at + m->rule->rate.ms))
		return 0;
	m->told_at = now;
	return rate_limit_rest(m);
}
