#include "tls/tls_server.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/check.h"

#define TLS_SERVER_FILE_MAX (1u << 20)
/* a certificate that ends within this time is worth a warning */
#define TLS_SERVER_SOON (14 * 24 * 3600)
#define TLS_SERVER_NAME_MAX 255
/* What TLS 1.2 may use: keys of the moment and ciphers that authenticate what they encrypt (RFC
 * 9325 4.2). TLS 1.3 has no others. */
#define TLS_SERVER_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"

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

/* --- what is wrong ---------------------------------------------------------------------------- */

static bool tls_server_fail(struct tls_server_build *b, enum tls_server_part part, const char *file,
			    const char *why)
{
	b->error->part = part;
	b->error->file = file;
	snprintf(b->error->why, sizeof b->error->why, "%s", why);
	ERR_clear_error();
	return false;
}

/* In OpenSSL's words. */
static bool tls_server_fail_ssl(struct tls_server_build *b, enum tls_server_part part,
				const char *file, const char *what)
{
	char why[300];
	const char *reason = ERR_reason_error_string(ERR_peek_error());
	snprintf(why, sizeof why, "%s: %s", what, reason != NULL ? reason : "no memory");
	return tls_server_fail(b, part, file, why);
}

/* --- files ------------------------------------------------------------------------------------ */

struct tls_server_file {
	char *bytes;
	size_t len;
	mode_t mode;
};

static void tls_server_file_free(struct tls_server_file *f)
{
	/* it may hold a private key */
	if (f->bytes != NULL)
		OPENSSL_cleanse(f->bytes, TLS_SERVER_FILE_MAX);
	free(f->bytes);
	f->bytes = NULL;
}

static bool tls_server_read(struct tls_server_build *b, enum tls_server_part part, const char *path,
			    struct tls_server_file *f)
{
	struct stat st = {0};
	char why[200];
	FILE *file = fopen(path, "re");
	*f = (struct tls_server_file){.bytes = file != NULL ? malloc(TLS_SERVER_FILE_MAX) : NULL};
	if (f->bytes != NULL) {
		setvbuf(file, NULL, _IONBF, 0); /* no copy in a buffer that nobody wipes */
		f->len = fread(f->bytes, 1, TLS_SERVER_FILE_MAX, file);
	}
	bool ok = f->bytes != NULL && !ferror(file) && fstat(fileno(file), &st) == 0;
	snprintf(why, sizeof why, "can not be read: %s", strerror(errno));
	f->mode = st.st_mode;
	if (file != NULL)
		fclose(file);
	if (ok && f->len < TLS_SERVER_FILE_MAX)
		return true;
	tls_server_file_free(f);
	return tls_server_fail(b, part, path, ok ? "is too large; expected less than 1m" : why);
}

/* Did the last read end because nothing more of its kind is there? */
static bool tls_server_at_end(void)
{
	unsigned long code = ERR_peek_last_error();
	bool end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
	if (end)
		ERR_clear_error();
	return end;
}

/* There is no terminal to ask at. */
static int tls_server_on_password(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	*(bool *)arg = true;
	return -1;
}

/* --- a certificate and its key ---------------------------------------------------------------- */

static void tls_server_pair_free(struct tls_server_pair *p)
{
	X509_free(p->leaf);
	sk_X509_pop_free(p->chain, X509_free);
	EVP_PKEY_free(p->key);
}

static bool tls_server_parse_cert(struct tls_server_build *b, struct tls_server_pair *p,
				  const struct tls_server_file *f)
{
	BIO *bio = BIO_new_mem_buf(f->bytes, (int)f->len);
	X509 *next;
	bool asked = false;
	p->chain = sk_X509_new_null();
	p->leaf = bio != NULL ? PEM_read_bio_X509(bio, NULL, tls_server_on_password, &asked) : NULL;
	bool none = p->leaf == NULL && tls_server_at_end();
	while (p->leaf != NULL && p->chain != NULL &&
	       (next = PEM_read_bio_X509(bio, NULL, tls_server_on_password, &asked)) != NULL)
		if (sk_X509_push(p->chain, next) == 0)
			X509_free(next);
	bool ok = p->leaf != NULL && p->chain != NULL && tls_server_at_end();
	BIO_free(bio);
	if (none)
		return tls_server_fail(b, TLS_SERVER_CERT, p->cert_file,
				       "has no certificate in it; expected PEM");
	return ok || tls_server_fail_ssl(b, TLS_SERVER_CERT, p->cert_file,
					 "its certificates can not be read");
}

