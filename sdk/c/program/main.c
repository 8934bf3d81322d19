/* tova-worker: runs a plugin, the same file that the host loads, as a worker process. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "c/tova_worker.h"
#include "common/library.h"

#define MAIN_SETTINGS_MAX 256

static const char usage[] =
	"Usage: tova-worker [OPTION...] PLUGIN\n"
	"Runs a plugin of tova-host as a worker process. The host starts it so itself with --isolate; by hand it serves\n"
	"a host that was started with --attach.\n"
	"\n"
	"PLUGIN               file, or a name that is looked for in the current folder, beside this program, in plugins/\n"
	"                     beside it and in " TOVA_PLUGIN_DIR "\n"
	"  -u, --url URL      where the host listens for workers: ipc://PATH, tcp://ADDRESS:PORT or tls+tcp://NAME:PORT;\n"
	"                     default: TOVA_URL in the environment\n"
	"  -m, --mount PATH   the mount that it serves, if the host is to check that; default: TOVA_MOUNT\n"
	"  -s, --set KEY=VAL  a setting of the plugin, before those in TOVA_SETTINGS (a JSON object); repeatable\n"
	"  -n, --name NAME    what the host's log calls it; default: the plugin's name and the process id\n"
	"      --ca FILE      certificates to trust for tls+tcp, PEM; default: TOVA_CA_FILE, or what the system trusts\n"
	"      --cert FILE    certificate and key of its own for tls+tcp, PEM, where the host wants one; default: TOVA_CERT_FILE\n"
	"      --help, --version\n"
	"\n"
	"The token comes from TOVA_TOKEN only, as others can see a command line. Exit codes: 0 the host has no more work,\n"
	"1 failed while running, 2 bad usage, plugin or settings.\n";

struct arguments {
	tova_worker_options options;
	tova_pair settings[MAIN_SETTINGS_MAX];
	const char *plugin;
};

static int main_refuse(const char *what, const char *value, const char *why)
{
	fprintf(stderr, "tova-worker: %s%s%s: %s\n", what, value[0] != '\0' ? " " : "", value, why);
	return 2;
}

static int main_add_setting(struct arguments *a, char *text)
{
	char *equals = strchr(text, '=');
	if (equals == NULL || equals == text)
		return main_refuse("--set", text, "expected KEY=VALUE");
	if (a->options.n_settings == MAIN_SETTINGS_MAX)
		return main_refuse("--set", text, "too many settings");
	*equals = '\0';
	a->settings[a->options.n_settings++] = (tova_pair){text, equals + 1};
	return 0;
}

/* Returns an exit code, or -1: go on. */
static int main_option(struct arguments *a, int option)
{
	switch (option) {
	case 'u':
		a->options.url = optarg;
		return -1;
	case 'm':
		a->options.mount = optarg;
		return -1;
	case 'n':
		a->options.name = optarg;
		return -1;
	case 'c':
		a->options.ca_file = optarg;
		return -1;
	case 'e':
		a->options.cert_file = optarg;
		return -1;
	case 's':
		return main_add_setting(a, optarg) == 0 ? -1 : 2;
	case 'h':
		fputs(usage, stdout);
		return 0;
	case 'v':
		puts("tova-worker " TOVA_VERSION);
		return 0;
	default:
		fputs("Try tova-worker --help\n", stderr);
		return 2;
	}
}

static int main_arguments(struct arguments *a, int argc, char **argv)
{
	static const struct option options[] = {
		{"url", required_argument, NULL, 'u'},
		{"mount", required_argument, NULL, 'm'},
		{"set", required_argument, NULL, 's'},
		{"name", required_argument, NULL, 'n'},
		{"ca", required_argument, NULL, 'c'},
		{"cert", required_argument, NULL, 'e'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{NULL, 0, NULL, 0},
	};
	int option, code = -1;
	while (code < 0 && (option = getopt_long(argc, argv, "u:m:s:n:", options, NULL)) != -1)
		code = main_option(a, option);
	if (code >= 0)
		return code;
	if (optind + 1 != argc)
		return main_refuse(optind < argc ? argv[optind + 1] : "a plugin", "",
				   optind < argc ? "one plugin is enough" : "is missing");
	a->plugin = argv[optind];
	a->options.settings = a->settings;
	return -1;
}

static int main_load(struct library *lib, const char *name)
{
	char path[4096], why[1024];
	if (!library_find(name, NULL, path, sizeof path, why, sizeof why))
		return main_refuse("the plugin", "", why);
	if (!library_load(lib, path, why, sizeof why))
		return main_refuse(path, "", why);
	if ((lib->plugin.flags & TOVA_LOCAL_DATA) != 0)
		return main_refuse(
			path, "",
			"it keeps pointers with its connections (TOVA_LOCAL_DATA), which can not travel between processes; run it "
			"in the host's process");
	return -1;
}

static void main_on_crash(void *lib)
{
	library_name_for_core(lib);
}

int main(int argc, char **argv)
{
	static struct arguments arguments = {.options = {.size = sizeof arguments.options}};
	struct library lib;
	int code = main_arguments(&arguments, argc, argv);
	if (code < 0)
		code = main_load(&lib, arguments.plugin);
	if (code >= 0)
		return code;
	arguments.options.on_crash = main_on_crash;
	arguments.options.on_crash_ctx = &lib;
	code = tova_worker_run(&lib.plugin, &arguments.options);
	fflush(NULL);
	/* Threads of nng are still about, and destructors would pull the ground from under them. */
	_exit(code);
}
