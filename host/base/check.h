/* check: assertions that stay on. CHECK is for what can not happen whatever peers, workers and
 * operators do: when it does, memory is not what the code takes it for, and the process ends with a
 * core before that reaches a client. What somebody can cause is an error, and is handled.
 */
#ifndef TOVA_BASE_CHECK_H
#define TOVA_BASE_CHECK_H

#include <stdint.h>

/* Says which file, line and expression on stderr, and aborts. */
_Noreturn void check_failed(const char *file, int line, const char *expression)
	__attribute__((cold));

#define CHECK(expression) \
	(__builtin_expect(!(expression), 0) ? check_failed(__FILE__, __LINE__, #expression) \
					    : (void)0)

/* What goes through a void * begins with a number of its kind, which is looked at on the way back.
 */
enum check_magic {
	CHECK_GONE = 0xdead, /* it was one, and is freed */
	CHECK_CONN = 0xc0c1,
	CHECK_SESSION = 0x5e55,
	CHECK_EVENT = 0xeee7,
	CHECK_WORKER = 0x3043,
	CHECK_SP_PIPE = 0x5b1b,
	CHECK_SCRIPT = 0x5c41,
	CHECK_LOOP_TIMER = 0x1071,
	CHECK_LOOP_WATCH = 0x1072,
	CHECK_LOOP_SIGNAL = 0x1073,
	CHECK_CONNS = 0xc0c5,
	CHECK_ACCEPTOR = 0xacce,
	CHECK_LISTENER = 0x115e,
	CHECK_LISTENERS = 0x1155,
	CHECK_HUB = 0x40b0,
	CHECK_TIMERS = 0x7135,
	CHECK_IO_THREAD = 0x107d,
	CHECK_IO_THREAD_CONN = 0x107c,
	CHECK_REMOTE_CONN = 0x6e0c,
	CHECK_SP_LISTENER = 0x5b11,
	CHECK_SP_SIDE = 0x5b5d,
	CHECK_POOL = 0x3001,
	CHECK_CHILD = 0xc41d,
	CHECK_DEADLETTER = 0xde1e,
	CHECK_PLUGIN = 0x3196,
	CHECK_PLUGIN_INSTANCE = 0x3197,
	CHECK_PROCESS = 0x360c,
	CHECK_PROCESS_OUTPUT = 0x360d,
	CHECK_PROCESSES = 0x3605,
	CHECK_SCRIPTS = 0x5c45,
	CHECK_SERVER = 0x5e6e,
	CHECK_CONTROL = 0xc017,
	CHECK_CONTROL_LATER = 0xc018,
	CHECK_REPLAY_JOB = 0x6e3b,
	CHECK_API = 0xa310,
	CHECK_API_DOOR = 0xa3d0,
	CHECK_API_LIST = 0xa311,
	CHECK_API_TRACE = 0xa319,
	CHECK_DRAIN = 0xd6a1,
	CHECK_NOTIFY = 0x207f,
	CHECK_READINESS = 0x6ead,
	CHECK_OUTPUT_RATE = 0x0126,
	CHECK_API_MOUNTS = 0xa313,
	CHECK_API_SETTINGS = 0xa315,
	CHECK_API_ROOMS = 0xa316,
	CHECK_API_CONNECTIONS = 0xa317,
	CHECK_METRICS = 0xa318,
	CHECK_RELOADS = 0x6e10,
	CHECK_SERVER_RELOAD = 0x6e15,
	CHECK_POLLER = 0x9011,
	CHECK_IO_THREADS = 0x10d5,
	CHECK_CODEC_STREAM = 0xc0de,
	CHECK_TLS_SERVER = 0x7155,
	CHECK_CLUSTER = 0xc105,
	CHECK_REDIS = 0x6ed1,
	CHECK_REDIS_LINK = 0x6ed2,
};

#define CHECK_IS(thing, kind) CHECK((thing)->magic == (kind))

#endif