static bool tls_server_parse_key(struct tls_server_build *b, struct tls_server_pair *p,
				 const struct tls_server_file *f)
{
	BIO *bio = BIO_new_mem_buf(f->bytes, (int)f->len);
	bool asked = false;
	p->key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, tls_server_on_password, &asked)
			     : NULL;
	BIO_free(bio);
	if (asked)
		return tls_server_fail(b, TLS_SERVER_KEY, p->key_file,
				       "is protected by a password, which nobody can be asked for");
	if (p->key == NULL) /* what OpenSSL has to say to that helps nobody */
		return tls_server_fail(b, TLS_SERVER_KEY, p->key_file,
				       "has no private key in it that can be read; expected PEM");
	if (X509_check_private_key(p->leaf, p->key) == 1)
		return true;
	char why[300];
	snprintf(why, sizeof why, "does not belong to the certificate %.200s", p->cert_file);
	return tls_server_fail(b, TLS_SERVER_KEY, p->key_file, why);
}

static void tls_server_warn_about(struct tls_server_build *b, const char *file,
				  const char *sentence)
{
	if (b->warn != NULL)
		b->warn(b->warn_ctx, file, sentence);
}

static void tls_server_judge_dates(struct tls_server_build *b, const struct tls_server_pair *p)
{
	time_t soon = time(NULL) + TLS_SERVER_SOON;
	if (X509_cmp_current_time(X509_get0_notBefore(p->leaf)) > 0)
		tls_server_warn_about(b, p->cert_file,
				      "the certificate is not valid yet: clients will refuse it");
	else if (X509_cmp_current_time(X509_get0_notAfter(p->leaf)) < 0)
		tls_server_warn_about(b, p->cert_file,
				      "the certificate has expired: clients will refuse it");
	else if (X509_cmp_time(X509_get0_notAfter(p->leaf), &soon) < 0)
		tls_server_warn_about(b, p->cert_file, "the certificate expires within two weeks");
}

static bool tls_server_load_pair(struct tls_server_build *b, size_t i, struct tls_server_pair *p)
{
	struct tls_server_file cert = {0}, key = {0};
	bool apart = b->set->keys != NULL;
	*p = (struct tls_server_pair){.cert_file = b->set->certs[i],
				      .key_file = apart ? b->set->keys[i] : b->set->certs[i]};
	bool ok = tls_server_read(b, TLS_SERVER_CERT, p->cert_file, &cert) &&
		  tls_server_parse_cert(b, p, &cert) &&
		  (!apart || tls_server_read(b, TLS_SERVER_KEY, p->key_file, &key)) &&
		  tls_server_parse_key(b, p, apart ? &key : &cert);
	if (ok)
		tls_server_judge_dates(b, p);
	if (ok && ((apart ? key.mode : cert.mode) & (S_IROTH | S_IWOTH)) != 0)
		tls_server_warn_about(b, p->key_file,
				      "every user of this machine can open the private key");
	tls_server_file_free(&cert);
	tls_server_file_free(&key);
	return ok;
}

/* --- names ------------------------------------------------------------------------------------ */

/* Lower case, without the dot that may end it; false: it can be no name. */
static bool tls_server_name_fold(const unsigned char *text, size_t n,
				 char dst[TLS_SERVER_NAME_MAX + 1])
{
	n -= n > 0 && text[n - 1] == '.';
	if (n == 0 || n > TLS_SERVER_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (text[i] <= ' ' || text[i] >= 0x7F)
			return false;
		dst[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);
	}
	dst[n] = '\0';
	return true;
}

static bool tls_server_name_add(struct tls_server *s, size_t pair, const ASN1_STRING *text)
{
	char folded[TLS_SERVER_NAME_MAX + 1];
	if (!tls_server_name_fold(ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text),
				  folded))
		return true;
	struct tls_server_name *names = reallocarray(s->names, s->n_names + 1, sizeof *names);
	if (names == NULL)
		return false;
	s->names = names;
	names[s->n_names] = (struct tls_server_name){.name = strdup(folded), .pair = pair};
	return names[s->n_names].name != NULL && ++s->n_names > 0;
}

