/* TLS between a socket and its reader, against OpenSSL's client, with the wire in the test's hands.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <time.h>

#include "net/loop.h"
#include "tls/tls.h"
#include "tls_files.h"
#include "run.h"

/* --- another time ----------------------------------------------------------------------------- */

static time_t later; /* seconds by which the clock is ahead */
static bool all_expired;

int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
	int result = __real_clock_gettime(clock, t);
	t->tv_sec += later;
	return result;
}

int __real_X509_cmp_current_time(const ASN1_TIME *t);
int __wrap_X509_cmp_current_time(const ASN1_TIME *t);
int __wrap_X509_cmp_current_time(const ASN1_TIME *t)
{
	return all_expired ? -1 : __real_X509_cmp_current_time(t);
}

/* --- no memory -------------------------------------------------------------------------------- */

static size_t realloc_most = SIZE_MAX; /* bytes that there is memory for */

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
	return n <= realloc_most ? __real_realloc(p, n) : NULL;
}

/* --- both ends -------------------------------------------------------------------------------- */

static struct loop *loop;
static struct tls_server *server;
static SSL_CTX *client_ctx;

struct ends {
	int fd, wire; /* the server's end of the socket, and the other */
	struct tls *tls;
	SSL *client;
	BIO *in, *out; /* the client's */
	uint8_t got[1 << 20];
	size_t n;	/* bytes that the server has read */
	ssize_t result; /* of its last read */
	int error;
	int client_error; /* reason of the client's failure, or 0 */
};

static void close_ends(struct ends *e)
{
	tls_free(&e->tls);
	SSL_set_shutdown(e->client, SSL_SENT_SHUTDOWN); /* else its session counts as broken */
	SSL_free(e->client);
	close(e->fd);
	if (e->wire >= 0)
		close(e->wire);
	free(e);
}

