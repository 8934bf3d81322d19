/* The dead-letter file: nothing is done before it is synced, nothing is there twice or in half, and
 * what can not be written waits. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handler/worker/deadletter.h"
#include "run.h"

#define PATIENCE_S 60

static char folder[64], path[96], log_path[96];
static struct loop *loop;
static struct log *log_;
static struct deadletter *letters;
static struct loop_timer tick;
static bool (*wanted)(void);
static uint64_t deadline;

/* --- the disk --------------------------------------------------------------------------------- */

static atomic_int syncs, failing_syncs, folder_syncs;
static bool memory_denied;

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
	if (atomic_load(&failing_syncs) > 0) {
		atomic_fetch_sub(&failing_syncs, 1);
		errno = EIO;
		return -1;
	}
	atomic_fetch_add(&syncs, 1);
	return __real_fdatasync(fd);
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
	struct stat st, folder_st;
	if (fstat(fd, &st) == 0 && stat(folder, &folder_st) == 0 && st.st_ino == folder_st.st_ino)
		atomic_fetch_add(&folder_syncs, 1);
	return __real_fsync(fd);
}

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
	return memory_denied ? NULL : __real_realloc(p, n);
}

/* --- helpers ---------------------------------------------------------------------------------- */

/* What was done, in order, and how many lines had been synced by then. */
static struct {
	int item, synced;
} did[2000];
static size_t n_did;

static void on_done(void *ctx, void *item)
{
	ck_assert_ptr_eq(ctx, &n_did);
	did[n_did].item = (int)(intptr_t)item;
	did[n_did++].synced = atomic_load(&syncs);
}

static void on_tick(void *arg)
{
	(void)arg;
	ck_assert_msg(loop_now(loop) < deadline, "nothing happened");
	if (wanted())
		loop_stop(loop);
	else
		loop_timer_set(&tick, 5);
}

static void until(bool (*condition)(void))
{
	wanted = condition;
	deadline = loop_now(loop) + PATIENCE_S * 1000;
	loop_timer_set(&tick, 0);
	loop->stop = false;
	loop_run(loop);
}

static size_t n_wanted;

static bool as_many_done(void)
{
	ck_assert_uint_le(n_did, n_wanted);
	return n_did == n_wanted;
}

static void until_done(size_t n)
{
	n_wanted = n;
	until(as_many_done);
}

static char *slurp(const char *name, size_t *n_r)
{
	FILE *file = fopen(name, "r");
	char *text = malloc(1 << 20);
	ck_assert_ptr_nonnull(file);
	*n_r = fread(text, 1, (1 << 20) - 1, file);
	text[*n_r] = '\0';
	fclose(file);
	return text;
}

static void holds(const char *expected)
{
	size_t n;
	char *text = slurp(path, &n);
	ck_assert_str_eq(text, expected);
	ck_assert_uint_eq(n, strlen(expected));
	free(text);
}

static size_t times_logged(const char *what)
{
	size_t n, times = 0;
	char *text = slurp(log_path, &n);
	for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
		times++;
	free(text);
	return times;
}

#define COMPLAINT "the dead-letter file can not be written"

static bool complained(void)
{
	return times_logged(COMPLAINT) > 0;
}

static bool complained_twice(void)
{
	return times_logged(COMPLAINT) > 1;
}

static void put(const char *text, int item)
{
	deadletter_write(letters, strdup(text), on_done, &n_did, (void *)(intptr_t)item);
}

static size_t descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

static void setup(void)
{
	snprintf(folder, sizeof folder, "/tmp/tova-letters-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/letters", folder);
	snprintf(log_path, sizeof log_path, "%s/log", folder);
	log_ = log_open(log_path, LOG_FORMAT_TEXT, LOG_DEBUG);
	loop = loop_new(log_);
	ck_assert(log_ != NULL && loop != NULL);
	loop_timer_init(loop, &tick, on_tick, NULL);
	letters = NULL;
	n_did = 0;
	atomic_store(&syncs, 0);
	atomic_store(&failing_syncs, 0);
	atomic_store(&folder_syncs, 0);
}

static void teardown(void)
{
	deadletter_close(&letters);
	loop_timer_cancel(&tick);
	loop_free(&loop);
	log_close(&log_);
	unlink(path);
	unlink(log_path);
	rmdir(folder);
}

