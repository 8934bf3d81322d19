/* fault: what is wrong with a program, each with its place. All are told, not only the first. */
#ifndef TOVA_SDK_FAULT_H
#define TOVA_SDK_FAULT_H

#include <stdbool.h>
#include <stddef.h>

#define FAULT_TEXT_MAX 240
#define FAULTS_MAX 50 /* more are counted, and not kept */

/* Both from 1; a column counts characters. 0: the program as a whole. */
struct position {
	unsigned line, column;
};

struct fault {
	struct position at;
	char text[FAULT_TEXT_MAX];
};

/* Zeroed at first. Owns nothing. */
struct faults {
	struct fault v[FAULTS_MAX];
	size_t n;	/* kept */
	size_t dropped; /* beyond FAULTS_MAX */
};

/* Adds a sentence; a second one for the same place is left out, as it is a consequence. */
__attribute__((format(printf, 3, 4))) void fault_add(struct faults *faults, struct position at,
						     const char *format, ...);
/* Is there one in this line? */
bool faults_has_line(const struct faults *faults, unsigned line);
/* Puts them in the order of their places. */
void faults_sort(struct faults *faults);

#endif
