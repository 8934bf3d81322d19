#include "handler/plugin/library.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/rules.h"

static bool library_fail(char *why, size_t cap, const char *what)
{
	snprintf(why, cap, "%s: %s", what, strerror(errno));
	return false;
}

/* Copies the file into memory of its own: a build that writes into the old file must neither crash
 * what runs nor be taken for it. */
static bool library_copy(struct library *lib, const char *path, off_t *size_r, char *why,
			 size_t cap)
{
	const char *name = strrchr(path, '/');
	struct stat st;
	int from = open(path, O_RDONLY | O_CLOEXEC);
	if (from < 0)
		return library_fail(why, cap, "it can not be opened");
	if (fstat(from, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(from);
		snprintf(why, cap, "it is not a regular file");
		return false;
	}
	lib->fd = memfd_create(name != NULL ? name + 1 : path, MFD_CLOEXEC);
	bool ok = lib->fd >= 0 || library_fail(why, cap, "no memory for a copy");
	off_t left = st.st_size;
	while (ok && left > 0) {
		ssize_t n = sendfile(lib->fd, from, NULL, (size_t)left);
		if (n < 0)
			ok = library_fail(why, cap, "it can not be read");
		else if (n == 0)
			break; /* it was cut meanwhile; the check of its headers says what that
				  means */
		left -= n;
	}
	close(from);
	*size_r = st.st_size - left;
	return ok;
}

/* The loader maps what the headers promise without looking at the file's size, and a read behind
 * its end kills the process. */
static bool library_is_whole(int fd, off_t size)
{
	ElfW(Ehdr) head;
	ElfW(Phdr) part;
	if (pread(fd, &head, sizeof head, 0) != (ssize_t)sizeof head ||
	    memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_type != ET_DYN ||
	    head.e_phentsize != sizeof part)
		return false;
	for (int i = 0; i < head.e_phnum; i++) {
		off_t at = (off_t)(head.e_phoff + (size_t)i * sizeof part);
		if (pread(fd, &part, sizeof part, at) != (ssize_t)sizeof part)
			return false;
		if (part.p_type == PT_LOAD &&
		    (part.p_filesz > (size_t)size || part.p_offset > (size_t)size - part.p_filesz))
			return false;
	}
	return true;
}

#define LIBRARY_NAME_MAX 32

/* What the loader knows the copy by. */
static void library_name(const struct library *lib, char name[LIBRARY_NAME_MAX])
{
	snprintf(name, LIBRARY_NAME_MAX, "/proc/self/fd/%d", lib->fd);
}

static bool library_open(struct library *lib, const char *path, char *why, size_t cap)
{
	char name[LIBRARY_NAME_MAX];
	off_t size = 0;
	if (!library_copy(lib, path, &size, why, cap))
		return false;
	if (!library_is_whole(lib->fd, size)) {
		snprintf(why, cap, "it is not a whole shared object");
		return false;
	}
	library_name(lib, name);
	lib->handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (lib->handle == NULL) {
		const char *error = dlerror();
		size_t n = strlen(name);
		/* the name of the copy means nothing to anybody */
		if (strncmp(error, name, n) == 0 && error[n] == ':')
			error += n + 1 + (error[n + 1] == ' ');
		snprintf(why, cap, "the loader refuses it: %s", error);
		return false;
	}
	return true;
}

/* Versions first: nothing else can be trusted before they fit. */
static bool library_check(struct library *lib, char *why, size_t cap)
{
	const tova_plugin *exported = dlsym(lib->handle, "tova_plugin_entry");
	if (exported == NULL) {
		snprintf(why, cap,
			 "it does not export tova_plugin_entry (see TOVA_PLUGIN in tova_plugin.h)");
		return false;
	}
	if (exported->abi_major != TOVA_ABI_MAJOR || exported->abi_minor > TOVA_ABI_MINOR) {
		snprintf(why, cap, "it needs plugin interface %u.%u and this host has %u.%u",
			 exported->abi_major, exported->abi_minor, TOVA_ABI_MAJOR, TOVA_ABI_MINOR);
		return false;
	}
	if (exported->size < offsetof(tova_plugin, settings)) {
		snprintf(why, cap,
			 "its description has %zu bytes, fewer than the %zu that every version has",
			 exported->size, offsetof(tova_plugin, settings));
		return false;
	}
	memset(&lib->plugin, 0, sizeof lib->plugin);
	memcpy(&lib->plugin, exported,
	       exported->size < sizeof lib->plugin ? exported->size : sizeof lib->plugin);
	if (lib->plugin.name == NULL || lib->plugin.version == NULL) {
		snprintf(why, cap, "it has no name or no version");
		return false;
	}
	if (lib->plugin.data_size > RULES_DATA_MAX) {
		snprintf(why, cap,
			 "it wants %u bytes of data for each connection, and at most %d can be had",
			 lib->plugin.data_size, RULES_DATA_MAX);
		return false;
	}
	return true;
}

bool library_load(struct library *lib, const char *path, char *why, size_t why_cap)
{
	*lib = (struct library){.fd = -1};
	if (library_open(lib, path, why, why_cap) && library_check(lib, why, why_cap))
		return true;
	library_unload(lib);
	return false;
}

/* Is it still mapped? The loader keeps for good what has symbols that are unique in the process, as
 * C++ makes them. */
static bool library_stays(const struct library *lib)
{
	char name[LIBRARY_NAME_MAX];
	library_name(lib, name);
	void *handle = dlopen(name, RTLD_LAZY | RTLD_NOLOAD);
	if (handle != NULL)
		dlclose(handle);
	return handle != NULL;
}

void library_unload(struct library *lib)
{
	if (lib->handle != NULL)
		dlclose(lib->handle);
	/* Closing the descriptor of one that stays would free its name for the next copy, and the
	 * loader would find the old one by it. */
	if (lib->fd >= 0 && (lib->handle == NULL || !library_stays(lib)))
		close(lib->fd);
	*lib = (struct library){.fd = -1};
}

/* --- is it the same? -------------------------------------------------------------------------- */

static bool library_digest_of(int fd, char digest_r[LIBRARY_DIGEST])
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
	for (size_t i = 0; ok && i < (LIBRARY_DIGEST - 1) / 2; i++)
		snprintf(digest_r + 2 * i, 3, "%02x", hash[i]);
	return ok;
}

bool library_digest(const char *path, char digest_r[LIBRARY_DIGEST])
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool ok = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
		  library_digest_of(fd, digest_r);
	if (fd >= 0)
		close(fd);
	return ok;
}

bool library_is_same(const struct library *lib, const char *path)
{
	char mine[LIBRARY_DIGEST], other[LIBRARY_DIGEST];
	return library_digest_of(lib->fd, mine) && library_digest(path, other) &&
	       strcmp(mine, other) == 0;
}
