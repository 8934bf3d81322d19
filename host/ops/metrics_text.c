#include "ops/metrics_text.h"

#include <stdarg.h>
#include <stdio.h>

#define METRICS_TEXT_LINE 512

void metrics_text_line(struct codec_out *o, const char *format, ...)
{
	char line[METRICS_TEXT_LINE];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (n > 0)
		codec_raw(o, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

void metrics_text_head(struct codec_out *o, const char *name, const char *type, const char *text)
{
	metrics_text_line(o, "# HELP tova_%s %s\n# TYPE tova_%s %s\n", name, text, name, type);
}

/* A backslash, a quote and a line end are escaped, as the format asks. */
static void metrics_text_label(struct codec_out *o, const char *name, const char *value)
{
	metrics_text_line(o, "%s=\"", name);
	for (const char *p = value; *p != '\0'; p++) {
		codec_raw(o, "\\", *p == '"' || *p == '\\' || *p == '\n');
		codec_raw(o, *p == '\n' ? "n" : p, 1);
	}
	codec_raw(o, "\"", 1);
}

/* "{a="x",b="y",le="…"}", or nothing. */
static void metrics_text_braces(struct codec_out *o, const struct metrics_text_labels *labels,
				const char *le)
{
	const struct metrics_text_labels all[] = {{.name = labels->name, .value = labels->value},
						  {.name = labels->more,
						   .value = labels->more_value},
						  {.name = le != NULL ? "le" : NULL, .value = le}};
	bool any = false;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		if (all[i].name == NULL)
			continue;
		codec_raw(o, any ? "," : "{", 1);
		metrics_text_label(o, all[i].name, all[i].value);
		any = true;
	}
	codec_raw(o, "}", any);
}

void metrics_text_value(struct codec_out *o, const char *name,
			const struct metrics_text_labels *labels, uint64_t value)
{
	metrics_text_line(o, "tova_%s", name);
	metrics_text_braces(o, labels, NULL);
	metrics_text_line(o, " %llu\n", (unsigned long long)value);
}

void metrics_text_histogram(struct codec_out *o, const char *name,
			    const struct metrics_text_labels *labels, const struct histogram *h,
			    double unit, unsigned most)
{
	uint64_t n = 0;
	char le[32];
	for (unsigned k = 0; k < HISTOGRAM_BUCKETS; k++) {
		n += h->buckets[k];
		if (k > most && k < HISTOGRAM_BUCKETS - 1)
			continue;
		if (k < HISTOGRAM_BUCKETS - 1)
			snprintf(le, sizeof le, "%.10g", (double)(UINT64_C(1) << k) / unit);
		metrics_text_line(o, "tova_%s_bucket", name);
		metrics_text_braces(o, labels, k < HISTOGRAM_BUCKETS - 1 ? le : "+Inf");
		metrics_text_line(o, " %llu\n", (unsigned long long)n);
	}
	metrics_text_line(o, "tova_%s_sum", name);
	metrics_text_braces(o, labels, NULL);
	metrics_text_line(o, " %.10g\n", (double)h->sum / unit);
	metrics_text_line(o, "tova_%s_count", name);
	metrics_text_braces(o, labels, NULL);
	metrics_text_line(o, " %llu\n", (unsigned long long)n);
}
