/* Settings: the command line, the config file, one over the other, and every sentence about what is
 * wrong. */
#include <check.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "settings/settings.h"
#include "run.h"

static char folder[64], config[96];
static struct settings s;
static char *out, *err;

/* --- no memory: these two are called instead of libc's, by the host's code too ---------------- */

static long allocations_left = LONG_MAX;
static bool denied;

static bool allowed(void)
{
	denied = denied || allocations_left == 0;
	return allocations_left > 0 && allocations_left-- > 0;
}

char *strndup(const char *text, size_t n)
{
	size_t len = strnlen(text, n);
	char *copy = allowed() ? malloc(len + 1) : NULL;

	if (copy != NULL) {
		memcpy(copy, text, len);
		copy[len] = '\0';
	}
	return copy;
}

void *reallocarray(void *p, size_t n, size_t size)
{
	if (!allowed()) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(p, n * size);
}

/* --- helpers ---------------------------------------------------------------------------------- */

static void set_up(void)
{
	snprintf(folder, sizeof folder, "/tmp/tova-settings-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(config, sizeof config, "%s/tova.conf", folder);
	memset(&s, 0, sizeof s);
}

static void forget(void)
{
	settings_free(&s);
	free(out);
	free(err);
	out = err = NULL;
}

static void tear_down(void)
{
	forget();
	unlink(config);
	rmdir(folder);
}

static const char *origin_error(const char *item)
{
	return strstr(item, "bad") != NULL ? "is bad; expected better" : NULL;
}

/* Reads the arguments, which end with NULL, into s; what was printed is in out and err. */
static enum settings_status read_args(const char *const *args)
{
	struct settings_source source = {.origin_error = origin_error};
	enum settings_status status;
	char *argv[48] = {"tova-host"};
	size_t n_out, n_err;
	int n = 1;

	forget();
	for (; args[n - 1] != NULL; n++)
		argv[n] = (char *)args[n - 1];
	source.argc = n;
	source.argv = argv;
	source.out = open_memstream(&out, &n_out);
	source.err = open_memstream(&err, &n_err);
	status = settings_read(&s, &source);
	fclose(source.out);
	fclose(source.err);
	return status;
}

#define READ(...) read_args((const char *const[]){__VA_ARGS__, NULL})
#define NOTHING ((const char *const[]){NULL})

static void write_config(const char *text)
{
	FILE *file = fopen(config, "w");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
}

static enum settings_status read_config(const char *text)
{
	write_config(text);
	return READ("-c", config);
}

static char *printed(void)
{
	char *text = NULL;
	size_t n = 0;
	FILE *file = open_memstream(&text, &n);

	settings_print(&s, file);
	fclose(file);
	return text;
}

static const struct settings_mount *mount_at(const char *path)
{
	for (size_t i = 0; i < s.n_mounts; i++)
		if (strcmp(s.mounts[i].path, path) == 0)
			return &s.mounts[i];
	ck_abort_msg("no mount %s", path);
	return NULL;
}

static const char *value_of(const struct settings_mount *mount, const char *key)
{
	for (size_t i = 0; i < mount->n_pairs; i++)
		if (strcmp(mount->pairs[i].key, key) == 0)
			return mount->pairs[i].value;
	return NULL;
}

/* --- the command line ------------------------------------------------------------------------- */

START_TEST(defaults)
{
	ck_assert_int_eq(read_args(NOTHING), SETTINGS_OK);
	ck_assert_str_eq(out, "");
	ck_assert_str_eq(err, "");
	ck_assert_uint_eq(s.listen.n, 1);
	ck_assert_str_eq(s.listen.items[0].host, "127.0.0.1");
	ck_assert_uint_eq(s.listen.items[0].port, 8080);
	ck_assert_uint_eq(s.n_mounts, 0);
	ck_assert_uint_eq(s.origin.n, 0);
	ck_assert_ptr_null(s.static_dir);
	ck_assert_ptr_null(s.log_file);
	ck_assert_uint_eq(s.max_message, 16 << 20);
	ck_assert_uint_eq(s.max_head, 16 << 10);
	ck_assert_uint_eq(s.max_headers, 100);
	ck_assert_uint_eq(s.max_queue, 1 << 20);
	ck_assert_uint_eq(s.max_connections, 0);
	ck_assert_uint_eq(s.backlog, 1024);
	ck_assert_uint_eq(s.handshake_timeout, 10000);
	ck_assert_uint_eq(s.idle_timeout, 120000);
	ck_assert_uint_eq(s.close_timeout, 5000);
	ck_assert_uint_eq(s.drain, 5000);
	ck_assert_uint_eq(s.plugin_slow, 1000);
	ck_assert_uint_eq(s.log_format, 0);
	ck_assert_uint_eq(s.log_level, 3);
	
	ck_assert_uint_eq(s.handler_timeout, 30000);
	ck_assert_uint_eq(s.ready_timeout, 30000);
	ck_assert_uint_eq(s.upgrade_timeout, 10000);
	ck_assert_uint_eq(s.hold_total, 0);
	ck_assert_uint_eq(s.max_attempts, 3);
	ck_assert_uint_eq(s.max_scripts, 1000);
	ck_assert_uint_eq(s.script_rate, 100);
	ck_assert(!s.check && !s.isolate && !s.script_binary);
	ck_assert(s.dead_letter == NULL && s.attach_token.n == 0 && s.control == NULL);
}
END_TEST

START_TEST(all_forms_of_giving_a_value)
{
	ck_assert_int_eq(READ("--max-message", "2k", "--max-head=3k", "-l", "127.0.0.1:1",
			      "-l127.0.0.1:2", "--listen=[::1]:3", "--log-level=debug",
			      "--log-format", "json", "--static", "/srv", "--log-file=a=b",
			      "--check", "-pa.so"),
			 SETTINGS_OK);
	ck_assert_uint_eq(s.max_message, 2048);
	ck_assert_uint_eq(s.max_head, 3072);
	ck_assert_uint_eq(s.listen.n, 3);
	ck_assert_uint_eq(s.listen.items[0].port, 1);
	ck_assert_uint_eq(s.listen.items[1].port, 2);
	ck_assert_str_eq(s.listen.items[2].host, "::1");
	ck_assert_str_eq(s.listen.items[2].text, "[::1]:3");
	ck_assert_uint_eq(s.log_level, 4);
	ck_assert_uint_eq(s.log_format, 1);
	ck_assert_str_eq(s.static_dir, "/srv");
	ck_assert_str_eq(s.log_file, "a=b");
	ck_assert_str_eq(mount_at("/")->plugin, "a.so");
	ck_assert(s.check);
}
END_TEST

static void round_trip(void);

START_TEST(listen_addresses)
{
	char longest[5 + 107 + 1] = "unix:";

	memset(longest + 5, 'a', 107);
	longest[sizeof longest - 1] = '\0';
	ck_assert_int_eq(READ("-l", "0.0.0.0:65535", "-l", "[::]:0", "-l", "[::]:0", "-l",
			      "localhost:9", "-l", longest),
			 SETTINGS_OK);
	ck_assert_uint_eq(s.listen.items[0].port, 65535);
	ck_assert_uint_eq(s.listen.items[1].port, 0);
	ck_assert_str_eq(s.listen.items[1].host, "::");
	ck_assert_str_eq(s.listen.items[3].host, "127.0.0.1");
	ck_assert_str_eq(s.listen.items[4].unix_path, longest + 5);
	ck_assert_ptr_null(s.listen.items[4].host);
	ck_assert(!s.listen.items[0].proxy && !s.listen.items[4].proxy);
	ck_assert_int_eq(READ("-l", "[::1]:9,proxy", "-l", "unix:/a,b,proxy", "--trusted-proxy",
			      "unix, ::1"),
			 SETTINGS_OK);
	ck_assert_str_eq(s.listen.items[0].text, "[::1]:9,proxy");
	ck_assert_str_eq(s.listen.items[0].host, "::1");
	ck_assert_str_eq(s.listen.items[1].unix_path, "/a,b");
	ck_assert(s.listen.items[0].proxy && s.listen.items[1].proxy);
	ck_assert_str_eq(s.trusted_proxy.items[1], "::1");
	round_trip();
	ck_assert_int_eq(READ("-l", "8080", "-l", ":8081,plain", "-l", "systemd:web,proxy",
			      "--trusted-proxy", "unix"),
			 SETTINGS_OK);
	ck_assert_str_eq(s.listen.items[0].host, "::");
	ck_assert_uint_eq(s.listen.items[0].port, 8080);
	ck_assert_uint_eq(s.listen.items[1].port, 8081);
	ck_assert_str_eq(s.listen.items[2].given, "web");
	ck_assert_ptr_null(s.listen.items[2].host);
	ck_assert(s.listen.items[2].proxy);
	round_trip();
}
END_TEST

START_TEST(mounts)
{
	ck_assert_int_eq(READ("-p", "root.so", "-p", "/chat=chat.so", "-p", "/a//b/=x=y.so", "-p",
			      "/opt/p (1)=z.so"),
			 SETTINGS_BAD);
	ck_assert_int_eq(READ("-p", "/opt/p+1=z.so", "-p", "/chat=./chat.so", "-p", "/a//b/=x=y.so",
			      "-p", "/~u/A.b_c-9=/abs/q.so"),
			 SETTINGS_OK);
	ck_assert_uint_eq(s.n_mounts, 4);
	/* a plus is in no mount, so all of it is the file */
	ck_assert_str_eq(mount_at("/")->plugin, "/opt/p+1=z.so");
	ck_assert_str_eq(mount_at("/chat")->plugin, "./chat.so");
	ck_assert_str_eq(mount_at("/a/b")->plugin, "x=y.so");
	ck_assert_str_eq(mount_at("/~u/A.b_c-9")->plugin, "/abs/q.so");
	ck_assert_int_eq(READ("-p", "/=/opt/x=1.so"), SETTINGS_OK);
	ck_assert_str_eq(mount_at("/")->plugin, "/opt/x=1.so");
	ck_assert_int_eq(READ("-p", "//=a.so", "-p", "/...=b.so"), SETTINGS_OK);
	ck_assert_str_eq(mount_at("/")->plugin, "a.so");
	ck_assert_str_eq(mount_at("/...")->plugin, "b.so");
	ck_assert_int_eq(READ("-p", "plain=x.so"), SETTINGS_OK);
	ck_assert_str_eq(mount_at("/")->plugin, "plain=x.so");
}
END_TEST

static void has(const char *path, const char *plugin, const char *worker, const char *attach,
		const char *script)
{
	const struct settings_mount *mount = mount_at(path);

	ck_assert_pstr_eq(mount->plugin, plugin);
	ck_assert_pstr_eq(mount->worker, worker);
	ck_assert_pstr_eq(mount->attach, attach);
	ck_assert_pstr_eq(mount->script, script);
}

START_TEST(handlers)
{
	ck_assert_int_eq(READ("-w", "/a=python3 w.py --x=y", "-a", "/b=ipc:///run/b",
			      "--script=/c/=./c.sh", "-p", "/d=d.so", "--attach",
			      "/a/=tcp://[::1]:0", "-w", "cat /x=y", "-aipc:///r", "--isolate",
			      "--workers=1000", "--script-binary"),
			 SETTINGS_OK);
	ck_assert_uint_eq(s.n_mounts, 5);
	has("/a", NULL, "python3 w.py --x=y", "tcp://[::1]:0", NULL);
	has("/b", NULL, NULL, "ipc:///run/b", NULL);
	has("/c", NULL, NULL, NULL, "./c.sh");
	has("/d", "d.so", NULL, NULL, NULL);
	has("/", NULL, "cat /x=y", "ipc:///r", NULL);
	ck_assert(s.isolate && s.script_binary);
	ck_assert_int_eq(READ("-a", "/c=tcp://0.0.0.0:5", "-a", "/d=tcp://[::]:6", "--attach-token",
			      "/t"),
			 SETTINGS_OK);
	ck_assert_str_eq(s.attach_token.items[0], "/t");
	ck_assert_int_eq(READ("-a", "/c=tcp://127.255.0.1:5"), SETTINGS_OK);
	ck_assert_int_eq(READ("-a", "tls+tcp://[::]:5", "--attach-cert=c", "--attach-key=k",
			      "--attach-client-ca=a"),
			 SETTINGS_OK);
	has("/", NULL, NULL, "tls+tcp://[::]:5", NULL);
	ck_assert_int_eq(READ("-a", "tls+tcp://0.0.0.0:5", "--attach-cert=c", "--attach-key=k",
			      "--attach-token=t"),
			 SETTINGS_OK);
	ck_assert_int_eq(READ("-a", "tls+tcp://[::1]:5", "--attach-cert=c", "--attach-key=k"),
			 SETTINGS_OK);
	/* Settings for every plugin are for the plugins only. */
	ck_assert_int_eq(READ("-w", "/a=a", "-p", "/b=b.so", "--plugin-set", "k=v"), SETTINGS_OK);
	ck_assert_uint_eq(mount_at("/a")->n_pairs, 0);
	ck_assert_str_eq(value_of(mount_at("/b"), "k"), "v");
}
END_TEST

/* A file says by its name which option is meant. */
START_TEST(short_forms)
{
	ck_assert_int_eq(READ("chat.tova", "/b/=x=y.tova", "/c=d.so", "e.so", "/f=it's.py",
			      "/g=--x.mjs"),
			 SETTINGS_BAD); /* two at / */
	ck_assert_int_eq(READ("chat.tova", "/b/=x=y.tova", "/c=d.so", "/f=it's.py", "/g=--x.mjs",
			      "/h=h.js", "--plugin-set", "/b:max-memory=1m"),
			 SETTINGS_OK);
	ck_assert_uint_eq(s.n_mounts, 6);
	has("/", "tova.so", NULL, NULL, NULL);
	has("/b", "tova.so", NULL, NULL, NULL);
	has("/c", "d.so", NULL, NULL, NULL);
	has("/f", NULL, "exec python3 'it'\\''s.py'", NULL, NULL);
	has("/g", NULL, "exec node './--x.mjs'", NULL, NULL);
	has("/h", NULL, "exec node 'h.js'", NULL, NULL);
	ck_assert_str_eq(value_of(mount_at("/"), "file"), "chat.tova");
	ck_assert_str_eq(value_of(mount_at("/b"), "file"), "x=y.tova");
	ck_assert_str_eq(value_of(mount_at("/b"), "max-memory"), "1m");
	ck_assert_uint_eq(mount_at("/c")->n_pairs, 0);
}
END_TEST

START_TEST(pairs)
{
	ck_assert_int_eq(READ("--plugin-set", "/chat/:motd=hi:there=you", "-p", "/chat=c.so",
			      "--plugin-set=motd=all", "-p", "r.so", "--plugin-set",
			      "empty=", "--plugin-set", "/:only=root", "--plugin-set", "empty=2",
			      "--plugin-set", "a.b-c_d=/x:y"),
			 SETTINGS_OK);
	ck_assert_str_eq(value_of(mount_at("/chat"), "motd"),
			 "hi:there=you"); /* the one for a single mount wins, whatever the order */
	ck_assert_str_eq(value_of(mount_at("/"), "motd"), "all");
	ck_assert_str_eq(value_of(mount_at("/"), "empty"), "2");
	ck_assert_str_eq(value_of(mount_at("/"), "only"), "root");
	ck_assert_ptr_null(value_of(mount_at("/chat"), "only"));
	ck_assert_str_eq(value_of(mount_at("/chat"), "a.b-c_d"), "/x:y");
	ck_assert_uint_eq(mount_at("/chat")->n_pairs, 3);
}
END_TEST

/* The key of a mount, "" without one. */
static const char *key_of(const char *path)
{
	const char *key = mount_at(path)->jwt_key;
	return key != NULL ? key : "";
}

START_TEST(scoped)
{
	/* /etc/a is no mount: a path with such a '=' needs its mount in front */
	ck_assert_int_eq(READ("--jwt-key", "/b/=/etc/b", "-w", "/a=a", "-p", "/b=b.so", "-x",
			      "/c=c", "--jwt-key", "/etc/a=b", "--jwt-key",
			      "/c=", "--jwt-key=/a=/x=y"),
			 SETTINGS_BAD);
	ck_assert_int_eq(READ("--jwt-key", "/b/=/etc/b", "-w", "/a=a", "-p", "/b=b.so", "-x",
			      "/c=c", "--jwt-key", "/etc/all", "--jwt-key", "/c="),
			 SETTINGS_OK);
	ck_assert_str_eq(key_of("/a"), "/etc/all");
	ck_assert_str_eq(key_of("/b"), "/etc/b");
	ck_assert_str_eq(key_of("/c"), "");
	ck_assert_int_eq(READ("-w", "w", "--jwt-key", "/=/a=b"), SETTINGS_OK);
	ck_assert_str_eq(key_of("/"), "/a=b");
}
END_TEST

START_TEST(scoped_in_files)
{
	write_config("jwt-key = \"/all\"; jwt-issuer = ( \"me\", \"/b=you\" );\n"
		     "mount = ( { path = \"/a\"; worker = \"a\"; },\n"
		     "          { path = \"/b\"; worker = \"b\"; jwt-key = \"/own\"; },\n"
		     "          { path = \"/c\"; worker = \"c\"; jwt-key = \"\"; } );\n");
	ck_assert_int_eq(READ("-c", config), SETTINGS_OK);
	ck_assert_str_eq(key_of("/a"), "/all");
	ck_assert_str_eq(key_of("/b"), "/own");
	ck_assert_str_eq(key_of("/c"), "");
	ck_assert_str_eq(mount_at("/b")->jwt_issuer, "you");
	/* The command line wins, also over what the file says for a single mount. */
	ck_assert_int_eq(READ("-c", config, "--jwt-key", "/line", "--jwt-key", "/b=/mine"),
			 SETTINGS_OK);
	ck_assert_str_eq(key_of("/a"), "/line");
	ck_assert_str_eq(key_of("/b"), "/mine");
	ck_assert_str_eq(key_of("/c"), "/line");
	/* Mounts of the command line replace the file's; what the file says for all is for them,
	 * too. */
	ck_assert_int_eq(READ("-c", config, "-w", "/b=b"), SETTINGS_OK);
	ck_assert_str_eq(key_of("/b"), "/all");
	ck_assert_str_eq(mount_at("/b")->jwt_issuer, "me");
}
END_TEST

START_TEST(origins)
{
	ck_assert_int_eq(READ("--origin", "https://a.example, https://*.b.example", "--origin",
			      "null"),
			 SETTINGS_OK);
	ck_assert_uint_eq(s.origin.n, 3);
	ck_assert_str_eq(s.origin.items[0], "https://a.example");
	ck_assert_str_eq(s.origin.items[1], "https://*.b.example");
	ck_assert_str_eq(s.origin.items[2], "null");
}
END_TEST

static void speaks(size_t i, bool tls, const char *unix_path)
{
	ck_assert_int_eq(s.listen.items[i].tls, tls);
	ck_assert_pstr_eq(s.listen.items[i].unix_path, unix_path);
}

/* With a certificate whatever other machines reach is TLS, unless it is said. */
START_TEST(tls)
{
	ck_assert_int_eq(READ("--tls-cert=/a", "-l", "127.0.0.1:1", "-l", "unix:/x", "-l",
			      "127.0.0.1:2,plain", "-l", "[::1]:3,tls", "-l", "unix:/y,tls", "-l",
			      "unix:z,tls,plain"),
			 SETTINGS_OK);
	speaks(0, true, NULL);
	speaks(1, false, "/x");
	speaks(2, false, NULL);
	speaks(3, true, NULL);
	speaks(4, true, "/y");
	speaks(5, false, "z,tls");
	ck_assert_str_eq(s.listen.items[3].host, "::1");
	ck_assert_str_eq(s.listen.items[3].text, "[::1]:3,tls");
	ck_assert_uint_eq(s.tls_min, 0);
	ck_assert_uint_eq(s.tls_key.n, 0);
	ck_assert_int_eq(READ("--tls-cert=/a,b", "--tls-key", "k1", "--tls-cert", "c",
			      "--tls-key=k2", "--tls-client-ca=x", "--tls-min=1.3"),
			 SETTINGS_OK);
	ck_assert_uint_eq(s.tls_cert.n, 2);
	ck_assert_str_eq(s.tls_cert.items[0], "/a,b");
	ck_assert_str_eq(s.tls_cert.items[1], "c");
	ck_assert_str_eq(s.tls_key.items[1], "k2");
	ck_assert_uint_eq(s.tls_min, 1);
	speaks(0, true, NULL);
	ck_assert_int_eq(READ("--tls-cert=/a", "-l", "127.0.0.1:1,tls=b.test,tls=a.test,proxy",
			      "-l", "unix:/y,proxy,tls=c.test", "-l", "[::1]:3",
			      "--trusted-proxy=unix"),
			 SETTINGS_OK);
	speaks(0, true, NULL);
	speaks(1, true, "/y");
	ck_assert(s.listen.items[0].proxy && s.listen.items[1].proxy);
	ck_assert_uint_eq(s.listen.items[0].tls_names.n, 2);
	ck_assert_str_eq(s.listen.items[0].tls_names.items[0], "b.test");
	ck_assert_str_eq(s.listen.items[0].tls_names.items[1], "a.test");
	ck_assert_uint_eq(s.listen.items[1].tls_names.n, 1);
	ck_assert_uint_eq(s.listen.items[2].tls_names.n, 0);
	ck_assert_int_eq(READ("-l", "127.0.0.1:2,plain", "-l", "127.0.0.1:3"), SETTINGS_OK);
	speaks(0, false, NULL);
	speaks(1, false, NULL);
	ck_assert_int_eq(
		read_config(
			"tls-cert = ( \"a\", \"b\" ); tls-key = ( \"c\", \"d\" ); listen = \"unix:/q,tls\";"),
		SETTINGS_OK);
	ck_assert_uint_eq(s.tls_cert.n, 2);
	ck_assert_str_eq(s.tls_key.items[1], "d");
	ck_assert_int_eq(read_config("tls-cert = \"a\";"), SETTINGS_OK);
	ck_assert_str_eq(s.tls_cert.items[0], "a");
}
END_TEST

#define RATE \
	" is not a rate; expected a number, 1 to 1000000, and a time such as 100/1s, and ,drop or ,close behind it or not"
#define ADDRESS \
	" is not an address; expected ADDR:PORT with a numeric address, [ADDR6]:PORT, PORT, unix:PATH or systemd:NAME, and " \
	",tls, ,tls=NAME, ,plain or ,proxy behind it or not"
#define URL \
	" is no URL for workers; expected ipc:// and an absolute path, or tcp:// or tls+tcp:// and ADDR:PORT with a numeric address"
#define OPEN " can be dialled from other machines; expected an address of this one, --attach-token"
#define MOUNT_108 \
	"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
	const char *args[8], *sentence;
} WRONG[] = {
	{{"--max-message", "12x"},
	 "--max-message: \"12x\" is not a size; expected a number with k, m or g, 1k to 1g"},
	{{"--max-message=2g"},
	 "--max-message: \"2g\" is out of range; expected a number with k, m or g, 1k to 1g"},
	{{"--max-headers=101"},
	 "--max-headers: \"101\" is out of range; expected a number, 1 to 100"},
	{{"--max-connections=-1"},
	 "--max-connections: \"-1\" is not a number; expected a number, 1 to 100000000, or 0 (as many as descriptors allow)"},
	{{"--idle-timeout=1ms"},
	 "--idle-timeout: \"1ms\" is out of range; expected a number with ms, s, m or h, 1s to 168h, or 0 (never)"},
	{{"--log-level", "all"},
	 "--log-level: \"all\" is unknown; expected error, warn, notice, info or debug"},
	{{"--log-file", ""}, "--log-file: is empty; expected FILE"},
	{{"--max-mesage", "1k"}, "--max-mesage: unknown option; did you mean --max-message?"},
	{{"--max-messages=1k"}, "--max-messages: unknown option; did you mean --max-message?"},
	{{"--verbose"}, "--verbose: unknown option; see --help"},
	{{"--=x"}, "--: unknown option; see --help"},
	{{"--help-ma"}, "--help-ma: unknown option; did you mean --help?"},
	{{"-z"}, "-z: unknown option; see --help"},
	{{"-hz"}, "-z: unknown option; see --help"},
	{{"--listen"},
	 "--listen: needs a value; expected ADDR:PORT|PORT|unix:PATH|systemd:NAME[,tls[=NAME]|,plain][,proxy]"},
	{{"-w"}, "--worker: needs a value; expected [MOUNT=]COMMAND"},
	{{"-w", "/a="}, "--worker: \"/a=\" names no handler; expected [MOUNT=]COMMAND"},
	{{"-x", ""}, "--script: \"\" names no handler; expected [MOUNT=]COMMAND"},
	{{"-a", "/a="}, "--attach: \"/a=\" names no handler; expected [MOUNT=]URL"},
	{{"-a", "/x"}, "--attach: \"/x\"" URL},
	{{"-a", "ipc://x"}, "--attach: \"ipc://x\"" URL},
	{{"-a", "ipc://"}, "--attach: \"ipc://\"" URL},
	{{"-a", "ipc://" MOUNT_108}, "--attach: \"ipc://" MOUNT_108 "\"" URL},
	{{"-a", "/a=tcp://example.org:5"}, "--attach: \"tcp://example.org:5\"" URL},
	{{"-a", "/a=tcp://localhost:5"}, "--attach: \"tcp://localhost:5\"" URL},
	{{"-a", "/a=tcp://*:5"}, "--attach: \"tcp://*:5\"" URL},
	{{"-a", "tcp://127.0.0.1"}, "--attach: \"tcp://127.0.0.1\"" URL},
	{{"-a", "tcp://127.0.0.1:65536"}, "--attach: \"tcp://127.0.0.1:65536\"" URL},
	{{"-a", "ws://127.0.0.1:5"}, "--attach: \"ws://127.0.0.1:5\"" URL},
	{{"-a", "tcp://0.0.0.0:5"}, "--attach: \"tcp://0.0.0.0:5\"" OPEN},
	{{"-a", "tcp://128.0.0.1:5"}, "--attach: \"tcp://128.0.0.1:5\"" OPEN},
	{{"-w", "x", "-a", "tcp://[::]:5"}, "--attach: \"tcp://[::]:5\"" OPEN},
	{{"-a", "tls+tcp://[::]:5", "--attach-cert=c", "--attach-key=k"},
	 "--attach: \"tls+tcp://[::]:5\"" OPEN " or --attach-client-ca"},
	{{"-a", "tls+tcp://127.0.0.1:5", "--attach-cert=c"},
	 "--attach: \"tls+tcp://127.0.0.1:5\" needs --attach-cert and --attach-key"},
	{{"-a", "tls+tcp://127.0.0.1:5", "--attach-key=c"},
	 "--attach: \"tls+tcp://127.0.0.1:5\" needs --attach-cert and --attach-key"},
	{{"-a", "tls+tcp://h:5"}, "--attach: \"tls+tcp://h:5\"" URL},
	{{"-a", "tls+ipc:///h"}, "--attach: \"tls+ipc:///h\"" URL},
	{{"-a", "tcp://[::]:5", "--attach-client-ca=c"}, "--attach: \"tcp://[::]:5\"" OPEN},
	{{"-a", "tcp://[::]:5", "--attach-token", ""}, "--attach-token: is empty; expected [SCOPE[@MOUNT]=]FILE"},
	{{"-w", "/a=x", "-p", "/a=y"},
	 "--plugin: \"y\": the mount /a already has a handler; expected one handler per mount"},
	{{"-p", "/a=x", "-w", "/a/=y"},
	 "--worker: \"y\": the mount /a already has a handler; expected one handler per mount"},
	{{"-x", "x", "-w", "y"},
	 "--worker: \"y\": the mount / already has a handler; expected one handler per mount"},
	{{"-w", "x", "-x", "y"},
	 "--script: \"y\": the mount / already has a handler; expected one handler per mount"},
	{{"-w", "x", "-w", "y"},
	 "--worker: \"y\": the mount / already has a handler; expected one handler per mount"},
	{{"-a", "ipc:///x", "-a", "ipc:///y"},
	 "--attach: \"ipc:///y\": the mount / already has a handler; expected one handler per mount"},
	{{"-a", "ipc:///x", "-p", "y", "-w", "z"},
	 "--worker: \"z\": the mount / already has a handler; expected one handler per mount"},
	{{"-p", "x", "-a", "ipc:///y", "-a", "ipc:///z"},
	 "--attach: \"ipc:///z\": the mount / already has a handler; expected one handler per mount"},
	{{"-a", "ipc:///x", "--attach-token", "publish@/z=f"},
	 "--attach-token: \"publish@/z=f\": there is no mount /z; expected one of /"},
	{{"-a", "ipc:///x", "--attach-token", "publish="},
	 "--attach-token: \"publish=\" is no token; expected SCOPE[@MOUNT]=FILE, such as publish=/etc/tova/token"},
	{{"-w", "/a=x", "--plugin-set", "k=v"},
	 "--plugin-set: \"k\" is a setting for plugins, and none is given"},
	{{"-w", "/a=x", "-p", "/b=b", "--plugin-set", "/a:k=v"},
	 "--plugin-set: the mount /a has no plugin; expected one of /b"},
	{{"-w", "/a=x", "--jwt-key", "/b=k"},
	 "--jwt-key: \"k\": there is no mount /b; expected one of /a"},
	{{"--jwt-key", "k"}, "--jwt-key: \"k\" is for mounts, and there is none"},
	{{"-w/a=x", "--jwt-key=k", "--jwt-key=l"},
	 "--jwt-key: is given twice; expected once, or once for each mount as MOUNT=VALUE"},
	{{"-w/a=x", "--jwt-key=/a=k", "--jwt-key=/a/=l"},
	 "--jwt-key: is given twice for the mount /a; expected once"},
	{{"-w", "/a=x", "--jwt-key", "/../a=k"},
	 "--jwt-key: \"/../a\" is not a mount; expected no segment . or .., which no request can reach"},
	{{"-w/a=x", "--slow-policy", "drop"},
	 "--slow-policy: \"drop\" is unknown; expected close, drop-oldest or conflate"},
	{{"-w/a=x", "--slow-policy", "/a=Close"},
	 "--slow-policy: \"Close\" is unknown; expected close, drop-oldest or conflate"},
	{{"-w/a=x", "--hold-bytes", "/a=1"},
	 "--hold-bytes: \"1\" is out of range; expected a number with k, m or g, 64k to 64g"},
	{{"-w/a=x", "--hold-bytes", "much"},
	 "--hold-bytes: \"much\" is not a size; expected a number with k, m or g, 64k to 64g"},
	{{"-w/a=x", "--slow-policy", "/b=close"},
	 "--slow-policy: \"close\": there is no mount /b; expected one of /a"},
	{{"-w", "/a=x", "--jwt-audience", "b"}, "--jwt-audience: \"b\" needs --jwt-key"},
	{{"-w/a=x", "-w/b=x", "--jwt-key=/b=k", "--jwt-from=/a=header"},
	 "--jwt-from: \"header\" needs --jwt-key for the mount /a"},
	{{"--workers=0"}, "--workers: \"0\" is out of range; expected a number, 1 to 1000"},
	{{"--hold-bytes=1k"},
	 "--hold-bytes: \"1k\" is out of range; expected a number with k, m or g, 64k to 64g"},
	{{"--isolate=true"}, "--isolate: \"true\" is too much; expected --isolate without a value"},
	{{"-p"}, "--plugin: needs a value; expected [MOUNT=]FILE.so"},
	{{"--check=yes"}, "--check: \"yes\" is too much; expected --check without a value"},
	{{"--drain=1s", "--drain=2s"}, "--drain: is given twice; expected once"},
	{{"--check", "--check"}, "--check: is given twice; expected once"},
	{{"stray"},
	 "\"stray\": unexpected argument; expected [MOUNT=]FILE with a file "
	 "that ends in .tova, .so, .py, .mjs or .js, or an option (a command "
	 "for each connection: --script COMMAND); see --help"},
	{{""},
	 "\"\": unexpected argument; expected [MOUNT=]FILE with a file "
	 "that ends in .tova, .so, .py, .mjs or .js, or an option (a command "
	 "for each connection: --script COMMAND); see --help"},
	{{"-"},
	 "\"-\": unexpected argument; expected [MOUNT=]FILE with a file "
	 "that ends in .tova, .so, .py, .mjs or .js, or an option (a command "
	 "for each connection: --script COMMAND); see --help"},
	{{"--", "--check"},
	 "\"--check\": unexpected argument; expected [MOUNT=]FILE with a file "
	 "that ends in .tova, .so, .py, .mjs or .js, or an option (a command "
	 "for each connection: --script COMMAND); see --help"},
	{{"a.tova", "/=b.so"},
	 "--plugin: \"b.so\": the mount / already has a handler; expected one handler per mount"},
	{{"-l", "80800"}, "--listen: \"80800\"" ADDRESS},
	{{"-l", ":"}, "--listen: \":\"" ADDRESS},
	{{"-l", "::8080"}, "--listen: \"::8080\"" ADDRESS},
	{{"-l", "8080x"}, "--listen: \"8080x\"" ADDRESS},
	{{"-l", "8080", "-l", ":8080"}, "--listen: \":8080\" is given twice"},
	{{"-l", "systemd:a,tls", "-l", "systemd:a"}, "--listen: \"systemd:a\" is given twice"},
	{{"-l", "systemd:"},
	 "--listen: \"systemd:\" names no socket; expected what FileDescriptorName= says in the .socket unit behind systemd:"},
	{{"-l", "::1:8080"}, "--listen: \"::1:8080\"" ADDRESS},
	{{"-l", "[::1]"}, "--listen: \"[::1]\"" ADDRESS},
	{{"-l", "[::1:80"}, "--listen: \"[::1:80\"" ADDRESS},
	{{"-l", "[127.0.0.1]:80"}, "--listen: \"[127.0.0.1]:80\"" ADDRESS},
	{{"-l", "[:80"}, "--listen: \"[:80\"" ADDRESS},
	{{"-l", "]:80"}, "--listen: \"]:80\"" ADDRESS},
	{{"-l", "[]:80"}, "--listen: \"[]:80\"" ADDRESS},
	{{"-l", "127.0.0.1:"}, "--listen: \"127.0.0.1:\"" ADDRESS},
	{{"-l", "127.0.0.1:65536"}, "--listen: \"127.0.0.1:65536\"" ADDRESS},
	{{"-l", "127.0.0.1:000080"}, "--listen: \"127.0.0.1:000080\"" ADDRESS},
	{{"-l", "127.0.0.1:8x"}, "--listen: \"127.0.0.1:8x\"" ADDRESS},
	{{"-l", "127.0.0.1:-1"}, "--listen: \"127.0.0.1:-1\"" ADDRESS},
	{{"-l", "127.1:80"}, "--listen: \"127.1:80\"" ADDRESS},
	{{"-l", "example.org:80"}, "--listen: \"example.org:80\"" ADDRESS},
	{{"-l", "127.0.0.1:80,prox"}, "--listen: \"127.0.0.1:80,prox\"" ADDRESS},
	{{"-l", ",proxy"}, "--listen: \",proxy\"" ADDRESS},
	{{"-l", "unix:,proxy"},
	 "--listen: \"unix:,proxy\" is no path for a Unix socket; expected 1 to 107 bytes behind unix:"},
	{{"-l", "127.0.0.1:80,proxy"},
	 "--listen: \"127.0.0.1:80,proxy\" needs --trusted-proxy, with the addresses of those who may send a PROXY header"},
	{{"-l", "127.0.0.1:5,proxy", "-l", "localhost:5"},
	 "--listen: \"localhost:5\" is given twice"},
	{{"--trusted-proxy", "10.0.0.0/8,proxy.example"},
	 "--trusted-proxy: \"proxy.example\": expected a numeric address, a network such as 10.0.0.0/8 or 2001:db8::/32, or unix"},
	{{"--rate-limit", "5"}, "--rate-limit: \"5\"" RATE},
	{{"--rate-limit", "/a=0/1s"}, "--rate-limit: \"0/1s\"" RATE},
	{{"--rate-limit", "5/1s,ignore"}, "--rate-limit: \"5/1s,ignore\"" RATE},
	{{"--rate-limit", "5/1s,drop,close"}, "--rate-limit: \"5/1s,drop,close\"" RATE},
	{{"-p", "x", "--rate-limit", "/a=5/1s"},
	 "--rate-limit: \"5/1s\": there is no mount /a; expected one of /"},
	{{"--trusted-proxy", "10.0.0.1/8"},
	 "--trusted-proxy: \"10.0.0.1/8\": expected no bits of the address behind its prefix"},
	{{"--handshake-rate", "5"},
	 "--handshake-rate: \"5\" is not a rate; expected a number and a time such as 20/10s, 1 to 1000000, or 0 (any number)"},
	{{"--forwarded", "both"},
	 "--forwarded: \"both\" is unknown; expected x-forwarded, rfc7239 or off"},
	{{"-l", ",tls"}, "--listen: \",tls\"" ADDRESS},
	{{"-l", "127.0.0.1:1,tls,plain"}, "--listen: \"127.0.0.1:1,tls,plain\"" ADDRESS},
	{{"-l", "unix:,tls"},
	 "--listen: \"unix:,tls\" is no path for a Unix socket; expected 1 to 107 bytes behind unix:"},
	{{"-l", "127.0.0.1:5", "-l", "127.0.0.1:5,tls"},
	 "--listen: \"127.0.0.1:5,tls\" is given twice"},
	{{"-l", "127.0.0.1:5,tls"}, "--listen: \"127.0.0.1:5,tls\" needs --tls-cert"},
	{{"-l", "127.0.0.1:5,tls=a"}, "--listen: \"127.0.0.1:5,tls=a\" needs --tls-cert"},
	{{"-l", "127.0.0.1:5,tls="}, "--listen: \"127.0.0.1:5,tls=\"" ADDRESS},
	{{"-l", "127.0.0.1:5,tls=a,plain"}, "--listen: \"127.0.0.1:5,tls=a,plain\"" ADDRESS},
	{{"-l", "unix:,tls=a"},
	 "--listen: \"unix:,tls=a\" is no path for a Unix socket; expected 1 to 107 bytes behind unix:"},
	{{"--tls-cert=a", "-l", "unix:/x", "-l", "127.0.0.1:5,plain"},
	 "--tls-cert: nothing speaks TLS; expected --listen with a TCP address, or with unix:PATH,tls"},
	{{"--tls-cert="}, "--tls-cert: is empty; expected FILE"},
	{{"--tls-cert=a", "--tls-cert=b", "--tls-key=c"},
	 "--tls-key: given 1 times; expected as often as --tls-cert, 2 times"},
	{{"--tls-key=c"}, "--tls-key: given 1 times; expected as often as --tls-cert, 0 times"},
	{{"--tls-client-ca=c"}, "--tls-client-ca: \"c\" needs --tls-cert"},
	{{"--tls-min=1.1"}, "--tls-min: \"1.1\" is unknown; expected 1.2 or 1.3"},
	{{"-l", "unix:"},
	 "--listen: \"unix:\" is no path for a Unix socket; expected 1 to 107 bytes behind unix:"},
	{{"-l", "unix:" MOUNT_108},
	 "--listen: \"unix:" MOUNT_108
	 "\" is no path for a Unix socket; expected 1 to 107 bytes behind unix:"},
	{{"-l", "127.0.0.1:5", "-l", "localhost:5"}, "--listen: \"localhost:5\" is given twice"},
	{{"-l", "unix:/x", "-l", "unix:/x"}, "--listen: \"unix:/x\" is given twice"},
	/* Empty: of a variable that is not set, say. */
	{{"--origin", "a,,b"},
	 "--origin: \"a,,b\" has an empty element; expected LIST, such as https://example.com,null"},
	{{"--origin", "a,"},
	 "--origin: \"a,\" has an empty element; expected LIST, such as https://example.com,null"},
	{{"--origin", " "},
	 "--origin: \" \" has an empty element; expected LIST, such as https://example.com,null"},
	{{"--origin="},
	 "--origin: \"\" has an empty element; expected LIST, such as https://example.com,null"},
	{{"--host", ""},
	 "--host: \"\" has an empty element; expected LIST, such as example.com,*.example.com"},
	{{"--host", ",a"},
	 "--host: \",a\" has an empty element; expected LIST, such as example.com,*.example.com"},
	{{"--trusted-proxy", ""},
	 "--trusted-proxy: \"\" has an empty element; expected LIST, such as 10.0.0.0/8,unix"},
	{{"--passenv", ""},
	 "--passenv: \"\" has an empty element; expected NAME,..., such as TZ,APP_*"},
	{{"-w", "w", "--jwt-key="}, "--jwt-key: \"\" is empty; expected [MOUNT=]FILE"},
	{{"-w", "w", "--jwt-from="}, "--jwt-from: \"\" is empty; expected [MOUNT=]LIST"},
	{{"-w", "w", "--jwt-audience="}, "--jwt-audience: \"\" is empty; expected [MOUNT=]LIST"},
	{{"-w", "w", "--jwt-issuer="}, "--jwt-issuer: \"\" is empty; expected [MOUNT=]LIST"},
	{{"-w", "w", "--subprotocol="}, "--subprotocol: \"\" is empty; expected [MOUNT=]LIST"},
	{{"-w", "w", "--rate-limit="},
	 "--rate-limit: \"\" is empty; expected [MOUNT=]N/TIME[,drop|,close]"},
	{{"-w", "w", "--slow-policy="},
	 "--slow-policy: \"\" is unknown; expected close, drop-oldest or conflate"},
	{{"-w", "w", "--hold-bytes="},
	 "--hold-bytes: \"\" is not a size; expected a number with k, m or g, 64k to 64g"},
	{{"--origin", "https://good,https://bad"},
	 "--origin: \"https://bad\": is bad; expected better"},
	{{"-p", ""}, "--plugin: \"\" names no handler; expected [MOUNT=]FILE.so"},
	{{"-p", "/chat="}, "--plugin: \"/chat=\" names no handler; expected [MOUNT=]FILE.so"},
	{{"-p", "/a/../b=x.so"},
	 "--plugin: \"/a/../b\" is not a mount; expected no segment . or .., which no request can reach"},
	{{"-p", "/.=x.so"},
	 "--plugin: \"/.\" is not a mount; expected no segment . or .., which no request can reach"},
	{{"-p", "/a=x.so", "-p", "/a/=y.so"},
	 "--plugin: \"y.so\": the mount /a already has a handler; expected one handler per mount"},
	{{"-p", "x.so", "-p", "/=y.so"},
	 "--plugin: \"y.so\": the mount / already has a handler; expected one handler per mount"},
	{{"-p", "x.so", "--plugin-set", "novalue"},
	 "--plugin-set: \"novalue\" is not a setting; expected [MOUNT:]KEY=VALUE"},
	{{"-p", "x.so", "--plugin-set", "/x=1"},
	 "--plugin-set: \"/x=1\" is not a setting; expected [MOUNT:]KEY=VALUE"},
	{{"-p", "x.so", "--plugin-set", "/x=1:2"},
	 "--plugin-set: \"/x=1:2\" is not a setting; expected [MOUNT:]KEY=VALUE"},
	{{"-p", "x.so", "--plugin-set", "=1"},
	 "--plugin-set: \"\" is not a key; expected 1 to 64 letters, digits and . _ -"},
	{{"-p", "x.so", "--plugin-set", "a b=1"},
	 "--plugin-set: \"a b\" is not a key; expected 1 to 64 letters, digits and . _ -"},
	{{"-p", "x.so", "--plugin-set", "/x y:a=1"},
	 "--plugin-set: \"/x y\" is not a mount; expected letters, digits and . _ ~ / -"},
	{{"-p", "x.so", "-p", "/y=y.so", "--plugin-set", "/z:a=1"},
	 "--plugin-set: the mount /z has no plugin; expected one of /, /y"},
	{{"--plugin-set", "/z:a=1"}, "--plugin-set: the mount /z has no plugin"},
	{{"--plugin-set", "a=1"},
	 "--plugin-set: \"a\" is a setting for plugins, and none is given"},
	{{"-c", "/no/such/file"},
	 "--config: /no/such/file: can not be read: No such file or directory"},
	{{"-c", "/"}, "--config: /: can not be read: Is a directory"},
};

