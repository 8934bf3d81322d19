/* secret_file: a small file with a key or a secret in it. */
#ifndef TOVA_AUTH_SECRET_FILE_H
#define TOVA_AUTH_SECRET_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define SECRET_FILE_MAX 65536 /* bytes */

struct secret_file {
	unsigned char *bytes;
	size_t len;
	mode_t mode; /* who can read and write it */
};

/* Reads a regular file as a whole. False with a sentence in why: nothing is left to free then. */
bool secret_file_read(struct secret_file *f, const char *path, char *why, size_t why_cap);
/* Wipes what was read. */
void secret_file_free(struct secret_file *f);
/* How many of the bytes stand in front of the one line end that an editor puts at the end of a
 * text. */
size_t secret_file_text(const unsigned char *bytes, size_t len);

#endif
