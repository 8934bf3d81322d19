/* What a reload read against what runs: each option of the table, by its column; mounts; what is
 * taken back. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "settings/settings_adopt.h"
#include "settings/settings_layer.h"
#include "run.h"

static struct settings runs, asked;
static char *said; /* "--threads waits 1 2\n" for each change */

static void read_into(struct settings *s, const char *const *args)
{
	char *text = NULL;
	size_t n = 0;
	FILE *err = open_memstream(&text, &n);
	struct settings_source source = {.argv = (char **)args, .out = err, .err = err};

	while (args[source.argc] != NULL)
		source.argc++;
	enum settings_status status = settings_read(s, &source);
	fclose(err);
	ck_assert_msg(status == SETTINGS_OK, "%s", text);
	free(text);
}

#define RUNS(...) read_into(&runs, (const char *const[]){"tova-host", __VA_ARGS__, NULL})
#define ASKED(...) read_into(&asked, (const char *const[]){"tova-host", __VA_ARGS__, NULL})

static void on_change(void *ctx, const struct settings_change *c)
{
	fprintf(ctx, "--%s %s%s%s %s %s\n", c->row->name, c->waits ? "waits" : "now",
		c->mount != NULL ? " " : "", c->mount != NULL ? c->mount : "",
		c->runs != NULL ? c->runs : "-", c->asked != NULL ? c->asked : "-");
}

static const char *adopt(void)
{
	size_t n = 0;
	free(said);
	FILE *f = open_memstream(&said, &n);
	settings_adopt(&runs, &asked, on_change, f);
	fclose(f);
	return said;
}

/* What was adopted is what runs now. */
static void take_over(void)
{
	settings_free(&runs);
	runs = asked;
	memset(&asked, 0, sizeof asked);
}

static void forget(void)
{
	settings_free(&runs);
	settings_free(&asked);
	free(said);
	said = NULL;
}

/* Gives the option another value than it has, whatever its type. */
static void change(struct settings *s, const struct option_row *row)
{
	void *field = settings_layer_field(s, row);
	struct settings_list *list = field;
	struct settings_listens *listens = field;

	switch (row->type) {
	case OPTION_FLAG:
		*(bool *)field = !*(bool *)field;
		break;
	case OPTION_ENUM:
		*(unsigned *)field ^= 1;
		break;
	case OPTION_TEXT:
	case OPTION_PATH:
		free(*(char **)field);
		*(char **)field = strdup("other");
		break;
	case OPTION_LIST:
	case OPTION_PATHS:
		list->items = reallocarray(list->items, list->n + 1, sizeof *list->items);
		list->items[list->n++] = strdup("other");
		break;
	case OPTION_LISTEN:
		if (listens->n == 0) {
			listens->items = calloc(1, sizeof *listens->items);
			listens->n = 1;
		}
		free(listens->items[0].text);
		listens->items[0].text = strdup("other");
		break;
	default:
		*(uint64_t *)field = row->type == OPTION_RATE		? 5 | 1000ull << 32
				     : *(uint64_t *)field != row->least ? row->least
									: row->most;
	}
}

/* Every option of the table that is the host's: a change is told once, as its column says, and what
 * waits is not taken. */
START_TEST(each_option_does_as_its_column_says)
{
	const struct option_row *row = &option_table[_i];
	char expected[80];

	RUNS("--tls-cert", "a", "-p", "x.so");
	ASKED("--tls-cert", "a", "-p", "x.so");
	if (settings_layer_field(&asked, row) == NULL || row->when == OPTION_WHEN_START) {
		forget();
		return;
	}
	change(&asked, row);
	snprintf(expected, sizeof expected, "--%s %s ", row->name,
		 row->when == OPTION_WHEN_RESTART ? "waits" : "now");
	ck_assert_msg(strncmp(adopt(), expected, strlen(expected)) == 0, "%s", said);
	ck_assert_msg(strchr(said, '\n')[1] == '\0', "%s", said);
	take_over();
	/* Once more against what runs: what waited still does, what was taken does not differ any
	 * more. */
	ASKED("--tls-cert", "a", "-p", "x.so");
	change(&asked, row);
	ck_assert_int_eq(adopt()[0] != '\0', row->when == OPTION_WHEN_RESTART);
	/* And back: nothing waits. */
	if (row->when == OPTION_WHEN_RESTART) {
		take_over();
		ASKED("--tls-cert", "a", "-p", "x.so");
		ck_assert_str_eq(adopt(), "");
	}
	forget();
}
END_TEST

START_TEST(values_are_told_as_they_are_typed)
{
	RUNS("--threads", "2", "-l", "127.0.0.1:1", "-l", "unix:/a", "--idle-timeout", "90s");
	ASKED("--idle-timeout", "0", "--deflate", "--user", "nobody");
	ck_assert_str_eq(adopt(), "--listen waits 127.0.0.1:1,unix:/a 127.0.0.1:8080\n"
				  "--threads waits 2 1\n"
				  "--user waits - nobody\n"
				  "--deflate now false true\n"
				  "--idle-timeout now 90s 0\n");
	ck_assert_uint_eq(asked.threads, 2);
	ck_assert_uint_eq(asked.listen.n, 2);
	ck_assert_ptr_null(asked.user);
	ck_assert(asked.deflate && asked.idle_timeout == 0);
	forget();
}
END_TEST

