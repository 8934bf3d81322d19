/* Reloads that somebody waits for: each is answered once, in a later turn, when all that it tells
 * of is known, whatever comes in between. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/reload.h"
#include "rig.h"
#include "run.h"

static struct rig *r;
static struct reloads all;
static struct mount *other;

/* What the next one that is begun finds. */
static struct {
	const char *wrong;
	enum reload_outcome outcomes[2];
	uint64_t awaited;
	unsigned begun;
	const struct mount *only;
} does;

static struct {
	unsigned answers;
	bool ok;
	char members[2048];
} asked[RELOADS_MAX + 1];

static void run(void *ctx, const struct mount *only, struct reload *reload)
{
	ck_assert_ptr_eq(ctx, &does);
	does.begun++;
	does.only = only;
	if (does.wrong != NULL) {
		reload_wrong(reload, does.wrong);
		return;
	}
	if (only == NULL)
		reload_read(reload, 3, 1);
	reload_mount(reload, r->mount, does.outcomes[0], "no such file", does.awaited);
	if (only == NULL)
		reload_mount(reload, other, does.outcomes[1], "no such file", does.awaited);
}

static void on_answer(void *ctx, bool ok, struct span members)
{
	unsigned i = (unsigned)(uintptr_t)ctx;
	asked[i].answers++;
	asked[i].ok = ok;
	snprintf(asked[i].members, sizeof asked[i].members, "%.*s", (int)members.n, members.p);
}

static void begin(unsigned i, const struct mount *only)
{
	ck_assert_ptr_null(reload_begin(&all, only, on_answer, (void *)(uintptr_t)i));
	ck_assert_uint_eq(asked[i].answers, 0);
}

static void turn(void)
{
	rig_turn(r);
	rig_turn(r);
}

static void expect(unsigned i, bool ok, const char *members)
{
	ck_assert_uint_eq(asked[i].answers, 1);
	ck_assert(asked[i].ok == ok);
	ck_assert_str_eq(asked[i].members, members);
}

static void setup(void)
{
	const struct conn_limits limits = rig_limits();
	r = rig_new(&limits, 0);
	other = mount_new(&r->hub, "/b");
	ck_assert_ptr_nonnull(other);
	hub_add_mount(&r->hub, other);
	memset(&does, 0, sizeof does);
	memset(asked, 0, sizeof asked);
	reloads_init(&all, &r->hub, run, &does);
}

static void teardown(void)
{
	reloads_free(&all);
	rig_free(r);
}

START_TEST(at_once)
{
	does.outcomes[1] = RELOAD_REPLACED;
	begin(0, NULL);
	turn();
	expect(0, true,
	       ",\"changed\":3,\"waiting_for_a_restart\":1,\"mounts\":[{\"mount\":\"/\",\"outcome\":\"unchanged\"},"
	       "{\"mount\":\"/b\",\"outcome\":\"replaced\"}]");
	ck_assert_int_gt(other->deploy.at, 0);
	ck_assert_int_eq(r->mount->deploy.at, 0);
	does.outcomes[0] = RELOAD_NEXT;
	begin(1, r->mount);
	turn();
	expect(1, true, ",\"mounts\":[{\"mount\":\"/\",\"outcome\":\"next connection\"}]");
	ck_assert_ptr_eq(does.only, r->mount);
	reload_mount(NULL, r->mount, RELOAD_FAILED, "x", 0); /* HUP: nobody is told */
	ck_assert_str_eq(r->mount->deploy.why, "x");
	ck_assert_uint_eq(does.begun, 2);
}
END_TEST

START_TEST(what_is_wrong)
{
	does.wrong = "option --x: \"y\"";
	begin(0, NULL);
	turn();
	expect(0, false, ",\"mounts\":[],\"error\":\"option --x: \\\"y\\\"\"");
	does.wrong = NULL;
	does.outcomes[1] = RELOAD_FAILED;
	begin(1, NULL);
	turn();
	expect(1, false,
	       ",\"changed\":3,\"waiting_for_a_restart\":1,\"mounts\":[{\"mount\":\"/\",\"outcome\":\"unchanged\"},"
	       "{\"mount\":\"/b\",\"outcome\":\"failed\",\"error\":\"no such file\"}],"
	       "\"error\":\"the handler of /b was not replaced, the old one goes on: no such file\"");
	ck_assert_int_gt(other->deploy.failed, 0);
	ck_assert_str_eq(other->deploy.why, "no such file");
	mount_deployed(other, 5);
	ck_assert_int_eq(other->deploy.failed, 0);
}
END_TEST

START_TEST(workers_that_come)
{
	does.outcomes[0] = does.outcomes[1] = RELOAD_COMING;
	does.awaited = 4;
	begin(0, NULL);
	turn();
	reload_on_workers(&all, r->mount, 3, NULL); /* those asked for before */
	ck_assert_uint_eq(asked[0].answers, 0);
	reload_on_workers(&all, r->mount, 4, NULL);
	reload_on_workers(&all, r->mount, 5, "too late for this one");
	ck_assert_uint_eq(asked[0].answers, 0);
	does.awaited = 6;
	begin(1, r->mount);
	turn();
	/* newer ones serve, so those that were asked for before them do not come any more */
	reload_on_workers(&all, other, 9, NULL);
	expect(0, true,
	       ",\"changed\":3,\"waiting_for_a_restart\":1,\"mounts\":[{\"mount\":\"/\",\"outcome\":\"replaced\"},"
	       "{\"mount\":\"/b\",\"outcome\":\"replaced\"}]");
	reload_on_workers(&all, r->mount, 6, "killed by SIGSEGV");
	expect(1, false,
	       ",\"mounts\":[{\"mount\":\"/\",\"outcome\":\"failed\",\"error\":\"killed by SIGSEGV\"}],"
	       "\"error\":\"the handler of / was not replaced, the old one goes on: killed by SIGSEGV\"");
	ck_assert_uint_eq(all.n, 0);
}
END_TEST

START_TEST(who_has_gone)
{
	does.outcomes[0] = RELOAD_COMING;
	does.awaited = 1;
	begin(0, r->mount);
	reload_forget(&all, (void *)(uintptr_t)0);
	begin(1, r->mount);
	turn();
	ck_assert_uint_eq(does.begun, 2); /* what was asked for is done */
	reload_forget(&all, (void *)(uintptr_t)1);
	reload_on_workers(&all, r->mount, 1, NULL);
	ck_assert_uint_eq(asked[0].answers + asked[1].answers, 0);
	ck_assert_uint_eq(all.n, 0);
}
END_TEST

START_TEST(so_many)
{
	does.outcomes[0] = RELOAD_COMING;
	does.awaited = 1;
	for (unsigned i = 0; i < RELOADS_MAX; i++)
		begin(i, r->mount);
	ck_assert_ptr_nonnull(reload_begin(&all, NULL, on_answer, NULL));
	turn();
	ck_assert_ptr_nonnull(reload_begin(&all, NULL, on_answer, NULL));
	reload_on_workers(&all, r->mount, 1, NULL);
	for (unsigned i = 0; i < RELOADS_MAX; i++)
		expect(i, true, ",\"mounts\":[{\"mount\":\"/\",\"outcome\":\"replaced\"}]");
	begin(RELOADS_MAX, r->mount); /* teardown frees it */
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("reload");
	TCase *tc = tcase_create("reload");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, at_once);
	tcase_add_test(tc, what_is_wrong);
	tcase_add_test(tc, workers_that_come);
	tcase_add_test(tc, who_has_gone);
	tcase_add_test(tc, so_many);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