static struct ends *new_ends(const char *name, SSL_SESSION *session)
{
	struct ends *e = calloc(1, sizeof *e);
	int fds[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	e->fd = fds[0];
	e->wire = fds[1];
	e->tls = tls_new(&loop->tls, &loop->stats, server, 0);
	e->client = SSL_new(client_ctx);
	e->in = BIO_new(BIO_s_mem());
	e->out = BIO_new(BIO_s_mem());
	BIO_set_mem_eof_return(e->in, -1);
	SSL_set_bio(e->client, e->in, e->out);
	SSL_set_connect_state(e->client);
	if (name != NULL)
		SSL_set_tlsext_host_name(e->client, name);
	if (session != NULL)
		SSL_set_session(e->client, session);
	return e;
}

/* What the client has said goes onto the wire, `cut` bytes at a time. */
static void client_sends(struct ends *e, size_t cut, void (*after)(struct ends *e))
{
	char bytes[65536];
	int n;
	while ((n = BIO_read(e->out, bytes, (int)(cut < sizeof bytes ? cut : sizeof bytes))) > 0) {
		ssize_t sent = send(e->wire, bytes, (size_t)n, MSG_NOSIGNAL);
		if (sent < 0)
			return;
		ck_assert_int_eq(sent, n);
		if (after != NULL)
			after(e);
	}
}

static void client_hears(struct ends *e)
{
	char bytes[65536];
	ssize_t n;
	while ((n = recv(e->wire, bytes, sizeof bytes, 0)) > 0)
		BIO_write(e->in, bytes, (int)n);
}

static void server_reads(struct ends *e)
{
	do {
		e->result = tls_read(e->tls, e->fd, e->got + e->n, sizeof e->got - e->n, SIZE_MAX);
		e->error = errno;
		if (e->result > 0)
			e->n += (size_t)e->result;
	} while (tls_more(e->tls) || tls_ended(e->tls));
}

static int client_steps(struct ends *e, int result)
{
	if (result > 0 || SSL_get_error(e->client, result) == SSL_ERROR_WANT_READ)
		return result;
	if (ERR_peek_error() != 0)
		e->client_error = ERR_GET_REASON(ERR_peek_error());
	ERR_clear_error();
	return result;
}

/* True: both are done. */
static bool shake(struct ends *e, size_t cut)
{
	for (int i = 0; i < 20 && e->client_error == 0; i++) {
		client_steps(e, SSL_do_handshake(e->client));
		client_sends(e, cut, server_reads);
		client_hears(e);
	}
	char nothing[1];
	/* tickets, and refusals that come behind the handshake of TLS 1.3 */
	client_steps(e, SSL_read(e->client, nothing, 1));
	return e->client_error == 0 && SSL_is_init_finished(e->client) && tls_is_open(e->tls) &&
	       e->result < 0 && e->error == EAGAIN;
}

static struct ends *close_exchanged(const char *name, SSL_SESSION *session)
{
	struct ends *e = new_ends(name, session);
	ck_assert_msg(shake(e, SIZE_MAX), "client %d, server %s", e->client_error, tls_why(e->tls));
	return e;
}

static void say(struct ends *e, const void *bytes, size_t n)
{
	ck_assert_int_eq(SSL_write(e->client, bytes, (int)n), (int)n);
	client_sends(e, SIZE_MAX, server_reads);
}

static void answer(struct ends *e, const char *text)
{
	uint64_t sent = 0;
	struct iovec iov = {.iov_base = (void *)text, .iov_len = strlen(text)};
	char back[100] = "";
	ck_assert_int_eq(tls_write(e->tls, e->fd, &iov, 1, &sent), (ssize_t)iov.iov_len);
	ck_assert_uint_gt(sent, iov.iov_len);
	client_hears(e);
	ck_assert_int_eq(SSL_read(e->client, back, sizeof back), (int)iov.iov_len);
	ck_assert_str_eq(back, text);
}

static struct tls_facts facts_of(const struct ends *e)
{
	struct tls_facts facts;
	tls_facts(e->tls, &facts);
	return facts;
}

static void converse(struct ends *e)
{
	size_t before = e->n;
	say(e, "hello", 5);
	ck_assert_uint_eq(e->n, before + 5);
	ck_assert_mem_eq(e->got + before, "hello", 5);
	answer(e, "world");
}

/* --- set up ----------------------------------------------------------------------------------- */

static void use(const char *name, const char *client_ca, struct tls_server *old)
{
	const char *cert = tls_file(name), *key = strdup(cert);
	struct tls_server_error error;
	strcpy(strrchr(key, '.'), ".key");
	const struct tls_server_settings set = {.certs = &cert,
						.keys = &key,
						.n = 1,
						.client_ca = client_ca != NULL ? tls_file(client_ca)
									       : NULL,
						.http = true};
	server = tls_server_new(&set, old, NULL, NULL, &error);
	ck_assert_msg(server != NULL, "%s: %s", error.file, error.why);
	free((char *)key);
}

/* The client of later connections. */
static void be(int version, const char *cert)
{
	char file[128];
	SSL_CTX_free(client_ctx);
	client_ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_min_proto_version(client_ctx, version);
	SSL_CTX_set_max_proto_version(client_ctx, version);
	SSL_CTX_load_verify_locations(client_ctx, tls_file("a.crt"), NULL);
	SSL_CTX_set_verify(client_ctx, SSL_VERIFY_PEER, NULL);
	if (cert == NULL)
		return;
	snprintf(file, sizeof file, "%s/%s.crt", tls_folder, cert);
	ck_assert_int_eq(SSL_CTX_use_certificate_chain_file(client_ctx, file), 1);
	snprintf(file, sizeof file, "%s/%s.key", tls_folder, cert);
	ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(client_ctx, file, SSL_FILETYPE_PEM), 1);
}

static void make_files(void)
{
	tls_files_begin();
	tls_make("a", TLS_EC, "/CN=a.test", "-addext subjectAltName=DNS:a.test");
	tls_make("ca", TLS_EC, "/CN=authority", "");
	tls_sign("ann", "ca", "/C=DE/O=Tova, Inc/CN=Ann Ö", 30);
	tls_sign("old", "ca", "/CN=old", -1);
	tls_sign("gone", "ca", "/CN=gone", 30);
	tls_make("stranger", TLS_EC, "/CN=stranger", "");
	tls_run("touch index.txt; echo 01 > crlnumber; printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index.txt\\ncrlnumber=crlnumber\\n"
		"default_md=sha256\\ndefault_crl_days=30\\n' > ca.conf");
	tls_run("openssl ca -config ca.conf -keyfile ca.key -cert ca.crt -revoke gone.crt");
	tls_run("openssl ca -config ca.conf -keyfile ca.key -cert ca.crt -gencrl -out crl.pem; cat ca.crt crl.pem > both.crt");
}

