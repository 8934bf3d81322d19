/* Certificates from files: what is taken, what is refused and why, which one is for whom. */
#include <sys/stat.h>

#include "tls/tls_server.h"
#include "tls_files.h"
#include "run.h"

static char warnings[2000];

static void on_warning(void *ctx, const char *file, const char *sentence)
{
	size_t n = strlen(warnings);
	const char *name = strrchr(file, '/');
	ck_assert_ptr_eq(ctx, warnings);
	snprintf(warnings + n, sizeof warnings - n, "%s: %s\n", name != NULL ? name + 1 : file,
		 sentence);
}

static struct tls_server *make(const struct tls_server_settings *set,
			       struct tls_server_error *error)
{
	warnings[0] = '\0';
	*error = (struct tls_server_error){.why = ""};
	return tls_server_new(set, NULL, on_warning, warnings, error);
}

static struct tls_server *good(const struct tls_server_settings *set)
{
	struct tls_server_error error;
	struct tls_server *s = make(set, &error);
	ck_assert_msg(s != NULL, "%s: %s", error.file, error.why);
	return s;
}

static void bad(const char *cert, const char *key, const char *client_ca, enum tls_server_part part,
		const char *why)
{
	struct tls_server_error error;
	const struct tls_server_settings set = {.certs = &cert,
						.keys = key != NULL ? &key : NULL,
						.n = 1,
						.client_ca = client_ca};
	ck_assert_ptr_null(make(&set, &error));
	ck_assert_msg(strstr(error.why, why) != NULL, "%s: %s", error.file, error.why);
	ck_assert_int_eq(error.part, part);
	ck_assert_ptr_eq(error.file, part == TLS_SERVER_CERT  ? cert
				     : part == TLS_SERVER_KEY ? (key != NULL ? key : cert)
							      : client_ca);
}

static void make_files(void)
{
	tls_files_begin();
	tls_make("a", TLS_EC, "/CN=ignored.test",
		 "-addext subjectAltName=DNS:a.test,DNS:www.A.test,IP:127.0.0.1");
	tls_make("star", TLS_EC, "/CN=star",
		 "-addext subjectAltName=DNS:*.a.test,DNS:*.deep.a.test");
	tls_make("cn", TLS_EC, "/O=Tova/CN=cn.test", "");
	tls_make("rsa", "-newkey rsa:2048", "/CN=cn.test", "");
	tls_make("again", TLS_EC, "/CN=a.test", "-addext subjectAltName=DNS:a.test,DNS:b.test");
	tls_run("cat a.crt a.key > both.pem; cat a.crt cn.crt > chain.crt; : > empty; echo hello > text");
	tls_run("sed 's/^M/!/' a.crt > torn.crt; sed 's/^M/!/' a.key > torn.key");
	tls_run("openssl ec -in a.key -aes128 -passout pass:x -out locked.key");
	tls_run("openssl genrsa -traditional -aes128 -passout pass:x -out old.key 2048");
	tls_run("openssl req -x509 -newkey rsa:512 -nodes -days 30 -subj /CN=weak -keyout weak.key -out weak.crt");
	tls_run("head -c 1100000 /dev/zero > huge; mkdir folder");
	tls_run("openssl req -new -key a.key -subj /CN=old.test -out old.csr; openssl x509 -req -in old.csr -signkey a.key -days -1 -out old.crt");
	tls_run("openssl x509 -req -in old.csr -signkey a.key -days 3 -out soon.crt; cp a.key open.key; chmod 644 open.key");
}

START_TEST(test_what_is_refused)
{
	const char *a = tls_file("a.crt"), *key = tls_file("a.key");
	bad(tls_file("none"), key, NULL, TLS_SERVER_CERT,
	    "can not be read: No such file or directory");
	bad(tls_file("folder"), key, NULL, TLS_SERVER_CERT, "can not be read: Is a directory");
	bad(tls_file("empty"), key, NULL, TLS_SERVER_CERT,
	    "has no certificate in it; expected PEM");
	bad(tls_file("text"), key, NULL, TLS_SERVER_CERT, "has no certificate in it; expected PEM");
	bad(key, key, NULL, TLS_SERVER_CERT, "has no certificate in it; expected PEM");
	bad(tls_file("torn.crt"), key, NULL, TLS_SERVER_CERT,
	    "its certificates can not be read: bad base64 decode");
	bad(tls_file("huge"), key, NULL, TLS_SERVER_CERT, "is too large; expected less than 1m");
	bad(tls_file("weak.crt"), tls_file("weak.key"), NULL, TLS_SERVER_CERT,
	    "OpenSSL does not take it: ee key too small");
	bad(a, tls_file("none"), NULL, TLS_SERVER_KEY,
	    "can not be read: No such file or directory");
	bad(a, tls_file("empty"), NULL, TLS_SERVER_KEY,
	    "has no private key in it that can be read; expected PEM");
	bad(a, a, NULL, TLS_SERVER_KEY, "has no private key in it that can be read; expected PEM");
	bad(a, NULL, NULL, TLS_SERVER_KEY,
	    "has no private key in it that can be read; expected PEM");
	bad(a, tls_file("torn.key"), NULL, TLS_SERVER_KEY,
	    "has no private key in it that can be read; expected PEM");
	bad(a, tls_file("locked.key"), NULL, TLS_SERVER_KEY,
	    "is protected by a password, which nobody can be asked for");
	bad(a, tls_file("old.key"), NULL, TLS_SERVER_KEY,
	    "is protected by a password, which nobody can be asked for");
	bad(a, tls_file("cn.key"), NULL, TLS_SERVER_KEY,
	    "does not belong to the certificate /tmp/");
	bad(a, tls_file("rsa.key"), NULL, TLS_SERVER_KEY,
	    "does not belong to the certificate /tmp/");
	bad(a, key, tls_file("none"), TLS_SERVER_CLIENT_CA,
	    "can not be read: No such file or directory");
	bad(a, key, tls_file("empty"), TLS_SERVER_CLIENT_CA,
	    "has no certificate in it; expected PEM");
	bad(a, key, key, TLS_SERVER_CLIENT_CA, "has no certificate in it; expected PEM");
	bad(a, key, tls_file("torn.crt"), TLS_SERVER_CLIENT_CA,
	    "its certificates can not be read: bad base64 decode");
}
END_TEST

