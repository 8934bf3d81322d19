#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void check_failed(const char *file, int line, const char *expression)
{
	char text[512];
	int n = snprintf(text, sizeof text, "tova-host: %s:%d: CHECK(%s) failed\n", file, line,
			 expression);
	if (n >= (int)sizeof text)
		n = sizeof text - 1;
	if (write(STDERR_FILENO, text, (size_t)n) < 0) {
		/* nothing more can be done about it */
	}
	abort();
}