static void setup(void)
{
	loop = loop_new(NULL);
	use("a.crt", NULL, NULL);
	be(TLS1_3_VERSION, NULL);
}

static void teardown(void)
{
	tls_server_unref(&server);
	loop_free(&loop);
	SSL_CTX_free(client_ctx);
	client_ctx = NULL;
	ck_assert_uint_eq(ERR_peek_error(), 0);
}

/* --- conversations ---------------------------------------------------------------------------- */

static const int VERSIONS[] = {TLS1_2_VERSION, TLS1_3_VERSION};
static const char *const VERSION_NAMES[] = {"TLSv1.2", "TLSv1.3"};

START_TEST(test_conversation)
{
	be(VERSIONS[_i], NULL);
	struct ends *e = close_exchanged("a.test", NULL);
	struct tls_facts facts = facts_of(e);
	ck_assert_str_eq(facts.version, VERSION_NAMES[_i]);
	ck_assert_str_eq(facts.cipher, SSL_get_cipher_name(e->client));
	ck_assert_str_eq(facts.name, "a.test");
	ck_assert_ptr_null(facts.subject);
	ck_assert_int_eq(tls_stranger(e->tls), -1);
	converse(e);
	converse(e);
	ck_assert_uint_eq(loop->stats.tls_handshakes, 1);
	close_ends(e);
}
END_TEST

START_TEST(test_byte_by_byte)
{
	be(VERSIONS[_i], NULL);
	struct ends *e = new_ends(NULL, NULL);
	ck_assert(shake(e, 1));
	ck_assert_int_eq(SSL_write(e->client, "hello", 5), 5);
	client_sends(e, 1, server_reads);
	ck_assert_uint_eq(e->n, 5);
	ck_assert_ptr_null(facts_of(e).name);
	converse(e);
	close_ends(e);
}
END_TEST

/* The loop's buffers are one connection's at a time. */
START_TEST(test_two_connections)
{
	struct ends *a = new_ends(NULL, NULL), *b = new_ends(NULL, NULL);
	for (int i = 0; i < 10; i++) {
		client_steps(a, SSL_do_handshake(a->client));
		client_steps(b, SSL_do_handshake(b->client));
		client_sends(a, 100, server_reads);
		client_sends(b, 70, server_reads);
		client_hears(a);
		client_hears(b);
	}
	converse(a);
	converse(b);
	close_ends(a);
	converse(b);
	close_ends(b);
}
END_TEST

/* Much at once, read in small pieces: nothing of it may be left for another connection. */
START_TEST(test_small_reads)
{
	struct ends *e = close_exchanged(NULL, NULL);
	uint8_t *text = malloc(100000);
	for (size_t i = 0; i < 100000; i++)
		text[i] = (uint8_t)(i * 7);
	ck_assert_int_eq(SSL_write(e->client, text, 100000), 100000);
	client_sends(e, SIZE_MAX, NULL);
	while (e->n < 100000) {
		do {
			ssize_t n = tls_read(e->tls, e->fd, e->got + e->n, 777, SIZE_MAX);
			ck_assert_int_gt(n, 0);
			e->n += (size_t)n;
		} while (tls_more(e->tls));
	}
	ck_assert_mem_eq(e->got, text, 100000);
	free(text);
	close_ends(e);
}
END_TEST

/* --- output ----------------------------------------------------------------------------------- */

/* How many records are on the wire, and of how many bytes in all. */
static unsigned records(const uint8_t *wire, size_t n)
{
	unsigned count = 0;
	for (size_t at = 0; at < n; count++)
		at += 5 + (size_t)(wire[at + 3] << 8 | wire[at + 4]);
	return count;
}

