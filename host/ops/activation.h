/* activation: sockets that systemd has opened and listens on for this process (sd_listen_fds(3)),
 * known by the names that their .socket units give them (FileDescriptorName=). */
#ifndef TOVA_OPS_ACTIVATION_H
#define TOVA_OPS_ACTIVATION_H

#include <stdbool.h>
#include <stddef.h>

struct activation {
	int n; /* 0: none; they lie side by side from the first descriptor on */
	char **names;
	bool *taken;
};

/* What there is; once. The environment does not tell anybody else of it from then on. False without
 * memory. */
bool activation_begin(struct activation *a);
/* The next one of that name that was not taken; -1: there is none. It is the caller's to close. */
int activation_take(struct activation *a, const char *name);
/* Those that were not taken, for people: "a, b"; false: there are none. */
bool activation_left(const struct activation *a, char *text_r, size_t cap);
/* Closes those that were not taken. */
void activation_end(struct activation *a);

#endif
