/* probe: does what a test's messages say, so that every function of the host and every result of a
 * callback can be reached.
 *
 * A message is a script: one command a line, all of them within that one callback. Words are
 * separated by a space; the last argument takes the rest of the line. In words and texts %XX stands
 * for any byte. ID is a connection as text, `me`, `none`, or `ghost` (one that never was).
 *
 *	send TEXT · sendb BYTES · send_to ID TEXT · sendb_to ID BYTES
 *	kind N TEXT (a payload of kind N) · huge N (N bytes)
 *	flood N SIZE (N messages, numbered in front) · pour ROOM N SIZE (to the room's others)
 *	join ROOM · leave ROOM · join_of ID ROOM · leave_of ID ROOM
 *	broadcast TEXT · broadcastb BYTES · broadcast_others TEXT · broadcast_except ID TEXT
 *	to ROOM TEXT · tob ROOM BYTES · to_others ROOM TEXT · to_except ID ROOM TEXT
 *	key KEY (of what the script sends from here on; none: no key)
 *	keys N (pour's messages take turns with N keys)
 *	prolong TOKEN
 *	close CODE REASON · close_of ID CODE REASON
 *	fail TEXT · failcode N (both end the script)
 *	data OFFSET BYTES · getdata · set ID BYTES · setif ID OLD NEW
 *	timer NAME ID DELAY PERIOD · wstimer WS NAME ID DELAY PERIOD
 *	cancel NAME · wscancel WS NAME
 *	query count|members|rooms|connections|stats ID ARGUMENT (JSON, to who asked)
 *	after NAME ID DELAY (once, of the mount) · whose (tova_subject)
 *	quote TEXT · quotes N (N texts of 1,000 bytes) · sendf N TEXT (with N blanks behind it)
 *	sendf_to ROOM TEXT · sendf_all TEXT · with_key KEY BYTES
 *	wake · thread (a thread tries commands, then wakes) · later SCRIPT (run by the next wake)
 *	stall MS · event · myid · results (codes that the previous script's commands returned)
 *	counters · about · setting KEY · log LEVEL TEXT
 *	refuse · subprotocol NAME · header (out of place everywhere but in upgrade scripts)
 *	on close|error|timer|reply SCRIPT (run when that happens to this connection)
 *
 * In SCRIPT, and in the query of the upgrade, ';' parts commands: up=SCRIPT in on_upgrade,
 * open=SCRIPT in on_open, request=1 sends the request as JSON, sub=NAME, header=NAME:VALUE,
 * refuse=STATUS and body=TEXT, upgradefail=TEXT. Connections at a path ending in /observe join
 * `observers` and hear of every open, close, error, timer and wake of the others as JSON text; with
 * the setting log_events=1 the log hears it too. Settings for start: start_timer=DELAY,
 * start_stall=MS, start_fail=TEXT.
 *
 * What it does stands in probe/; this file is what its variants, which include it, change of it.
 */
#include "probe/probe.h"

#ifndef PROBE_VERSION
#define PROBE_VERSION "1.0"
#endif
#ifndef PROBE_DATA_SIZE
#define PROBE_DATA_SIZE 64
#endif
#ifndef PROBE_FLAGS
#define PROBE_FLAGS 0
#endif
#ifndef PROBE_START_FAILS
#define PROBE_START_FAILS 0
#endif

const struct probe_kind probe_kind = {PROBE_VERSION, PROBE_DATA_SIZE, PROBE_START_FAILS};

#ifdef PROBE_MIGRATE
/* Fills the new room behind what the old library kept with 'm'. */
static int migrate(tova_mount *m, tova_ws ws, const void *old_data, size_t old_size,
		   const char *old_version)
{
	char *data = tova_data(m);
	(void)ws;
	if (PROBE_MIGRATE != 0)
		return tova_fail(m, "can not migrate from %s", old_version);
	if (strcmp(old_version, "1.0") != 0)
		return tova_fail(m, "unexpected: version %s", old_version);
	memset(data, 'm', PROBE_DATA_SIZE);
	if (old_size > 0)
		memcpy(data, old_data, old_size < PROBE_DATA_SIZE ? old_size : PROBE_DATA_SIZE);
	return 0;
}
#endif

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("probe", PROBE_VERSION),
	.flags = PROBE_FLAGS,
	.data_size = PROBE_DATA_SIZE,
#ifdef PROBE_SETTINGS
	.settings = PROBE_SETTINGS,
#endif
	.start = life_start,
	.stop = life_stop,
	.on_upgrade = upgrade_on,
	.on_open = life_on_open,
	.on_message = life_on_message,
	.on_close = life_on_close,
	.on_error = life_on_error,
	.on_timer = life_on_timer,
	.on_reply = ask_on_reply,
	.on_wake = wake_on,
#ifdef PROBE_MIGRATE
	.migrate = migrate,
#endif
	.on_away = life_on_away,
	.on_back = life_on_back,
};
