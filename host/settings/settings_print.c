#include <inttypes.h>
#include <string.h>

#include "settings/settings_layer.h"

/* A string as libconfig reads it. */
static void settings_print_string(FILE *out, const char *text)
{
	fputc('"', out);
	for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\')
			fprintf(out, "\\%c", *p);
		else if (*p < 0x20 || *p == 0x7F)
			fprintf(out, "\\x%02x", *p);
		else
			fputc(*p, out);
	}
	fputc('"', out);
}

/* May it be a name in a config file? */
static bool settings_print_is_name(const char *key)
{
	return strspn(key, "0123456789_-") == 0 && strchr(key, '.') == NULL;
}

static void settings_print_pairs(const struct settings_mount *mount, FILE *out)
{
	bool names = true;

	for (size_t i = 0; i < mount->n_pairs; i++)
		names = names && settings_print_is_name(mount->pairs[i].key);
	fputs(names ? "\t\tplugin-set = {" : "\t\tplugin-set = (", out);
	for (size_t i = 0; i < mount->n_pairs; i++) {
		const struct settings_pair *pair = &mount->pairs[i];

		if (names) {
			fprintf(out, " %s = ", pair->key);
			settings_print_string(out, pair->value);
			fputc(';', out);
		} else {
			/* Adjacent strings are one. */
			fprintf(out, "%s \"%s=\" ", i > 0 ? "," : "", pair->key);
			settings_print_string(out, pair->value);
		}
	}
	fputs(names ? " };\n" : " );\n", out);
}

static void settings_print_string_of(const char *name, const char *text, FILE *out)
{
	fprintf(out, "\t\t%s = ", name);
	settings_print_string(out, text);
	fputs(";\n", out);
}

static void settings_print_handlers(struct settings_mount *mount, FILE *out)
{
	for (const struct option_row *row = option_table; row < option_table + OPTION_COUNT;
	     row++) {
		if (row->type == OPTION_HANDLER &&
		    *settings_layer_handler_field(mount, row) != NULL)
			settings_print_string_of(row->name,
						 *settings_layer_handler_field(mount, row), out);
		else if (row->type == OPTION_SCOPED && *settings_scope_field(mount, row) != NULL)
			settings_print_string_of(row->name, *settings_scope_field(mount, row), out);
	}
}

static void settings_print_mounts(const struct settings *s, FILE *out)
{
	if (s->n_mounts == 0)
		return;
	fputs("mount = (\n", out);
	for (size_t i = 0; i < s->n_mounts; i++) {
		fputs("\t{\n\t\tpath = ", out);
		settings_print_string(out, s->mounts[i].path);
		fputs(";\n", out);
		settings_print_handlers(&s->mounts[i], out);
		if (s->mounts[i].n_pairs > 0)
			settings_print_pairs(&s->mounts[i], out);
		fprintf(out, "\t}%s\n", i + 1 < s->n_mounts ? "," : "");
	}
	fputs(");\n", out);
}

static void settings_print_scalar(const struct option_row *row, const void *field, FILE *out)
{
	char text[64];

	fprintf(out, "%s = ", row->name);
	if (row->type == OPTION_FLAG) {
		fputs(*(const bool *)field ? "true" : "false", out);
	} else if (row->type == OPTION_NUMBER) {
		uint64_t value = *(const uint64_t *)field;

		fprintf(out, "%" PRIu64 "%s", value, value > INT32_MAX ? "L" : "");
	} else if (row->type == OPTION_TEXT || row->type == OPTION_PATH) {
		settings_print_string(out, *(char *const *)field);
	} else {
		option_format(row,
			      row->type == OPTION_ENUM ? *(const unsigned *)field
						       : *(const uint64_t *)field,
			      text, sizeof(text));
		settings_print_string(out, text);
	}
	fputs(";\n", out);
}

static bool settings_print_is_list(const struct option_row *row)
{
	return row->type == OPTION_LIST || row->type == OPTION_LISTEN || row->type == OPTION_PATHS;
}

static bool settings_print_is_empty(const struct option_row *row, const void *field)
{
	return row->type == OPTION_LISTEN ? ((const struct settings_listens *)field)->n == 0
					  : ((const struct settings_list *)field)->n == 0;
}

static void settings_print_list(const struct option_row *row, const void *field, FILE *out)
{
	const struct settings_list *list = field;
	const struct settings_listens *listens = field;
	size_t n = row->type == OPTION_LISTEN ? listens->n : list->n;

	fprintf(out, "%s = (", row->name);
	for (size_t i = 0; i < n; i++) {
		fputs(i > 0 ? ", " : " ", out);
		settings_print_string(out, row->type == OPTION_LISTEN ? listens->items[i].text
								      : list->items[i]);
	}
	fputs(" );\n", out);
}

void settings_print(const struct settings *s, FILE *out)
{
	for (const struct option_row *row = option_table; row < option_table + OPTION_COUNT;
	     row++) {
		const void *field = settings_layer_field((struct settings *)s, row);

		if (row->group >= OPTION_COMMAND || field == NULL)
			continue;
		if (settings_print_is_list(row)) {
			/* An empty list of files, or of addresses, would be none. */
			if (row->type == OPTION_LIST || !settings_print_is_empty(row, field))
				settings_print_list(row, field, out);
		} else if ((row->type != OPTION_TEXT && row->type != OPTION_PATH) ||
			   *(char *const *)field != NULL) {
			settings_print_scalar(row, field, out);
		}
	}
	settings_print_mounts(s, out);
}