START_TEST(wrong_arguments)
{
	char wanted[600];

	ck_assert_int_eq(read_args(WRONG[_i].args), SETTINGS_BAD);
	snprintf(wanted, sizeof wanted, "tova-host: %s\n", WRONG[_i].sentence);
	ck_assert_str_eq(err, wanted);
	ck_assert_str_eq(out, "");
	ck_assert_uint_eq(s.n_mounts, 0);
	ck_assert_ptr_null(s.listen.items);
}
END_TEST

START_TEST(only_the_first_mistake_unless_checking)
{
	ck_assert_int_eq(READ("--drain=x", "--backlog=0", "-l", "x"), SETTINGS_BAD);
	ck_assert_str_eq(
		err,
		"tova-host: --drain: \"x\" is not a time; expected a number with ms, s, m or h, 0 to 1h\n");
	ck_assert_int_eq(READ("--drain=x", "--backlog=0", "-l", "x", "--check"), SETTINGS_BAD);
	ck_assert_str_eq(
		err,
		"tova-host: --drain: \"x\" is not a time; expected a number with ms, s, m or h, 0 to 1h\n"
		"tova-host: --backlog: \"0\" is out of range; expected a number, 1 to 65535\n"
		"tova-host: --listen: \"x\"" ADDRESS "\n");
}
END_TEST

