#include "common/library.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

#define LIBRARY_NAME_MAX 48

/* What the loader knows the copy by. With the process's number and not "self", since a debugger
 * opens it, too, in a process of its own. */
static void library_name(const struct library *lib, char name[LIBRARY_NAME_MAX])
{
	snprintf(name, LIBRARY_NAME_MAX, "/proc/%d/fd/%d", (int)getpid(), lib->fd);
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
	lib->file = realpath(path, NULL);
	return true;
}

void library_name_for_core(struct library *lib)
{
	struct link_map *map = lib->handle;
	if (map != NULL && lib->file != NULL)
		map->l_name = lib->file;
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
	if (lib->plugin.mount_size > RULES_ROOM_STATE_MAX) {
		snprintf(why, cap,
			 "it wants %u bytes of data for its mount, and at most %d can be had",
			 lib->plugin.mount_size, RULES_ROOM_STATE_MAX);
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
	free(lib->file);
	*lib = (struct library){.fd = -1};
}

/* --- where is it? ----------------------------------------------------------------------------- */

/* Sets errno if it is none. */
static bool library_is_file(const char *path)
{
	struct stat st;
	if (stat(path, &st) != 0)
		return false;
	errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	return S_ISREG(st.st_mode) && access(path, R_OK) == 0;
}

static bool library_own_folder(char dst[4096])
{
	ssize_t n = readlink("/proc/self/exe", dst, 4095);
	if (n <= 0)
		return false;
	dst[n] = '\0';
	char *slash = strrchr(dst, '/');
	if (slash == NULL)
		return false;
	*slash = '\0';
	return true;
}

bool library_find(const char *name, const char *exe_dir, char *path_r, size_t cap, char *why,
		  size_t why_cap)
{
	static const char *const endings[] = {"", ".so"};
	char own[4096] = ".", beside[4200];
	size_t n = strlen(name), n_endings = n > 3 && strcmp(name + n - 3, ".so") == 0 ? 1 : 2;
	if (strchr(name, '/') != NULL) {
		if ((size_t)snprintf(path_r, cap, "%s", name) < cap && library_is_file(path_r))
			return true;
		snprintf(why, why_cap, "\"%.1000s\" can not be read: %s", name,
			 strlen(name) >= cap ? "too long"
			 : errno == EINVAL   ? "it is no regular file"
					     : strerror(errno));
		return false;
	}
	if (exe_dir == NULL && library_own_folder(own))
		exe_dir = own;
	exe_dir = exe_dir != NULL ? exe_dir : ".";
	snprintf(beside, sizeof beside, "%s/plugins", exe_dir);
	const char *const folders[] = {".", exe_dir, beside, TOVA_PLUGIN_DIR};
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
		for (size_t j = 0; j < n_endings; j++)
			if ((size_t)snprintf(path_r, cap, "%s/%s%s", folders[i], name, endings[j]) <
				    cap &&
			    library_is_file(path_r))
				return true;
	snprintf(why, why_cap, "\"%.200s\" was not found in the current folder, %s, %s or %s", name,
		 exe_dir, beside, TOVA_PLUGIN_DIR);
	return false;
}
