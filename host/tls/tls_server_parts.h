/* tls_server_parts: what the parts of tls_server share: tls_server_pair.c is a certificate and its
 * key as they are read, tls_server_names.c whom certificates are for, tls_server.c what they are
 * used for. */
#ifndef TOVA_TLS_TLS_SERVER_PARTS_H
#define TOVA_TLS_TLS_SERVER_PARTS_H

#include <openssl/types.h>
#include <openssl/x509.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "tls/tls_server.h"

#define TLS_SERVER_NAME_MAX 255

struct tls_server_name {
	char *name; /* lower case; "*.example.com" stands for one label */
	size_t pair;
};

struct tls_server_shown {
	SSL_CTX *ctx;	 /* pairs that differ in the kind of key only share one */
	size_t from, to; /* its names, while they are not sorted */
};

/* What a listener shows. */
struct tls_server_group {
	char **names;
	size_t *pairs; /* of each name */
	size_t n;
};

struct tls_server {
	uint16_t magic; /* CHECK_TLS_SERVER */
	atomic_uint refs;
	struct tickets *tickets;
	struct tls_server_shown *shown; /* one for each pair */
	size_t n;
	struct tls_server_name *names; /* sorted */
	size_t n_names;
	struct tls_server_group *groups; /* from group 1 on */
	size_t n_groups;
	/* what is demanded of clients: sessions of other demands are not resumed */
	unsigned char session[32];
};

/* What is needed to make one. */
struct tls_server_build {
	const struct tls_server_settings *set;
	struct tls_server *s;
	tls_server_warn warn;
	void *warn_ctx;
	struct tls_server_error *error;
	X509_STORE *store;	     /* of --tls-client-ca; NULL without */
	STACK_OF(X509_NAME) * names; /* to tell clients */
};

/* A pair of files as it is read. */
struct tls_server_pair {
	const char *cert_file, *key_file;
	X509 *leaf;
	STACK_OF(X509) * chain;
	EVP_PKEY *key;
};

/* What a file has. */
struct tls_server_file {
	char *bytes;
	size_t len;
	mode_t mode;
};

/* --- tls_server_pair.c ------------------------------------------------------------------------ */

/* What is wrong with which file; of OpenSSL, what that says. Both return false. */
bool tls_server_pair_fail(struct tls_server_build *b, enum tls_server_part part, const char *file,
			  const char *why);
bool tls_server_pair_fail_ssl(struct tls_server_build *b, enum tls_server_part part,
			      const char *file, const char *what);
/* Its bytes are cleared: there may be a key among them. */
void tls_server_pair_file_free(struct tls_server_file *f);
/* What was read of it. */
void tls_server_pair_free(struct tls_server_pair *p);
/* The i-th of the settings, each half checked, and whether they belong together. False: what is
 * wrong was said. */
bool tls_server_pair_load(struct tls_server_build *b, size_t i, struct tls_server_pair *p);
/* For PEM: nobody can be asked for one. */
int tls_server_pair_on_password(char *buf, int size, int rwflag, void *arg);
/* All of a file; the caller frees it. False: what is wrong was said. */
bool tls_server_pair_read(struct tls_server_build *b, enum tls_server_part part, const char *path,
			  struct tls_server_file *f);
/* To whoever asked to be warned. */
void tls_server_pair_warn_about(struct tls_server_build *b, const char *file, const char *sentence);

/* --- tls_server_names.c ----------------------------------------------------------------------- */

/* Those of a certificate, as yet unsorted. False without memory. */
bool tls_server_names_add(struct tls_server *s, size_t pair, const X509 *leaf);
/* For qsort. */
int tls_server_names_compare(const void *a, const void *b);
/* Has b every name that a has? (Before they are sorted.) */
bool tls_server_names_covers(const struct tls_server *s, size_t a, size_t b);
/* What it names. */
void tls_server_names_group_free(struct tls_server_group *g);
/* Those of the old one, or those of the settings. False: what is wrong was said. */
bool tls_server_names_make_groups(struct tls_server_build *b, const struct tls_server *old);
/* The certificate for that name, of the group (NULL: of all); NULL: there is none. */
const struct tls_server_name *tls_server_names_match(const struct tls_server *s,
						     const struct tls_server_group *g,
						     const char *name);

#endif