/* A mount that is missing because its own option is wrong is not blamed on the settings for it. */
START_TEST(no_mistake_follows_from_another)
{
	ck_assert_int_eq(READ("-p", "/a=", "--plugin-set", "/a:k=v", "--check"), SETTINGS_BAD);
	ck_assert_str_eq(
		err, "tova-host: --plugin: \"/a=\" names no handler; expected [MOUNT=]FILE.so\n");
}
END_TEST

START_TEST(long_nonsense_does_not_hurt)
{
	char *big = malloc(100002);

	memset(big, 'x', 100000);
	memcpy(big, "--", 2);
	big[100000] = '\0';
	ck_assert_int_eq(READ(big), SETTINGS_BAD);
	ck_assert_uint_lt(strlen(err), 200);
	memset(big, '/', 2);
	ck_assert_int_eq(READ("-l", big), SETTINGS_BAD);
	ck_assert_int_eq(READ("--drain", big), SETTINGS_BAD);
	ck_assert_int_eq(READ("--plugin-set", big), SETTINGS_BAD);
	ck_assert_int_eq(READ(big), SETTINGS_BAD);
	ck_assert_uint_lt(strlen(err), 400);
	strcpy(big + 99999, "=y");
	ck_assert_int_eq(READ("-p", big), SETTINGS_BAD);
	ck_assert_ptr_nonnull(
		strstr(err, "\" is too long for a mount; expected at most 255 bytes\n"));
	ck_assert_int_eq(READ("-p", "x", "--plugin-set", big + 2), SETTINGS_BAD);
	ck_assert_ptr_nonnull(strstr(err, "is not a key"));
	ck_assert_int_eq(READ("-p", big + 2), SETTINGS_OK);
	ck_assert_uint_eq(strlen(s.mounts[0].plugin), 99999);
	free(big);
}
END_TEST

