/* tls_server_pair: a certificate and its key, as they are read. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls/tls_server_parts.h"

#define TLS_SERVER_FILE_MAX (1u << 20)
/* a certificate that ends within this time is worth a warning */
#define TLS_SERVER_SOON (14 * 24 * 3600)

bool tls_server_pair_fail(struct tls_server_build *b, enum tls_server_part part, const char *file,
			  const char *why)
{
	b->error->part = part;
	b->error->file = file;
	snprintf(b->error->why, sizeof b->error->why, "%s", why);
	ERR_clear_error();
	return false;
}

/* In OpenSSL's words. */
bool tls_server_pair_fail_ssl(struct tls_server_build *b, enum tls_server_part part,
			      const char *file, const char *what)
{
	char why[300];
	const char *reason = ERR_reason_error_string(ERR_peek_error());
	snprintf(why, sizeof why, "%s: %s", what, reason != NULL ? reason : "no memory");
	return tls_server_pair_fail(b, part, file, why);
}

void tls_server_pair_file_free(struct tls_server_file *f)
{
	/* it may hold a private key */
	if (f->bytes != NULL)
		OPENSSL_cleanse(f->bytes, TLS_SERVER_FILE_MAX);
	free(f->bytes);
	f->bytes = NULL;
}

bool tls_server_pair_read(struct tls_server_build *b, enum tls_server_part part, const char *path,
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
	tls_server_pair_file_free(f);
	return tls_server_pair_fail(b, part, path,
				    ok ? "is too large; expected less than 1m" : why);
}

/* Did the last read end because nothing more of its kind is there? */
static bool tls_server_pair_at_end(void)
{
	unsigned long code = ERR_peek_last_error();
	bool end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
	if (end)
		ERR_clear_error();
	return end;
}

/* There is no terminal to ask at. */
int tls_server_pair_on_password(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	*(bool *)arg = true;
	return -1;
}

void tls_server_pair_free(struct tls_server_pair *p)
{
	X509_free(p->leaf);
	sk_X509_pop_free(p->chain, X509_free);
	EVP_PKEY_free(p->key);
}

static bool tls_server_pair_parse_cert(struct tls_server_build *b, struct tls_server_pair *p,
				       const struct tls_server_file *f)
{
	BIO *bio = BIO_new_mem_buf(f->bytes, (int)f->len);
	X509 *next;
	bool asked = false;
	p->chain = sk_X509_new_null();
	p->leaf = bio != NULL ? PEM_read_bio_X509(bio, NULL, tls_server_pair_on_password, &asked)
			      : NULL;
	bool none = p->leaf == NULL && tls_server_pair_at_end();
	while (p->leaf != NULL && p->chain != NULL &&
	       (next = PEM_read_bio_X509(bio, NULL, tls_server_pair_on_password, &asked)) != NULL)
		if (sk_X509_push(p->chain, next) == 0)
			X509_free(next);
	bool ok = p->leaf != NULL && p->chain != NULL && tls_server_pair_at_end();
	BIO_free(bio);
	if (none)
		return tls_server_pair_fail(b, TLS_SERVER_CERT, p->cert_file,
					    "has no certificate in it; expected PEM");
	return ok || tls_server_pair_fail_ssl(b, TLS_SERVER_CERT, p->cert_file,
					      "its certificates can not be read");
}

static bool tls_server_pair_parse_key(struct tls_server_build *b, struct tls_server_pair *p,
				      const struct tls_server_file *f)
{
	BIO *bio = BIO_new_mem_buf(f->bytes, (int)f->len);
	bool asked = false;
	p->key = bio != NULL
			 ? PEM_read_bio_PrivateKey(bio, NULL, tls_server_pair_on_password, &asked)
			 : NULL;
	BIO_free(bio);
	if (asked)
		return tls_server_pair_fail(
			b, TLS_SERVER_KEY, p->key_file,
			"is protected by a password, which nobody can be asked for");
	if (p->key == NULL) /* what OpenSSL has to say to that helps nobody */
		return tls_server_pair_fail(
			b, TLS_SERVER_KEY, p->key_file,
			"has no private key in it that can be read; expected PEM");
	if (X509_check_private_key(p->leaf, p->key) == 1)
		return true;
	char why[300];
	snprintf(why, sizeof why, "does not belong to the certificate %.200s", p->cert_file);
	return tls_server_pair_fail(b, TLS_SERVER_KEY, p->key_file, why);
}

void tls_server_pair_warn_about(struct tls_server_build *b, const char *file, const char *sentence)
{
	if (b->warn != NULL)
		b->warn(b->warn_ctx, file, sentence);
}

static void tls_server_pair_judge_dates(struct tls_server_build *b, const struct tls_server_pair *p)
{
	time_t soon = time(NULL) + TLS_SERVER_SOON;
	if (X509_cmp_current_time(X509_get0_notBefore(p->leaf)) > 0)
		tls_server_pair_warn_about(
			b, p->cert_file,
			"the certificate is not valid yet: clients will refuse it");
	else if (X509_cmp_current_time(X509_get0_notAfter(p->leaf)) < 0)
		tls_server_pair_warn_about(b, p->cert_file,
					   "the certificate has expired: clients will refuse it");
	else if (X509_cmp_time(X509_get0_notAfter(p->leaf), &soon) < 0)
		tls_server_pair_warn_about(b, p->cert_file,
					   "the certificate expires within two weeks");
}

bool tls_server_pair_load(struct tls_server_build *b, size_t i, struct tls_server_pair *p)
{
	struct tls_server_file cert = {0}, key = {0};
	bool apart = b->set->keys != NULL;
	*p = (struct tls_server_pair){.cert_file = b->set->certs[i],
				      .key_file = apart ? b->set->keys[i] : b->set->certs[i]};
	bool ok = tls_server_pair_read(b, TLS_SERVER_CERT, p->cert_file, &cert) &&
		  tls_server_pair_parse_cert(b, p, &cert) &&
		  (!apart || tls_server_pair_read(b, TLS_SERVER_KEY, p->key_file, &key)) &&
		  tls_server_pair_parse_key(b, p, apart ? &key : &cert);
	if (ok)
		tls_server_pair_judge_dates(b, p);
	if (ok && ((apart ? key.mode : cert.mode) & (S_IROTH | S_IWOTH)) != 0)
		tls_server_pair_warn_about(b, p->key_file,
					   "every user of this machine can open the private key");
	tls_server_pair_file_free(&cert);
	tls_server_pair_file_free(&key);
	return ok;
}