static void open_letters(void)
{
	letters = deadletter_open(loop, path);
	ck_assert_ptr_nonnull(letters);
	ck_assert_str_eq(deadletter_path(letters), path);
}

/* --- tests ------------------------------------------------------------------------------------ */

START_TEST(lines_are_synced_and_then_done)
{
	struct stat st;
	open_letters();
	ck_assert(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600 && st.st_size == 0);
	put("{\"a\":1}", 1);
	put("", 2);
	put("{\"b\":\"x y\"}", 3);
	ck_assert_uint_eq(n_did, 0); /* never before the return */
	until_done(3);
	holds("{\"a\":1}\n\n{\"b\":\"x y\"}\n");
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(did[i].item, i + 1);
		ck_assert_int_ge(did[i].synced, i + 1);
	}
	ck_assert_int_eq(atomic_load(&syncs), 3);
	ck_assert_int_eq(atomic_load(&folder_syncs), 1); /* the file was new */
	ck_assert_uint_eq(times_logged(COMPLAINT), 0);
}
END_TEST

START_TEST(a_file_is_appended_to)
{
	struct stat st;
	FILE *file = fopen(path, "w");
	fputs("old\n", file);
	fclose(file);
	open_letters();
	put("new", 1);
	until_done(1);
	holds("old\nnew\n");
	/* A file that was moved away is made anew. */
	ck_assert_int_eq(unlink(path), 0);
	put("newer", 2);
	until_done(2);
	holds("newer\n");
	ck_assert(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
}
END_TEST

START_TEST(many_lines_in_order)
{
	size_t n;
	char line[32], *text, *at;
	open_letters();
	for (int i = 0; i < 300; i++) {
		snprintf(line, sizeof line, "{\"i\":%d}", i);
		put(line, i);
	}
	until_done(300);
	at = text = slurp(path, &n);
	for (int i = 0; i < 300; i++) {
		snprintf(line, sizeof line, "{\"i\":%d}\n", i);
		ck_assert_int_eq(strncmp(at, line, strlen(line)), 0);
		at += strlen(line);
		ck_assert_int_eq(did[i].item, i);
	}
	ck_assert_str_eq(at, "");
	free(text);
}
END_TEST

START_TEST(closing_finishes_what_was_begun)
{
	open_letters();
	for (int i = 0; i < 50; i++)
		put("x", i);
	deadletter_close(&letters);
	letters = NULL;
	ck_assert_uint_eq(n_did, 0); /* without callbacks */
	size_t n;
	free(slurp(path, &n));
	ck_assert_uint_eq(n, 100);
}
END_TEST

START_TEST(without_a_file)
{
	letters = deadletter_open(loop, NULL);
	ck_assert_ptr_nonnull(letters);
	ck_assert_ptr_null(deadletter_path(letters));
	put("x", 1);
	put("y", 2);
	ck_assert_uint_eq(n_did, 0);
	until_done(2);
	put("z", 3); /* of nobody any more */
	deadletter_close(&letters);
	letters = NULL;
	ck_assert_uint_eq(n_did, 2);
}
END_TEST

START_TEST(files_that_can_not_be_opened)
{
	size_t before = descriptors();
	char below[128];
	snprintf(below, sizeof below, "%s/no/letters", folder);
	ck_assert(deadletter_open(loop, below) == NULL && errno == ENOENT);
	ck_assert(deadletter_open(loop, folder) == NULL && errno == EISDIR);
	ck_assert_uint_eq(descriptors(), before);
	struct deadletter *none = NULL;
	deadletter_close(&none);
}
END_TEST

/* --- the unhappy path ------------------------------------------------------------------------- */

/* A device without room: nothing is done, it is said once, and closing does not wait for it. */
START_TEST(full_device)
{
	ck_assert_int_eq(symlink("/dev/full", path), 0);
	open_letters();
	for (int i = 0; i < 5; i++)
		put("x", i);
	until(complained);
	ck_assert_uint_eq(times_logged("No space left on device"), 1);
	deadletter_close(&letters);
	letters = NULL;
	ck_assert_uint_eq(n_did, 0);
	ck_assert_uint_eq(times_logged(COMPLAINT), 1);
}
END_TEST

static bool second_try(void)
{
	return atomic_load(&failing_syncs) <= 1;
}

/* A full disk that gets room again; the link stands for both. */
START_TEST(room_comes_back)
{
	char link[128];
	ck_assert_int_eq(symlink("/dev/full", path), 0);
	open_letters();
	put("a", 1);
	put("b", 2);
	until(complained);
	ck_assert_uint_eq(n_did, 0);
	snprintf(link, sizeof link, "%s/good", folder);
	fclose(fopen(link, "w"));
	ck_assert_int_eq(rename(link, path), 0);
	until_done(2);
	holds("a\nb\n");
	ck_assert_uint_eq(times_logged(COMPLAINT), 1);
	/* A second time is said again. */
	ck_assert(unlink(path) == 0 && symlink("/dev/full", path) == 0);
	put("c", 3);
	until(complained_twice);
	ck_assert_uint_eq(n_did, 2);
}
END_TEST

/* The limit on a file's size lets part of a line through: it is cut off again, and no signal ends
 * the process. */
START_TEST(half_a_line_is_cut_off)
{
	struct rlimit old, tight;
	char long_line[3001];
	size_t n;
	memset(long_line, 'x', sizeof long_line - 1);
	long_line[sizeof long_line - 1] = '\0';
	open_letters();
	put(long_line, 1);
	until_done(1);
	getrlimit(RLIMIT_FSIZE, &old);
	tight = (struct rlimit){.rlim_cur = 5000, .rlim_max = old.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &tight), 0);
	put(long_line, 2);
	until(complained);
	ck_assert_uint_eq(times_logged("File too large"), 1);
	ck_assert_uint_eq(n_did, 1);
	char *text = slurp(path, &n);
	ck_assert_uint_eq(n, 3001);
	free(text);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
	until_done(2);
	text = slurp(path, &n);
	ck_assert_uint_eq(n, 6002);
	ck_assert(text[3000] == '\n' && text[6001] == '\n' && strspn(text + 3001, "x") == 3000);
	free(text);
}
END_TEST

