#include "tls/tls.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "common/buffer.h"

#define TLS_RECORD 16384	   /* plaintext bytes of the largest record (RFC 8446 5.1) */
#define TLS_INPUT 65536		   /* ciphertext read at once */
#define TLS_BATCH (4 * TLS_RECORD) /* plaintext sealed before the socket is asked to take it */
/* ciphertext that may wait for a socket: a batch, and what the protocol itself has to say */
#define TLS_WAITING_MAX (1u << 18)
#define TLS_HANDSHAKE_RECORD 22 /* the first byte of every TLS connection */

/* What the connections of a loop share, one at a time. */
struct tls_io {
	struct stats *stats;
	BIO_METHOD *method;
	BIO *bio;		  /* of all connections: it has no state but this */
	struct buffer out;	  /* ciphertext on its way to the socket */
	const struct tls *reader; /* whose the input is */
	size_t in_at, in_len;
	uint8_t in[TLS_INPUT];	    /* ciphertext on its way from the socket */
	uint8_t record[TLS_RECORD]; /* plaintext of a record that is gathered from several pieces */
};

enum tls_end { TLS_GOES_ON, TLS_CLOSED, TLS_BROKEN };

struct tls {
	SSL *ssl; /* NULL: nothing has come yet */
	struct tls_io *io;
	struct tls_server *server;
	struct buffer waiting; /* ciphertext that the socket did not take */
	char *subject;
	const char *why;
	int16_t stranger;      /* its first byte, if that is no TLS */
	uint8_t end;	       /* enum tls_end */
	uint8_t group;	       /* of certificates that are shown here */
	bool open : 1;	       /* the handshake is done */
	bool end_reported : 1; /* the end was told */
};

/* --- between OpenSSL and the buffers ---------------------------------------------------------- */

static int tls_bio_read(BIO *bio, char *bytes, int cap)
{
	struct tls_io *io = BIO_get_data(bio);
	size_t n = io->in_len - io->in_at;
	BIO_clear_retry_flags(bio);
	if (n == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	n = n < (size_t)cap ? n : (size_t)cap;
	memcpy(bytes, io->in + io->in_at, n);
	io->in_at += n;
	return (int)n;
}

static int tls_bio_write(BIO *bio, const char *bytes, int n)
{
	struct tls_io *io = BIO_get_data(bio);
	BIO_clear_retry_flags(bio);
	if (!buffer_append(&io->out, bytes, (size_t)n))
		return -1;
	return n;
}

static long tls_bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static struct tls_io *tls_io_of(struct tls_io **shared, struct stats *stats)
{
	if (*shared != NULL)
		return *shared;
	struct tls_io *io = calloc(1, sizeof *io);
	if (io == NULL)
		return NULL;
	io->stats = stats;
	io->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "loop");
	if (io->method != NULL) {
		BIO_meth_set_read(io->method, tls_bio_read);
		BIO_meth_set_write(io->method, tls_bio_write);
		BIO_meth_set_ctrl(io->method, tls_bio_ctrl);
		io->bio = BIO_new(io->method);
	}
	if (io->bio == NULL) {
		ERR_clear_error();
		tls_io_free(&io);
		return NULL;
	}
	BIO_set_data(io->bio, io);
	BIO_set_init(io->bio, 1);
	*shared = io;
	return io;
}

void tls_io_free(struct tls_io **io_p)
{
	struct tls_io *io = *io_p;
	*io_p = NULL;
	if (io == NULL)
		return;
	BIO_free(io->bio);
	BIO_meth_free(io->method);
	buffer_free(&io->out);
	free(io);
}

/* --- beginning and end ------------------------------------------------------------------------ */

struct tls *tls_new(struct tls_io **shared, struct stats *stats, struct tls_server *server,
		    uint8_t group)
{
	struct tls_io *io = tls_io_of(shared, stats);
	struct tls *t = io != NULL ? malloc(sizeof *t) : NULL;
	if (t != NULL)
		*t = (struct tls){.io = io,
				  .server = tls_server_ref(server),
				  .group = group,
				  .stranger = -1};
	return t;
}