START_TEST(test_small_pieces_are_one_record)
{
	static const struct {
		size_t piece, pieces;
		unsigned records;
	} cases[] = {{100, 60, 1},  {1, 64, 1},	  {0, 10, 0},	 {16384, 1, 1},
		     {16385, 1, 2}, {300, 60, 2}, {32768, 1, 2}, {20000, 2, 3}};
	static uint8_t text[65536], wire[1 << 18], back[65536];
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (uint8_t)(i % 251);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct ends *e = close_exchanged(NULL, NULL);
		struct iovec iov[64];
		size_t total = cases[i].piece * cases[i].pieces, n = 0;
		uint64_t sent = 0;
		for (size_t k = 0; k < cases[i].pieces; k++)
			iov[k] = (struct iovec){text + k * cases[i].piece, cases[i].piece};
		ck_assert_int_eq(tls_write(e->tls, e->fd, iov, (int)cases[i].pieces, &sent),
				 (ssize_t)total);
		ssize_t got = recv(e->wire, wire, sizeof wire, 0);
		ck_assert_uint_eq(sent, got > 0 ? (uint64_t)got : 0);
		ck_assert_uint_eq(records(wire, sent), cases[i].records);
		BIO_write(e->in, wire, (int)sent);
		while (n < total) {
			int r = SSL_read(e->client, back + n, (int)(sizeof back - n));
			ck_assert_int_gt(r, 0);
			n += (size_t)r;
		}
		ck_assert_mem_eq(back, text, total);
		close_ends(e);
	}
}
END_TEST

/* Writes until nothing is taken; returns how much was. */
static size_t fill(struct ends *e, const uint8_t *text, size_t total, size_t from)
{
	uint64_t sent = 0;
	size_t taken = from;
	ssize_t n = 1;
	while (taken < total && n > 0) {
		struct iovec iov[2] = {{(void *)(text + taken), (total - taken) / 2},
				       {(void *)(text + taken + (total - taken) / 2),
					total - taken - (total - taken) / 2}};
		n = tls_write(e->tls, e->fd, iov, 2, &sent);
		taken += n > 0 ? (size_t)n : 0;
	}
	ck_assert(n > 0 || errno == EAGAIN);
	return taken;
}

START_TEST(test_full_socket)
{
	enum { TOTAL = 3 << 20 };
	struct ends *e = close_exchanged(NULL, NULL);
	uint8_t *text = malloc(TOTAL), *back = malloc(TOTAL);
	size_t taken = 0, n = 0;
	uint64_t sent = 0;
	unsigned stalls = 0;
	for (size_t i = 0; i < TOTAL; i++)
		text[i] = (uint8_t)(i * 31 >> 3);
	while (n < TOTAL) {
		taken = fill(e, text, TOTAL, taken);
		stalls += tls_waits(e->tls);
		if (tls_waits(e->tls)) { /* nothing more is taken, however often */
			ck_assert_uint_eq(fill(e, text, TOTAL, taken), taken);
			ck_assert_int_eq(tls_write(e->tls, e->fd, NULL, 0, &sent), -1);
			ck_assert_int_eq(errno, EAGAIN);
		}
		client_hears(e);
		int r;
		while (n < TOTAL && (r = SSL_read(e->client, back + n, (int)(TOTAL - n))) > 0)
			n += (size_t)r;
		ERR_clear_error();
	}
	ck_assert_uint_gt(stalls, 3);
	ck_assert(!tls_waits(e->tls));
	ck_assert_mem_eq(back, text, TOTAL);
	free(text);
	free(back);
	converse(e);
	close_ends(e);
}
END_TEST

