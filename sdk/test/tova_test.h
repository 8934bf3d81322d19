/* tova_test.h: tests of a plugin, or of a worker in C, without a host.
 *
 * The plugin is linked into the test, or its source is included. The test gives it events and looks
 * at what came of them; everything is as in the host: commands of a callback happen together when
 * it succeeds, and not at all when it fails, its connection's data included.
 *
 *     #include <assert.h>
 *     #include <tova_test.h>
 *     #include "hello.c"
 *
 *     int main(void)
 *     {
 *             tova_test *t = tova_test_new(&tova_plugin_entry, NULL);
 *             tova_ws ann = tova_test_open(t, NULL), bob = tova_test_open(t, NULL);
 *             assert(tova_test_got(t, ann, "Hello! Say something."));
 *             assert(tova_test_got(t, bob, "Hello! Say something."));
 *             assert(tova_test_message(t, ann, "hi") == 0);
 *             assert(tova_test_got(t, bob, "hi (number 1)"));
 *             tova_test_free(t);
 *     }
 *
 *     cc -o test test.c $(pkg-config --cflags --libs tova-test) && ./test
 *
 * Time passes only when the test says so. What follows an event - on_error of one that failed,
 * answers to queries, wakes - has happened when the call that gave the event returns. Without
 * memory the test ends with abort(). [one thread; only tova_wake, tova_log and tova_setting may be
 * called from others]
 */
#ifndef TOVA_TEST_H
#define TOVA_TEST_H

#include "tova_plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tova_test tova_test;

/* Starts the plugin. settings: as with --plugin-set, ended by one without a name; NULL: none.
 * NULL if start() fails, or a setting is not known, which is said on standard error. */
tova_test *tova_test_new(const tova_plugin *plugin, const tova_pair *settings);
/* Stops it: what is connected still gets no close event, as when a host is stopped at once. */
void tova_test_free(tova_test *t);

/* --- events ----------------------------------------------------------------------------------- */

/* A client connects: on_upgrade, and on_open if that accepts. request: what is NULL in it becomes
 * what an ordinary request has; NULL: all of it. TOVA_NONE if the client was refused; see
 * tova_test_status. */
tova_ws tova_test_open(tova_test *t, const tova_request *request);
/* It sends text, or bytes. 0, or what the callback returned, and tova_test_why() says why it
 * failed. A connection that is gone: -1. */
int tova_test_message(tova_test *t, tova_ws ws, const char *text);
int tova_test_binary(tova_test *t, tova_ws ws, const void *data, size_t len);
/* It ends, with this code and reason (NULL: none), as on_close hears it: 1006 for a connection that
 * broke. */
int tova_test_close(tova_test *t, tova_ws ws, uint16_t code, const char *reason);
/* An error of that kind (enum tova_error_kind) is told. */
int tova_test_error(tova_test *t, tova_ws ws, uint32_t kind, const char *text);
/* A client of tova.v1 loses its socket (1006, or 1001), and comes back on another; what it is sent
 * meanwhile is taken as ever. */
int tova_test_away(tova_test *t, tova_ws ws, uint16_t code);
int tova_test_back(tova_test *t, tova_ws ws, const tova_request *request);
/* So much time passes: timers run in their order. Returns how many did. */
unsigned tova_test_pass(tova_test *t, uint64_t ms);
/* What another thread has asked for by tova_wake(): 1 if on_wake ran. */
int tova_test_wait_wake(tova_test *t);

/* --- what came of it -------------------------------------------------------------------------- */

/* Of the last event: the text of its failure, or NULL. */
const char *tova_test_why(const tova_test *t);
/* Of the last tova_test_open: 101, or the status with which it was refused; the subprotocol that
 * was chosen, or NULL; the body of a refusal; a header of the answer. */
unsigned tova_test_status(const tova_test *t);
const char *tova_test_subprotocol(const tova_test *t);
const char *tova_test_body(const tova_test *t);
/* NULL: the answer has none of that name (any case). As the others it is valid until the next
 * upgrade. */
const char *tova_test_header(const tova_test *t, const char *name);

/* The next message that the connection was sent and that was not taken yet; NULL: there is none.
 * Valid until the next call with this connection. */
const tova_payload *tova_test_take(tova_test *t, tova_ws ws);
/* Is the next one this text? It is taken then. If not, what came instead is said on standard error.
 */
int tova_test_got(tova_test *t, tova_ws ws, const char *text);
/* Has everybody's every message been taken? If not, the first is said on standard error. */
int tova_test_quiet(tova_test *t);
/* The code with which the plugin has closed it; 1005: without one; 0: it has not. */
uint16_t tova_test_closed(const tova_test *t, tova_ws ws);
int tova_test_is_member(const tova_test *t, tova_ws ws, const char *room);
uint64_t tova_test_members(const tova_test *t, const char *room);
/* Its data, data_size bytes; NULL: it is gone, or the plugin keeps none. */
const void *tova_test_data(const tova_test *t, tova_ws ws);
/* What is kept with a room, *len_r bytes and a NUL behind them; "": nothing. */
const void *tova_test_room_state(const tova_test *t, const char *room, size_t *len_r);
/* Somebody else keeps something with a room; no bytes: nothing any more. */
void tova_test_set_room(tova_test *t, const char *room, const void *data, size_t len);
/* What the plugin keeps for its mount, mount_size bytes; NULL: nothing. */
const void *tova_test_mount_data(const tova_test *t);
/* Is a timer of that name set, for the connection, or with TOVA_NONE for the mount? */
int tova_test_has_timer(const tova_test *t, tova_ws ws, const char *name);
/* Commands that named a connection which was gone: they did nothing. */
uint64_t tova_test_stale(const tova_test *t);
/* The last line that the plugin has logged; "" without one. */
const char *tova_test_log(const tova_test *t);

#ifdef __cplusplus
}
#endif
#endif