START_TEST(prints_instead_of_running)
{
	ck_assert_int_eq(READ("--version", "-c", "/no/such/file"), SETTINGS_DONE);
	ck_assert_str_eq(out, "tova-host " TOVA_VERSION "\n");
	ck_assert_int_eq(READ("--help"), SETTINGS_DONE);
	ck_assert_int_eq(strncmp(out, "usage: tova-host ", 17), 0);
	ck_assert_int_eq(READ("-hV"), SETTINGS_DONE);
	ck_assert_int_eq(strncmp(out, "usage: tova-host ", 17), 0);
	ck_assert_int_eq(READ("--help-man"), SETTINGS_DONE);
	ck_assert_int_eq(strncmp(out, ".SS ", 4), 0);
	ck_assert_int_eq(READ("--help-markdown"), SETTINGS_DONE);
	ck_assert_int_eq(strncmp(out, "| option ", 9), 0);
	ck_assert_str_eq(err, "");
	/* A mistake is not hidden by --help behind it. */
	ck_assert_int_eq(READ("--nonsense", "--help"), SETTINGS_BAD);
	ck_assert_str_eq(out, "");
}
END_TEST

START_TEST(silent_when_asked)
{
	char *argv[] = {"tova-host", "--drain=x"};
	struct settings_source source = {.argc = 2, .argv = argv};

	ck_assert_int_eq(settings_read(&s, &source), SETTINGS_BAD);
}
END_TEST

