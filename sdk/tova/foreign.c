#include "tova/foreign.h"

struct foreign {
	const char *word, *sentence;
};

static const struct foreign foreign_words[] =
	{{"async", "'async' is not supported here: handlers do not wait"},
	 {"await", "'await' is not supported here: handlers do not wait"},
	 {"browser", "'browser' blocks are not supported here: the page is a file of --static"},
	 {"class", "types are not supported here ('class')"},
	 {"client", "'client' blocks are not supported here: the page is a file of --static"},
	 {"component", "components are not supported here: the page is a file of --static"},
	 {"computed", "'computed' is not supported here"},
	 {"concurrent", "'concurrent' is not supported here: handlers do not wait"},
	 {"const", "there is no 'const': write x = ..., or var x = ... for what changes"},
	 {"cors", "'cors' is not supported here; see --origin"},
	 {"db", "'db' is not supported here: handlers have no files and no network"},
	 {"defer", "'defer' is not supported here"},
	 {"delete", "there is no 'delete': write o = omit(o, [key])"},
	 {"derive", "types are not supported here ('derive')"},
	 {"do", "there is no 'do': write while true { }, and break"},
	 {"effect", "'effect' is not supported here"},
	 {"export", "'export' is not supported here: a program is one file"},
	 {"extern", "'extern' is not supported here: there is nothing outside to call"},
	 {"finally", "'finally' is not supported here: what stands behind try runs anyway"},
	 {"form", "forms are not supported here ('form')"},
	 {"function", "there is no 'function': write fn"},
	 {"guard", "'guard' is not supported here: write if not ... { return }"},
	 {"impl", "types are not supported here ('impl')"},
	 {"import", "imports are not supported here ('import'): a program is one file"},
	 {"interface", "types are not supported here ('interface')"},
	 {"is", "types are not supported here ('is'): see type_of"},
	 {"let", "there is no 'let': write x = ..., or var x = ... for what changes"},
	 {"loop", "'loop' is not supported here: write while true { }"},
	 {"middleware", "'middleware' is not supported here: the host has no HTTP handlers"},
	 {"model", "'model' is not supported here: handlers have no files and no network"},
	 {"mut", "there is no 'mut': write var x = ..."},
	 {"new", "types are not supported here ('new')"},
	 {"pub", "'pub' is not supported here: a program is one file"},
	 {"route", "'route' is not supported here: files are served with --static"},
	 {"routes", "'routes' is not supported here: files are served with --static"},
	 {"schedule", "'schedule' is not supported here: see every(ms, fn)"},
	 {"shared", "'shared' blocks are not supported here: a program is one file"},
	 {"spawn", "'spawn' is not supported here: handlers do not wait"},
	 {"sse", "'sse' is not supported here"},
	 {"state", "'state' is not supported here: write var x = ..."},
	 {"store", "'store' is not supported here: write var x = ..."},
	 {"switch", "there is no 'switch': write match x { 1 => ... _ => ... }"},
	 {"test", "'test' blocks are not supported here"},
	 {"throw", "there is no 'throw': return what says that it failed"},
	 {"trait", "types are not supported here ('trait')"},
	 {"type", "types are not supported here ('type')"},
	 {"typeof", "there is no 'typeof': see typeOf(x)"},
	 {"when", "'when' is not supported here: write an if inside the loop"},
	 {"with", "'with' is not supported here: there is nothing to open"},
	 {"yield", "generators are not supported here ('yield')"},
	 {NULL, NULL}};

/* What stands behind "there is no ...;". */
static const struct foreign foreign_names[] = {{"Array",
						"see filled(n, value), range(n) and typeOf(x)"},
					       {"Boolean", "see toBool(x)"},
					       {"clearInterval", "see cancel(timer)"},
					       {"clearTimeout", "see cancel(timer)"},
					       {"close", "see ws.close(code, reason)"},
					       {"console", "see print(...)"},
					       {"Date", "see now()"},
					       {"env", "a program has no environment"},
					       {"Err", "types are not supported here"},
					       {"fetch", "handlers have no network"},
					       {"None", "write nil"},
					       {"null", "write nil"},
					       {"Number", "see toInt(text) and toFloat(text)"},
					       {"Object",
						"see keys(o), values(o), entries(o), merge(a, b)"},
					       {"Ok", "types are not supported here"},
					       {"parseFloat", "see toFloat(text)"},
					       {"parseInt", "see toInt(text)"},
					       {"send", "see ws.send(data)"},
					       {"setInterval", "see every(ms, fn)"},
					       {"setTimeout", "see after(ms, fn)"},
					       {"sleep", "handlers do not wait; see after(ms, fn)"},
					       {"Some", "types are not supported here"},
					       {"String", "see toString(x)"},
					       {"this", "a handler is given ws"},
					       {"undefined", "write nil"},
					       {NULL, NULL}};

static const char *foreign_find(const struct foreign *f, struct span word)
{
	while (f->word != NULL && !span_eq(word, span_of(f->word)))
		f++;
	return f->sentence;
}

const char *foreign_word(struct span word)
{
	return foreign_find(foreign_words, word);
}

const char *foreign_name(struct span name)
{
	return foreign_find(foreign_names, name);
}

/* Is t right behind one of this kind, which is `width` wide? */
static bool foreign_follows(const struct token *begin, const struct token *t, enum token_kind kind,
			    unsigned width)
{
	return t > begin && t[-1].kind == kind && t[-1].at.line == t->at.line &&
	       t[-1].at.column + width == t->at.column;
}

const char *foreign_sign(const struct token *begin, const struct token *t, struct position *at_r)
{
	*at_r = t > begin ? t[-1].at : t->at;
	if (t->kind == TOKEN_ASSIGN && (foreign_follows(begin, t, TOKEN_EQUAL, 2) ||
					foreign_follows(begin, t, TOKEN_NOT_EQUAL, 2)))
		return "there is no '===': == and != never convert";
	if (t->kind == TOKEN_ASSIGN && (foreign_follows(begin, t, TOKEN_PERCENT, 1) ||
					foreign_follows(begin, t, TOKEN_POWER, 2) ||
					foreign_follows(begin, t, TOKEN_COALESCE, 2) ||
					foreign_follows(begin, t, TOKEN_OR_OR, 2) ||
					foreign_follows(begin, t, TOKEN_AND_AND, 2)))
		return "there are +=, -=, *= and /=; else write x = x and the operator";
	if (t->kind == TOKEN_PLUS && foreign_follows(begin, t, TOKEN_PLUS, 1))
		return "'++' is not supported here: write n += 1, and \"{a}{b}\" for texts";
	if (t == begin || t[-1].kind != TOKEN_MINUS ||
	    !foreign_follows(begin, t - 1, TOKEN_MINUS, 1))
		return NULL;
	*at_r = t[-2].at;
	return "'--' is not supported here: write n -= 1";
}
