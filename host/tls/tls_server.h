/* tls_server: what a server that speaks TLS shows and demands: certificates, which of them for
 * which name, whose clients it takes.
 *
 * Made from the operator's files, whole or not at all, and never changed: a reload makes another
 * one, and connections that are there keep theirs. Loops share it; each that holds one has a
 * reference. The keys of its session tickets it hands on to its successor.
 */
#ifndef TOVA_TLS_TLS_SERVER_H
#define TOVA_TLS_TLS_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include "tls/tickets.h"

struct tls_server;
struct ssl_st; /* OpenSSL's SSL */

/* Certificates, by a name that each of them has. The first is for names that none has, and for no
 * name. */
struct tls_server_names {
	const char *const *names;
	size_t n;
};

struct tls_server_settings {
	/* n PEM files: a certificate and its chain. The first is for names that none has, and for
	 * no name */
	const char *const *certs;
	/* n PEM files: the private key of each; NULL: they are in the same files */
	const char *const *keys;
	size_t n;
	/* PEM file: clients need a certificate that one of these has signed, and none of its CRLs
	 * names; or NULL */
	const char *client_ca;
	/* What some listeners show of them: group k (from 1) is for those whose number that is,
	 * group 0 has all. Not looked at where there is an old server, whose groups go on. */
	const struct tls_server_names *groups;
	size_t n_groups;
	bool tls13; /* nothing older than TLS 1.3; else TLS 1.2 */
	bool http;  /* whoever offers protocols (ALPN) has to offer http/1.1 */
};

enum tls_server_part {
	TLS_SERVER_ITSELF,
	TLS_SERVER_CERT,
	TLS_SERVER_KEY,
	TLS_SERVER_CLIENT_CA,
	TLS_SERVER_GROUP
};

struct tls_server_error {
	enum tls_server_part part; /* which kind of file is wrong */
	const char *file;	   /* and which; of the settings (TLS_SERVER_GROUP: the name) */
	char why[400];		   /* a sentence, without its name */
};

/* What is worth a warning but no refusal. */
typedef void (*tls_server_warn)(void *ctx, const char *file, const char *sentence);

/* old: its sessions go on where the same is demanded of clients; or NULL. NULL with *error_r
 * set. */
struct tls_server *tls_server_new(const struct tls_server_settings *set,
				  const struct tls_server *old, tls_server_warn warn, void *ctx,
				  struct tls_server_error *error_r);
struct tls_server *tls_server_ref(struct tls_server *s);
/* NULL is allowed. */
void tls_server_unref(struct tls_server **s_p);

/* For a new connection, accepting, where this group is shown; NULL without memory. The server has
 * to outlive it. */
struct ssl_st *tls_server_accept(const struct tls_server *s, unsigned group);

#endif
