/* .tova programs: whatever the text is, the translator says what is wrong with it and where, or
 * makes Lua of it that Lua reads. */
#include <lauxlib.h>

#include "fuzz.h"
#include "tova/translate.h"

/* What is too large for Lua is said with its place when a program is loaded. */
static int is_too_much(const char *why)
{
	static const char *const limits[] = {"too many", "control structure too long", "overflow",
					     "not enough memory", "too large"};
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
		if (strstr(why, limits[i]) != NULL)
			return 1;
	return 0;
}

static void check_lua(const struct generated *g)
{
	lua_State *L = luaL_newstate();
	MUST(L != NULL);
	size_t lines = 0;
	for (size_t i = 0; i < g->lua.n; i++)
		lines += g->lua.p[i] == '\n';
	MUST(lines + 1 == g->n_lines);
	if (luaL_loadbufferx(L, g->lua.p, g->lua.n, "=tova", "t") != LUA_OK &&
	    !is_too_much(lua_tostring(L, -1))) {
		fprintf(stderr, "%s\n%.*s\n", lua_tostring(L, -1), (int)g->lua.n, g->lua.p);
		abort();
	}
	lua_close(L);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct translation t;
	bool ok = translate((const char *)data, size, &t);
	MUST(ok == (t.faults.n == 0));
	for (size_t i = 0; i < t.faults.n; i++) {
		const struct fault *f = &t.faults.v[i];
		MUST(f->text[0] != '\0' && f->at.line <= size + 1 && f->at.column <= size + 1);
		MUST((f->at.line == 0) == (f->at.column == 0));
		MUST(i == 0 || f[-1].at.line <= f->at.line);
	}
	if (ok)
		check_lua(&t.generated);
	translation_free(&t);
	return 0;
}
