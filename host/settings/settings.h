/* settings: what the command line and the config file say, checked, as plain fields. */
#ifndef TOVA_SETTINGS_SETTINGS_H
#define TOVA_SETTINGS_SETTINGS_H

#include "settings/option.h"

struct settings_list {
	char **items;
	size_t n;
};

enum settings_speaks { SETTINGS_SPEAKS_EITHER, SETTINGS_SPEAKS_TLS, SETTINGS_SPEAKS_PLAIN };

#define SETTINGS_TLS_GROUPS 64 /* most addresses with certificates of their own */

#define SETTINGS_GIVEN_MAX 255 /* of systemd */

struct settings_listen {
	char *text; /* as the operator wrote it */
	/* One of the next three is not NULL. host: numeric IPv4 or IPv6 address without brackets */
	char *host;
	uint16_t port; /* 0: any free one */
	char *unix_path;
	char *given; /* the name of sockets that systemd has opened */
	bool proxy;  /* ",proxy" */
	int speaks;  /* enum settings_speaks: what it says itself */
	bool tls;    /* and what follows from all of them */
	/* ",tls=NAME": only the certificates for these are shown there; none: all */
	struct settings_list tls_names;
	uint8_t tls_group; /* its number among those that have such names, from 1; 0: it has none */
};

struct settings_listens {
	struct settings_listen *items;
	size_t n;
};

/* Whom an address is for. */
enum settings_door { SETTINGS_CLIENTS, SETTINGS_API, SETTINGS_ADMIN };
#define SETTINGS_DOORS (SETTINGS_ADMIN + 1)

struct settings_pair {
	char *key, *value;
};

/* By an option's type: where its value stands, in struct settings, in mounts, or elsewhere. */
#define SETTINGS_PLACE_FLAG(in_settings, in_mount, elsewhere) in_settings
#define SETTINGS_PLACE_NUMBER(in_settings, in_mount, elsewhere) in_settings
#define SETTINGS_PLACE_SIZE(in_settings, in_mount, elsewhere) in_settings
#define SETTINGS_PLACE_TIME(in_settings, in_mount, elsewhere) in_settings
#define SETTINGS_PLACE_RATE(in_settings, in_mount, elsewhere) in_settings
#define SETTINGS_PLACE_ENUM(in_settings, in_mount, elsewhere) in_settings
#define SETTINGS_PLACE_TEXT(in_settings, in_mount, elsewhere) in_settings
#define SETTINGS_PLACE_PATH(in_settings, in_mount, elsewhere) in_settings
#define SETTINGS_PLACE_LIST(in_settings, in_mount, elsewhere) in_settings
#define SETTINGS_PLACE_PATHS(in_settings, in_mount, elsewhere) in_settings
#define SETTINGS_PLACE_LISTEN(in_settings, in_mount, elsewhere) in_settings
#define SETTINGS_PLACE_HANDLER(in_settings, in_mount, elsewhere) elsewhere
#define SETTINGS_PLACE_PAIR(in_settings, in_mount, elsewhere) elsewhere
#define SETTINGS_PLACE_SCOPED(in_settings, in_mount, elsewhere) in_mount
#define SETTINGS_MOUNT_FIELD(field, type, ...) SETTINGS_PLACE_##type(, char *field;, )

struct settings_mount {
	char *path; /* normalised: "/" or "/a/b", no slash at the end, no empty segment */
	/* One of them is given, the others are NULL; attach may stand beside any. */
	char *plugin;	       /* see library_find */
	char *worker, *script; /* for the shell */
	char *script_dir;      /* a folder of programs; that it is there is not checked */
	char *attach; /* URL with a scheme that is known; what it names may still be wrong */
	struct settings_pair *pairs; /* --plugin-set, each key once */
	size_t n_pairs;
	OPTIONS(SETTINGS_MOUNT_FIELD) /* those of type SCOPED; NULL: not given for this mount */
};

/* Does a script handle each of its connections? */
static inline bool settings_mount_has_scripts(const struct settings_mount *mount)
{
	return mount->script != NULL || mount->script_dir != NULL;
}

#define SETTINGS_FIELD_FLAG(name) bool name;
#define SETTINGS_FIELD_NUMBER(name) uint64_t name;
#define SETTINGS_FIELD_SIZE(name) uint64_t name; /* bytes */
#define SETTINGS_FIELD_TIME(name) uint64_t name; /* milliseconds */
#define SETTINGS_FIELD_RATE(name) uint64_t name; /* see option_rate */
#define SETTINGS_FIELD_ENUM(name) unsigned name; /* enum log_level and so on */
#define SETTINGS_FIELD_TEXT(name) char *name;
#define SETTINGS_FIELD_PATH(name) char *name;
#define SETTINGS_FIELD_LIST(name) struct settings_list name;
#define SETTINGS_FIELD_PATHS(name) struct settings_list name;
#define SETTINGS_FIELD_LISTEN(name) struct settings_listens name;
#define SETTINGS_FIELD_HANDLER(name) /* in mounts */
#define SETTINGS_FIELD_PAIR(name)    /* in mounts */
#define SETTINGS_FIELD_SCOPED(name)  /* in mounts */
#define SETTINGS_FIELD(field, type, ...) SETTINGS_FIELD_##type(field)

/* One field per row of the option table: max_message, idle_timeout, listen, origin, static_dir,
 * log_level, check, ... in its order. NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding):
 * there are few of it */
struct settings {
	/* in the order given; each path once */
	OPTIONS(SETTINGS_FIELD)
	struct settings_mount *mounts;
	size_t n_mounts;
};

enum settings_status {
	SETTINGS_OK,
	SETTINGS_DONE, /* --help and the like were printed: exit 0 */
	SETTINGS_BAD,  /* what is wrong was said: exit 2 */
};

struct settings_source {
	int argc;
	char **argv; /* not changed */
	/* What is wrong with an item of --origin, of --host (NULL: nothing); a null function
	 * accepts all. */
	const char *(*origin_error)(const char *item);
	const char *(*host_error)(const char *item);
	void (*print_features)(FILE *out); /* below the version; NULL: nothing */
	FILE *out, *err; /* stdout and stderr, or a test's; err NULL: say nothing */
};

/* Reads the command line and the config file it names. May be called again at any time (reload)
 * with another struct settings. On anything but SETTINGS_OK nothing is left in *s to free. Says the
 * first thing that is wrong, or with --check everything. With s->check set the caller, once it has
 * made its own checks, calls settings_print and exits. */
enum settings_status settings_read(struct settings *s, const struct settings_source *source);
void settings_free(struct settings *s);

/* All addresses of one kind, and the option that gives them. */
const struct settings_listens *settings_door(const struct settings *s, enum settings_door door);
const char *settings_door_option(enum settings_door door);
/* Is this numeric address one that only this machine can reach? */
bool settings_is_loopback(const char *host);

#define SETTINGS_TOKENS_MAX 64 /* most of --api-token */
/* What --api-token says, in the order of enum api_scope (auth/api_token.h). */
struct settings_token {
	unsigned scope;
	char mount[257];  /* empty: every one */
	const char *file; /* in the text */
};
/* Takes SCOPE[@MOUNT]=FILE apart. Returns what is wrong with it, or NULL. */
const char *settings_token_parse(const char *text, struct settings_token *token_r);
/* The same of --attach-token, where a file alone is admin, everywhere. */
const char *settings_attach_token_parse(const char *text, struct settings_token *token_r);

/* Prints them as a config file. */
void settings_print(const struct settings *s, FILE *out);

#endif
