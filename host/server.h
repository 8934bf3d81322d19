/* server: the parts of a host put together, from settings to the end. */
#ifndef TOVA_SERVER_H
#define TOVA_SERVER_H

#include "settings/settings.h"
#include "handler/worker/deadletter.h"
#include "handler/process.h"
#include "handler/worker/push.h"
#include "hub/hub.h"
#include "net/files.h"
#include "net/listener.h"
#include "threads/io_thread.h"
#include "ops/api.h"
#include "ops/activation.h"
#include "ops/control.h"
#include "ops/drain.h"
#include "ops/notify.h"
#include "ops/privileges.h"
#include "ops/reload.h"
#include "ops/trace_sampler.h"

enum { SERVER_DONE = 0, SERVER_FAILED = 1, SERVER_BAD_SETTINGS = 2 }; /* exit codes */

/* Where the API is reached, beside the addresses for clients. */
struct server_door {
	bool open; /* the others are there */
	struct api_door door;
	struct conns conns;
	struct listeners listeners;
};

struct server {
	uint16_t magic;		  /* CHECK_SERVER */
	struct settings settings; /* in effect; replaced by a reload */
	const struct settings_source *source;
	struct log *log;
	struct loop *loop;
	struct conn_ops ops; /* the conns', to their end */
	struct conns conns;
	struct addr_limits *addr_limits;
	struct address_set trusted; /* --trusted-proxy; conns point at it, and at the next */
	char *hosts;		    /* --host; NULL: it is not given */
	const char **mount_paths;   /* for files */
	struct hub hub;
	struct files files;
	struct listeners listeners;
	struct activation activation; /* sockets from systemd that no --listen has taken yet */
	struct io_threads io_threads; /* the other loops; those above are the main thread's */
	struct processes processes;
	/* as the operator gave it; the host takes what it may for itself */
	uint64_t soft_descriptors;
	struct push_sources sources;
	struct api_tokens attach_tokens;
	struct deadletter *deadletter;
	struct replay *letters;
	struct health health;
	struct readiness readiness;
	struct api api;
	struct server_door doors[SETTINGS_DOORS]; /* without that for clients */
	struct reloads reloads;
	struct cluster *cluster; /* NULL: there is this host only */
	struct control *control;
	char control_path[128];
	struct server_lost {
		uint64_t lines; /* of which it was said */
		uint64_t quiet; /* it is not said again before, by the loop's clock */
	} access_lost, trace_lost;
	struct trace_sampler sampler;
	gid_t control_group;	      /* where --control-group is given */
	struct privileges privileges; /* with --user */
	/* by the place of their settings: made and not started yet; NULL after a start */
	struct mount **made;
	char directory[128]; /* of the worker sockets; empty: none was needed */
	struct drain drain;
	struct notify notify;
	struct notify_source notify_source;
	bool failed; /* it can not go on: the exit code says so */
	struct loop_signal on_term, on_int, on_hup, on_usr1;
	struct loop_timer flush; /* of the log's suppressed lines */
};

/* Reads the settings, serves until it is told to stop. Returns the exit code; what went wrong has
 * been said. */
int server_main(const struct settings_source *source);

#define SERVER_WHY_MAX 1024

/* refuse.c */
/* Says why a setting is refused, to the person who typed it; returns false. */
bool server_refuse(const struct server *s, const char *option, const char *value, const char *why);

/* stop.c */
/* Told by a signal: ends when all have been served, or at once if it does so already. */
void server_on_stop(void *arg, int signal);
/* Somebody asked for a drain, over HTTP or by the control socket. */
void server_on_drain(void *ctx);

/* listeners.c */
/* Who else connects to that path, which can not be the control socket's, too; NULL: nobody. */
const char *server_listens_at(const struct server *s, const char *path);
/* Adds all addresses of one kind. False: it was said why not. */
bool server_add_listeners(struct server *s, enum settings_door door, struct listeners *listeners);
/* Sockets from systemd that nobody takes are told of. */
void server_check_activation(const struct server *s);

/* mounts.c */
/* Makes what the settings say, then attaches the handlers, and adds the mounts to the hub. False:
 * it was said why. server_free_made is for what was made and not added. */
bool server_make_mounts(struct server *s);
bool server_start_mounts(struct server *s);
void server_free_made(struct server *s);
/* What a mount may hold, what it does about slow readers, how long its clients may be away. */
void server_set_hold(struct mount *m, const struct settings_mount *set);
uint8_t server_slow_policy(const struct settings_mount *set); /* enum slow_policy */
uint32_t server_resume(const struct settings_mount *set);     /* ms; 0: nobody comes back */
uint32_t server_limit_user(const struct settings_mount *set); /* 0: any number */
/* What rooms of the mount keep. */
/* Parts of a million; -1: it takes no part. */
int32_t server_trace_sample(const struct settings_mount *set);
struct history_limits server_history(const struct settings_mount *set);
/* For --check: all that is wrong is said; false: something is. */
bool server_check_mounts(const struct server *s);
/* server_tova.c: what a .tova program becomes is printed; returns the exit code. */
int server_emit_lua(const struct settings_source *source, const char *path);
/* All that is wrong with the program of a mount that runs one is said. */
bool server_check_tova(const struct server *s, const struct settings_mount *set);
/* Says so in the log where a program with `var`s is run by several processes. */
void server_warn_of_vars(const struct server *s, const struct mount *m,
			 const struct settings_mount *set, unsigned workers);