/* The socket is full and what waits is written with nothing behind it. */
START_TEST(test_drain)
{
	struct ends *e = close_exchanged(NULL, NULL);
	uint8_t *text = calloc(1, 3 << 20);
	uint64_t sent = 0;
	ck_assert_uint_eq(tls_held(e->tls), 0);
	size_t taken = fill(e, text, 3 << 20, 0);
	ck_assert(tls_waits(e->tls));
	ck_assert_uint_gt(tls_held(e->tls), 0);
	ck_assert_uint_lt(tls_held(e->tls), 70000);
	client_hears(e);
	ck_assert_int_eq(tls_write(e->tls, e->fd, NULL, 0, &sent), 0);
	ck_assert_uint_gt(sent, 0);
	ck_assert(!tls_waits(e->tls));
	ck_assert_uint_eq(tls_held(e->tls), 0);
	client_hears(e);
	size_t n = 0;
	int r;
	while ((r = SSL_read(e->client, e->got, sizeof e->got)) > 0)
		n += (size_t)r;
	ck_assert_uint_eq(n, taken);
	ERR_clear_error();
	free(text);
	close_ends(e);
}
END_TEST

START_TEST(test_write_before_the_handshake)
{
	struct ends *e = new_ends(NULL, NULL);
	uint64_t sent = 0;
	struct iovec iov = {.iov_base = (void *)"x", .iov_len = 1};
	ck_assert_int_eq(tls_write(e->tls, e->fd, &iov, 1, &sent), -1);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert(!tls_waits(e->tls));
	tls_finish(e->tls, e->fd);
	ck_assert(!tls_more(e->tls));
	close_ends(e);
}
END_TEST

START_TEST(test_peer_gone_while_writing)
{
	struct ends *e = close_exchanged(NULL, NULL);
	uint64_t sent = 0;
	struct iovec iov = {.iov_base = (void *)"x", .iov_len = 1};
	close(e->wire);
	e->wire = -1;
	ck_assert_int_eq(tls_write(e->tls, e->fd, &iov, 1, &sent), -1);
	ck_assert_int_eq(errno, EPIPE);
	tls_finish(e->tls, e->fd);
	close_ends(e);
}
END_TEST

/* --- ends ------------------------------------------------------------------------------------- */

START_TEST(test_close_notify)
{
	struct ends *e = close_exchanged(NULL, NULL);
	ck_assert_int_eq(SSL_write(e->client, "last", 4), 4);
	SSL_shutdown(e->client);
	client_sends(e, SIZE_MAX, NULL);
	server_reads(e);
	ck_assert_uint_eq(e->n, 4);
	ck_assert_int_eq(e->result, 0);
	answer(e, "half open"); /* it has ended its side only */
	tls_finish(e->tls, e->fd);
	client_hears(e);
	char c;
	ck_assert_int_eq(SSL_read(e->client, &c, 1), 0);
	ck_assert_int_eq(SSL_get_error(e->client, 0), SSL_ERROR_ZERO_RETURN);
	close_ends(e);
}
END_TEST

/* Without close_notify, in a record or between two. */
START_TEST(test_end_of_the_socket)
{
	struct ends *e = close_exchanged(NULL, NULL);
	char bytes[1000];
	ck_assert_int_eq(SSL_write(e->client, "cut off", 7), 7);
	int n = BIO_read(e->out, bytes, sizeof bytes);
	n = _i == 0 ? 0 : _i == 1 ? 3 : n - 1;
	if (n > 0)
		ck_assert_int_eq(send(e->wire, bytes, (size_t)n, 0), n);
	server_reads(e);
	/* a record that came in part has a buffer */
	ck_assert_uint_eq(tls_held(e->tls), n > 0 ? 16384 : 0);
	shutdown(e->wire, SHUT_WR);
	server_reads(e);
	if (e->result < 0) /* what there was is read before the end */
		server_reads(e);
	ck_assert_int_eq(e->result, 0);
	ck_assert_uint_eq(e->n, 0);
	close_ends(e);
}
END_TEST