/* The second pair is what is wrong. */
START_TEST(test_one_of_several_is_refused)
{
	const char *certs[] = {tls_file("a.crt"), tls_file("cn.crt")},
		   *keys[] = {tls_file("a.key"), tls_file("a.key")};
	struct tls_server_error error;
	const struct tls_server_settings set = {.certs = certs, .keys = keys, .n = 2};
	ck_assert_ptr_null(make(&set, &error));
	ck_assert_int_eq(error.part, TLS_SERVER_KEY);
	ck_assert_ptr_eq(error.file, keys[1]);
	ck_assert_ptr_nonnull(strstr(error.why, "does not belong to"));
}
END_TEST

START_TEST(test_what_is_warned_of)
{
	static const struct {
		const char *cert, *key, *said;
	} cases[] = {
		{"a.crt", "a.key", ""},
		{"chain.crt", "a.key", ""},
		{"old.crt", "a.key",
		 "old.crt: the certificate has expired: clients will refuse it\n"},
		{"soon.crt", "a.key", "soon.crt: the certificate expires within two weeks\n"},
		{"a.crt", "open.key",
		 "open.key: every user of this machine can open the private key\n"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const char *cert = tls_file(cases[i].cert), *key = tls_file(cases[i].key);
		const struct tls_server_settings set = {.certs = &cert, .keys = &key, .n = 1};
		struct tls_server *s = good(&set);
		tls_server_unref(&s);
		ck_assert_str_eq(warnings, cases[i].said);
	}
}
END_TEST

START_TEST(test_key_in_the_certificate_file)
{
	const char *both = tls_file("both.pem");
	const struct tls_server_settings set = {.certs = &both,
						.n = 1,
						.http = true,
						.tls13 = true};
	struct tls_server *s = good(&set);
	SSL *ssl = tls_server_accept(s, 0);
	ck_assert_ptr_nonnull(ssl);
	SSL_free(ssl);
	tls_server_unref(&s);
	ck_assert_str_eq(warnings, "");
}
END_TEST

/* A listener's own: its first is for whoever asks for none of them, and nothing else is shown
 * there. */
START_TEST(test_groups)
{
	const char *certs[] = {tls_file("cn.crt"), tls_file("a.crt"), tls_file("star.crt")};
	const char *keys[] = {tls_file("cn.key"), tls_file("a.key"), tls_file("star.key")};
	const char *inside[] = {"www.a.test", "x.deep.a.test"},
		   *nobody[] = {"a.test", "nobody.test"};
	const struct tls_server_names groups[] = {{inside, 2}},
				      wrong[] = {{inside, 2}, {nobody, 2}};
	struct tls_server_settings set = {.certs = certs,
					  .keys = keys,
					  .n = 3,
					  .groups = groups,
					  .n_groups = 1};
	struct tls_server_error error;
	struct tls_server *s = good(&set);
	SSL *all = tls_server_accept(s, 0), *own = tls_server_accept(s, 1);
	ck_assert_ptr_nonnull(all);
	ck_assert_ptr_nonnull(own);
	char *subject = X509_NAME_oneline(X509_get_subject_name(SSL_get_certificate(all)), NULL, 0);
	ck_assert_str_eq(subject, "/O=Tova/CN=cn.test");
	OPENSSL_free(subject);
	subject = X509_NAME_oneline(X509_get_subject_name(SSL_get_certificate(own)), NULL, 0);
	ck_assert_str_eq(subject, "/CN=ignored.test");
	OPENSSL_free(subject);
	SSL_free(all);
	SSL_free(own);
	set.groups = wrong;
	set.n_groups = 2;
	ck_assert_ptr_null(make(&set, &error));
	ck_assert_int_eq(error.part, TLS_SERVER_GROUP);
	ck_assert_str_eq(error.file, "nobody.test");
	/* A reload has the groups of the start, and needs certificates for them. */
	set.n = 1;
	ck_assert_ptr_null(tls_server_new(&set, s, NULL, NULL, &error));
	ck_assert_int_eq(error.part, TLS_SERVER_GROUP);
	set.n = 3;
	set.n_groups = 0;
	struct tls_server *next = tls_server_new(&set, s, NULL, NULL, &error);
	ck_assert_ptr_nonnull(next);
	tls_server_unref(&s);
	own = tls_server_accept(next, 1);
	subject = X509_NAME_oneline(X509_get_subject_name(SSL_get_certificate(own)), NULL, 0);
	ck_assert_str_eq(subject, "/CN=ignored.test");
	OPENSSL_free(subject);
	SSL_free(own);
	tls_server_unref(&next);
}
END_TEST

/* A client that asks for this name says hello: what is it shown? */
static X509 *shown(const struct tls_server *s, const char *name)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *client = SSL_new(ctx), *server = tls_server_accept(s, 0);
	BIO *up, *down;
	ck_assert_int_eq(BIO_new_bio_pair(&up, 0, &down, 0), 1);
	SSL_set_bio(client, up, up);
	SSL_set_bio(server, down, down);
	ck_assert(name[0] == '\0' || SSL_set_tlsext_host_name(client, name) == 1);
	ck_assert_int_lt(SSL_connect(client), 0);
	ck_assert_int_lt(SSL_accept(server), 0);
	ck_assert_int_eq(SSL_connect(client), 1);
	X509 *found = SSL_get1_peer_certificate(client);
	SSL_free(client);
	SSL_free(server);
	SSL_CTX_free(ctx);
	return found;
}

