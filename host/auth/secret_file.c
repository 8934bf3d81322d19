#include "auth/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool secret_file_fail(char *why, size_t why_cap, const char *what)
{
	snprintf(why, why_cap, "%s", what);
	return false;
}

/* Opens it. -1 with errno; EINVAL: it is no file. */
static int secret_file_open(const char *path, struct stat *st)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	errno = fd < 0		       ? errno
		: fstat(fd, st) != 0   ? errno
		: S_ISDIR(st->st_mode) ? EISDIR
		: S_ISREG(st->st_mode) ? 0
				       : EINVAL;
	if (fd < 0 || errno == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

static bool secret_file_fill(struct secret_file *f, const char *path, char *why, size_t why_cap)
{
	struct stat st = {0};
	int fd = secret_file_open(path, &st);
	ssize_t got = 0;
	while (fd >= 0 && f->len <= SECRET_FILE_MAX &&
	       (got = read(fd, f->bytes + f->len, SECRET_FILE_MAX + 1 - f->len)) > 0)
		f->len += (size_t)got;
	if (fd < 0 || got < 0)
		snprintf(why, why_cap, "it can not be read: %s",
			 errno == EINVAL ? "no file" : strerror(errno));
	if (fd >= 0)
		close(fd);
	f->mode = st.st_mode;
	return fd >= 0 && got >= 0 &&
	       (f->len <= SECRET_FILE_MAX ||
		secret_file_fail(why, why_cap, "it is too large for keys; expected at most 64k"));
}

bool secret_file_read(struct secret_file *f, const char *path, char *why, size_t why_cap)
{
	*f = (struct secret_file){.bytes = OPENSSL_malloc(SECRET_FILE_MAX + 1)};
	if (f->bytes == NULL)
		return secret_file_fail(why, why_cap, "no memory");
	if (secret_file_fill(f, path, why, why_cap))
		return true;
	secret_file_free(f);
	return false;
}

void secret_file_free(struct secret_file *f)
{
	OPENSSL_clear_free(f->bytes, SECRET_FILE_MAX + 1);
	f->bytes = NULL;
}

size_t secret_file_text(const unsigned char *bytes, size_t len)
{
	if (len == 0 || bytes[len - 1] != '\n')
		return len;
	return len - (len > 1 && bytes[len - 2] == '\r' ? 2 : 1);
}
