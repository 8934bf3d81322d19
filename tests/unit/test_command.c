/* What a shell command names, where that can be known: refused before anybody connects to it. */
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/command.h"
#include "run.h"

static char folder[] = "/tmp/tova-command-XXXXXX";

static void make(const char *name, mode_t mode)
{
	int fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, mode);
	ck_assert_int_ge(fd, 0);
	close(fd);
}

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	make("there.sh", 0644);
	make("runs", 0755);
	make("my file.py", 0644);
}

static void teardown(void)
{
	unlink("there.sh");
	unlink("runs");
	unlink("my file.py");
	ck_assert_int_eq(chdir("/"), 0);
	rmdir(folder);
}

static const char *const good[] = {
	"",
	"cat",
	"sh there.sh",
	"sh -e there.sh more",
	"exec sh there.sh",
	"A=b C='d e' python3 -u 'my file.py' --flag",
	"/bin/sh there.sh",
	"./runs no-file",
	"python3 -m http.server",
	"python3 -c 'print(1)'",
	"node --max-old-space-size=100 unknown.mjs",
	"while read -r line; do echo $line; done",
	"cat | nothing-of-that-name",
	"cd /nowhere && ./x",
	"read line",
	"sh $FILE_THAT_IS_NOT_SET",
	"sh",
	"nothing 2>/dev/null",
	"`nothing`",
};

START_TEST(good_ones)
{
	char why[500] = "";
	ck_assert_msg(command_check(good[_i], why, sizeof why), "%s: %s", good[_i], why);
}
END_TEST

static const char *const bad[][3] = {
	{"nothing-of-that-name a b", "nothing-of-that-name", "none in PATH"},
	{"./nothing", "./nothing", "No such file"},
	{"/nowhere/at/all x", "/nowhere/at/all", "No such file"},
	{"./there.sh", "./there.sh", "Permission denied"},
	{"/tmp", "/tmp", "Is a directory"},
	{"sh gone.sh", "gone.sh", "No such file"},
	{"A=b python3 -u gone.py", "gone.py", "No such file"},
	{"exec node 'gone away.mjs'", "gone away.mjs", "No such file"},
};

START_TEST(bad_ones)
{
	char why[500] = "";
	ck_assert_msg(!command_check(bad[_i][0], why, sizeof why), "%s", bad[_i][0]);
	ck_assert_msg(strstr(why, bad[_i][1]) != NULL && strstr(why, bad[_i][2]) != NULL, "%s: %s",
		      bad[_i][0], why);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("command");
	TCase *tests = tcase_create("command");
	tcase_add_unchecked_fixture(tests, setup, teardown);
	tcase_add_loop_test(tests, good_ones, 0, sizeof good / sizeof *good);
	tcase_add_loop_test(tests, bad_ones, 0, sizeof bad / sizeof *bad);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
