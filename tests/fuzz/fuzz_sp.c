/* nng's PAIR0: what a peer sends in pieces comes to what a model says that the whole of it is:
 * messages, and an end. The first byte of the input chooses the pieces. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz.h"
#include "handler/worker/sp.h"

#define MESSAGE_MAX 300

static struct loop *loop;
static struct sp_listener *listener;
static char folder[] = "/tmp/tova-fuzz-sp-XXXXXX";

static struct {
	unsigned opened, closed, messages;
	uint64_t digest;
	char why[200];
} seen, model;

/* FNV-1a over lengths and bytes. */
static uint64_t digest(uint64_t d, const uint8_t *bytes, size_t len)
{
	d = (d ^ len) * 1099511628211u;
	for (size_t i = 0; i < len; i++)
		d = (d ^ bytes[i]) * 1099511628211u;
	return d;
}

static void on_opened(void *ctx, struct sp_pipe *p, void **user_r)
{
	(void)ctx;
	*user_r = p;
	seen.opened++;
}

static void on_message(void *ctx, struct sp_pipe *p, void *user, uint8_t *bytes, size_t len)
{
	uint8_t behind = bytes[len];
	(void)ctx;
	MUST(user == p && seen.opened == 1 && seen.closed == 0);
	seen.digest = digest(seen.digest, bytes, len);
	seen.messages++;
	memset(bytes, 0xAA, len + 1);
	bytes[len] = behind;
}

static void on_closed(void *ctx, struct sp_pipe *p, void *user, const char *why)
{
	(void)ctx;
	MUST(user == p && seen.opened == 1);
	seen.closed++;
	snprintf(seen.why, sizeof seen.why, "%s", why != NULL ? why : "");
}

static void clean_up(void)
{
	sp_listener_free(&listener);
	rmdir(folder);
	loop_free(&loop);
}

static void begin(void)
{
	static const struct sp_ops ops = {.opened = on_opened,
					  .message = on_message,
					  .closed = on_closed};
	static const struct sp_limits limits = {.message_max = MESSAGE_MAX};
	char url[100], why[200] = "";
	MUST(mkdtemp(folder) != NULL);
	snprintf(url, sizeof url, "ipc://%s/s", folder);
	loop = loop_new(NULL);
	listener = sp_listen(loop, url, &ops, NULL, &limits, why, sizeof why);
	MUST(listener != NULL);
	atexit(clean_up);
}

/* What the whole of it means. */
static void understand(const uint8_t *data, size_t size)
{
	static const uint8_t hello[] = {0, 'S', 'P', 0, 0, 0x10, 0, 0};
	memset(&model, 0, sizeof model);
	if (size < sizeof hello || memcmp(data, hello, sizeof hello) != 0)
		return;
	data += sizeof hello;
	size -= sizeof hello;
	model.opened = model.closed = 1;
	while (size >= 9) {
		uint64_t len = 0;
		for (int i = 1; i < 9; i++)
			len = len << 8 | data[i];
		if (data[0] != 1 || len > MESSAGE_MAX) {
			strcpy(model.why, data[0] != 1
						  ? "the peer sent something that is no message"
						  : "the peer announced a message above the limit");
			return;
		}
		if (size - 9 < len)
			break;
		model.digest = digest(model.digest, data + 9, len);
		model.messages++;
		data += 9 + len;
		size -= 9 + len;
	}
	if (size > 0)
		strcpy(model.why, "the peer ended in the middle of a message");
}

static void on_turn(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

/* Everything that is ready now. */
static void turn(void)
{
	struct loop_timer t;
	loop_timer_init(loop, &t, on_turn, NULL);
	loop_timer_set(&t, 0);
	loop->stop = false;
	loop_run(loop);
	loop_timer_cancel(&t);
}

static void converse(const uint8_t *data, size_t size, uint32_t seed)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	uint8_t answer[64];
	ssize_t got = 0, n;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(un.sun_path, sp_url(listener) + 6);
	MUST(connect(fd, (struct sockaddr *)&un, sizeof un) == 0);
	while (size > 0) {
		size_t piece = seed == 0 ? size : fuzz_piece(&seed, size);
		n = send(fd, data, piece, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n <= 0)
			break; /* it has heard enough */
		data += n;
		size -= (size_t)n;
		turn();
	}
	shutdown(fd, SHUT_WR);
	do {
		turn();
		n = recv(fd, answer + got, sizeof answer - (size_t)got, MSG_DONTWAIT);
		got += n > 0 ? n : 0;
	} while (n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)));
	MUST(got <= 8 && memcmp(answer, "\0SP\0\0\x10\0\0", (size_t)got) == 0);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (loop == NULL)
		begin();
	if (size == 0)
		return 0;
	memset(&seen, 0, sizeof seen);
	understand(data + 1, size - 1);
	converse(data + 1, size - 1, data[0]);
	MUST(seen.opened == model.opened && seen.closed == model.closed &&
	     seen.messages == model.messages);
	MUST(seen.digest == model.digest && strcmp(seen.why, model.why) == 0);
	return 0;
}