/* Its DNS names; the common name is one only where there are none (RFC 6125 6.4.4). */
static bool tls_server_add_names(struct tls_server *s, size_t pair, const X509 *leaf)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	bool any = false, ok = true;
	for (int i = 0; all != NULL && i < sk_GENERAL_NAME_num(all); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);
		if (name->type != GEN_DNS)
			continue;
		any = true;
		ok = ok && tls_server_name_add(s, pair, name->d.dNSName);
	}
	GENERAL_NAMES_free(all);
	X509_NAME *subject = X509_get_subject_name(leaf);
	int at = any ? -1 : X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	if (at >= 0)
		ok = tls_server_name_add(s, pair,
					 X509_NAME_ENTRY_get_data(
						 X509_NAME_get_entry(subject, at)));
	ERR_clear_error();
	return ok;
}

static int tls_server_name_compare(const void *a, const void *b)
{
	const struct tls_server_name *x = a, *y = b;
	int order = strcmp(x->name, y->name);
	return order != 0 ? order : (x->pair > y->pair) - (x->pair < y->pair);
}

/* The first of several pairs that have it. */
static const struct tls_server_name *tls_server_lookup(const struct tls_server *s, const char *name)
{
	size_t from = 0, to = s->n_names;
	while (from < to) {
		size_t middle = (from + to) / 2;
		if (strcmp(s->names[middle].name, name) < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return from < s->n_names && strcmp(s->names[from].name, name) == 0 ? &s->names[from] : NULL;
}

static bool tls_server_group_has(const struct tls_server *s, const struct tls_server_group *g,
				 size_t pair)
{
	bool has = false;
	for (size_t i = 0; i < g->n && !has; i++)
		has = s->shown[g->pairs[i]].ctx == s->shown[pair].ctx;
	return has;
}

/* The first of the group's; NULL: of all. */
static const struct tls_server_name *tls_server_lookup_in(const struct tls_server *s,
							  const struct tls_server_group *g,
							  const char *name)
{
	const struct tls_server_name *found = tls_server_lookup(s, name),
				     *end = s->names + s->n_names;
	while (found != NULL && g != NULL && !tls_server_group_has(s, g, found->pair))
		found = found + 1 < end && strcmp(found[1].name, name) == 0 ? found + 1 : NULL;
	return found;
}

static const struct tls_server_name *tls_server_match(const struct tls_server *s,
						      const struct tls_server_group *g,
						      const char *name)
{
	char folded[TLS_SERVER_NAME_MAX + 1];
	if (!tls_server_name_fold((const unsigned char *)name, strlen(name), folded) ||
	    folded[0] == '*')
		return NULL;
	const struct tls_server_name *found = tls_server_lookup_in(s, g, folded);
	char *dot = strchr(folded, '.');
	if (found != NULL || dot == NULL || dot == folded)
		return found;
	*--dot = '*'; /* in place of the first label (RFC 6125 6.4.3) */
	return tls_server_lookup_in(s, g, dot);
}

static bool tls_server_shows(const struct tls_server *s, size_t pair, const char *name)
{
	bool found = false;
	for (size_t i = s->shown[pair].from; i < s->shown[pair].to && !found; i++)
		found = strcmp(s->names[i].name, name) == 0;
	return found;
}

/* Has b every name that a has? (Before they are sorted.) */
static bool tls_server_covers(const struct tls_server *s, size_t a, size_t b)
{
	bool all = s->shown[a].from < s->shown[a].to;
	for (size_t i = s->shown[a].from; i < s->shown[a].to && all; i++)
		all = tls_server_shows(s, b, s->names[i].name);
	return all;
}

/* --- what some listeners show ----------------------------------------------------------------- */

static void tls_server_group_free(struct tls_server_group *g)
{
	for (size_t i = 0; i < g->n; i++)
		free(g->names[i]);
	free(g->names);
	free(g->pairs);
}

/* What an operator names: also a wildcard, as a certificate has it. */
static const struct tls_server_name *tls_server_wanted(const struct tls_server *s, const char *name)
{
	char folded[TLS_SERVER_NAME_MAX + 1];
	if (name[0] != '*')
		return tls_server_match(s, NULL, name);
	return tls_server_name_fold((const unsigned char *)name, strlen(name), folded)
		       ? tls_server_lookup(s, folded)
		       : NULL;
}

static bool tls_server_make_group(struct tls_server_build *b, struct tls_server_group *g,
				  const struct tls_server_names *wanted)
{
	*g = (struct tls_server_group){.names = calloc(wanted->n, sizeof *g->names),
				       .pairs = calloc(wanted->n, sizeof *g->pairs)};
	if (g->names == NULL || g->pairs == NULL)
		return tls_server_fail(b, TLS_SERVER_ITSELF, wanted->names[0], "no memory");
	for (; g->n < wanted->n; g->n++) {
		const struct tls_server_name *found = tls_server_wanted(b->s, wanted->names[g->n]);
		if (found == NULL)
			return tls_server_fail(b, TLS_SERVER_GROUP, wanted->names[g->n],
					       "no certificate is for this name");
		g->names[g->n] = strdup(wanted->names[g->n]);
		g->pairs[g->n] = found->pair;
		if (g->names[g->n] == NULL)
			return tls_server_fail(b, TLS_SERVER_ITSELF, wanted->names[g->n],
					       "no memory");
	}
	return true;
}

/* Those of the old one, or those of the settings. */
static bool tls_server_make_groups(struct tls_server_build *b, const struct tls_server *old)
{
	struct tls_server *s = b->s;
	size_t n = old != NULL ? old->n_groups : b->set->n_groups;
	s->groups = n > 0 ? calloc(n, sizeof *s->groups) : NULL;
	if (n > 0 && s->groups == NULL)
		return tls_server_fail(b, TLS_SERVER_ITSELF, b->set->certs[0], "no memory");
	bool ok = true;
	for (; ok && s->n_groups < n; s->n_groups++) {
		const struct tls_server_group *before =
			old != NULL ? &old->groups[s->n_groups] : NULL;
		struct tls_server_names wanted =
			before != NULL
				? (struct tls_server_names){(const char *const *)before->names,
							    before->n}
				: b->set->groups[s->n_groups];
		ok = tls_server_make_group(b, &s->groups[s->n_groups], &wanted);
	}
	return ok;
}

/* --- in a handshake --------------------------------------------------------------------------- */

static int tls_server_on_name(SSL *ssl, int *alert, void *arg)
{
	const struct tls_server *s = arg;
	CHECK_IS(s, CHECK_TLS_SERVER);
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	const struct tls_server_group *group = SSL_get_app_data(ssl);
	const struct tls_server_name *found =
		name != NULL ? tls_server_match(s, group, name) : NULL;
	(void)alert;
	/* the first certificate may do for who does not look, or looks for an address */
	if (found == NULL)
		return SSL_TLSEXT_ERR_NOACK;
	return SSL_set_SSL_CTX(ssl, s->shown[found->pair].ctx) != NULL ? SSL_TLSEXT_ERR_OK
								       : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* RFC 7301 3.2: who offers only what we do not speak is told so. */
static int tls_server_on_alpn(SSL *ssl, const unsigned char **chosen_r, unsigned char *len_r,
			      const unsigned char *offers, unsigned n, void *arg)
{
	static const char http[] = "http/1.1";
	(void)ssl;
	(void)arg;
	for (unsigned at = 0; at < n && at + 1 + offers[at] <= n; at += 1u + offers[at]) {
		if (offers[at] != sizeof http - 1 ||
		    memcmp(offers + at + 1, http, sizeof http - 1) != 0)
			continue;
		*chosen_r = offers + at + 1;
		*len_r = offers[at];
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int tls_server_on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv,
				EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal)
{
	const struct tls_server *s = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	return seal ? tickets_seal(s->tickets, name, iv, cipher, mac)
		    : tickets_open(s->tickets, name, iv, cipher, mac);
}

/* --- clients ---------------------------------------------------------------------------------- */

/* Whatever lies together in the file comes together; a key is not our business here. */
static bool tls_server_add_authority(struct tls_server_build *b, const X509_INFO *info, bool *crl_r)
{
	if (info->crl != NULL) {
		*crl_r = true;
		if (X509_STORE_add_crl(b->store, info->crl) != 1)
			return false;
	}
	if (info->x509 == NULL)
		return true;
	X509_NAME *name = X509_NAME_dup(X509_get_subject_name(info->x509));
	if (name == NULL || sk_X509_NAME_push(b->names, name) == 0) {
		X509_NAME_free(name);
		return false;
	}
	return X509_STORE_add_cert(b->store, info->x509) == 1;
}

static bool tls_server_load_authorities(struct tls_server_build *b)
{
	const char *path = b->set->client_ca;
	struct tls_server_file f;
	bool asked = false, crl = false;
	if (!tls_server_read(b, TLS_SERVER_CLIENT_CA, path, &f))
		return false;
	BIO *bio = BIO_new_mem_buf(f.bytes, (int)f.len);
	STACK_OF(X509_INFO) *all =
		bio != NULL ? PEM_X509_INFO_read_bio(bio, NULL, tls_server_on_password, &asked)
			    : NULL;
	b->store = X509_STORE_new();
	b->names = sk_X509_NAME_new_null();
	bool ok = all != NULL && b->store != NULL && b->names != NULL &&
		  EVP_Digest(f.bytes, f.len, b->s->session, NULL, EVP_sha256(), NULL) == 1;
	for (int i = 0; ok && i < sk_X509_INFO_num(all); i++)
		ok = tls_server_add_authority(b, sk_X509_INFO_value(all, i), &crl);
	if (ok && crl)
		X509_STORE_set_flags(b->store, X509_V_FLAG_CRL_CHECK);
	sk_X509_INFO_pop_free(all, X509_INFO_free);
	BIO_free(bio);
	tls_server_file_free(&f);
	if (!ok)
		return tls_server_fail_ssl(b, TLS_SERVER_CLIENT_CA, path,
					   "its certificates can not be read");
	return sk_X509_NAME_num(b->names) > 0 ||
	       tls_server_fail(b, TLS_SERVER_CLIENT_CA, path,
			       "has no certificate in it; expected PEM");
}

static bool tls_server_demand(struct tls_server_build *b, SSL_CTX *ctx)
{
	if (b->store == NULL)
		return true;
	STACK_OF(X509_NAME) *names = SSL_dup_CA_list(b->names);
	if (names == NULL)
		return false;
	SSL_CTX_set1_cert_store(ctx, b->store);
	SSL_CTX_set_client_CA_list(ctx, names);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return true;
}

/* --- contexts --------------------------------------------------------------------------------- */

static SSL_CTX *tls_server_context(struct tls_server_build *b)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	if (ctx == NULL)
		return NULL;
	SSL_CTX_set_app_data(ctx, b->s);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
	/* tickets need no memory and no lock of ours */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_timeout(ctx, TICKETS_AGE);
	SSL_CTX_set_num_tickets(ctx, 1);
	SSL_CTX_set_tlsext_servername_callback(ctx, tls_server_on_name);
	SSL_CTX_set_tlsext_servername_arg(ctx, b->s);
	if (b->set->http)
		SSL_CTX_set_alpn_select_cb(ctx, tls_server_on_alpn, NULL);
	if (SSL_CTX_set_min_proto_version(ctx, b->set->tls13 ? TLS1_3_VERSION : TLS1_2_VERSION) ==
		    1 &&
	    SSL_CTX_set_cipher_list(ctx, TLS_SERVER_CIPHERS) == 1 &&
	    SSL_CTX_set_session_id_context(ctx, b->s->session, sizeof b->s->session) == 1 &&
	    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, tls_server_on_ticket) == 1 &&
	    tls_server_demand(b, ctx))
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

/* Has the context a certificate for this kind of key already? */
static bool tls_server_has_kind(SSL_CTX *ctx, const EVP_PKEY *key)
{
	bool has = false;
	for (long more = SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_FIRST); more == 1 && !has;
	     more = SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_NEXT)) {
		const EVP_PKEY *other = SSL_CTX_get0_privatekey(ctx);
		has = other != NULL && EVP_PKEY_get_base_id(other) == EVP_PKEY_get_base_id(key);
	}
	return has;
}

/* A certificate with another kind of key for the same names is an alternative: the client
 * decides. */
static SSL_CTX *tls_server_share(struct tls_server_build *b, size_t i,
				 const struct tls_server_pair *p)
{
	struct tls_server *s = b->s;
	for (size_t j = 0; j < i; j++) {
		if (!tls_server_covers(s, i, j) || !tls_server_covers(s, j, i))
			continue;
		if (!tls_server_has_kind(s->shown[j].ctx, p->key)) {
			SSL_CTX_up_ref(s->shown[j].ctx);
			return s->shown[j].ctx;
		}
		tls_server_warn_about(
			b, p->cert_file,
			"a certificate before it has the same names: this one is never shown");
		return NULL;
	}
	return NULL;
}

static bool tls_server_add_pair(struct tls_server_build *b, size_t i)
{
	struct tls_server_pair p;
	struct tls_server_shown *shown = &b->s->shown[i];
	bool ok = tls_server_load_pair(b, i, &p);
	shown->from = b->s->n_names;
	if (ok && !tls_server_add_names(b->s, i, p.leaf))
		ok = tls_server_fail(b, TLS_SERVER_CERT, p.cert_file, "no memory");
	shown->to = b->s->n_names;
	b->s->n = i + 1;
	if (ok) {
		shown->ctx = tls_server_share(b, i, &p);
		if (shown->ctx == NULL)
			shown->ctx = tls_server_context(b);
		if (shown->ctx == NULL)
			ok = tls_server_fail_ssl(b, TLS_SERVER_ITSELF, p.cert_file,
						 "TLS can not be set up");
		else if (SSL_CTX_use_cert_and_key(shown->ctx, p.leaf, p.key, p.chain, 0) != 1)
			ok = tls_server_fail_ssl(b, TLS_SERVER_CERT, p.cert_file,
						 "OpenSSL does not take it");
	}
	tls_server_pair_free(&p);
	return ok;
}

/* --- all of it -------------------------------------------------------------------------------- */

static struct tls_server *tls_server_alloc(const struct tls_server_settings *set,
					   const struct tls_server *old)
{
	struct tls_server *s = calloc(1, sizeof *s);
	if (s == NULL)
		return NULL;
	s->magic = CHECK_TLS_SERVER;
	atomic_init(&s->refs, 1);
	s->shown = calloc(set->n, sizeof *s->shown);
	s->tickets = old != NULL ? tickets_ref(old->tickets) : tickets_new();
	if (s->shown != NULL && s->tickets != NULL)
		return s;
	tls_server_unref(&s);
	return NULL;
}

struct tls_server *tls_server_new(const struct tls_server_settings *set,
				  const struct tls_server *old, tls_server_warn warn, void *ctx,
				  struct tls_server_error *error_r)
{
	struct tls_server_build b = {.set = set, .warn = warn, .warn_ctx = ctx, .error = error_r};
	ERR_clear_error();
	b.s = tls_server_alloc(set, old);
	bool ok = b.s != NULL || tls_server_fail(&b, TLS_SERVER_ITSELF, set->certs[0], "no memory");
	ok = ok && (set->client_ca == NULL || tls_server_load_authorities(&b));
	for (size_t i = 0; ok && i < set->n; i++)
		ok = tls_server_add_pair(&b, i);
	if (ok && b.s->n_names > 0)
		qsort(b.s->names, b.s->n_names, sizeof *b.s->names, tls_server_name_compare);
	ok = ok && tls_server_make_groups(&b, old);
	X509_STORE_free(b.store);
	sk_X509_NAME_pop_free(b.names, X509_NAME_free);
	if (ok)
		return b.s;
	tls_server_unref(&b.s);
	return NULL;
}

struct tls_server *tls_server_ref(struct tls_server *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void tls_server_unref(struct tls_server **s_p)
{
	struct tls_server *s = *s_p;
	*s_p = NULL;
	if (s == NULL)
		return;
	CHECK_IS(s, CHECK_TLS_SERVER);
	if (atomic_fetch_sub(&s->refs, 1) > 1)
		return;
	s->magic = CHECK_GONE;
	for (size_t i = 0; i < s->n; i++)
		SSL_CTX_free(s->shown[i].ctx);
	for (size_t i = 0; i < s->n_names; i++)
		free(s->names[i].name);
	for (size_t i = 0; i < s->n_groups; i++)
		tls_server_group_free(&s->groups[i]);
	free(s->groups);
	free(s->shown);
	free(s->names);
	tickets_unref(&s->tickets);
	free(s);
}

SSL *tls_server_accept(const struct tls_server *s, unsigned group)
{
	struct tls_server_group *g =
		group > 0 && group <= s->n_groups ? &s->groups[group - 1] : NULL;
	SSL *ssl = SSL_new(s->shown[g != NULL ? g->pairs[0] : 0].ctx);
	unsigned char session[sizeof s->session];
	memcpy(session, s->session, sizeof session);
	/* a session begun at another door is not resumed at this one */
	session[0] ^= (unsigned char)group;
	bool ok = ssl != NULL &&
		  (g == NULL || SSL_set_session_id_context(ssl, session, sizeof session) == 1);
	if (ok) {
		SSL_set_app_data(ssl, g);
		SSL_set_accept_state(ssl);
		return ssl;
	}
	SSL_free(ssl);
	ERR_clear_error();
	return NULL;
}
