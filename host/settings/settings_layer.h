/* settings_layer: what one source says, the command line or the config file, before the sources are
 * laid over each other. */
#ifndef TOVA_SETTINGS_SETTINGS_LAYER_H
#define TOVA_SETTINGS_SETTINGS_LAYER_H

#include "settings/settings.h"

/* Where something was said: in a config file. Of the command line there is none (NULL). */
struct settings_place {
	const char *file;
	unsigned line; /* 0: the file as a whole */
};

/* --plugin-set before it is known which mounts there are. */
struct settings_pending {
	char *mount; /* NULL: every mount */
	struct settings_pair pair;
};

/* An option of type OPTION_SCOPED, likewise. */
struct settings_scoped {
	const struct option_row *row;
	char *mount; /* normalised; NULL: every mount */
	char *value;
};

struct settings_layer {
	struct settings s;
	bool given[OPTION_COUNT];
	bool mounts_given; /* any of the handlers */
	struct settings_pending *pending;
	size_t n_pending;
	struct settings_scoped *scoped;
	size_t n_scoped;
	const struct settings_source *source;
	struct settings_list *errors; /* sentences; shared by all layers */
	bool *no_memory;	      /* shared too: nothing of what was read can be trusted */
};

/* What it holds goes; it is empty then. */
void settings_list_free(struct settings_list *list);
/* Appends a copy of the n bytes of text; no memory is noted. */
void settings_layer_add(struct settings_layer *layer, struct settings_list *list, const char *text,
			size_t n);

/* Copies n bytes of text and ends them with NUL; NULL if there is no memory, which is then
 * noted. */
char *settings_layer_keep(struct settings_layer *layer, const char *text, size_t n);

/* Adds a sentence to the errors: "tova-host: PLACE: NAME: ...". name may be NULL. */
void settings_layer_error(struct settings_layer *layer, const struct settings_place *at,
			  const char *name, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#define SETTINGS_LAYER_KNOWN_MAX 600
/* "; expected one of /, /chat": the mounts that there are, or an empty text. */
const char *settings_layer_known(const struct settings_layer *layer,
				 char known[SETTINGS_LAYER_KNOWN_MAX]);
/* Finds or begins a mount; NULL after an error. raw is its path as given, n bytes of it. */
struct settings_mount *settings_layer_mount(struct settings_layer *layer, const char *name,
					    const char *raw, size_t n,
					    const struct settings_place *at);
/* Where a mount keeps what this row of type OPTION_HANDLER says. */
char **settings_layer_handler_field(struct settings_mount *mount, const struct option_row *row);
/* Keeps a pair for the mount of this path (already normalised; NULL: for every mount). */
void settings_layer_pair(struct settings_layer *layer, const char *name, const char *mount,
			 const char *key, size_t key_len, const char *value,
			 const struct settings_place *at);
/* Puts a pair into a mount; a key it already has gets the new value. */
void settings_layer_set(struct settings_layer *layer, struct settings_mount *mount,
			const struct settings_pair *pair);

/* Makes room for one more of n items and returns it, zeroed; the count is the caller's to raise.
 * NULL: no memory, which is noted. */
void *settings_layer_grow(struct settings_layer *layer, void *items_r, size_t n, size_t size);
/* Makes a mount's path of the n bytes of text, or says what is wrong with them. */
#define SETTINGS_LAYER_MOUNT_MAX 255
const char *settings_layer_normalise(const char *raw, size_t n,
				     char dst[SETTINGS_LAYER_MOUNT_MAX + 2]);
/* Bytes in front of a '=' that can be a mount; 0: there are none. */
size_t settings_layer_mount_length(const char *text);

/* What was kept for mounts by settings_layer_pair is dropped. */
void settings_layer_free_pending(struct settings_layer *layer);
/* The field of a row in struct settings, NULL if its type has none. */
void *settings_layer_field(struct settings *s, const struct option_row *row);
/* Its bytes. */
size_t settings_layer_size(const struct option_row *row);

/* --- settings_listen.c */
/* What it holds goes. */
void settings_listen_free(struct settings_listen *listen);
/* Do they say the same, whatever order of words they were said in? */
bool settings_listen_same(const struct settings_listen *a, const struct settings_listen *b);
/* One address more for a row of type OPTION_LISTEN, or an error. */
void settings_listen_apply(struct settings_layer *layer, const struct option_row *row,
			   const char *text, const struct settings_place *at);
/* Is this a URL of --attach? An ipc:// URL has an absolute path, a tcp:// or tls+tcp:// URL a
 * numeric address and a port: names are not looked up. Is it TLS? Can it be dialled from other
 * machines? */
bool settings_listen_is_url(const char *url);
bool settings_listen_is_tls(const char *url);
bool settings_listen_is_open(const char *url);

/* --- settings_api.c */
/* What is wrong with a value of --api-token or --health, or NULL. */
const char *settings_api_error(const struct option_row *row, const char *text);
/* Addresses without what guards them, tokens of mounts that are none. */
void settings_api_check(struct settings_layer *layer);

/* --- settings_scope.c: options that each mount may have its own value of */
/* Keeps [MOUNT=]VALUE; or, when mount is not NULL, the value for that mount. */
void settings_scope_keep(struct settings_layer *layer, const struct option_row *row,
			 const char *mount, const char *text, const struct settings_place *at);
/* Gives what one layer says to the mounts of another; `of_mounts`: also what it says for single
 * ones. */
void settings_scope_settle(struct settings_layer *target, const struct settings_layer *from,
			   bool of_mounts);
/* Where a mount keeps the value of this row. */
char **settings_scope_field(struct settings_mount *mount, const struct option_row *row);

/* --- settings_value.c */
/* Checks a value and puts it into the layer, or adds an error. text is ignored for flags. */
void settings_value_apply(struct settings_layer *layer, const struct option_row *row,
			  const char *text, const struct settings_place *at);
/* Gives a mount its handler: a row of type OPTION_HANDLER and its value. */
void settings_value_handler(struct settings_layer *layer, struct settings_mount *mount,
			    const struct option_row *row, const char *value,
			    const struct settings_place *at);

/* Read one source each. */
void settings_command_line_read(struct settings_layer *layer);
void settings_config_read(struct settings_layer *layer, const char *path);

/* --- settings_numbers.c */
/* The text of a config file with its whole numbers as libconfig reads them without loss, to be
 * freed; NULL: no memory, which is noted. Lines stay where they are. */
char *settings_numbers_widen(struct settings_layer *layer, const char *text);
/* False: a number is too large to be read at all, or a comment or a quote has no end, and that was
 * said. */
bool settings_numbers_fit(struct settings_layer *layer, const char *path, const char *text);

/* --- settings_explain.c */
/* libconfig has refused the text in this line: says which value or name is to blame and what was
 * expected. doubles: it says that a name comes twice. False: it can not be told. */
bool settings_explain(struct settings_layer *layer, const char *path, const char *text,
		      unsigned line, bool doubles);

#endif