/* --- the config file -------------------------------------------------------------------------- */

START_TEST(config_values)
{
	ck_assert_int_eq(
		read_config(
			"listen = ( \"127.0.0.1:1\", \"unix:/tmp/x\" );\n"
			"origin = [ \"https://a\", \"https://b\" ];\n"
			"max-message = 4096;\nmax-head = \"8k\";\nidle-timeout = 0;\ndrain = 2;\nclose-timeout = \"250ms\";\n"
			"max-connections = 0x10;\nlog-level = \"warn\";\nstatic = \"/srv\";\n"
			"mount = ( { path = \"/chat/\"; plugin = \"chat.so\"; plugin-set = { motd = \"hi\"; n = 5; on = true; }; },\n"
			"          { plugin = \"root.so\"; plugin-set = ( \"a.b=c=d\", \"9=\" ); } );\n"),
		SETTINGS_OK);
	ck_assert_str_eq(err, "");
	ck_assert_uint_eq(s.listen.n, 2);
	ck_assert_str_eq(s.listen.items[1].unix_path, "/tmp/x");
	ck_assert_uint_eq(s.origin.n, 2);
	ck_assert_uint_eq(s.max_message, 4096);
	ck_assert_uint_eq(s.max_head, 8192);
	ck_assert_uint_eq(s.idle_timeout, 0);
	ck_assert_uint_eq(s.drain, 2000);
	ck_assert_uint_eq(s.close_timeout, 250);
	ck_assert_uint_eq(s.max_connections, 16);
	ck_assert_uint_eq(s.log_level, 1);
	ck_assert_str_eq(s.static_dir, "/srv");
	ck_assert_uint_eq(s.max_headers, 100); /* not in the file: the default */
	ck_assert_str_eq(mount_at("/chat")->plugin, "chat.so");
	ck_assert_str_eq(value_of(mount_at("/chat"), "motd"), "hi");
	ck_assert_str_eq(value_of(mount_at("/chat"), "n"), "5");
	ck_assert_str_eq(value_of(mount_at("/chat"), "on"), "true");
	ck_assert_str_eq(value_of(mount_at("/"), "a.b"), "c=d");
	ck_assert_str_eq(value_of(mount_at("/"), "9"), "");
	ck_assert_int_eq(read_config("listen = \"127.0.0.1:7\"; origin = \"https://a,https://b\";"),
			 SETTINGS_OK);
	ck_assert_uint_eq(s.listen.items[0].port, 7);
	ck_assert_uint_eq(s.origin.n, 2);
	ck_assert_int_eq(read_config(""), SETTINGS_OK);
	ck_assert_int_eq(read_config("origin = (); mount = ();"), SETTINGS_OK);
	ck_assert_uint_eq(s.origin.n + s.n_mounts, 0);
}
END_TEST

