/* tls: contexts for servers, from the operator's files. */
#ifndef TOVA_NET_TLS_H
#define TOVA_NET_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

/* At least TLS 1.2. client_ca NULL: clients need no certificate; else one that it has signed. PEM files. NULL with a sentence in
 * why. */
SSL_CTX *tls_server_context(const char *cert, const char *key, const char *client_ca, char *why, size_t why_cap);

/* What SSL_read or SSL_write has returned, in the terms of recv and send: n, 0 at the end, -1 with errno (EAGAIN: *want_write_r says
 * whether the socket must become writable). */
ssize_t tls_result(SSL *ssl, int n, bool *want_write_r);

#endif