void tls_free(struct tls **t_p)
{
	struct tls *t = *t_p;
	*t_p = NULL;
	if (t == NULL)
		return;
	if (t->io->reader == t)
		t->io->in_at = t->io->in_len = 0;
	SSL_free(t->ssl);
	tls_server_unref(&t->server);
	buffer_free(&t->waiting);
	free(t->subject);
	free(t);
}

static bool tls_break(struct tls *t, const char *why)
{
	t->end = TLS_BROKEN;
	t->why = why;
	return false;
}

static bool tls_begin(struct tls *t)
{
	struct tls_io *io = t->io;
	CHECK(io->in_at < io->in_len && t->ssl == NULL);
	if (io->in[io->in_at] != TLS_HANDSHAKE_RECORD) {
		t->stranger = io->in[io->in_at];
		return tls_break(t, "the peer does not speak TLS");
	}
	t->ssl = tls_server_accept(t->server, t->group);
	if (t->ssl == NULL)
		return tls_break(t, "no memory for its TLS");
	BIO_up_ref(io->bio); /* once, as it is the same for reading and writing */
	SSL_set_bio(t->ssl, io->bio, io->bio);
	return true;
}

/* Why OpenSSL gave up. */
static void tls_diagnose(struct tls *t)
{
	unsigned long code = ERR_peek_error();
	long verified = SSL_get_verify_result(t->ssl);
	const char *why = ERR_reason_error_string(code);
	bool refused = ERR_GET_LIB(code) == ERR_LIB_SSL &&
		       ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED;
	if (refused && verified != X509_V_OK)
		why = X509_verify_cert_error_string(verified);
	tls_break(t, why != NULL ? why : "no memory");
	/* the queue belongs to the thread: what stays in it would be taken for the next
	 * connection's */
	ERR_clear_error();
}

/* --- the client's certificate ----------------------------------------------------------------- */

static char *tls_name_text(X509_NAME *name)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL, *bytes;
	int n = bio != NULL ? X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) : -1;
	long len = n >= 0 ? BIO_get_mem_data(bio, &bytes) : -1;
	if (len >= 0 && (text = malloc((size_t)len + 1)) != NULL) {
		memcpy(text, bytes, (size_t)len);
		text[len] = '\0';
	}
	BIO_free(bio);
	return text;
}

/* The handshake is done. A resumed session brings the certificate of its beginning, whose time may
 * be over by now. */
static void tls_opened(struct tls *t)
{
	struct stats *stats = t->io->stats;
	X509 *peer = SSL_get0_peer_certificate(t->ssl);
	bool resumed = SSL_session_reused(t->ssl) != 0;
	t->open = true;
	stats->tls_handshakes++;
	stats->tls_resumed += resumed;
	if (peer == NULL)
		return;
	if (resumed && X509_cmp_current_time(X509_get0_notAfter(peer)) < 0) {
		tls_break(t, "the certificate of a resumed session has expired");
		return;
	}
	t->subject = tls_name_text(X509_get_subject_name(peer));
	if (t->subject == NULL)
		tls_break(t, "no memory for its certificate");
}

/* --- output ----------------------------------------------------------------------------------- */