/* Each of them is what it says, or refused, whatever libconfig makes of more than 32 bits. */
/* Of a file whose last line is one. */
START_TEST(config_comments)
{
	static const char *const texts[] = {"drain = 7; # last", "drain = 7; // last",
					    "drain = 7; /* last */",
					    "/**/ drain = 7 /***/; /* \" */", "drain = 7; #"};

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		ck_assert_msg(read_config(texts[i]) == SETTINGS_OK, "%s: %s", texts[i], err);
		ck_assert_uint_eq(s.drain, 7000);
		settings_free(&s);
	}
}
END_TEST

START_TEST(config_numbers)
{
	static const struct {
		const char *typed;
		unsigned long long value; /* 1: it is refused */
	} sizes[] = {
		{"2147483647", 2147483647},
		{"2147483648", 2147483648ull},
		{"2147483648L", 2147483648ull},
		{"2147483648LL", 2147483648ull},
		{"3000000000", 3000000000ull},
		{"4294967296", 4294967296ull},
		{"+4294967296", 4294967296ull},
		{"5368709120", 5368709120ull},
		{"0x100000000", 4294967296ull},
		{"0X100000000L", 4294967296ull},
		{"0xFFFFFFFF", 4294967295ull},
		{"0x80000000", 2147483648ull},
		{"0000000000000000000000070000", 70000},
		{"0", 0},
		{"65536", 65536},
		{"-1", 1},
		{"-4294967296", 1},
		{"4294967296.0", 1},
		{"4294967296e0", 1},
		{"12345678901234", 1},
		{"18446744073709617152", 1},
		{"0xFFFFFFFFFFFFFFFF", 1},
		{"0x10000000000010000", 1},
		{"9223372036854775807", 1},
		{"9223372036854775808L", 1},
	};
	char text[300];

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		snprintf(
			text, sizeof text,
			"# 99999999999999999999\nmax-buffered = %s;\ndrain=1/* 5000000000 */backlog:0x10",
			sizes[i].typed);
		ck_assert_msg(read_config(text) ==
				      (sizes[i].value == 1 ? SETTINGS_BAD : SETTINGS_OK),
			      "%s: %s", sizes[i].typed, err);
		if (sizes[i].value == 1) {
			ck_assert_ptr_nonnull(strstr(err, ":2: max-buffered: "));
			continue;
		}
		ck_assert_msg(s.max_buffered == sizes[i].value, "%s", sizes[i].typed);
		ck_assert(s.drain == 1000 && s.backlog == 16);
	}
	ck_assert_int_eq(
		read_config(
			"mount = ( { plugin = \"x\"; hold-bytes = 4294967296; plugin-set = { a = 4294967296; b = -2147483649;\n"
			"c = 0xFFFFFFFFFF; d = 010; e = 7; f = \"\\\"5000000000\" \"9\"; a5000000000 = -9223372036854775808; }; } );\n"
			"// 99999999999999999999\nstatic = \"99999999999999999999\"; max-message=70000max-head=4096"),
		SETTINGS_OK);
	ck_assert_str_eq(mount_at("/")->hold_bytes, "4294967296");
	ck_assert_str_eq(value_of(mount_at("/"), "a"), "4294967296");
	ck_assert_str_eq(value_of(mount_at("/"), "b"), "-2147483649");
	ck_assert_str_eq(value_of(mount_at("/"), "c"), "1099511627775");
	ck_assert_str_eq(value_of(mount_at("/"), "d"), "10");
	ck_assert_str_eq(value_of(mount_at("/"), "e"), "7");
	ck_assert_str_eq(value_of(mount_at("/"), "f"), "\"50000000009");
	ck_assert_str_eq(value_of(mount_at("/"), "a5000000000"), "-9223372036854775808");
	ck_assert_str_eq(s.static_dir, "99999999999999999999");
	ck_assert(s.max_message == 70000 && s.max_head == 4096);
}
END_TEST

START_TEST(config_handlers)
{
	ck_assert_int_eq(
		read_config(
			"mount = ( { path = \"/a\"; worker = \"w 1\"; attach = \"ipc:///a\"; },\n"
			"{ attach = \"tcp://1.2.3.4:5\"; }, { path = \"/s\"; script = \"s\"; } );\n"
			"workers = 4; isolate = true; script-binary = false; handler-timeout = \"100ms\"; ready-timeout = 5;\n"
			"upgrade-timeout = \"1h\"; hold-bytes = (\"64g\", \"/a=1m\"); hold-total = 65536; max-attempts = 100; dead-letter = \"d\"; control = \"c\";\n"
			"attach-token = \"t\"; max-scripts = 7; script-rate = 8;"),
		SETTINGS_OK);
	has("/a", NULL, "w 1", "ipc:///a", NULL);
	has("/", NULL, NULL, "tcp://1.2.3.4:5", NULL);
	has("/s", NULL, NULL, NULL, "s");
	ck_assert(s.isolate && !s.script_binary && s.handler_timeout == 100 &&
		  s.ready_timeout == 5000);
	ck_assert(s.upgrade_timeout == 3600000 && s.hold_total == 65536 && s.max_attempts == 100);
	ck_assert_str_eq(mount_at("/a")->hold_bytes, "1m");
	ck_assert_str_eq(mount_at("/s")->hold_bytes, "64g");
	ck_assert(s.max_scripts == 7 && s.script_rate == 8);
	ck_assert_str_eq(s.dead_letter, "d");
	ck_assert_str_eq(s.attach_token.items[0], "t");
	ck_assert_str_eq(s.control, "c");
}
END_TEST

START_TEST(command_line_wins)
{
	write_config(
		"listen = ( \"127.0.0.1:1\", \"127.0.0.1:2\" );\nmax-message = \"2k\"; max-head = \"2k\";\norigin = \"https://a\";\n"
		"static = \"/file\"; log-level = \"error\";\n"
		"mount = ( { path = \"/a\"; plugin = \"a.so\"; plugin-set = { k = \"file\"; l = \"file\"; m = \"file\"; }; },\n"
		"          { path = \"/b\"; plugin = \"b.so\"; } );\n");
	ck_assert_int_eq(READ("--max-message=4k", "-c", config, "-l", "127.0.0.1:3",
			      "--origin=null", "--static=/line", "--log-level=info", "--plugin-set",
			      "k=line", "--plugin-set", "/a:l=line"),
			 SETTINGS_OK);
	ck_assert_uint_eq(s.max_message, 4096);
	ck_assert_uint_eq(s.max_head, 2048);
	ck_assert_uint_eq(s.listen.n, 1);
	ck_assert_uint_eq(s.listen.items[0].port, 3);
	ck_assert_uint_eq(s.origin.n, 1);
	ck_assert_str_eq(s.origin.items[0], "null");
	ck_assert_str_eq(s.static_dir, "/line");
	ck_assert_uint_eq(s.log_level, 3);
	ck_assert_str_eq(s.config, config);
	ck_assert_uint_eq(s.n_mounts, 2);
	ck_assert_str_eq(value_of(mount_at("/a"), "k"), "line");
	ck_assert_str_eq(value_of(mount_at("/a"), "l"), "line");
	ck_assert_str_eq(value_of(mount_at("/a"), "m"), "file");
	ck_assert_str_eq(value_of(mount_at("/b"), "k"), "line");
	/* Plugins on the command line replace the file's mounts, settings and all. */
	ck_assert_int_eq(READ("-c", config, "-p", "/c=c.so"), SETTINGS_OK);
	ck_assert_uint_eq(s.n_mounts, 1);
	ck_assert_uint_eq(mount_at("/c")->n_pairs, 0);
	ck_assert_int_eq(READ("-c", config, "-w", "/c=c"), SETTINGS_OK);
	ck_assert_uint_eq(s.n_mounts, 1);
	has("/c", NULL, "c", NULL, NULL);
	/* What the command line overrides must be right all the same. */
	write_config("max-message = \"1x\";");
	ck_assert_int_eq(READ("--max-message=4k", "-c", config), SETTINGS_BAD);
}
END_TEST

