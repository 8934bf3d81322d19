/* metrics_text: how metrics are written: the text format of Prometheus, version 0.0.4. */
#ifndef TOVA_OPS_METRICS_TEXT_H
#define TOVA_OPS_METRICS_TEXT_H

#include "base/histogram.h"
#include "handler/worker/codec.h"

#define METRICS_TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* A line, or several. */
void metrics_text_line(struct codec_out *o, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* What comes before the values of a metric. name: without tova_. */
void metrics_text_head(struct codec_out *o, const char *name, const char *type, const char *text);

/* Labels of a value: up to two, of which the second may have no name. */
struct metrics_text_labels {
	const char *name, *value, *more, *more_value; /* NULL: none */
};
void metrics_text_value(struct codec_out *o, const char *name,
			const struct metrics_text_labels *labels, uint64_t value);

/* unit: how many of its values are one of the metric's: 1e6, of microseconds for seconds. most: the
 * last bucket that is written but for +Inf. */
void metrics_text_histogram(struct codec_out *o, const char *name,
			    const struct metrics_text_labels *labels, const struct histogram *h,
			    double unit, unsigned most);

#endif