START_TEST(test_damaged_record)
{
	struct ends *e = close_exchanged(NULL, NULL);
	char bytes[1000];
	ck_assert_int_eq(SSL_write(e->client, "one", 3), 3);
	client_sends(e, SIZE_MAX, NULL);
	ck_assert_int_eq(SSL_write(e->client, "two", 3), 3);
	int n = BIO_read(e->out, bytes, sizeof bytes);
	bytes[n - 1] ^= 1;
	ck_assert_int_eq(send(e->wire, bytes, (size_t)n, 0), n);
	server_reads(e);
	ck_assert_uint_eq(e->n, 3);
	ck_assert_int_eq(e->result, -1);
	ck_assert_int_eq(e->error, EPROTO);
	ck_assert_str_eq(tls_why(e->tls), "decryption failed or bad record mac");
	struct iovec iov = {.iov_base = (void *)"x", .iov_len = 1};
	uint64_t sent = 0;
	ck_assert_int_eq(tls_write(e->tls, e->fd, &iov, 1, &sent), -1);
	ck_assert_int_eq(errno, EPROTO);
	client_hears(e);
	client_steps(e, SSL_read(e->client, bytes, sizeof bytes));
	ck_assert_int_eq(e->client_error, SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
	close_ends(e);
}
END_TEST

START_TEST(test_strangers)
{
	static const char *const first[] = {"GET / HTTP/1.1\r\n\r\n", "\x80\x2e\x01", "\0SP\0",
					    "x"};
	for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
		struct ends *e = new_ends(NULL, NULL);
		ck_assert_int_eq(send(e->wire, first[i], 2, 0), 2);
		server_reads(e);
		ck_assert_int_eq(e->result, -1);
		ck_assert_int_eq(e->error, EPROTO);
		ck_assert_int_eq(tls_stranger(e->tls), (uint8_t)first[i][0]);
		ck_assert_str_eq(tls_why(e->tls), "the peer does not speak TLS");
		ck_assert_int_eq(recv(e->wire, e->got, 1, 0), -1);
		close_ends(e);
	}
}
END_TEST

/* --- handshakes that fail --------------------------------------------------------------------- */

static void fails(int client_error, const char *why)
{
	struct ends *e = new_ends(NULL, NULL);
	ck_assert(!shake(e, SIZE_MAX));
	ck_assert_msg(e->client_error == client_error, "client %d, server %s", e->client_error,
		      tls_why(e->tls));
	ck_assert_str_eq(tls_why(e->tls), why);
	ck_assert_int_eq(e->result, -1);
	ck_assert_int_eq(e->error, EPROTO);
	ck_assert_uint_eq(e->n, 0);
	close_ends(e);
}

START_TEST(test_old_versions)
{
	be(TLS1_1_VERSION, NULL);
	SSL_CTX_set_cipher_list(client_ctx, "ALL:@SECLEVEL=0");
	fails(SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "unsupported protocol");
}
END_TEST

START_TEST(test_weak_ciphers)
{
	be(TLS1_2_VERSION, NULL);
	SSL_CTX_set_cipher_list(client_ctx, "ECDHE-ECDSA-AES128-SHA");
	fails(SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "no shared cipher");
}
END_TEST

START_TEST(test_client_refuses)
{
	SSL_CTX_set_cert_store(client_ctx, X509_STORE_new());
	struct ends *e = new_ends(NULL, NULL);
	ck_assert(!shake(e, SIZE_MAX));
	ck_assert_int_eq(e->client_error, SSL_R_CERTIFICATE_VERIFY_FAILED);
	client_sends(e, SIZE_MAX, server_reads);
	ck_assert_str_eq(tls_why(e->tls), "tlsv1 alert unknown ca");
	close_ends(e);
}
END_TEST

START_TEST(test_alpn)
{
	static const unsigned char both[] = "\x02h2\x08http/1.1", other[] = "\x02h2\x08http/1.0",
				   empty[] = "\x08http/1.2";
	const unsigned char *chosen;
	unsigned n;
	SSL_CTX_set_alpn_protos(client_ctx, both, sizeof both - 1);
	struct ends *e = close_exchanged(NULL, NULL);
	SSL_get0_alpn_selected(e->client, &chosen, &n);
	ck_assert_uint_eq(n, 8);
	ck_assert_mem_eq(chosen, "http/1.1", 8);
	close_ends(e);
	SSL_CTX_set_alpn_protos(client_ctx, other, sizeof other - 1);
	fails(SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, "no application protocol");
	SSL_CTX_set_alpn_protos(client_ctx, empty, sizeof empty - 1);
	fails(SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, "no application protocol");
}
END_TEST