/* server_attach.c: what those who attach must say and are shown. */
bool server_check_attach(struct server *s);
bool server_start_attach(struct server *s);
/* False: tokens are as before, which was said. Who is attached stays, whatever he has said. */
bool server_reload_attach(struct server *s);
void server_free_attach(struct server *s);
/* Where those attach who only push, if the mount has that beside a handler. */
bool server_start_pushers(struct server *s, struct mount *m, const struct settings_mount *set);
/* What whoever attaches is shown. */
void server_reload_attached(struct server *s, struct mount *m, const struct settings_mount *set);
/* What a connection of the mount may send. */
void server_set_rule(const struct server *s, struct mount *m, const struct settings_mount *set);
/* anew: what they are started with has changed, even if the plugin that they run has not. */
void server_reload_workers(struct server *s, struct mount *m, const struct settings_mount *set,
			   bool anew, struct reload *r);
void server_reload_script(struct server *s, struct mount *m, const struct settings_mount *set,
			  struct reload *r);

/* cluster.c */
/* What is wrong with --cluster and what belongs to it is said. */
bool server_check_cluster(const struct server *s);
#define SERVER_NO_HISTORY                                                                          \
	"rooms of a cluster remember nothing yet: give either --cluster or --history"
/* Do rooms of any mount remember something? */
bool server_has_history(const struct settings *set);
/* The mounts are made, and not started yet. */
bool server_start_cluster(struct server *s);

/* check.c: --check. Says everything that is wrong. */
bool server_check(struct server *s);

/* access.c: --access-log and --trace-file. */
bool server_start_access(struct server *s);
/* Opens it again, or another one. False: the old one goes on, which was said. */
bool server_reload_access(struct server *s, const char *was);
bool server_reload_trace(struct server *s, const char *was);
void server_reopen_access(struct server *s);
/* About every second: what could not be written is said in the log. */
void server_flush_access(struct server *s);

/* drop.c */
/* Will the host become another user? */
bool server_drops(const struct settings *settings);
bool server_check_user(struct server *s);
/* Before anything opens them: files that are to be that user's. */
void server_make_files(const struct server *s);
/* Before something is opened or bound at a path, and after it: as that user where others than root
 * decide what it names. */
bool server_enter(const struct server *s, const char *path);
void server_leave(bool entered);
/* Everything that needs root is there. */
bool server_drop(struct server *s);

/* certificates.c */
/* False: it was said why the certificates are refused. The check changes nothing. */
bool server_start_tls(struct server *s);
bool server_check_tls(struct server *s);
/* What workers that attach over TLS are shown, said to warn or not. */
bool server_check_attach_tls(struct server *s, bool warns);
/* False: it was said why, and what was shown goes on. */
bool server_reload_tls(struct server *s);

/* api.c */
/* False: it was said what is refused. The check binds nothing. */
bool server_start_api(struct server *s);
bool server_check_api(const struct server *s);
/* Everything is there: says where it listens. */
void server_announce_api(struct server *s);
/* server_page.c: a URL of the admin page, with a code that is good once and for ten minutes where
 * tokens are needed. False: there is no such page, or no random number. */
#define SERVER_URL_MAX 512
bool server_admin_url(void *ctx, char *url_r, size_t cap); /* ctx: the struct server */
/* Tells the person at the terminal. */
void server_announce_page(struct server *s);
/* Its console may connect. False without memory, which was said. */
bool server_let_page_in(struct server *s);
void server_free_page(struct server *s);
void server_set_api_limits(struct server *s);
void server_show_api_tls(struct server *s);
/* False: tokens are as before, which was said. */
bool server_reload_api(struct server *s);
/* Nobody is let in any more; and nobody is there. */
void server_close_api(struct server *s);
void server_end_api(struct server *s);
/* Nobody is at work for it any more. */
void server_free_api(struct server *s);

/* tokens.c */
/* False: it was said what is refused, with the option. The check changes nothing. */
bool server_start_tokens(const struct server *s, struct mount *m, const struct settings_mount *set);
bool server_check_tokens(const struct server *s, const struct settings_mount *set);
/* False: what tokens must be is as before, which was said. */
bool server_reload_tokens(const struct server *s, struct mount *m,
			  const struct settings_mount *set);

/* reload.c */
/* r: what is told of it; NULL: to nobody. */
void server_reload(struct server *s, struct reload *r);
/* The handler of one mount, by the settings that are in effect. */
void server_reload_mount(struct server *s, struct mount *m, struct reload *r);

/* limits.c */
/* Loops, with the main thread's: 0 asks for one per core that this process may use. */
unsigned server_threads(const struct settings *settings);
/* What conns are to keep to, by these settings; the process takes all descriptors that it may. */
struct conn_limits server_limits(const struct settings *settings);
struct room_limits server_room_limits(const struct settings *settings);
/* Is there a page, or a client, that asks for it? */
bool server_has_web_library(const struct settings *settings);
struct resume_limits server_resume_limits(const struct settings *settings);
/* --host as client_addr.h wants it, NULL if it is not given. False without memory. */
bool server_make_hosts(const struct settings *settings, char **hosts_r);
struct addr_limits_limits server_addr_limits(const struct settings *settings);
/* Which variables children get that start from now on. */
void server_set_passenv(struct server *s);

#endif
