/* digest: what is in a file, as text that no other file's bytes have: SHA-256 in hexadecimal. */
#ifndef TOVA_BASE_DIGEST_H
#define TOVA_BASE_DIGEST_H

#include <stdbool.h>

#define DIGEST_TEXT 65

/* Of all that an open file holds, wherever it stands. False: it can not be read. */
bool digest_of(int fd, char text_r[DIGEST_TEXT]);
/* Of a regular file. */
bool digest_file(const char *path, char text_r[DIGEST_TEXT]);

#endif
