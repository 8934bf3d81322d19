/* stats: what one loop counts. Plain integers, written by that loop alone; whoever adds loops up
 * reads them racily on purpose. */
#ifndef TOVA_BASE_STATS_H
#define TOVA_BASE_STATS_H

#include <stddef.h>
#include <stdint.h>

/* name, text. Gauges first: they go down again. */
#define STATS_TABLE(X) \
	X(sockets, "sockets open, whatever they speak") \
	X(connections, "WebSocket connections that have not ended") \
	X(away, "sessions whose clients have lost their socket and may come back") \
	X(kept, "bytes kept for clients that may come back") \
	X(rooms, "rooms with a member") \
	X(memberships, "memberships in rooms") \
	X(history, "bytes of memory for what rooms remember") \
	X(slow, "connections for which messages are being given up because they read too slowly") \
	X(buffered, \
	  "bytes of memory for what waits for slow connections and for messages received in part") \
	X(deflate_connections, "connections that have agreed on compression") \
	X(deflate_memory, "bytes of memory reserved for compression") \
	X(loop_turn_max_us, \
	  "CPU time of the longest turn of a loop since the start, in microseconds (up to 1,000 too much)") \
	X(accepted, "sockets accepted") \
	X(opened, "connections opened") \
	X(refused, "upgrades refused") \
	X(limited, "connections and upgrades refused for the limits of their address") \
	X(requests, "plain HTTP requests") \
	X(api_requests, "of those, requests at --api and --admin") \
	X(api_refused, \
	  "requests there that were refused for their token, or the name or the page they came by") \
	X(messages_in, "messages received") \
	X(messages_out, "messages queued, one for each receiver") \
	X(rate_dropped, "messages and pings not taken, for --rate-limit") \
	X(bytes_in, "bytes received") \
	X(bytes_out, "bytes sent") \
	X(deflated, "messages compressed, once for all of their receivers") \
	X(deflated_from, "bytes of those before that") \
	X(deflated_to, "and after it") \
	X(deflate_denied, \
	  "connections without --deflate-takeover, as --deflate-memory was used up") \
	X(events, "events delivered to handlers") \
	X(commits, "acknowledgements committed") \
	X(failures, "events that a handler failed") \
	X(commands, "commands applied") \
	X(gone, "commands that named a connection that is gone") \
	X(unknown_rooms, "broadcasts and leaves that named a room without members") \
	X(protocol_errors, "connections ended for breaking the protocol") \
	X(transport_errors, "connections that broke") \
	X(idle_ended, "connections ended for silence") \
	X(slow_ended, "connections ended for reading too slowly") \
	X(heavy_ended, "connections ended for holding most where --max-buffered was reached") \
	X(dropped, "messages that a receiver does not get because it reads too slowly") \
	X(conflated, "of those, messages with a key that a newer message had") \
	X(resumed, "sessions whose clients have come back") \
	X(lost_told, "messages of which clients that can come back were told that they are lost") \
	X(redelivered, "events given to another worker because theirs ended") \
	X(late_acks, "acknowledgements of events that were not under way there") \
	X(stale_batches, "batches of workers that named another link") \
	X(quarantined, "events quarantined") \
	X(pushes, "pushes committed") \
	X(worker_deaths, "worker processes that ended without being told to") \
	X(strangers, "peers at sockets for workers, tova-ctl and the API that gave way to others") \
	X(accept_pauses, "times accepting was paused") \
	X(access_lost, "lines of --access-log that could not be written") \
	X(tls_handshakes, "TLS handshakes completed") \
	X(tls_resumed, "TLS handshakes that resumed a session") \
	X(tls_failures, "TLS handshakes that failed")

struct stats {
#define STATS_FIELD(name, text) uint64_t name;
	STATS_TABLE(STATS_FIELD)
#undef STATS_FIELD
};

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