/* TLS 1.2 can ask for another handshake; it gets none, and what follows is as before. */
START_TEST(test_renegotiation)
{
	be(TLS1_2_VERSION, NULL);
	struct ends *e = close_exchanged(NULL, NULL);
	ck_assert_int_eq(SSL_renegotiate(e->client), 1);
	client_steps(e, SSL_do_handshake(e->client));
	client_sends(e, SIZE_MAX, server_reads);
	client_hears(e);
	client_steps(e, SSL_do_handshake(e->client));
	ck_assert_int_eq(e->client_error, SSL_R_NO_RENEGOTIATION);
	ck_assert_uint_eq(loop->stats.tls_handshakes, 1);
	close_ends(e);
}
END_TEST

/* Each asks for an answer that is never read. */
START_TEST(test_key_updates_without_end)
{
	struct ends *e = close_exchanged(NULL, NULL);
	for (int i = 0; i < 100000 && e->error == EAGAIN; i++) {
		ck_assert_int_eq(SSL_key_update(e->client, SSL_KEY_UPDATE_REQUESTED), 1);
		ck_assert_int_eq(SSL_do_handshake(e->client), 1);
		client_sends(e, SIZE_MAX, server_reads);
	}
	ck_assert_int_eq(e->error, EPROTO);
	ck_assert_str_eq(tls_why(e->tls), "the peer asks and does not listen");
	close_ends(e);
}
END_TEST

/* --- sessions --------------------------------------------------------------------------------- */

static bool resumes(SSL_SESSION *session)
{
	struct ends *e = close_exchanged(NULL, session);
	bool resumed = SSL_session_reused(e->client) != 0;
	converse(e);
	close_ends(e);
	return resumed;
}

static SSL_SESSION *session_of(struct ends *e)
{
	converse(e);
	SSL_SESSION *session = SSL_get1_session(e->client);
	close_ends(e);
	return session;
}

START_TEST(test_resumption)
{
	be(VERSIONS[_i], NULL);
	SSL_SESSION *session = session_of(close_exchanged(NULL, NULL));
	ck_assert(resumes(session));
	ck_assert_uint_eq(loop->stats.tls_resumed, 1);

	struct tls_server *old = server; /* a reload */
	use("a.crt", NULL, old);
	tls_server_unref(&old);
	ck_assert(resumes(session));

	old = server; /* clients now need a certificate: a session without one is none */
	use("a.crt", "ca.crt", old);
	be(VERSIONS[_i], "ann");
	ck_assert(!resumes(session));
	SSL_SESSION *known = session_of(close_exchanged(NULL, NULL));
	ck_assert(resumes(known));
	tls_server_unref(&old);

	old = server; /* others sign them */
	use("a.crt", "both.crt", old);
	ck_assert(!resumes(known));
	tls_server_unref(&old);

	tls_server_unref(&server); /* another host */
	use("a.crt", NULL, NULL);
	be(VERSIONS[_i], NULL);
	ck_assert(!resumes(session));
	SSL_SESSION_free(session);
	SSL_SESSION_free(known);
}
END_TEST

START_TEST(test_keys_of_tickets_age)
{
	be(TLS1_2_VERSION, NULL);
	SSL_SESSION *first = session_of(close_exchanged(NULL, NULL));
	later = TICKETS_AGE + 60;
	ck_assert(resumes(first));
	SSL_SESSION *second = session_of(close_exchanged(NULL, NULL));
	later = 2 * TICKETS_AGE + 60;
	ck_assert(!resumes(first));
	ck_assert(resumes(second));
	later = 10 * TICKETS_AGE;
	ck_assert(!resumes(second));
	later = 0;
	SSL_SESSION_free(first);
	SSL_SESSION_free(second);
}
END_TEST

/* --- certificates of clients ------------------------------------------------------------------ */