static const struct {
	const char *text, *sentence; /* behind the file's name */
} WRONG_CONFIG[] = {
	{"drain = 1;\n/* open\nmax-head = 2k;",
	 ":2: a comment begins here and does not end; expected */"},
	{"drain = 1; /*/", ":1: a comment begins here and does not end; expected */"},
	{"drain = 1;\n\"", ":2: a quote begins here and does not end; expected another \""},
	{"listen = ",
	 ":1: syntax error; expected NAME = VALUE and groups in brackets that are closed"},
	{"\n\nmax-head = \"2k\"\n\nx y", ":5: x: has no = behind it; expected x = VALUE"},
	{"drain = 1;\ndrain = 2;", ":2: drain: is given twice; expected once"},
	{"\nmax-message = \"12x\";",
	 ":2: max-message: \"12x\" is not a size; expected a number with k, m or g, 1k to 1g"},
	{"max-message = 12;",
	 ":1: max-message: \"12\" is out of range; expected a number with k, m or g, 1k to 1g"},
	{"backlog = -1;", ":1: backlog: \"-1\" is not a number; expected a number, 1 to 65535"},
	{"max-message = 99999999999L;",
	 ":1: max-message: \"99999999999\" is out of range; expected a number with k, m or g, 1k to 1g"},
	{"\nmax-buffered = 18446744073709551617;",
	 ":2: max-buffered: 18446744073709551617 is out of range for a whole number; expected -9223372036854775808 to 9223372036854775807, "
	 "or a string in quotes"},
	{"mount = ( { plugin = \"x\"; plugin-set = {\na = 0x10000000000000000L; }; } );",
	 ":2: a: 0x10000000000000000 is out of range for a whole number; expected -9223372036854775808 to 9223372036854775807, "
	 "or a string in quotes"},
	{"mount = ( { plugin = \"x\"; plugin-set = {\nt = ( true, -99999999999999999999 ); }; } );",
	 ":2: t: -99999999999999999999 is out of range for a whole number; expected -9223372036854775808 to 9223372036854775807, "
	 "or a string in quotes"},
	{"static = /99999999999999999999;",
	 ":1: static: /99999999999999999999 stands without quotes; expected static = \"/99999999999999999999\""},
	{"listen = ( 5000000000 );",
	 ":1: listen: 5000000000 is no string; expected strings in quotes"},
	{"idle-timeout = 1.5;",
	 ":1: idle-timeout: 1.5 is no whole number; expected one, or a string in quotes such as \"120s\""},
	{"drain = true;",
	 ":1: drain: true is no whole number; expected one, or a string in quotes such as \"5s\""},
	{"drain = ( 1 );",
	 ":1: drain: a list is no whole number; expected one, or a string in quotes such as \"5s\""},
	{"static = 5;", ":1: static: 5 is no string; expected DIR in quotes"},
	{"static = \"\";", ":1: static: is empty; expected DIR"},
	{"log-level = 3;", ":1: log-level: 3 is no string; expected LEVEL in quotes"},
	{"log-level = { a = 1; };",
	 ":1: log-level: a group is no string; expected LEVEL in quotes"},
	{"log-level = \"loud\";",
	 ":1: log-level: \"loud\" is unknown; expected error, warn, notice, info or debug"},
	{"listen = 8080;",
	 ":1: listen: 8080 is no string; expected ADDR:PORT|PORT|unix:PATH|systemd:NAME[,tls[=NAME]|,plain][,proxy] in quotes, or a list of such"},
	{"listen = ();",
	 ":1: listen: is empty; expected ADDR:PORT|PORT|unix:PATH|systemd:NAME[,tls[=NAME]|,plain][,proxy]"},
	{"tls-cert = ();", ":1: tls-cert: is empty; expected FILE"},
	{"listen = (\n\"127.0.0.1:1\",\n8080 );",
	 ":3: listen: 8080 is no string; expected strings in quotes"},
	{"listen = (\n\"127.0.0.1:1\",\n\"x\" );", ":3: listen: \"x\"" ADDRESS},
	{"host = (\"a\",\n\"\");",
	 ":2: host: \"\" has an empty element; expected LIST, such as example.com,*.example.com"},
	{"jwt-key = \"\";", ":1: jwt-key: \"\" is empty; expected [MOUNT=]FILE"},
	{"origin = \"https://bad\";", ":1: origin: \"https://bad\": is bad; expected better"},
	{"\nmax-mesage = 5;", ":2: max-mesage: unknown name; did you mean max-message?"},
	{"mounts = ();", ":1: mounts: unknown name; did you mean mount?"},
	{"zzz = 1;", ":1: zzz: unknown name"},
	{"help-man = true;", ":1: help-man: unknown name"},
	{"check = true;", ":1: check: can only be given on the command line"},
	{"config = \"x\";", ":1: config: can only be given on the command line"},
	{"plugin = \"x.so\";",
	 ":1: plugin: belongs in a mount, such as mount = ( { path = \"/chat\"; plugin = \"chat.so\"; } )"},
	{"plugin-set = { a = 1; };",
	 ":1: plugin-set: belongs in a mount, such as mount = ( { path = \"/chat\"; plugin = \"chat.so\"; } )"},
	{"mount = { plugin = \"x\"; };",
	 ":1: mount: expected a list such as ( { path = \"/chat\"; plugin = \"chat.so\"; } )"},
	{"mount = (\n5 );",
	 ":2: mount: expected a group such as { path = \"/chat\"; plugin = \"chat.so\"; }"},
	{"mount = ( {\npath = \"/x\"; } );",
	 ":1: mount: has no handler; expected plugin, worker, attach, script or script-dir"},
	{"mount = ( {\nplugin-set = { a = 1; }; } );",
	 ":1: mount: has no handler; expected plugin, worker, attach, script or script-dir"},
	{"mount = ( { worker = \"x\";\nplugin-set = { a = 1; }; } );",
	 ":2: plugin-set: is for plugins, and this mount has none"},
	{"mount = ( { worker = \"x\";\nscript = \"x\"; } );",
	 ":2: script: \"x\": the mount / already has a handler; expected one handler per mount"},
	{"mount = ( { plugin = \"x\";\nworker = \"x\"; } );",
	 ":2: worker: \"x\": the mount / already has a handler; expected one handler per mount"},
	{"mount = ( { worker = \"x\"; },\n{ worker = \"x\"; } );",
	 ":2: worker: \"x\": the mount / already has a handler; expected one handler per mount"},
	{"mount = ( { worker = \"x\";\nattach = \"x\"; } );", ":2: attach: \"x\"" URL},
	{"mount = ( { worker = \"x\";\nattach = 5; } );",
	 ":2: attach: 5; expected a string in quotes that is not empty"},
	{"mount = ( { worker = ( \"x\" ); } );",
	 ":1: worker: a list; expected a string in quotes that is not empty"},
	{"worker = \"x\";",
	 ":1: worker: belongs in a mount, such as mount = ( { path = \"/chat\"; plugin = \"chat.so\"; } )"},
	{"mount = ( { worker = \"x\";\nslow-policy = \"none\"; } );",
	 ":2: slow-policy: \"none\" is unknown; expected close, drop-oldest or conflate"},
	{"mount = ( { worker = \"x\";\njwt-key = 5; } );",
	 ":2: jwt-key: 5 is no string; expected FILE in quotes"},
	{"jwt-key = 5;",
	 ":1: jwt-key: 5 is no string; expected [MOUNT=]FILE in quotes, or a list of such"},
	{"jwt-key = (\"a\",\n\"b\");",
	 ":2: jwt-key: is given twice; expected once, or once for each mount as MOUNT=VALUE"},
	{"isolate = \"true\";",
	 ":1: isolate: \"true\" is no truth value; expected true or false, without quotes"},
	{"isolate = 1;",
	 ":1: isolate: 1 is no truth value; expected true or false, without quotes"},
	{"mount = ( {\nplugin = 5; } );",
	 ":2: plugin: 5; expected a string in quotes that is not empty"},
	{"mount = ( {\nplugin = \"\"; } );",
	 ":2: plugin: \"\"; expected a string in quotes that is not empty"},
	{"mount = ( { plugin = \"x\";\npath = 5; } );",
	 ":2: path: 5; expected a string in quotes that is not empty"},
	{"mount = ( { plugin = \"x\";\npath = \"chat\"; } );",
	 ":1: mount: \"chat\" is not a mount; expected a path that begins with /"},
	{"mount = ( { plugin = \"x\"; path = \"/a b\"; } );",
	 ":1: mount: \"/a b\" is not a mount; expected letters, digits and . _ ~ / -"},
	{"mount = ( { plugin = \"x\";\npluginset = {}; } );",
	 ":2: pluginset: unknown name in a mount; did you mean plugin-set?"},
	{"mount = ( { plugin = \"x\";\ndrain = 5; } );",
	 ":2: drain: 5 stands in a mount, and is one for all; expected outside of the mounts"},
	{"mount = ( { plugin = \"x\"; },\n{ path = \"//\"; plugin = \"y\"; } );",
	 ":2: plugin: \"y\": the mount / already has a handler; expected one handler per mount"},
	{"mount = ( { plugin = \"x\";\nplugin-set = 5; } );",
	 ":2: plugin-set: expected a group such as { key = \"value\"; }"},
	{"mount = ( { plugin = \"x\"; plugin-set = { a = 1;\nb = 1.5; }; } );",
	 ":2: plugin-set: b: expected a string in quotes, a whole number, true or false"},
	{"mount = ( { plugin = \"x\"; plugin-set = (\n\"a\" ); } );",
	 ":2: plugin-set: expected strings such as \"key=value\""},
	{"mount = ( { plugin = \"x\"; plugin-set = (\n5 ); } );",
	 ":2: plugin-set: expected strings such as \"key=value\""},
	{"mount = ( { plugin = \"x\"; plugin-set = ( \"a b=1\" ); } );",
	 ":1: plugin-set: \"a b\" is not a key; expected 1 to 64 letters, digits and . _ -"},
	{"mount = ( { plugin = \"x\"; plugin-set = { *a = 1; }; } );",
	 ":1: plugin-set: \"*a\" is not a key; expected 1 to 64 letters, digits and . _ -"},
	{"# fine\n\t@include \"/\"\n", ":2: @include is not supported; expected one file"},
	/* Quotes that were forgotten, and other things that libconfig calls a syntax error. */
	{"max-message = 16m;",
	 ":1: max-message: 16m stands without quotes; expected max-message = \"16m\""},
	{"drain = 1;\norigin = https://a.example, https://b.example # c\n;",
	 ":2: origin: https://a.example, https://b.example # c stands without quotes; expected origin = \"https://a.example, https://b.example # c\""},
	{"listen = ( \"127.0.0.1:1\",\n127.0.0.1:80 );",
	 ":2: listen: 127.0.0.1:80 stands without quotes; expected listen = ( \"127.0.0.1:80\" )"},
	{"mount = ( { path = \"/a\";\nplugin = echo; } );",
	 ":2: plugin: echo stands without quotes; expected plugin = \"echo\""},
	{"mount = ( { path = \"/a\"; plugin = \"x\"; rate-limit = 5/1s,drop; } );",
	 ":1: rate-limit: 5/1s,drop stands without quotes; expected rate-limit = \"5/1s,drop\""},
	{"mount = ( { plugin = \"x\"; plugin-set = { a = b; }; } );",
	 ":1: a: b stands without quotes; expected a = \"b\""},
	{"deflate = yes;", ":1: deflate: yes is no truth value; expected true or false"},
	{"static = \"a;\ndrain = 2;\nuser = \"x\";\n", ":1: static: \"a; has no quote at its end"},
	{"static = \"a", ":1: static: \"a has no quote at its end"},
	{"/* a\nb */ threads = 3x; // c",
	 ":2: threads: 3x stands without quotes; expected threads = \"3x\""},
	{"--threads = 2;", ":1: threads: has dashes in front; expected threads = VALUE"},
	{"mount = ( { plugin = \"x\"; } ); mount = ( { path = \"/c\"; plugin = \"x\"; } );",
	 ":1: mount: is given twice; expected one list of all mounts, mount = ( {...}, {...} )"},
	{"mount = ( { plugin = \"x\"; }, { path = \"/c\"; plugin = \"x\";\nplugin = \"y\"; } );",
	 ":2: plugin: is given twice; expected once"},
	{"mount = ( { plugin = \"x\" } ",
	 ":1: syntax error; expected NAME = VALUE and groups in brackets that are closed"},
	{"mount = ( { plugin = \"x\" } ) }",
	 ":1: syntax error; expected NAME = VALUE and groups in brackets that are closed"},
	{"mount = ( { plugin = \"x\";\nmax-scripts = 3; } );",
	 ":2: max-scripts: 3 stands in a mount, and is one for all; expected outside of the mounts"},
};

