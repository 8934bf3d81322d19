#include "ops/activation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

bool activation_begin(struct activation *a)
{
	*a = (struct activation){.n = 0};
	int n = sd_listen_fds_with_names(1, &a->names);
	if (n <= 0)
		return true;
	a->taken = calloc((size_t)n, sizeof *a->taken);
	a->n = n;
	return a->taken != NULL;
}

int activation_take(struct activation *a, const char *name)
{
	for (int i = 0; i < a->n; i++) {
		if (a->taken[i] || strcmp(a->names[i], name) != 0)
			continue;
		a->taken[i] = true;
		return SD_LISTEN_FDS_START + i;
	}
	return -1;
}

bool activation_left(const struct activation *a, char *text_r, size_t cap)
{
	size_t at = 0;
	*text_r = '\0';
	for (int i = 0; i < a->n && at < cap; i++)
		if (!a->taken[i])
			at += (size_t)snprintf(text_r + at, cap - at, "%s%s", at > 0 ? ", " : "",
					       a->names[i]);
	return at > 0;
}

void activation_end(struct activation *a)
{
	for (int i = 0; i < a->n; i++) {
		if (a->taken != NULL && !a->taken[i])
			close(SD_LISTEN_FDS_START + i);
		free(a->names[i]);
	}
	free(a->names);
	free(a->taken);
	*a = (struct activation){.n = 0};
}
