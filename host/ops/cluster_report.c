#include "ops/cluster_report.h"

#include <stdio.h>

static void cluster_report_hosts(const struct cluster *c, struct codec_out *o)
{
	struct cluster_host_seen host;
	char number[20];
	codec_member_raw(o, "others", "[");
	for (uint32_t i = 0; cluster_look_host(c, i, &host); i++) {
		snprintf(number, sizeof number, "%016llx", (unsigned long long)host.host);
		codec_raw(o, ",", i > 0);
		codec_raw(o, "{\"id\":", 6);
		codec_string(o, span_of(host.id));
		codec_member_text(o, "run", span_of(number));
		codec_member_text(o, "machine", span_of(host.machine));
		codec_member_text(o, "version", span_of(host.version));
		codec_member_uint(o, "silent_ms", host.silent_ms);
		codec_member_raw(o, "refused", host.refused ? "true" : "false");
		codec_raw(o, "}", 1);
	}
	codec_raw(o, "]", 1);
}

static void cluster_report_counts(const struct cluster_counts *counts, struct codec_out *o)
{
	bool more = false;
	codec_member_raw(o, "counts", "{");
#define REPORT_COUNT(field, name, text) \
	codec_raw(o, ",", more); \
	codec_raw(o, "\"" #name "\":", sizeof "\"" #name "\":" - 1); \
	more = true; \
	{ \
		char number[24]; \
		int n = snprintf(number, sizeof number, "%llu", (unsigned long long)counts->field); \
		codec_raw(o, number, (size_t)n); \
	}
	CLUSTER_COUNTS(REPORT_COUNT)
#undef REPORT_COUNT
	codec_raw(o, "}", 1);
}

void cluster_report(const struct cluster *c, struct codec_out *o)
{
	struct cluster_seen seen;
	codec_member_raw(o, "enabled", c != NULL ? "true" : "false");
	if (c == NULL)
		return;
	cluster_look(c, &seen);
	codec_member_text(o, "id", span_of(seen.id));
	codec_member_text(o, "prefix", span_of(seen.prefix));
	codec_member_text(o, "engine", span_of(seen.engine));
	codec_member_raw(o, "up", seen.up ? "true" : "false");
	if (!seen.up)
		codec_member_text(o, "why", span_of(seen.why));
	codec_member_uint(o, "away_ms", seen.away_ms);
	codec_member_text(o, "away", seen.local ? SPAN("local") : SPAN("hold"));
	codec_member_uint(o, "lag_us", seen.lag_us);
	codec_member_uint(o, "waiting", seen.parked);
	codec_member_uint(o, "channels", seen.channels);
	codec_member_uint(o, "unconfirmed", seen.unconfirmed);
	codec_member_uint(o, "hosts", seen.hosts);
	cluster_report_counts(&seen.counts, o);
	cluster_report_hosts(c, o);
}
