/* tova: programs that the host reads without running them: --emit-lua, --check, and to warn. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "server.h"
#include "tova/translate.h"

/* The program's text, malloc'd; NULL with errno. One byte more than a program may have is enough to
 * know. */
static char *server_tova_read(const char *path, size_t *n_r)
{
	char *text = malloc(TRANSLATE_MAX + 1);
	FILE *f = text != NULL ? fopen(path, "re") : NULL;
	int error = errno;
	if (f != NULL) {
		*n_r = fread(text, 1, TRANSLATE_MAX + 1, f);
		error = ferror(f) ? errno : 0;
		fclose(f);
	}
	if (f != NULL && error == 0)
		return text;
	free(text);
	errno = error;
	return NULL;
}

static void server_tova_say(FILE *err, const char *path, const struct faults *faults)
{
	for (size_t i = 0; i < faults->n; i++) {
		const struct fault *f = &faults->v[i];
		if (f->at.line > 0)
			fprintf(err, "%s:%u:%u: %s\n", path, f->at.line, f->at.column, f->text);
		else
			fprintf(err, "%s: %s\n", path, f->text);
	}
	if (faults->dropped > 0)
		fprintf(err, "%s: and %zu more\n", path, faults->dropped);
}

/* Translates the program of this file; what is wrong is said, all of it. *t_r is to be freed if
 * that is true. */
static bool server_tova_translate(const char *path, struct translation *t_r, FILE *err)
{
	size_t n;
	char *text = server_tova_read(path, &n);
	if (text == NULL) {
		fprintf(err, "tova-host: \"%.300s\" can not be read: %s\n", path, strerror(errno));
		return false;
	}
	bool ok = translate(text, n, t_r);
	free(text);
	if (!ok) {
		server_tova_say(err, path, &t_r->faults);
		translation_free(t_r);
	}
	return ok;
}

int server_emit_lua(const struct settings_source *source, const char *path)
{
	struct translation t;
	if (!server_tova_translate(path, &t, source->err))
		return SERVER_BAD_SETTINGS;
	fwrite(t.generated.lua.p, 1, t.generated.lua.n, source->out);
	translation_free(&t);
	return SERVER_DONE;
}

/* The program of a mount; NULL: it has none. */
static const char *server_tova_file(const struct settings_mount *set)
{
	const char *file = NULL;
	for (size_t i = 0; i < set->n_pairs; i++)
		if (strcmp(set->pairs[i].key, "file") == 0)
			file = set->pairs[i].value;
	size_t n = file != NULL ? strlen(file) : 0;
	return set->plugin != NULL && n >= 5 && strcmp(file + n - 5, ".tova") == 0 ? file : NULL;
}

bool server_check_tova(const struct server *s, const struct settings_mount *set)
{
	struct translation t;
	const char *file = server_tova_file(set);
	bool ok = file == NULL || server_tova_translate(file, &t, s->source->err);
	if (ok && file != NULL)
		translation_free(&t);
	return ok;
}

void server_warn_of_vars(const struct server *s, const struct mount *m,
			 const struct settings_mount *set, unsigned workers)
{
	struct translation t;
	size_t n;
	const char *file = workers > 1 ? server_tova_file(set) : NULL;
	char *text = file != NULL ? server_tova_read(file, &n) : NULL;
	if (text == NULL)
		return;
	if (translate(text, n, &t) && t.n_vars > 0)
		LOG(s->log, LOG_WARN, LOG_WORKER,
		    "each worker process has the program's vars for itself, so connections of "
		    "different ones do not share them",
		    LOG_STR("mount", m->path), LOG_STR("file", file), LOG_STR("var", t.vars[0]),
		    LOG_U64("vars", t.n_vars), LOG_U64("workers", workers));
	translation_free(&t);
	free(text);
}