START_TEST(wrong_configs)
{
	char wanted[600];

	ck_assert_int_eq(read_config(WRONG_CONFIG[_i].text), SETTINGS_BAD);
	snprintf(wanted, sizeof wanted, "tova-host: %s%s\n", config, WRONG_CONFIG[_i].sentence);
	ck_assert_str_eq(err, wanted);
}
END_TEST

START_TEST(check_names_all_mistakes_of_both)
{
	char wanted[600];

	write_config("drain = 1;\nbacklog = 0;\nnope = 1;\n");
	ck_assert_int_eq(READ("--log-level=x", "--check", "-c", config), SETTINGS_BAD);
	snprintf(
		wanted, sizeof wanted,
		"tova-host: --log-level: \"x\" is unknown; expected error, warn, notice, info or debug\n"
		"tova-host: %s:2: backlog: \"0\" is out of range; expected a number, 1 to 65535\ntova-host: %s:3: nope: unknown name\n",
		config, config);
	ck_assert_str_eq(err, wanted);
}
END_TEST

START_TEST(hostile_files)
{
	FILE *file = fopen(config, "w");
	char wanted[200];

	for (int i = 0; i < 1024 * 1024 + 1; i++)
		fputc('\n', file);
	fclose(file);
	ck_assert_int_eq(READ("-c", config), SETTINGS_BAD);
	snprintf(wanted, sizeof wanted,
		 "tova-host: --config: %s: is too large; expected at most 1m\n", config);
	ck_assert_str_eq(err, wanted);
	file = fopen(config, "w");
	fwrite("drain = 1;\0drain = 2;", 1, 21, file);
	fclose(file);
	ck_assert_int_eq(READ("-c", config), SETTINGS_BAD);
	snprintf(wanted, sizeof wanted,
		 "tova-host: --config: %s: has a NUL byte in it; expected text\n", config);
	ck_assert_str_eq(err, wanted);
}
END_TEST

/* --- printing, reading again ------------------------------------------------------------------ */

static void round_trip(void)
{
	char *first = printed(), *second;

	write_config(first);
	ck_assert_msg(READ("-c", config) == SETTINGS_OK, "%s in\n%s", err, first);
	second = printed();
	ck_assert_str_eq(first, second);
	free(first);
	free(second);
}

START_TEST(printed_settings_read_back)
{
	ck_assert_int_eq(read_args(NOTHING), SETTINGS_OK);
	round_trip();
	ck_assert_uint_eq(s.idle_timeout, 120000);
	ck_assert_int_eq(READ("-l", "[::1]:0", "-l", "unix:/a \"b\"\\c", "--origin", "https://a,*",
			      "--static", "/x\n\x01\xC3\xA9y", "--log-file", "l",
			      "--log-format=json", "--log-level=debug", "--idle-timeout=0",
			      "--drain=0", "--plugin-slow=1234ms", "--max-message=1025",
			      "--max-queue=1g", "--max-connections=100000000", "-p", "r.so",
			      "-w/w=exec \"w\" 'x' \\", "-a/w=ipc:///w x", "-x/x=s\n2",
			      "-a/y=tcp://0.0.0.0:9", "--attach-token=t", "--isolate",
			      "--script-binary", "--control=/run/c", "-p", "/a/b=/x/\"q\".so",
			      "--plugin-set", "/a/b:9.x=%d\t\"\\", "--plugin-set", "name=\x7f\xff",
			      "--jwt-key", "k\"y", "--jwt-key", "/y=", "--tls-cert=a,b",
			      "--tls-cert=c", "-l", "unix:/q,tls"),
			 SETTINGS_OK);
	round_trip();
	ck_assert_uint_eq(s.n_mounts, 5);
	has("/w", NULL, "exec \"w\" 'x' \\", "ipc:///w x", NULL);
	has("/x", NULL, NULL, NULL, "s\n2");
	has("/y", NULL, NULL, "tcp://0.0.0.0:9", NULL);
	ck_assert_str_eq(key_of("/x"), "k\"y");
	ck_assert_str_eq(key_of("/y"), "");
	ck_assert(s.isolate && s.script_binary);
	ck_assert_str_eq(s.control, "/run/c");
	ck_assert_uint_eq(s.listen.n, 3);
	ck_assert_str_eq(s.listen.items[1].unix_path, "/a \"b\"\\c");
	speaks(2, true, "/q");
	ck_assert_str_eq(s.tls_cert.items[0], "a,b");
	ck_assert_str_eq(s.static_dir, "/x\n\x01\xC3\xA9y");
	ck_assert_uint_eq(s.idle_timeout, 0);
	ck_assert_uint_eq(s.plugin_slow, 1234);
	ck_assert_uint_eq(s.max_message, 1025);
	ck_assert_uint_eq(s.max_queue, 1 << 30);
	ck_assert_uint_eq(s.max_connections, 100000000);
	ck_assert_str_eq(s.origin.items[1], "*");
	ck_assert_str_eq(mount_at("/a/b")->plugin, "/x/\"q\".so");
	ck_assert_str_eq(value_of(mount_at("/a/b"), "9.x"), "%d\t\"\\");
	ck_assert_str_eq(value_of(mount_at("/a/b"), "name"), "\x7f\xff");
	ck_assert_str_eq(value_of(mount_at("/"), "name"), "\x7f\xff");
}
END_TEST

/* Every single option, at both ends of its range. */
START_TEST(each_option_reads_back)
{
	const struct option_row *row = &option_table[_i];
	char argument[200], value[64];

	if (row->most == 0 || row->group >= OPTION_COMMAND)
		return;
	for (int end = 0; end < 2; end++) {
		struct option_row number = *row;

		number.type = row->type == OPTION_RATE ? OPTION_NUMBER : row->type;
		option_format(&number, end == 0 ? row->least : row->most, value, sizeof value);
		snprintf(argument, sizeof argument, "--%s=%s%s", row->name, value,
			 row->type == OPTION_RATE ? "/90s" : "");
		const bool of_mounts = row->type == OPTION_SCOPED;

		ck_assert_msg((of_mounts ? READ(argument, "-pa.so") : READ(argument)) ==
				      SETTINGS_OK,
			      "%s", err);
		round_trip();
	}
}
END_TEST

/* A reload reads the same arguments again, and the file as it is then. */
START_TEST(reading_again)
{
	const char *const args[] = {"-p", "a.so", "-c", config, "--plugin-set", "k=v", NULL};

	for (int i = 1; i <= 3; i++) {
		char text[64];

		snprintf(text, sizeof text, "drain = %d;", i);
		write_config(text);
		ck_assert_int_eq(read_args(args), SETTINGS_OK);
		ck_assert_uint_eq(s.drain, (uint64_t)i * 1000);
		ck_assert_uint_eq(s.n_mounts, 1);
		write_config("drain = ");
		ck_assert_int_eq(read_args(args), SETTINGS_BAD);
	}
}
END_TEST

/* Each allocation fails once: nothing crashes, nothing leaks, nothing half-read is used. */
START_TEST(lack_of_memory_is_said)
{
	const char *const args[] =
		{"-c",	     config,	   "-l", "[::1]:0",	 "-l",	"unix:/x",	"--origin",
		 "a,b",	     "--log-file", "l",	 "--plugin-set", "k=v", "--plugin-set", "/a:l=w",
		 "--static", "d",	   NULL};
	long limit = 0;

	write_config(
		"listen = \"127.0.0.1:1\"; origin = (\"x\"); log-file = \"f\"; mount = ( { path = \"/a\"; plugin = \"a.so\";\n"
		"plugin-set = { k = \"1\"; m = \"2\"; }; }, { worker = \"w\"; attach = \"tcp://[::1]:1\"; } );");
	do {
		enum settings_status status;

		denied = false;
		allocations_left = limit++;
		status = read_args(args);
		allocations_left = LONG_MAX;
		ck_assert_int_eq(status, denied ? SETTINGS_BAD : SETTINGS_OK);
		ck_assert_str_eq(err,
				 denied ? "tova-host: out of memory while reading the settings\n"
					: "");
	} while (denied);
	ck_assert_int_gt(limit, 30);
	ck_assert_str_eq(value_of(mount_at("/a"), "l"), "w");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("settings");
	TCase *tc = tcase_create("settings");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, defaults);
	tcase_add_test(tc, all_forms_of_giving_a_value);
	tcase_add_test(tc, listen_addresses);
	tcase_add_test(tc, tls);
	tcase_add_test(tc, mounts);
	tcase_add_test(tc, handlers);
	tcase_add_test(tc, short_forms);
	tcase_add_test(tc, pairs);
	tcase_add_test(tc, scoped);
	tcase_add_test(tc, origins);
	tcase_add_loop_test(tc, wrong_arguments, 0, (int)(sizeof WRONG / sizeof WRONG[0]));
	tcase_add_test(tc, only_the_first_mistake_unless_checking);
	tcase_add_test(tc, no_mistake_follows_from_another);
	tcase_add_test(tc, long_nonsense_does_not_hurt);
	tcase_add_test(tc, prints_instead_of_running);
	tcase_add_test(tc, silent_when_asked);
	tcase_add_test(tc, config_values);
	tcase_add_test(tc, config_comments);
	tcase_add_test(tc, config_numbers);
	tcase_add_test(tc, config_handlers);
	tcase_add_test(tc, command_line_wins);
	tcase_add_test(tc, scoped_in_files);
	tcase_add_loop_test(tc, wrong_configs, 0,
			    (int)(sizeof WRONG_CONFIG / sizeof WRONG_CONFIG[0]));
	tcase_add_test(tc, check_names_all_mistakes_of_both);
	tcase_add_test(tc, hostile_files);
	tcase_add_test(tc, printed_settings_read_back);
	tcase_add_loop_test(tc, each_option_reads_back, 0, OPTION_COUNT);
	tcase_add_test(tc, reading_again);
	tcase_add_test(tc, lack_of_memory_is_said);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