static X509 *in_file(const char *path)
{
	FILE *f = fopen(path, "r");
	X509 *found = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	return found;
}

START_TEST(test_which_for_which_name)
{
	static const struct {
		const char *name;
		size_t pair;
	} cases[] = {
		{"cn.test", 0},
		{"CN.Test", 0},
		{"cn.test.", 0},
		{"a.test", 1},
		{"A.TEST", 1},
		{"www.a.test", 1},
		{"WWW.a.test.", 1},
		{"x.a.test", 2},
		{"X.A.test", 2},
		{"x.deep.a.test", 2},
		{"deep.a.test", 2},
		{"x.y.deep.a.test", 0},
		{"y.x.a.test", 0},
		{"ignored.test", 0},
		{"b.test", 3},
		{".a.test", 0},
		{"", 0},
		{".", 0},
		{"*.a.test", 0},
		{"127.0.0.1", 0},
		{"a.test\n", 0},
		{"a.tes", 0},
		{"a.test2", 0},
		{"test", 0},
		{"star", 0},
	};
	const char *certs[] = {tls_file("cn.crt"), tls_file("a.crt"), tls_file("star.crt"),
			       tls_file("again.crt")};
	const char *keys[] = {tls_file("cn.key"), tls_file("a.key"), tls_file("star.key"),
			      tls_file("again.key")};
	const struct tls_server_settings set = {.certs = certs, .keys = keys, .n = 4};
	struct tls_server *s = good(&set);
	char name[256];
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		X509 *found = shown(s, cases[i].name), *expected = in_file(certs[cases[i].pair]);
		ck_assert_msg(X509_cmp(found, expected) == 0, "%s", cases[i].name);
		X509_free(found);
		X509_free(expected);
	}
	memset(name, 'a', sizeof name);
	strcpy(name + sizeof name - sizeof ".a.test", ".a.test"); /* as long as a client can send */
	X509 *found = shown(s, name), *expected = in_file(certs[2]);
	ck_assert_int_eq(X509_cmp(found, expected), 0);
	X509_free(found);
	X509_free(expected);
	ck_assert_str_eq(warnings, "");
	tls_server_unref(&s);
}
END_TEST

START_TEST(test_two_kinds_of_keys_for_a_name)
{
	const char *certs[] = {tls_file("cn.crt"), tls_file("rsa.crt"), tls_file("cn.crt")};
	const char *keys[] = {tls_file("cn.key"), tls_file("rsa.key"), tls_file("cn.key")};
	const struct tls_server_settings set = {.certs = certs, .keys = keys, .n = 3};
	struct tls_server *s = good(&set);
	ck_assert_str_eq(
		warnings,
		"cn.crt: a certificate before it has the same names: this one is never shown\n");
	tls_server_unref(&s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tls_server");
	TCase *tc = tcase_create("tls_server");
	tcase_add_unchecked_fixture(tc, make_files, tls_files_end);
	tcase_add_test(tc, test_what_is_refused);
	tcase_add_test(tc, test_one_of_several_is_refused);
	tcase_add_test(tc, test_what_is_warned_of);
	tcase_add_test(tc, test_key_in_the_certificate_file);
	tcase_add_test(tc, test_groups);
	tcase_add_test(tc, test_which_for_which_name);
	tcase_add_test(tc, test_two_kinds_of_keys_for_a_name);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
