/* Back-pressure: connections that are paused because their handler is behind go on when it has
 * caught up, whatever it settles when. */
#include "rig.h"
#include "run.h"

enum { CLIENTS = 12, MESSAGES = 60, HOLD_MAX = 4000 };

static struct rig *r;
static unsigned told[CLIENTS + 1]; /* number of the next message of each client */
static uint32_t dice;

static uint32_t roll(uint32_t n)
{
	dice = dice * 1664525u + 1013904223u;
	return (dice >> 8) % n;
}

static void setup(void)
{
	struct conn_limits limits = rig_limits();
	limits.ask_ms = 3600000;
	r = rig_new_async(&limits, HOLD_MAX);
	memset(told, 0, sizeof told);
}

static void teardown(void)
{
	rig_free(r);
	r = NULL;
}

/* Messages come in order, each once; whether the next event is settled at once is left to chance.
 */
static enum handler_result in_order(struct rig *rig, const struct hub_event *e, struct commit *c,
				    struct span *why_r)
{
	(void)c;
	(void)why_r;
	rig->said[rig->said_len = 0] = '\0';
	if (e->kind == EVENT_MESSAGE) {
		int client = rig_number(rig, e->session);
		if (e->message.bytes[0] != told[client]++)
			ck_abort_msg("a message of %d out of order", client);
		rig->step++;
	}
	rig->at_once = rig->step > 0 && roll(4) > 0;
	return HANDLER_DONE;
}

static void open_settled(int client)
{
	rig_connect(r, client);
	rig_write(r, client, RIG_UPGRADE, sizeof RIG_UPGRADE - 1);
	for (int i = 0; i < 2; i++) {
		RIG_UNTIL(r, !TAILQ_EMPTY(&r->given));
		r->opening = client;
		rig_settle(r);
	}
}

/* Who is in the list is paused, once, and the other way round. (Assertions that hold cost a write
 * each: too much for so many.) */
static void check_list(void)
{
	struct session *s;
	const struct conn *c;
	uint32_t listed = 0, paused = 0, cursor = 0;
	for (int which = 0; which < BUDGET_WAITS; which++)
		TAILQ_FOREACH (c, &r->mount->budget->queues[0].waiting[which], more->budget_link) {
			if (!(c->paused & CONN_PAUSE_BUDGET))
				ck_abort_msg(
					"one that is not paused is in the list of those that are");
			listed++;
		}
	while ((s = slotmap_next(&r->hub.sessions, &cursor)) != NULL)
		paused += (session_conn(s)->paused & CONN_PAUSE_BUDGET) != 0;
	if (listed != paused)
		ck_abort_msg("%u are paused and %u in the list", paused, listed);
}

START_TEST(going_on)
{
	static uint8_t message[1500];
	r->script = in_order;
	for (int i = 1; i <= CLIENTS; i++)
		open_settled(i);
	dice = (uint32_t)_i;
	r->step = 1;
	for (int k = 0; k < MESSAGES; k++) {
		for (int i = 1; i <= CLIENTS; i++) {
			message[0] = (uint8_t)k;
			rig_frame(r, i, FRAME_BINARY, message,
				  1 + roll(roll(5) == 0 ? sizeof message : 200));
		}
		if (roll(4) == 0)
			rig_turn(r);
		check_list();
	}
	double end = rig_seconds() + RIG_PATIENCE_S;
	while (r->step <= CLIENTS * MESSAGES) {
		if (rig_seconds() > end)
			ck_abort_msg("some connections never go on");
		rig_turn(r);
		for (int n = (int)roll(4); n > 0 && !TAILQ_EMPTY(&r->given); n--) {
			rig_settle(r);
			check_list();
		}
	}
	ck_assert_uint_eq(budget_held(r->mount->budget), 0);
	ck_assert_uint_eq(r->mount->budget->waiting, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pause");
	TCase *tc = tcase_create("pause");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 2 * RIG_PATIENCE_S);
	tcase_add_loop_test(tc, going_on, 0, 100);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
