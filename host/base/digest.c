#include "base/digest.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

bool digest_of(int fd, char text_r[DIGEST_TEXT])
{
	unsigned char bytes[16384], hash[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *sha = EVP_MD_CTX_new();
	off_t at = 0;
	ssize_t n = -1;
	bool ok = sha != NULL && EVP_DigestInit_ex(sha, EVP_sha256(), NULL) == 1;
	while (ok && (n = pread(fd, bytes, sizeof bytes, at)) > 0) {
		ok = EVP_DigestUpdate(sha, bytes, (size_t)n) == 1;
		at += n;
	}
	ok = ok && n == 0 && EVP_DigestFinal_ex(sha, hash, NULL) == 1;
	EVP_MD_CTX_free(sha);
	for (size_t i = 0; ok && i < (DIGEST_TEXT - 1) / 2; i++)
		snprintf(text_r + 2 * i, 3, "%02x", hash[i]);
	return ok;
}

bool digest_file(const char *path, char text_r[DIGEST_TEXT])
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool ok = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && digest_of(fd, text_r);
	if (fd >= 0)
		close(fd);
	return ok;
}