/* One send; what is not taken counts from *at. False: the socket broke. */
static bool tls_send(int fd, const uint8_t *bytes, size_t len, size_t *at, uint64_t *sent_r)
{
	ssize_t n;
	do
		n = send(fd, bytes + *at, len - *at, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK;
	*at += (size_t)n;
	*sent_r += (uint64_t)n;
	return true;
}

static bool tls_keep(struct tls *t, const uint8_t *bytes, size_t len)
{
	bool much = t->waiting.n + len > TLS_WAITING_MAX;
	if (much || !buffer_append(&t->waiting, bytes, len))
		return tls_break(t, much ? "the peer asks and does not listen"
					 : "no memory for its output");
	return true;
}

/* What OpenSSL wants said goes to the socket, behind what waits for it. */
static bool tls_flush(struct tls *t, int fd, uint64_t *sent_r)
{
	struct tls_io *io = t->io;
	const uint8_t *bytes = (const uint8_t *)io->out.p;
	size_t at = 0, len = io->out.n;
	buffer_drop(&io->out, len); /* it stays where it is until more is written */
	if (len > 0 && t->waiting.n == 0 && !tls_send(fd, bytes, len, &at, sent_r))
		return false;
	return at == len || tls_keep(t, bytes + at, len - at);
}

/* What waits goes first. */
static bool tls_drain(struct tls *t, int fd, uint64_t *sent_r)
{
	struct buffer *w = &t->waiting;
	size_t at = 0;
	if (w->n == 0)
		return true;
	if (!tls_send(fd, (const uint8_t *)w->p, w->n, &at, sent_r))
		return false;
	buffer_drop(w, at);
	if (w->n > 0) {
		errno = EAGAIN;
		return false;
	}
	buffer_free(w);
	return true;
}

/* The plaintext of the next record: a piece where it lies if it fills one, else several together.
 * Moves *iov and *at on. */
static const uint8_t *tls_gather(struct tls_io *io, const struct iovec **iov,
				 const struct iovec *end, size_t *at, size_t *len_r)
{
	size_t len = 0;
	if (*iov < end && (*iov)->iov_len - *at >= TLS_RECORD) {
		const uint8_t *bytes = (const uint8_t *)(*iov)->iov_base + *at;
		*at += TLS_RECORD;
		*len_r = TLS_RECORD;
		return bytes;
	}
	while (*iov < end && len < TLS_RECORD) {
		size_t left = (*iov)->iov_len - *at,
		       n = left < TLS_RECORD - len ? left : TLS_RECORD - len;
		memcpy(io->record + len, (const uint8_t *)(*iov)->iov_base + *at, n);
		len += n;
		*at += n;
		if (n == left) {
			++*iov;
			*at = 0;
		}
	}
	*len_r = len;
	return io->record;
}

ssize_t tls_write(struct tls *t, int fd, const struct iovec *iov, int n, uint64_t *sent_r)
{
	const struct iovec *end = iov + n;
	size_t at = 0, taken = 0, len;
	if (t->end == TLS_BROKEN) {
		errno = EPROTO;
		return -1;
	}
	if (!tls_drain(t, fd, sent_r))
		return -1;
	if (!t->open && n > 0) {
		errno = EAGAIN;
		return -1;
	}
	CHECK(t->io->out.n == 0); /* nothing of another connection's */
	while (taken < TLS_BATCH && iov < end) {
		const uint8_t *bytes = tls_gather(t->io, &iov, end, &at, &len);
		if (len == 0)
			break;
		/* memory takes all: only a lack of it stops this */
		if (SSL_write(t->ssl, bytes, (int)len) != (int)len) {
			tls_diagnose(t);
			buffer_drop(&t->io->out, t->io->out.n);
			errno = EPROTO;
			return -1;
		}
		taken += len;
	}
	return tls_flush(t, fd, sent_r) ? (ssize_t)taken : -1;
}

bool tls_waits(const struct tls *t)
{
	return t->waiting.n > 0;
}

size_t tls_held(const struct tls *t)
{
	size_t out = buffer_memory(&t->waiting);
	return out + (t->ssl != NULL && SSL_has_pending(t->ssl) ? TLS_RECORD : 0);
}

void tls_finish(struct tls *t, int fd)
{
	uint64_t sent = 0;
	if (!t->open || t->end == TLS_BROKEN || t->waiting.n > 0)
		return;
	if (SSL_shutdown(t->ssl) >= 0)
		tls_flush(t, fd, &sent);
	buffer_drop(&t->io->out, t->io->out.n);
	ERR_clear_error();
}

/* --- input ------------------------------------------------------------------------------------ */

static ssize_t tls_fill(struct tls *t, int fd, size_t most)
{
	struct tls_io *io = t->io;
	ssize_t n = recv(fd, io->in, most < sizeof io->in ? most : sizeof io->in, 0);
	io->reader = t;
	io->in_at = 0;
	io->in_len = n > 0 ? (size_t)n : 0;
	return n;
}

/* Opens records until there is no room or nothing to open. */
static size_t tls_unseal(struct tls *t, uint8_t *bytes, size_t cap)
{
	struct tls_io *io = t->io;
	size_t got = 0;
	while (t->end == TLS_GOES_ON && got < cap &&
	       (got == 0 || io->in_at < io->in_len || SSL_pending(t->ssl) > 0)) {
		size_t room = cap - got < INT_MAX ? cap - got : INT_MAX;
		int n = SSL_read(t->ssl, bytes + got, (int)room);
		if (!t->open && SSL_is_init_finished(t->ssl))
			tls_opened(t);
		if (t->end == TLS_BROKEN) /* what it said counts for nothing */
			break;
		if (n > 0) {
			got += (size_t)n;
			continue;
		}
		int error = SSL_get_error(t->ssl, n);
		if (error == SSL_ERROR_WANT_READ)
			break;
		if (error == SSL_ERROR_ZERO_RETURN)
			t->end = TLS_CLOSED;
		else
			tls_diagnose(t);
	}
	return got;
}

static ssize_t tls_tell(struct tls *t)
{
	t->end_reported = true;
	errno = EPROTO;
	return t->end == TLS_CLOSED ? 0 : -1;
}

ssize_t tls_read(struct tls *t, int fd, void *bytes, size_t cap, size_t most)
{
	struct tls_io *io = t->io;
	uint64_t sent = 0;
	size_t got = 0;
	if (t->end != TLS_GOES_ON)
		return tls_tell(t);
	if (io->reader != t ||
	    (io->in_at == io->in_len && (t->ssl == NULL || SSL_pending(t->ssl) == 0))) {
		ssize_t n = tls_fill(t, fd, most);
		if (n <= 0)
			return n;
	}
	CHECK(io->reader == t && io->in_at <= io->in_len && io->out.n == 0);
	if (t->ssl != NULL || tls_begin(t)) {
		got = tls_unseal(t, bytes, cap);
		if (!tls_flush(t, fd, &sent) && t->end != TLS_BROKEN)
			tls_break(t, strerrordesc_np(errno));
		io->stats->bytes_out += sent;
	}
	/* nothing counts behind the end */
	if (t->end != TLS_GOES_ON)
		io->in_at = io->in_len = 0;
	if (got > 0)
		return (ssize_t)got;
	/* an end is told when it is asked for: who reads may have to do with what came before it */
	errno = EAGAIN;
	return -1;
}

bool tls_more(const struct tls *t)
{
	return t->end == TLS_GOES_ON && t->ssl != NULL &&
	       ((t->io->reader == t && t->io->in_at < t->io->in_len) || SSL_pending(t->ssl) > 0);
}

bool tls_ended(const struct tls *t)
{
	return t->end != TLS_GOES_ON && !t->end_reported;
}

/* --- facts ------------------------------------------------------------------------------------ */

bool tls_has_begun(const struct tls *t)
{
	return t->ssl != NULL;
}

bool tls_is_open(const struct tls *t)
{
	return t->open;
}

int tls_stranger(const struct tls *t)
{
	return t->stranger;
}

const char *tls_why(const struct tls *t)
{
	return t->why;
}

void tls_facts(const struct tls *t, struct tls_facts *facts_r)
{
	*facts_r =
		(struct tls_facts){.version = SSL_get_version(t->ssl),
				   .cipher = SSL_get_cipher_name(t->ssl),
				   .subject = t->subject,
				   .name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name)};
}
