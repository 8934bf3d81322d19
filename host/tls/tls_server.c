#include "tls/tls_server_parts.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* What TLS 1.2 may use: keys of the moment and ciphers that authenticate what they encrypt (RFC
 * 9325 4.2). TLS 1.3 has no others. */
#define TLS_SERVER_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"

/* --- in a handshake --------------------------------------------------------------------------- */

static int tls_server_on_name(SSL *ssl, int *alert, void *arg)
{
	const struct tls_server *s = arg;
	CHECK_IS(s, CHECK_TLS_SERVER);
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	const struct tls_server_group *group = SSL_get_app_data(ssl);
	const struct tls_server_name *found =
		name != NULL ? tls_server_names_match(s, group, name) : NULL;
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
	if (!tls_server_pair_read(b, TLS_SERVER_CLIENT_CA, path, &f))
		return false;
	BIO *bio = BIO_new_mem_buf(f.bytes, (int)f.len);
	STACK_OF(X509_INFO) *all =
		bio != NULL ? PEM_X509_INFO_read_bio(bio, NULL, tls_server_pair_on_password, &asked)
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
	tls_server_pair_file_free(&f);
	if (!ok)
		return tls_server_pair_fail_ssl(b, TLS_SERVER_CLIENT_CA, path,
						"its certificates can not be read");
	return sk_X509_NAME_num(b->names) > 0 ||
	       tls_server_pair_fail(b, TLS_SERVER_CLIENT_CA, path,
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
		if (!tls_server_names_covers(s, i, j) || !tls_server_names_covers(s, j, i))
			continue;
		if (!tls_server_has_kind(s->shown[j].ctx, p->key)) {
			SSL_CTX_up_ref(s->shown[j].ctx);
			return s->shown[j].ctx;
		}
		tls_server_pair_warn_about(
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
	bool ok = tls_server_pair_load(b, i, &p);
	shown->from = b->s->n_names;
	if (ok && !tls_server_names_add(b->s, i, p.leaf))
		ok = tls_server_pair_fail(b, TLS_SERVER_CERT, p.cert_file, "no memory");
	shown->to = b->s->n_names;
	b->s->n = i + 1;
	if (ok) {
		shown->ctx = tls_server_share(b, i, &p);
		if (shown->ctx == NULL)
			shown->ctx = tls_server_context(b);
		if (shown->ctx == NULL)
			ok = tls_server_pair_fail_ssl(b, TLS_SERVER_ITSELF, p.cert_file,
						      "TLS can not be set up");
		else if (SSL_CTX_use_cert_and_key(shown->ctx, p.leaf, p.key, p.chain, 0) != 1)
			ok = tls_server_pair_fail_ssl(b, TLS_SERVER_CERT, p.cert_file,
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
	bool ok = b.s != NULL ||
		  tls_server_pair_fail(&b, TLS_SERVER_ITSELF, set->certs[0], "no memory");
	ok = ok && (set->client_ca == NULL || tls_server_load_authorities(&b));
	for (size_t i = 0; ok && i < set->n; i++)
		ok = tls_server_add_pair(&b, i);
	if (ok && b.s->n_names > 0)
		qsort(b.s->names, b.s->n_names, sizeof *b.s->names, tls_server_names_compare);
	ok = ok && tls_server_names_make_groups(&b, old);
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
		tls_server_names_group_free(&s->groups[i]);
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