/* What could not be synced may not be on the disk: it is written again, not twice. */
START_TEST(failing_syncs_are_tried_again)
{
	open_letters();
	atomic_store(&failing_syncs, 2);
	put("a", 1);
	until(second_try);
	ck_assert_uint_eq(n_did, 0);
	put("b", 2);
	until_done(2);
	holds("a\nb\n");
	ck_assert_int_eq(did[0].item, 1);
	ck_assert_int_eq(did[1].item, 2);
	ck_assert_uint_eq(times_logged("Input/output error"), 1);
}
END_TEST

START_TEST(folder_goes_and_comes)
{
	char below[96], aside[96];
	snprintf(below, sizeof below, "%s/sub", folder);
	snprintf(aside, sizeof aside, "%s/aside", folder);
	ck_assert_int_eq(mkdir(below, 0700), 0);
	snprintf(path, sizeof path, "%s/sub/letters", folder);
	open_letters();
	ck_assert_int_eq(rename(below, aside), 0);
	put("a", 1);
	until(complained);
	ck_assert_uint_eq(times_logged("No such file or directory"), 1);
	ck_assert_int_eq(rename(aside, below), 0);
	until_done(1);
	holds("a\n");
	unlink(path);
	rmdir(below);
}
END_TEST

START_TEST(no_memory)
{
	open_letters();
	memory_denied = true;
	put("x", 1);
	memory_denied = false;
	ck_assert_uint_eq(n_did, 1); /* the event must not wait for ever; the log has it */
	ck_assert_uint_eq(times_logged("no memory for a dead letter"), 1);
	put("y", 2);
	until_done(2);
	holds("y\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("deadletter");
	TCase *tc = tcase_create("deadletter");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, lines_are_synced_and_then_done);
	tcase_add_test(tc, a_file_is_appended_to);
	tcase_add_test(tc, many_lines_in_order);
	tcase_add_test(tc, closing_finishes_what_was_begun);
	tcase_add_test(tc, without_a_file);
	tcase_add_test(tc, files_that_can_not_be_opened);
	tcase_add_test(tc, full_device);
	tcase_add_test(tc, room_comes_back);
	tcase_add_test(tc, half_a_line_is_cut_off);
	tcase_add_test(tc, failing_syncs_are_tried_again);
	tcase_add_test(tc, folder_goes_and_comes);
	tcase_add_test(tc, no_memory);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
