/* What the parts are to keep to, by the settings. */
#include <sched.h>
#include <sys/resource.h>

#include "server.h"
#include "ws/authority.h"

#define SERVER_THREAD_DESCRIPTORS 8 /* of each further loop */
#define SERVER_OWN_DESCRIPTORS 64   /* for the log, libraries, files being sent and so on */

static uint32_t server_limits_descriptors(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 1024;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur > UINT32_MAX ? UINT32_MAX : (uint32_t)limit.rlim_cur;
}

unsigned server_threads(const struct settings *settings)
{
	cpu_set_t cores;
	if (settings->threads != 0)
		return (unsigned)settings->threads;
	int n = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
	return n < 1 ? 1 : n > BALANCE_LOOPS ? BALANCE_LOOPS : (unsigned)n;
}

static struct deflate_limits server_limits_deflate(const struct settings *settings)
{
	enum { NONE, IN, OUT, BOTH }; /* --deflate-takeover */
	return (struct deflate_limits){
		.policy = {.on = settings->deflate,
			   .keep_in = settings->deflate_takeover == IN ||
				      settings->deflate_takeover == BOTH,
			   .keep_out = settings->deflate_takeover == OUT ||
				       settings->deflate_takeover == BOTH,
			   .bits = (uint8_t)settings->deflate_window},
		.level = (int)settings->deflate_level,
		.min = (uint32_t)settings->deflate_min,
		.memory = settings->deflate_memory / server_threads(settings),
	};
}

/* Who is silent is asked three times before it is ended. */
static uint32_t server_limits_ping(const struct settings *settings)
{
	uint64_t ping = settings->ping_interval, third = settings->idle_timeout / 3;
	return (uint32_t)(third != 0 && (ping == 0 || third < ping) ? third : ping);
}

/* What is kept for those who use the API, of so many: not more than a quarter. */
static uint32_t server_limits_api_descriptors(const struct settings *settings, uint32_t of)
{
	uint64_t n = settings->api_connections * ((settings->api.n > 0) + (settings->admin.n > 0));
	return n < of / 4 ? (uint32_t)n : of / 4;
}

static bool server_limits_resumes(const struct settings *settings)
{
	for (size_t i = 0; i < settings->n_mounts; i++)
		if (server_resume(&settings->mounts[i]) > 0)
			return true;
	return false;
}

bool server_has_web_library(const struct settings *settings)
{
	return settings->static_dir != NULL || server_limits_resumes(settings);
}

/* A quarter of --max-buffered, where somebody may come back. */
static uint64_t server_limits_kept_max(const struct settings *settings)
{
	return server_limits_resumes(settings) ? settings->max_buffered / 4 : 0;
}

struct conn_limits server_limits(const struct settings *settings)
{
	uint32_t descriptors = server_limits_descriptors();
	uint32_t own =
		SERVER_OWN_DESCRIPTORS + (server_threads(settings) - 1) * SERVER_THREAD_DESCRIPTORS;
	uint32_t most = descriptors > 2 * own ? descriptors - own : descriptors;
	most -= server_limits_api_descriptors(settings, most);
	bool fewer = settings->max_connections != 0 && settings->max_connections < most;
	return (struct conn_limits){
		.head = {.head_max = settings->max_head,
			 .headers_max = (unsigned)settings->max_headers},
		.frame = {.message_max = settings->max_message, .masked = true},
		.deflate = server_limits_deflate(settings),
		.queue_max = (uint32_t)settings->max_queue,
		.buffered_max = (settings->max_buffered - server_limits_kept_max(settings)) /
				server_threads(settings),
		.head_ms = (uint32_t)settings->handshake_timeout,
		.ask_ms = (uint32_t)settings->upgrade_timeout,
		.idle_ms = (uint32_t)settings->idle_timeout,
		.ping_ms = server_limits_ping(settings),
		.close_ms = (uint32_t)settings->close_timeout,
		.uring_min = (uint32_t)settings->io_uring,
		.max = fewer ? (uint32_t)settings->max_connections : most,
	};
}

struct resume_limits server_resume_limits(const struct settings *settings)
{
	return (struct resume_limits){
		.queue = (uint32_t)settings->resume_queue,
		.messages = (uint32_t)settings->resume_messages,
		.kept_max = server_limits_kept_max(settings),
	};
}

struct room_limits server_room_limits(const struct settings *settings)
{
	return (struct room_limits){
		.rooms = (uint32_t)settings->max_rooms,
		.mount_rooms = (uint32_t)settings->max_mount_rooms,
		/* no name is longer */
		.name = settings->max_room_name < RULES_NAME_MAX ? (uint32_t)settings->max_room_name
								 : 0,
	};
}

struct addr_limits_limits server_addr_limits(const struct settings *settings)
{
	return (struct addr_limits_limits){
		.connections = (uint32_t)settings->max_per_address,
		.handshakes = option_rate(settings->handshake_rate),
		.bits4 = 32,
		.bits6 = (uint8_t)settings->address_prefix,
	};
}

bool server_make_hosts(const struct settings *settings, char **hosts_r)
{
	*hosts_r = settings->host.n > 0 ? authority_list(settings->host.items, settings->host.n)
					: NULL;
	return *hosts_r != NULL || settings->host.n == 0;
}

void server_set_passenv(struct server *s)
{
	s->processes.passenv = s->settings.passenv.items;
	s->processes.n_passenv = s->settings.passenv.n;
}
