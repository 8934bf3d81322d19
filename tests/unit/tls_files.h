/* tls_files: certificates and keys for tests, made by the openssl command in a folder of their own.
 */
#ifndef TOVA_TESTS_TLS_FILES_H
#define TOVA_TESTS_TLS_FILES_H

#include <check.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char tls_folder[64];

static inline void tls_files_begin(void)
{
	strcpy(tls_folder, "/tmp/tova-tls-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(tls_folder));
}

static inline void tls_files_end(void)
{
	char command[128];
	snprintf(command, sizeof command, "rm -rf '%s'", tls_folder);
	ck_assert_int_eq(system(command), 0);
}

/* The path of a file there; of the last 64 calls. */
static inline const char *tls_file(const char *name)
{
	static char paths[64][128];
	static unsigned next;
	char *path = paths[next++ % 64];
	snprintf(path, sizeof paths[0], "%s/%s", tls_folder, name);
	return path;
}

/* A shell command in the folder. */
__attribute__((format(printf, 1, 2))) static inline void tls_run(const char *format, ...)
{
	char what[800], command[1000];
	va_list args;
	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	snprintf(command, sizeof command,
		 "cd '%s' && umask 077 && { %s; } >log 2>&1 || { cat log; exit 1; }", tls_folder,
		 what);
	ck_assert_msg(system(command) == 0, "failed: %s", what);
}

#define TLS_EC "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1"

/* NAME.crt and NAME.key, signed by itself. more: further arguments of openssl req. */
static inline void tls_make(const char *name, const char *key, const char *subject,
			    const char *more)
{
	tls_run("openssl req -utf8 -x509 %s -nodes -days 30 -subj '%s' %s -keyout %s.key -out %s.crt",
		key, subject, more, name, name);
}

/* The same, signed by CA.crt. */
static inline void tls_sign(const char *name, const char *ca, const char *subject, int days)
{
	tls_run("openssl req -utf8 %s -nodes -subj '%s' -keyout %s.key -out %s.csr && openssl x509 -req -in %s.csr -CA %s.crt -CAkey %s.key "
		"-CAcreateserial -days %d -out %s.crt",
		TLS_EC, subject, name, name, name, ca, ca, days, name);
}

#endif
