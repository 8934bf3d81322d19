/* stats: what one loop counts. Plain integers, written by that loop alone; whoever adds loops up
 * reads them racily on purpose. */
#ifndef TOVA_BASE_STATS_H
#define TOVA_BASE_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "base/histogram.h"

/* name, that of the metric (behind tova_, and before _total), text. Gauges first: they go down
 * again. host/METRICS.md, tova-ctl stats and /metrics come from here. */
#define STATS_TABLE(X) \
	X(sockets, sockets, "sockets open, whatever they speak") \
	X(connections, connections, "WebSocket connections that have not ended") \
	X(away, away, "sessions whose clients have lost their socket and may come back") \
	X(kept, kept_bytes, "bytes kept for clients that may come back") \
	X(rooms, rooms, "rooms with a member") \
	X(memberships, memberships, "memberships in rooms") \
	X(watches, watches, "rooms that are watched") \
	X(watch_waiting, watch_waiting, \
	  "users of watched rooms who have come or gone and of whom the handler is still to be told") \
	X(history, history_bytes, "bytes of memory for what rooms remember") \
	X(room_states, room_states, "rooms with a state that handlers keep") \
	X(room_state_bytes, room_state_bytes, "bytes of memory for these states") \
	X(slow, slow, "connections for which messages are being given up because they read too slowly") \
	X(buffered, buffered_bytes, \
	  "bytes of memory for what waits for slow connections and for messages received in part") \
	X(deflate_connections, deflate_connections, "connections that have agreed on compression") \
	X(deflate_memory, deflate_memory_bytes, "bytes of memory reserved for compression") \
	X(loop_turn_max_us, loop_turn_max_seconds, \
	  "CPU time of the longest turn of a loop since the start, in microseconds (up to 1,000 too much)") \
	X(accepted, accepted, "sockets accepted") \
	X(opened, opened, "connections opened") \
	X(refused, refused, "upgrades refused") \
	X(limited, limited, "connections and upgrades refused for the limits of their address") \
	X(requests, requests, "plain HTTP requests") \
	X(api_requests, api_requests, "of those, requests at --api and --admin") \
	X(api_refused, api_refused, \
	  "requests there that were refused for their token, or the name or the page they came by") \
	X(messages_in, messages_in, "messages received") \
	X(messages_out, messages_out, "messages queued, one for each receiver") \
	X(rate_dropped, rate_dropped, "messages and pings not taken, for --rate-limit") \
	X(bytes_in, received_bytes, "bytes received") \
	X(bytes_out, sent_bytes, "bytes sent") \
	X(deflated, deflated, "messages compressed, once for all of their receivers") \
	X(deflated_from, deflate_input_bytes, "bytes of those before that") \
	X(deflated_to, deflate_output_bytes, "and after it") \
	X(deflate_denied, deflate_denied, \
	  "connections without --deflate-takeover, as --deflate-memory was used up") \
	X(events, events, "events delivered to handlers") \
	X(commits, commits, "acknowledgements committed") \
	X(room_state_conflicts, room_state_conflicts, \
	  "commits undone because a room's state had another version than they were made from") \
	X(failures, failures, "events that a handler failed") \
	X(commands, commands, "commands applied") \
	X(gone, gone, "commands that named a connection that is gone") \
	X(unknown_rooms, unknown_rooms, "broadcasts and leaves that named a room without members") \
	X(protocol_errors, protocol_errors, "connections ended for breaking the protocol") \
	X(transport_errors, transport_errors, "connections that broke") \
	X(idle_ended, idle_ended, "connections ended for silence") \
	X(slow_ended, slow_ended, "connections ended for reading too slowly") \
	X(heavy_ended, heavy_ended, "connections ended for holding most where --max-buffered was reached") \
	X(dropped, dropped, "messages that a receiver does not get because it reads too slowly") \
	X(conflated, conflated, "of those, messages with a key that a newer message had") \
	X(resumed, resumed, "sessions whose clients have come back") \
	X(lost_told, lost_told, "messages of which clients that can come back were told that they are lost") \
	X(redelivered, redelivered, "events given to another worker because theirs ended") \
	X(late_acks, late_acks, "acknowledgements of events that were not under way there") \
	X(stale_batches, stale_batches, "batches of workers that named another link") \
	X(quarantined, quarantined, "events quarantined") \
	X(pushes, pushes, "pushes committed") \
	X(worker_deaths, worker_deaths, "worker processes that ended without being told to") \
	X(strangers, strangers, "peers at sockets for workers, tova-ctl and the API that gave way to others") \
	X(accept_pauses, accept_pauses, "times accepting was paused") \
	X(access_lost, access_lost, "lines of --access-log that could not be written") \
	X(tls_handshakes, tls_handshakes, "TLS handshakes completed") \
	X(tls_resumed, tls_resumed, "TLS handshakes that resumed a session") \
	X(tls_failures, tls_failures, "TLS handshakes that failed")

/* Why upgrades are refused, by their HTTP status; 0: any other. */
#define STATS_REFUSAL_STATUSES {400, 401, 403, 404, 421, 426, 429, 503, 0}
#define STATS_REFUSALS 9

struct stats {
#define STATS_FIELD(name, metric, text) uint64_t name;
	STATS_TABLE(STATS_FIELD)
#undef STATS_FIELD
	uint64_t refused_by[STATS_REFUSALS]; /* see stats_refuse */
	/* microseconds of CPU that turns took, those below a millisecond together */
	struct histogram turns;
	/* bytes that waited for a connection, each time its socket took no more */
	struct histogram queues;
};

static inline void stats_refuse(struct stats *stats, int status)
{
	static const int statuses[STATS_REFUSALS] = STATS_REFUSAL_STATUSES;
	int i = 0;
	while (i < STATS_REFUSALS - 1 && statuses[i] != status)
		i++;
	stats->refused++;
	stats->refused_by[i]++;
}

/* Adds up what loops have counted; the longest turn is the longest of all. */
static inline void stats_add(struct stats *sum, const struct stats *more)
{
	uint64_t longest = sum->loop_turn_max_us;
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)more;
	for (size_t i = 0; i < sizeof *sum / sizeof *to; i++)
		to[i] += from[i];
	sum->loop_turn_max_us = longest > more->loop_turn_max_us ? longest : more->loop_turn_max_us;
}

#endif
