#include "common/crash.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CRASH_STACK (64u << 10)

static const struct {
	int number;
	const char *name;
} crash_signals[] = {{SIGSEGV, "SIGSEGV"},
		     {SIGBUS, "SIGBUS"},
		     {SIGFPE, "SIGFPE"},
		     {SIGILL, "SIGILL"},
		     {SIGABRT, "SIGABRT"}};
#define CRASH_SIGNALS (sizeof crash_signals / sizeof *crash_signals)

/* A handler is given nothing of ours: this is the one place where it finds us. */
static struct {
	crash_last_words *say;
	void *ctx;
	pthread_t thread;
	void *stack;
	bool ours[CRASH_SIGNALS];
} crash;

/* The signal's action is the default again (SA_RESETHAND). A fault happens once more where it was,
 * and abort() raises its signal once more; one that somebody has sent is to be sent again. */
static void crash_on_signal(int number, siginfo_t *info, void *context)
{
	const char *name = "a signal";
	(void)context;
	for (size_t i = 0; i < CRASH_SIGNALS; i++)
		if (crash_signals[i].number == number)
			name = crash_signals[i].name;
	if (crash.say != NULL)
		crash.say(crash.ctx, name, pthread_equal(pthread_self(), crash.thread) != 0);
	if (info->si_code <= 0 && number != SIGABRT)
		syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), number);
}

static bool crash_make_stack(void)
{
	void *stack = mmap(NULL, CRASH_STACK, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	const stack_t alternative = {.ss_sp = stack, .ss_size = CRASH_STACK};
	if (stack == MAP_FAILED)
		return false;
	crash.stack = stack;
	return sigaltstack(&alternative, NULL) == 0;
}

void crash_watch(crash_last_words *say, void *ctx)
{
	struct sigaction action = {.sa_sigaction = crash_on_signal,
				   .sa_flags = SA_SIGINFO | SA_RESETHAND | SA_ONSTACK};
	crash.say = say;
	crash.ctx = ctx;
	crash.thread = pthread_self();
	if (!crash_make_stack())
		action.sa_flags &= ~SA_ONSTACK;
	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < CRASH_SIGNALS; i++) {
		struct sigaction before;
		crash.ours[i] = sigaction(crash_signals[i].number, NULL, &before) == 0 &&
				before.sa_handler == SIG_DFL &&
				sigaction(crash_signals[i].number, &action, NULL) == 0;
	}
}

void crash_unwatch(void)
{
	const stack_t none = {.ss_flags = SS_DISABLE};
	for (size_t i = 0; i < CRASH_SIGNALS; i++)
		if (crash.ours[i])
			signal(crash_signals[i].number, SIG_DFL);
	sigaltstack(&none, NULL);
	if (crash.stack != NULL)
		munmap(crash.stack, CRASH_STACK);
	crash.say = NULL;
	crash.stack = NULL;
}
