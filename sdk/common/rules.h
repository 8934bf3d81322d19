/* rules: what commands have to be like, whoever gives them: a plugin in the host or in a worker, a
 * program with a library of its own, a script, tova-ctl. Who writes commands down refuses what
 * breaks them before it travels; the host does in any case. */
#ifndef TOVA_COMMON_RULES_H
#define TOVA_COMMON_RULES_H

#include <stdbool.h>

#include "common/span.h"

#define RULES_NAME_MAX 255 /* bytes of the name of a room or a timer */
#define RULES_KEY_MAX 255  /* of a conflation key */
#define RULES_SUBPROTOCOL_MAX 127 /* bytes of one that is chosen */
#define RULES_INFO_MAX 1024 /* bytes of what the others are told of a connection */
#define RULES_TOKEN_MAX 8192 /* characters of a JSON Web Token */
#define RULES_LIST_MAX 256  /* rooms, users or connections that one command names */
/* Of the reason of a close: a control frame has at most 125 bytes (RFC 6455 5.5), two are the code.
 */
#define RULES_REASON_MAX 123
/* How long a user of a watched room may be without a connection before he counts as gone: where
 * nothing is said, and at most. */
#define RULES_GRACE_MS 5000
#define RULES_GRACE_MAX_MS (3600u * 1000)
#define RULES_TIMER_MAX_MS (400ull * 24 * 3600 * 1000)
/* Bytes of the data of one connection, where the handler has a size for it. */
#define RULES_DATA_MAX 4096
/* Of what is kept with a room. */
#define RULES_ROOM_STATE_MAX 65536
/* Of an answer to an upgrade: its header lines, each with CRLF, and a NUL; the type of its body,
 * and a NUL. */
#define RULES_HEAD_MAX 4096
#define RULES_TYPE_MAX 128

/* What is said of a command that breaks one. */
#define RULES_E_ROOM \
	"a command named a room with a name that is not 1 to 255 bytes of UTF-8 without NUL"
#define RULES_E_UTF8 "a command sent text that is not UTF-8"
#define RULES_E_LIMIT "a command exceeded a limit"
#define RULES_E_ARG "a command had an argument out of range"
#define RULES_E_MEMORY "no memory for a command"

/* May a room or a timer have this name? 1 to 255 bytes of UTF-8 without NUL. */
bool rules_name_ok(struct span name);
/* May a handler close with this code? RFC 6455 7.4: what may stand in a close frame, but for 1002,
 * which only who reads the frames can know. */
bool rules_close_code_ok(unsigned code);
/* May a handler close so? code 0: without one, and then without a reason. That the reason is UTF-8
 * is for the caller to check. */
bool rules_close_ok(unsigned code, struct span reason);

#endif