/* Which mounts there are, and of which kind, stays; the others' handlers and options change. */
START_TEST(mounts)
{
	RUNS("-p", "/a=a.so", "-w", "/b=b", "-x", "/c=c", "--rate-limit", "/a=5/1s", "--plugin-set",
	     "k=1");
	ASKED("-p", "/a=a2.so", "-x", "/b=b", "-p", "/d=d.so", "--plugin-set", "/a:k=2");
	ck_assert_str_eq(adopt(), "--plugin now /a a.so a2.so\n"
				  "--plugin-set now /a - -\n"
				  "--rate-limit now /a 5/1s -\n"
				  "--script waits /b b b\n"
				  "--script waits /c c -\n"
				  "--plugin waits /d - d.so\n");
	ck_assert_uint_eq(asked.n_mounts, 3);
	ck_assert_str_eq(asked.mounts[0].plugin, "a2.so");
	ck_assert_str_eq(asked.mounts[0].pairs[0].value, "2");
	ck_assert_str_eq(asked.mounts[1].worker, "b");
	ck_assert_ptr_null(asked.mounts[1].script);
	ck_assert_str_eq(asked.mounts[2].script, "c");
	take_over();
	ASKED("-p", "/a=a2.so", "-w", "/b=b2", "-x", "/c=c2", "--plugin-set", "/a:k=2");
	ck_assert_str_eq(adopt(), "--worker now /b b b2\n--script now /c c c2\n");
	forget();
}
END_TEST

START_TEST(processes_are_one_kind)
{
	RUNS("--isolate", "-p", "/a=a.so", "-w", "/b=b");
	ASKED("--isolate", "-w", "/a=a", "-p", "/b=b.so");
	ck_assert_str_eq(
		adopt(),
		"--plugin now /a a.so -\n--worker now /a - a\n--plugin now /b - b.so\n--worker now /b b -\n");
	forget();
	/* What waits counts as it runs: without --isolate in effect a plugin is none. */
	RUNS("-w", "/a=a");
	ASKED("--isolate", "-p", "/a=a.so");
	ck_assert_str_eq(adopt(), "--isolate waits false true\n--plugin waits /a a a.so\n");
	ck_assert_str_eq(asked.mounts[0].worker, "a");
	forget();
}
END_TEST

/* An address where workers attach stays until a restart, and with it what guards it. */
START_TEST(a_guarded_address_keeps_its_guard)
{
	RUNS("-a", "tcp://0.0.0.0:1", "--attach-token", "secret");
	ASKED("-a", "ipc:///tmp/x");
	ck_assert_str_eq(
		adopt(),
		"--attach-token waits secret -\n--attach waits / tcp://0.0.0.0:1 ipc:///tmp/x\n");
	ck_assert_str_eq(asked.mounts[0].attach, "tcp://0.0.0.0:1");
	ck_assert_str_eq(asked.attach_token.items[0], "secret");
	forget();
	RUNS("-a", "tcp://0.0.0.0:1", "--attach-token", "secret");
	ASKED("-a", "tcp://0.0.0.0:1", "--attach-token", "other");
	ck_assert_str_eq(adopt(), "--attach-token now secret other\n");
	forget();
}
END_TEST

START_TEST(tls_begins_and_ends_with_a_restart)
{
	RUNS("-p", "x.so");
	ASKED("-p", "x.so", "--tls-cert", "c", "--tls-key", "k", "--tls-min", "1.3");
	ck_assert_str_eq(adopt(),
			 "--tls-cert waits - c\n--tls-key waits - k\n--tls-min waits 1.2 1.3\n");
	ck_assert_uint_eq(asked.tls_cert.n, 0);
	ck_assert(!asked.listen.items[0].tls);
	take_over();
	ASKED("-p", "x.so");
	ck_assert_str_eq(adopt(), "");
	forget();
	RUNS("-p", "x.so", "--tls-cert", "c");
	ASKED("-p", "x.so");
	ck_assert_str_eq(adopt(), "--tls-cert waits c -\n");
	ck_assert(asked.tls_cert.n == 1 && asked.listen.items[0].tls);
	forget();
}
END_TEST

START_TEST(what_can_not_be_had_is_taken_back)
{
	RUNS("--static", "/a", "-p", "/m=a.so", "--plugin-set", "k=1");
	ASKED("--static", "/b", "-p", "/m=b.so");
	settings_adopt_not(&runs, &asked, OPTION_ID_static_dir);
	settings_adopt_not_handler(&runs, &asked.mounts[0]);
	ck_assert_str_eq(asked.static_dir, "/a");
	ck_assert_str_eq(asked.mounts[0].plugin, "a.so");
	ck_assert_uint_eq(asked.mounts[0].n_pairs, 1);
	ck_assert_str_eq(runs.static_dir, "/b");
	forget();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("settings_adopt");
	TCase *tc = tcase_create("settings_adopt");

	tcase_add_loop_test(tc, each_option_does_as_its_column_says, 0, OPTION_COUNT);
	tcase_add_test(tc, values_are_told_as_they_are_typed);
	tcase_add_test(tc, mounts);
	tcase_add_test(tc, processes_are_one_kind);
	tcase_add_test(tc, a_guarded_address_keeps_its_guard);
	tcase_add_test(tc, tls_begins_and_ends_with_a_restart);
	tcase_add_test(tc, what_can_not_be_had_is_taken_back);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
