#include "net/files.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "net/answer.h"
#include "net/dev_console.h"
#include "net/web_library.h"
#include "ws/upgrade.h"

#define FILES_PATH_MAX (REQUEST_PATH_MAX + 16)

/* Opens below the root; the kernel refuses every way out of it. */
static int files_open_at(int root, const char *path)
{
	struct open_how how = {
		/* a FIFO in the folder must not stop the loop */
		.flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

void files_close(struct files *f)
{
	if (f->root >= 0)
		close(f->root);
	f->root = -1;
}

bool files_open(struct files *f, const char *dir)
{
	f->root = -1;
	if (dir == NULL)
		return true;
	f->root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* Where openat2 is missing (an old kernel, a container that forbids it) that is said at the
	 * start, not by a 404 for each file. */
	int fd = f->root >= 0 ? files_open_at(f->root, ".") : -1;
	if (fd >= 0)
		close(fd);
	else if (errno == ENOSYS || errno == EPERM)
		files_close(f);
	return f->root >= 0;
}

static const char *files_type(const char *path)
{
	static const char *const types[][2] = {
		{"html", "text/html; charset=utf-8"},
		{"htm", "text/html; charset=utf-8"},
		{"js", "text/javascript; charset=utf-8"},
		{"mjs", "text/javascript; charset=utf-8"},
		{"css", "text/css; charset=utf-8"},
		{"json", "application/json"},
		{"map", "application/json"},
		{"webmanifest", "application/manifest+json"},
		{"txt", "text/plain; charset=utf-8"},
		{"md", "text/markdown; charset=utf-8"},
		{"csv", "text/csv; charset=utf-8"},
		{"xml", "application/xml"},
		{"svg", "image/svg+xml"},
		{"png", "image/png"},
		{"jpg", "image/jpeg"},
		{"jpeg", "image/jpeg"},
		{"gif", "image/gif"},
		{"webp", "image/webp"},
		{"avif", "image/avif"},
		{"ico", "image/vnd.microsoft.icon"},
		{"woff", "font/woff"},
		{"woff2", "font/woff2"},
		{"ttf", "font/ttf"},
		{"wasm", "application/wasm"},
		{"pdf", "application/pdf"},
		{"mp3", "audio/mpeg"},
		{"ogg", "audio/ogg"},
		{"wav", "audio/wav"},
		{"mp4", "video/mp4"},
		{"webm", "video/webm"},
		{"zip", "application/zip"},
		{"gz", "application/gzip"},
	};
	const char *dot = strrchr(path, '.'), *slash = strrchr(path, '/');
	if (dot != NULL && (slash == NULL || dot > slash))
		for (size_t i = 0; i < sizeof types / sizeof *types; i++)
			if (strcasecmp(dot + 1, types[i][0]) == 0)
				return types[i][1];
	return "application/octet-stream";
}

static bool files_is_hidden(const char *path)
{
	const char *at = strncmp(path, ".well-known/", 12) == 0 ? path + 12 : path;
	return *at == '.' || strstr(at, "/.") != NULL;
}

/* A strong validator: a file that changed within the clock's resolution at the same size still has
 * another inode or time. */
static void files_etag(char tag[64], const struct stat *st)
{
	snprintf(tag, 64, "\"%llx-%llx-%llx%lx\"", (unsigned long long)st->st_ino,
		 (unsigned long long)st->st_size, (unsigned long long)st->st_mtim.tv_sec,
		 (unsigned long)st->st_mtim.tv_nsec);
}

/* RFC 9110 13.1.2: any of the list, compared weakly. */
static bool files_matches(const struct request *r, const char *tag)
{
	for (unsigned i = 0; i < r->n_headers; i++) {
		struct span rest = r->headers[i].value, item;
		if (!span_eq_nocase(r->headers[i].name, SPAN("If-None-Match")))
			continue;
		while (request_list_next(&rest, &item)) {
			if (item.n > 2 && item.p[0] == 'W' && item.p[1] == '/')
				item = (struct span){item.p + 2, item.n - 2};
			if (span_eq(item, SPAN("*")) || span_eq(item, span_of(tag)))
				return true;
		}
	}
	return false;
}

static void files_send(struct conn *c, const struct request *r, const char *path, int fd,
		       const struct stat *st)
{
	char tag[64], head[256], modified[64];
	struct tm tm;
	files_etag(tag, st);
	strftime(modified, sizeof modified, "%a, %d %b %Y %H:%M:%S GMT",
		 gmtime_r(&st->st_mtim.tv_sec, &tm));
	int n = snprintf(head, sizeof head,
			 "ETag: %s\r\nLast-Modified: %s\r\nCache-Control: no-cache\r\n", tag,
			 modified);
	struct span lines = {head, (size_t)n};
	if (files_matches(r, tag)) {
		close(fd);
		answer_respond(c, 304, lines, NULL, (struct span){0});
	} else {
		answer_file(c, lines, files_type(path), fd, (uint64_t)st->st_size);
	}
}

/* "Location: PATH/?QUERY", from the path as it was understood: whatever a browser would take for
 * something else than a path below this host ("//host", "/\host") is escaped. NULL without memory.
 */
static char *files_location(const struct request *r)
{
	static const char prefix[] = "Location: ";
	char *text = malloc(sizeof prefix + 3 * r->path.n + r->query.n + 4), *to = text;
	if (text == NULL)
		return NULL;
	to = stpcpy(to, prefix);
	for (size_t i = 0; i < r->path.n; i++) {
		const unsigned char c = (unsigned char)r->path.p[i];
		bool plain = c == '/' || isalnum(c) || strchr("-._~!$&'()*+,;=:@", c) != NULL;
		to += sprintf(to, plain ? "%c" : "%%%02X", c);
	}
	to = stpcpy(to, r->query.n > 0 ? "/?" : "/");
	if (r->query.n > 0)
		to = mempcpy(to, r->query.p, r->query.n);
	strcpy(to, "\r\n");
	return text;
}

/* A folder without a slash at its end: links in its page would be taken relative to the folder
 * above. */
static void files_redirect(struct conn *c, const struct request *r)
{
	char *location = files_location(r);
	if (location == NULL)
		answer_refuse(c, LOG_HTTP, r, 503, SPAN("Retry-After: 1\r\n"),
			      "no memory for a redirect");
	else
		answer_error(c, 301, span_of(location), "the folder's path ends with a slash");
	free(location);
}

/* Are there files below the mount's path? Then what is not found there is a file that is
 * missing. */
static bool files_has_folder(const struct files *f, const char *mount)
{
	int fd = f->root < 0	    ? -1
		 : mount[1] == '\0' ? dup(f->root)
				    : files_open_at(f->root, mount + 1);
	struct stat st;
	bool folder = fd >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
	if (fd >= 0)
		close(fd);
	return folder;
}

/* Is it an address for WebSocket clients? */
static bool files_is_mount(const struct files *f, struct span path)
{
	for (const char *const *m = f->mounts; m != NULL && *m != NULL; m++) {
		size_t n = strcmp(*m, "/") == 0 ? 0 : strlen(*m);
		bool below = path.n >= n && memcmp(path.p, *m, n) == 0 &&
			     (path.n == n || path.p[n] == '/');
		if (below && (path.n - n <= 1 || !files_has_folder(f, *m)))
			return true;
	}
	return false;
}

static void files_refuse(const struct files *f, struct conn *c, const struct request *r)
{
	const bool mount = files_is_mount(f, r->path);
	if (mount && f->dev_console)
		dev_console_answer(c);
	else if (mount)
		answer_refuse(
			c, LOG_HTTP, r, 426, SPAN(UPGRADE_WANTED),
			"there is no page here, this is a WebSocket address: connect to it with "
			"ws:// or wss://");
	else
		answer_refuse(c, LOG_HTTP, r, 404, (struct span){0}, "there is no such page");
}

void files_serve(const struct files *f, struct conn *c, const struct request *r)
{
	char path[FILES_PATH_MAX];
	struct stat st = {0};
	if (f->health != NULL && health_is_asked(f->health, r)) {
		health_answer(f->health, c, r);
		return;
	}
	if (!span_eq(r->method, SPAN("GET")) && !span_eq(r->method, SPAN("HEAD"))) {
		answer_refuse(c, LOG_HTTP, r, 405, SPAN("Allow: GET, HEAD\r\n"),
			      "only GET and HEAD are served");
		return;
	}
	if (f->web_library && web_library_is_asked(r)) {
		web_library_answer(c);
		return;
	}
	if (f->dev_console && dev_console_is_part(r)) {
		dev_console_answer_part(c, r);
		return;
	}
	bool folder = r->path.p[r->path.n - 1] == '/';
	snprintf(path, sizeof path, "%.*s%s", (int)r->path.n - 1, r->path.p + 1,
		 folder ? "index.html" : "");
	errno = 0;
	int fd = f->root >= 0 && !files_is_hidden(path) ? files_open_at(f->root, path) : -1;
	fd = descriptors_take(&c->conns->loop->descriptors, DESCRIPTORS_CLIENT, fd);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
		answer_refuse(c, LOG_HTTP, r, 503, SPAN("Retry-After: 1\r\n"),
			      "the server is out of descriptors");
		return;
	}
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		files_send(c, r, path, fd, &st);
		return;
	}
	if (fd >= 0 && S_ISDIR(st.st_mode) && !folder)
		files_redirect(c, r);
	else
		files_refuse(f, c, r);
	if (fd >= 0)
		close(fd);
}
