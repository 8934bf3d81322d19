#include "ctl/print.h"

#include <stdlib.h>
#include <string.h>

#include "common/dump.h"
#include "common/printable.h"

#define PRINT_GAP 2

static bool print_deceives(const char *text, size_t n)
{
	uint32_t code;
	size_t len = 1;
	for (size_t i = 0; i < n; i += len) {
		len = printable_decode((const unsigned char *)text + i, n - i, &code);
		if (len == 0 || printable_deceives(code))
			return true;
	}
	return false;
}

/* Bytes that are no text come only from a host that is none. */
void print_text(FILE *f, const char *text)
{
	size_t n = strlen(text), len;
	uint32_t code;
	char escape[PRINTABLE_ESCAPE_MAX];
	for (size_t i = 0; i<n; i += len> 0 ? len : 1) {
		len = printable_decode((const unsigned char *)text + i, n - i, &code);
		if (len > 0 && !printable_deceives(code)) {
			fwrite(text + i, 1, len, f);
			continue;
		}
		printable_escape(len > 0 ? code : 0xFFFD, escape);
		fputs(escape, f);
	}
}

/* A value as the cell of a table; to be freed. A text that can be taken for another one stands in
 * quotes, as JSON has it. */
static char *print_cell(const json_t *value)
{
	const char *text = json_string_value(value);
	if (value == NULL || json_is_null(value))
		return strdup("-");
	if (text != NULL && text[0] != '"' && text[0] != '\0' &&
	    !print_deceives(text, json_string_length(value)))
		return strdup(text);
	char *whole = dump_text(value, JSON_COMPACT | JSON_ENCODE_ANY), *cell = NULL;
	size_t n;
	FILE *f = whole != NULL ? open_memstream(&cell, &n) : NULL;
	if (f != NULL) {
		print_text(f, whole);
		fclose(f);
	}
	free(whole);
	return cell;
}

/* How wide a text is: its characters, not its bytes. */
static int print_width(const char *text)
{
	int n = 0;
	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xC0) != 0x80;
	return n;
}

static void print_padded(FILE *f, const char *text, int width)
{
	fprintf(f, "%s%*s", text, width > 0 ? width - print_width(text) + PRINT_GAP : 0, "");
}

/* --- tables ----------------------------------------------------------------------------------- */

/* The columns are the members of the objects, in the order in which they first appear. */
static json_t *print_columns(const json_t *rows)
{
	json_t *columns = json_object();
	size_t i;
	json_t *row;
	json_array_foreach(rows, i, row)
	{
		const char *key;
		json_t *value;
		json_object_foreach(row, key, value)
		{
			char *cell = print_cell(value);
			json_int_t width = json_integer_value(json_object_get(columns, key)),
				   own = cell != NULL ? print_width(cell) : 0;
			if (width < print_width(key))
				width = print_width(key);
			json_object_set_new(columns, key, json_integer(own > width ? own : width));
			free(cell);
		}
	}
	return columns;
}

/* row NULL: the head. */
static void print_row(FILE *f, json_t *columns, const json_t *row)
{
	size_t left = json_object_size(columns);
	const char *key;
	json_t *width;
	json_object_foreach(columns, key, width)
	{
		char *cell = row != NULL ? print_cell(json_object_get(row, key)) : strdup(key);
		print_padded(f, cell != NULL ? cell : "",
			     --left > 0 ? (int)json_integer_value(width) : 0);
		free(cell);
	}
	fputc('\n', f);
}

void print_table(FILE *f, const json_t *rows)
{
	json_t *columns = print_columns(rows), *row;
	size_t i;
	print_row(f, columns, NULL);
	json_array_foreach(rows, i, row) print_row(f, columns, row);
	json_decref(columns);
}

/* --- the rest --------------------------------------------------------------------------------- */

static void print_list(FILE *f, const json_t *list)
{
	size_t i;
	json_t *value;
	if (json_is_object(json_array_get(list, 0))) {
		print_table(f, list);
		return;
	}
	json_array_foreach(list, i, value)
	{
		char *cell = print_cell(value);
		fprintf(f, "%s\n", cell != NULL ? cell : "");
		free(cell);
	}
}

static void print_member(FILE *f, const char *key, const json_t *value, int width)
{
	char *cell = print_cell(value);
	print_padded(f, key, width);
	fprintf(f, "%s\n", cell != NULL ? cell : "");
	free(cell);
}

static void print_members(FILE *f, json_t *object)
{
	const char *key;
	json_t *value;
	int width = 0;
	json_object_foreach(object, key, value) if (print_width(key) > width) width =
		print_width(key);
	json_object_foreach(object, key, value) print_member(f, key, value, width);
}

static void print_tables(FILE *f, json_t *answer)
{
	const char *key;
	json_t *value;
	bool has_list = false;
	json_object_foreach(answer, key, value) has_list = has_list || json_is_array(value);
	json_object_foreach(answer, key, value)
	{
		/* who sees the list can count it */
		if (has_list && strcmp(key, "count") == 0)
			continue;
		if (json_is_array(value))
			print_list(f, value);
		else if (json_is_object(value))
			print_members(f, value);
		else
			print_member(f, key, value, (int)strlen(key));
	}
}

void print_json(FILE *f, const json_t *object)
{
	char *text = dump_text(object, JSON_COMPACT);
	print_text(f, text != NULL ? text : "");
	fputc('\n', f);
	free(text);
}

void print_answer(FILE *f, const json_t *answer, bool json, bool receivers)
{
	json_t *copy = json_copy((json_t *)answer);
	json_object_del(copy, "t");
	json_object_del(copy, "q");
	json_object_del(copy, "ref");
	if (!json) { /* main says it */
		json_object_del(copy, "nobody");
		json_object_del(copy, "unknown");
		if (!receivers)
			json_object_del(copy, "receivers");
	}
	if (json)
		print_json(f, copy);
	else
		print_tables(f, copy);
	json_decref(copy);
}
