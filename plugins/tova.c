/* tova: runs a program in the language of the rooms' specification. Settings: file, the program;
 * max-instructions, max-time and max-memory, what one event and the program may take. See
 * sdk/tova/README.md.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tova/runtime/program.h"
#include "tova/runtime/state.h"
#include "tova_plugin.h"

/* --- settings --------------------------------------------------------------------------------- */

/* A whole number, with k, m or g behind it or not. 0: it is none, or not in the range. */
static uint64_t number_setting(const char *text, uint64_t least, uint64_t most)
{
	char *end;
	errno = 0;
	uint64_t value = strtoull(text, &end, 10);
	unsigned shift = *end == 'k' ? 10 : *end == 'm' ? 20 : *end == 'g' ? 30 : 0;
	if (text[0] < '0' || text[0] > '9' || errno != 0 || end[shift > 0] != '\0' ||
	    value > most >> shift || value << shift < least)
		return 0;
	return value << shift;
}

#define MEMORY_MIN (UINT64_C(256) << 10)
#define MEMORY_MAX (UINT64_C(16) << 30)
#define INSTRUCTIONS_MIN UINT64_C(1000)
#define INSTRUCTIONS_MAX UINT64_C(1000000000000)

#define TIME_MIN 10
#define TIME_MAX 3600000

/* Milliseconds of "5s", "200ms"; 0: it is none, or not in the range. */
static uint64_t time_setting(const char *text)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	unsigned long long ms = strcmp(end, "ms") == 0 ? 1 : strcmp(end, "s") == 0 ? 1000 : 0;
	if (text[0] < '0' || text[0] > '9' || errno != 0 || ms == 0 || value > TIME_MAX ||
	    value * ms < TIME_MIN || value * ms > TIME_MAX)
		return 0;
	return value * ms;
}

static bool read_limits(tova_mount *m, struct program_limits *limits_r)
{
	const char *memory = tova_setting(m, "max-memory"),
		   *instructions = tova_setting(m, "max-instructions"),
		   *time = tova_setting(m, "max-time");
	limits_r->cpu_ms = time_setting(time);
	limits_r->memory = (size_t)number_setting(memory, MEMORY_MIN, MEMORY_MAX);
	limits_r->instructions =
		(int64_t)number_setting(instructions, INSTRUCTIONS_MIN, INSTRUCTIONS_MAX);
	if (limits_r->memory == 0)
		tova_fail(m, "max-memory is 256k to 16g, not \"%.100s\"", memory);
	else if (limits_r->instructions == 0)
		tova_fail(m, "max-instructions is 1000 to 1000000000000, not \"%.100s\"",
			  instructions);
	else if (limits_r->cpu_ms == 0)
		tova_fail(m, "max-time is 10ms to 3600s, not \"%.100s\"", time);
	return limits_r->memory != 0 && limits_r->instructions != 0 && limits_r->cpu_ms != 0;
}

/* The file's text, malloc'd; NULL with errno. One byte more than a program may have is enough to
 * know. */
static char *read_file(const char *path, size_t *n_r)
{
	char *text = malloc(TRANSLATE_MAX + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n = 0;
	*n_r = 0;
	bool ok = text != NULL && fd >= 0 && fstat(fd, &st) == 0;
	if (ok && !S_ISREG(st.st_mode)) {
		errno = EINVAL;
		ok = false;
	}
	while (ok && *n_r <= TRANSLATE_MAX &&
	       (n = read(fd, text + *n_r, TRANSLATE_MAX + 1 - *n_r)) > 0)
		*n_r += (size_t)n;
	int error = n < 0 || !ok ? errno : 0;
	if (fd >= 0)
		close(fd);
	if (error == 0)
		return text;
	free(text);
	errno = error;
	return NULL;
}

/* --- start and stop --------------------------------------------------------------------------- */

static struct program *load(tova_mount *m, const char *file)
{
	struct program_limits limits;
	char why[PROGRAM_WHY_MAX];
	size_t n;
	if (!read_limits(m, &limits))
		return NULL;
	char *text = read_file(file, &n);
	if (text == NULL) {
		tova_fail(m, "file \"%.300s\" can not be read: %s", file, strerror(errno));
		return NULL;
	}
	struct program *p = program_new(file, text, n, m, &limits, why, sizeof why);
	free(text);
	if (p == NULL)
		tova_fail(m, "%s", why);
	return p;
}

static int start(tova_mount *m)
{
	const char *file = tova_setting(m, "file");
	char why[PROGRAM_WHY_MAX];
	size_t n;
	if (file == NULL || *file == '\0')
		return tova_fail(m, "a program is missing; expected --plugin-set file=FILE.tova");
	struct program *p = load(m, file);
	if (p == NULL)
		return -1;
	const char *kept = tova_kept(m, &n);
	m->user = p;
	if (program_start(p, kept, n, why, sizeof why))
		return 0;
	m->user = NULL;
	program_free(p);
	return tova_fail(m, "%s", why);
}

static void stop(tova_mount *m)
{
	program_free(m->user);
	m->user = NULL;
}

/* What the program's own vars hold goes on in the next generation. */
static int on_save(tova_mount *m)
{
	size_t n;
	char *text = program_save(m->user, &n);
	int result = text != NULL ? tova_keep(m, text, n) : 0;
	free(text);
	return result;
}

/* --- events ----------------------------------------------------------------------------------- */

static int on_open(tova_mount *m, tova_ws ws, const tova_request *request)
{
	return program_on_open(m->user, ws, request);
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	return program_on_message(m->user, ws, message);
}

static int on_close(tova_mount *m, tova_ws ws, const tova_close *why)
{
	return program_on_close(m->user, ws, why);
}

static int on_error(tova_mount *m, tova_ws ws, const tova_error *error)
{
	return program_on_error(m->user, ws, error);
}

static int on_away(tova_mount *m, tova_ws ws, uint16_t code)
{
	return program_on_away(m->user, ws, code);
}

static int on_back(tova_mount *m, tova_ws ws, const tova_request *request)
{
	return program_on_back(m->user, ws, request);
}

static int on_join(tova_mount *m, const tova_presence *who)
{
	return program_on_join(m->user, who);
}

static int on_leave(tova_mount *m, const tova_presence *who)
{
	return program_on_leave(m->user, who);
}

static int on_timer(tova_mount *m, const tova_timer *timer)
{
	return program_on_timer(m->user, timer);
}

static int on_reply(tova_mount *m, const tova_reply *reply)
{
	return program_on_reply(m->user, reply);
}

static const tova_setting_spec settings[] = {
	{"file", NULL, "the program, a .tova file"},
	{"max-instructions", "10000000", "instructions that one event may take"},
	{"max-memory", "64m", "bytes that the program may have"},
	{"max-time", "5s", "processor time that one event may take"},
	{NULL, NULL, NULL},
};

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("tova", "1.0"),
	.data_size = STATE_SIZE,
	.settings = settings,
	.start = start,
	.stop = stop,
	.on_open = on_open,
	.on_message = on_message,
	.on_close = on_close,
	.on_error = on_error,
	.on_timer = on_timer,
	.on_reply = on_reply,
	.on_save = on_save,
	.on_away = on_away,
	.on_back = on_back,
	.on_join = on_join,
	.on_leave = on_leave,
};
