/* Where plugins are looked for. (That they are loaded whole, or refused, stories with a host tell.)
 */
#include "common/library.h" /* before check.h, whose fail() is a macro */

#include <check.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run.h"
#include "net/conn.h"

static void touch(const char *name)
{
	FILE *file = fopen(name, "w");

	ck_assert_ptr_nonnull(file);
	fclose(file);
}

START_TEST(plugins_are_found)
{
	char folder[] = "/tmp/tova-library-XXXXXX", *old = getcwd(NULL, 0), bin[128], plugins[160],
	     a[256], b[256], c[256], found[PATH_MAX], why[1024], wanted[1024];

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(bin, sizeof bin, "%s/bin", folder);
	snprintf(plugins, sizeof plugins, "%s/plugins", bin);
	snprintf(a, sizeof a, "%s/chat.so", folder);
	snprintf(b, sizeof b, "%s/chat.so", bin);
	snprintf(c, sizeof c, "%s/chat.so", plugins);
	ck_assert(mkdir(bin, 0700) == 0 && mkdir(plugins, 0700) == 0 && chdir(folder) == 0);

	ck_assert(!library_find("chat.so", bin, found, sizeof found, why, sizeof why));
	snprintf(wanted, sizeof wanted,
		 "\"chat.so\" was not found in the current folder, %s, %s or %s", bin, plugins,
		 TOVA_PLUGIN_DIR);
	ck_assert_str_eq(why, wanted);
	touch(c);
	ck_assert(library_find("chat.so", bin, found, sizeof found, why, sizeof why));
	ck_assert_str_eq(found, c);
	ck_assert(library_find("chat", bin, found, sizeof found, why, sizeof why));
	ck_assert_str_eq(found, c);
	touch(b);
	ck_assert(library_find("chat.so", bin, found, sizeof found, why, sizeof why));
	ck_assert_str_eq(found, b);
	touch(a);
	ck_assert(library_find("chat.so", bin, found, sizeof found, why, sizeof why));
	ck_assert_str_eq(found, "./chat.so");
	/* A folder is no plugin; nor does a path get looked for anywhere else. */
	ck_assert(!library_find("plugins", bin, found, sizeof found, why, sizeof why));
	ck_assert(!library_find("no/chat.so", bin, found, sizeof found, why, sizeof why));
	ck_assert_str_eq(why, "\"no/chat.so\" can not be read: No such file or directory");
	ck_assert(!library_find("/", bin, found, sizeof found, why, sizeof why));
	ck_assert_str_eq(why, "\"/\" can not be read: Is a directory");
	ck_assert(!library_find("/dev/null", bin, found, sizeof found, why, sizeof why));
	ck_assert_str_eq(why, "\"/dev/null\" can not be read: it is no regular file");
	ck_assert(library_find(c, bin, found, sizeof found, why, sizeof why));
	ck_assert_str_eq(found, c);
	ck_assert(!library_find(c, bin, found, 5, why, sizeof why));
	ck_assert_ptr_nonnull(strstr(why, "can not be read: too long"));
	ck_assert(!library_find("chat.so", bin, found, 5, why, sizeof why));
	/* Without a folder given it is the running program's. */
	ck_assert(!library_find("no-such", NULL, found, sizeof found, why, sizeof why));
	ck_assert_ptr_nonnull(strstr(why, "\"no-such\" was not found in the current folder, /"));

	unlink(a);
	unlink(b);
	unlink(c);
	rmdir(plugins);
	rmdir(bin);
	rmdir(folder);
	ck_assert_int_eq(chdir(old), 0);
	free(old);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("library");
	TCase *tc = tcase_create("library");

	tcase_add_test(tc, plugins_are_found);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
