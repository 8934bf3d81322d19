#include "c/say.h"

#include <unistd.h>

#include "common/buffer.h"

#define SAY_MAX 2048

/* Each line in one write, so that those of several threads do not mix. */
void say_text(uint32_t level, const char *text, size_t len)
{
	struct buffer lines = {0};
	for (size_t from = 0, to; from <= len; from = to + 1) {
		const char *end = from < len ? memchr(text + from, '\n', len - from) : NULL;
		to = end != NULL ? (size_t)(end - text) : len;
		buffer_addf(&lines, "<%u>", level <= TOVA_LOG_DEBUG ? level + 3 : 6);
		buffer_add(&lines, text + from, to - from);
		buffer_add(&lines, "\n", 1);
	}
	for (size_t at = 0; at < lines.n;) {
		ssize_t n = write(STDERR_FILENO, lines.p + at, lines.n - at);
		/* whom could one tell? */
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	buffer_free(&lines);
}

void say_parts(const struct span *parts, size_t n)
{
	char line[SAY_MAX];
	size_t len = 0;
	for (size_t i = 0; i < n; i++) {
		size_t take = parts[i].n < sizeof line - len ? parts[i].n : sizeof line - len;
		if (take > 0)
			memcpy(line + len, parts[i].p, take);
		len += take;
	}
	line[len - 1] = '\n';
	ssize_t written = write(STDERR_FILENO, line, len);
	(void)written; /* whom could one tell? */
}

void say(enum tova_level level, const char *format, ...)
{
	char text[SAY_MAX];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (n > 0)
		say_text(level, text, n < SAY_MAX ? (size_t)n : SAY_MAX - 1);
}