START_TEST(test_client_certificates)
{
	tls_server_unref(&server);
	use("a.crt", "ca.crt", NULL);
	be(VERSIONS[_i], "ann");
	struct ends *e = close_exchanged(NULL, NULL);
	ck_assert_str_eq(facts_of(e).subject, "CN=Ann \\C3\\96,O=Tova\\, Inc,C=DE");
	SSL_SESSION *session = session_of(e);
	e = close_exchanged(NULL, session);
	ck_assert(SSL_session_reused(e->client));
	ck_assert_str_eq(facts_of(e).subject, "CN=Ann \\C3\\96,O=Tova\\, Inc,C=DE");
	close_ends(e);
	be(VERSIONS[_i], "gone");
	close_ends(close_exchanged(NULL, NULL));

	be(VERSIONS[_i], NULL);
	bool old = VERSIONS[_i] == TLS1_2_VERSION;
	fails(old ? SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE : SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED,
	      "peer did not return a certificate");
	be(VERSIONS[_i], "stranger");
	fails(SSL_R_TLSV1_ALERT_UNKNOWN_CA, "self-signed certificate");
	be(VERSIONS[_i], "old");
	fails(SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "certificate has expired");

	all_expired = true; /* the session is older than its certificate */
	be(VERSIONS[_i], "ann");
	e = new_ends(NULL, session);
	shake(e, SIZE_MAX);
	ck_assert_str_eq(tls_why(e->tls), "the certificate of a resumed session has expired");
	ck_assert_int_eq(e->error, EPROTO);
	close_ends(e);
	all_expired = false;
	SSL_SESSION_free(session);
}
END_TEST

START_TEST(test_revoked_certificates)
{
	tls_server_unref(&server);
	use("a.crt", "both.crt", NULL);
	be(VERSIONS[_i], "ann");
	close_ends(close_exchanged(NULL, NULL));
	be(VERSIONS[_i], "gone");
	fails(SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, "certificate revoked");
}
END_TEST

/* What was sealed for one before memory ran out is not sent to the next. */
START_TEST(test_no_memory_in_the_middle_of_a_write)
{
	static char much[4 * 16384];
	struct ends *one = close_exchanged(NULL, NULL), *other = close_exchanged(NULL, NULL);
	const struct iovec iov = {.iov_base = much, .iov_len = sizeof much};
	uint64_t sent = 0;
	realloc_most = 40000; /* for two records, and not for four */
	ck_assert_int_eq(tls_write(one->tls, one->fd, &iov, 1, &sent), -1);
	ck_assert_int_eq(errno, EPROTO);
	realloc_most = SIZE_MAX;
	converse(other);
	close_ends(one);
	close_ends(other);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tls");
	TCase *tc = tcase_create("tls");
	tcase_add_unchecked_fixture(tc, make_files, tls_files_end);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, test_conversation, 0, 2);
	tcase_add_loop_test(tc, test_byte_by_byte, 0, 2);
	tcase_add_test(tc, test_two_connections);
	tcase_add_test(tc, test_no_memory_in_the_middle_of_a_write);
	tcase_add_test(tc, test_small_reads);
	tcase_add_test(tc, test_small_pieces_are_one_record);
	tcase_add_test(tc, test_full_socket);
	tcase_add_test(tc, test_drain);
	tcase_add_test(tc, test_write_before_the_handshake);
	tcase_add_test(tc, test_peer_gone_while_writing);
	tcase_add_test(tc, test_close_notify);
	tcase_add_loop_test(tc, test_end_of_the_socket, 0, 3);
	tcase_add_test(tc, test_damaged_record);
	tcase_add_test(tc, test_strangers);
	tcase_add_test(tc, test_old_versions);
	tcase_add_test(tc, test_weak_ciphers);
	tcase_add_test(tc, test_client_refuses);
	tcase_add_test(tc, test_alpn);
	tcase_add_test(tc, test_renegotiation);
	tcase_add_test(tc, test_key_updates_without_end);
	tcase_add_loop_test(tc, test_resumption, 0, 2);
	tcase_add_test(tc, test_keys_of_tickets_age);
	tcase_add_loop_test(tc, test_client_certificates, 0, 2);
	tcase_add_loop_test(tc, test_revoked_certificates, 0, 2);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
