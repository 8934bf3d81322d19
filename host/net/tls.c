#include "net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <unistd.h>

static SSL_CTX *tls_fail(SSL_CTX *ctx, char *why, size_t cap, const char *file)
{
	char text[160];
	unsigned long code = ERR_get_error();
	ERR_error_string_n(code, text, sizeof text);
	const char *reason = ERR_reason_error_string(code);
	snprintf(why, cap, "%.400s: %s", file, reason != NULL ? reason : text);
	ERR_clear_error();
	SSL_CTX_free(ctx);
	return NULL;
}

static int tls_no_password(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)arg;
	return -1; /* the host has no terminal to ask at: a key with a password is refused */
}

SSL_CTX *tls_server_context(const char *cert, const char *key, const char *client_ca, char *why, size_t why_cap)
{
	ERR_clear_error();
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	if (ctx == NULL)
		return tls_fail(NULL, why, why_cap, "TLS");
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_default_passwd_cb(ctx, tls_no_password);
	if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
		return tls_fail(ctx, why, why_cap, cert);
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1)
		return tls_fail(ctx, why, why_cap, key);
	if (client_ca == NULL)
		return ctx;
	if (SSL_CTX_load_verify_locations(ctx, client_ca, NULL) != 1)
		return tls_fail(ctx, why, why_cap, client_ca);
	SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(client_ca));
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return ctx;
}

ssize_t tls_result(SSL *ssl, int n, bool *want_write_r)
{
	int saved = errno;
	*want_write_r = false;
	if (n > 0)
		return n;
	int error = SSL_get_error(ssl, n);
	ERR_clear_error(); /* the queue belongs to the thread: what stays in it would be taken for the next connection's */
	switch (error) {
	case SSL_ERROR_WANT_WRITE:
		*want_write_r = true;
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_WANT_READ:
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		errno = saved != 0 ? saved : ECONNRESET;
		return -1;
	default:
		errno = EPROTO;
		return -1;
	}
}
