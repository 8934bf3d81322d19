/* Who may do what through the HTTP API. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/api_token.h"
#include "run.h"

static struct api_tokens tokens;
static char path[] = "/tmp/tova-test-XXXXXX", why[API_TOKEN_WHY_MAX];
static const char *warning;

static void setup(void)
{
	strcpy(path, "/tmp/tova-test-XXXXXX");
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	tokens = (struct api_tokens){.n = 0};
}

static void teardown(void)
{
	api_token_free(&tokens);
	unlink(path);
}

static bool add(enum api_scope scope, const char *mount, const char *text)
{
	FILE *f = fopen(path, "w");
	fputs(text, f);
	fclose(f);
	return api_token_add(&tokens, scope, mount, path, &warning, why);
}

static struct api_grant grant(const char *secret)
{
	struct api_grant g;
	ck_assert(api_token_find(&tokens, span_of(secret), &g));
	return g;
}

static bool may(const struct api_grant *g, enum api_scope scope, const char *mount)
{
	return api_token_may(&tokens, g, scope, mount);
}

#define PUBLISHER "publisher-0123456789"
#define READER "reader-0123456789"
#define ADMIN "administrator-0123456789"

START_TEST(scopes)
{
	ck_assert(add(API_SCOPE_PUBLISH, "/a", PUBLISHER "\n"));
	ck_assert(add(API_SCOPE_READ, "", READER "\r\n"));
	ck_assert(add(API_SCOPE_ADMIN, NULL, ADMIN));
	struct api_grant g = grant(PUBLISHER);
	ck_assert(may(&g, API_SCOPE_PUBLISH, "/a") && !may(&g, API_SCOPE_PUBLISH, "/ab") &&
		  !may(&g, API_SCOPE_PUBLISH, "/") && !may(&g, API_SCOPE_PUBLISH, NULL) &&
		  !may(&g, API_SCOPE_READ, "/a") && !may(&g, API_SCOPE_ADMIN, "/a"));
	ck_assert(api_token_may_somewhere(&tokens, &g, API_SCOPE_PUBLISH) &&
		  !api_token_may_somewhere(&tokens, &g, API_SCOPE_READ));
	g = grant(READER);
	ck_assert(may(&g, API_SCOPE_READ, "/a") && may(&g, API_SCOPE_READ, NULL) &&
		  !may(&g, API_SCOPE_PUBLISH, "/a") && !may(&g, API_SCOPE_ADMIN, NULL));
	g = grant(ADMIN);
	for (enum api_scope scope = API_SCOPE_PUBLISH; scope <= API_SCOPE_ADMIN; scope++)
		ck_assert(may(&g, scope, "/a") && may(&g, scope, NULL));
}
END_TEST

/* One secret may be for several things. */
START_TEST(one_secret_of_several)
{
	ck_assert(add(API_SCOPE_PUBLISH, "/a", PUBLISHER) && add(API_SCOPE_READ, "/b", PUBLISHER) &&
		  add(API_SCOPE_ADMIN, NULL, ADMIN));
	struct api_grant g = grant(PUBLISHER);
	ck_assert(may(&g, API_SCOPE_PUBLISH, "/a") && may(&g, API_SCOPE_READ, "/b") &&
		  !may(&g, API_SCOPE_PUBLISH, "/b") && !may(&g, API_SCOPE_READ, "/a") &&
		  !may(&g, API_SCOPE_READ, NULL));
	ck_assert_mem_ne(g.id, grant(ADMIN).id, API_TOKEN_DIGEST);
}
END_TEST

START_TEST(nobody)
{
	struct api_grant g;
	ck_assert(api_token_find(&tokens, (struct span){NULL, 0}, &g));
	ck_assert(may(&g, API_SCOPE_ADMIN, NULL) &&
		  api_token_may_somewhere(&tokens, &g, API_SCOPE_READ));
	ck_assert(add(API_SCOPE_ADMIN, NULL, ADMIN));
	const char *const wrong[] = {"", "x", ADMIN "x", "dministrator-0123456789",
				     "ADMINISTRATOR-0123456789"};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		ck_assert(!api_token_find(&tokens, span_of(wrong[i]), &g));
		ck_assert(!may(&g, API_SCOPE_READ, "/") &&
			  !api_token_may_somewhere(&tokens, &g, API_SCOPE_READ));
	}
	ck_assert(!api_token_find(&tokens, (struct span){NULL, 0}, &g));
}
END_TEST

START_TEST(files)
{
	static const struct {
		const char *text, *part;
	} wrong[] = {{"", "it is empty"},
		     {"\n", "it is empty"},
		     {"short", "too short"},
		     {"two lines-0123456789\n\n", "none of a token"},
		     {"a blank 0123456789", "none of a token"},
		     {"a b\xc3\xa4 0123456789", "none of a token"}};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		ck_assert(!add(API_SCOPE_READ, "/a", wrong[i].text));
		ck_assert_msg(strstr(why, wrong[i].part) != NULL, "%s", why);
	}
	ck_assert_uint_eq(tokens.n, 0);
	char text[API_TOKEN_MAX + 2];
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	ck_assert(!add(API_SCOPE_READ, NULL, text) && strstr(why, "too long") != NULL);
	text[API_TOKEN_MAX] = '\0';
	ck_assert(add(API_SCOPE_READ, NULL, text));
	ck_assert_int_eq(chmod(path, 0600), 0);
	ck_assert(add(API_SCOPE_READ, NULL, READER) && warning == NULL);
	ck_assert_int_eq(chmod(path, 0640), 0);
	ck_assert(add(API_SCOPE_READ, NULL, READER) && warning == NULL);
	ck_assert_int_eq(chmod(path, 0604), 0);
	ck_assert(add(API_SCOPE_READ, NULL, READER) && warning != NULL);
	ck_assert(!api_token_add(&tokens, API_SCOPE_READ, NULL, "/nowhere/none", &warning, why));
	ck_assert_ptr_nonnull(strstr(why, "No such file"));
	ck_assert(!api_token_add(&tokens, API_SCOPE_READ, NULL, "/tmp", &warning, why));
	while (tokens.n < API_TOKENS_MAX)
		ck_assert(add(API_SCOPE_READ, "/a", READER));
	ck_assert(!add(API_SCOPE_READ, "/a", READER) && strstr(why, "too many") != NULL);
	struct api_grant g = grant(READER);
	ck_assert(may(&g, API_SCOPE_READ, "/a"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("api_token");
	TCase *tc = tcase_create("api_token");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, scopes);
	tcase_add_test(tc, one_secret_of_several);
	tcase_add_test(tc, nobody);
	tcase_add_test(tc, files);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
