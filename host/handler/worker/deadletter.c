#include "handler/worker/deadletter.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/check.h"

struct deadletter_entry {
	STAILQ_ENTRY(deadletter_entry) next;
	char *line;
	size_t len; /* with its line feed */
	deadletter_done *done;
	void *ctx, *item;
	/* Of a try, or NULL. */
	deadletter_work *work;
	deadletter_tried *tried;
	int error;
};
STAILQ_HEAD(deadletter_queue, deadletter_entry);

struct deadletter {
	uint16_t magic; /* CHECK_DEADLETTER */
	struct loop *loop;
	struct loop_waker waker;
	char *path;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct deadletter_queue waiting, tries, written; /* under the lock */
	bool stop, failed, failed_said;			 /* likewise */
	int error;
	atomic_bool closing;
};

/* A new file is in its folder for good only once that is synced, too; not every file system can, so
 * it is no failure. */
static void deadletter_sync_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash != NULL ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	int fd = folder != NULL ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd >= 0) {
		fsync(fd);
		close(fd);
	}
	free(folder);
}

/* Appends and syncs; a line that was written in part is cut off again, so that no half line stands
 * before the next try's. */
static bool deadletter_append_to(int fd, const struct deadletter_entry *e)
{
	off_t before = lseek(fd, 0, SEEK_END);
	size_t n = 0;
	while (n < e->len) {
		ssize_t k = write(fd, e->line + n, e->len - n);
		if (k < 0 && errno != EINTR)
			break;
		n += k > 0 ? (size_t)k : 0;
	}
	bool ok = n == e->len && fdatasync(fd) == 0;
	int error = errno;
	/* the disk is worse than full */
	if (!ok && n > 0 && ftruncate(fd, before) != 0)
		error = errno;
	errno = error;
	return ok;
}

static bool deadletter_append(const char *path, const struct deadletter_entry *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	bool first = lseek(fd, 0, SEEK_END) == 0, ok = deadletter_append_to(fd, e);
	int error = errno;
	if (ok && first)
		deadletter_sync_folder(path);
	close(fd);
	errno = error;
	return ok;
}

int deadletter_open_file(struct deadletter *d)
{
	pthread_mutex_lock(&d->lock);
	int fd = d->path != NULL ? open(d->path, O_RDWR | O_APPEND | O_CLOEXEC) : -1;
	int error = d->path != NULL ? errno : ENOENT;
	pthread_mutex_unlock(&d->lock);
	errno = error;
	return fd;
}

static void deadletter_wait(struct deadletter *d, bool failed)
{
	struct timespec until;
	if (!failed) {
		pthread_cond_wait(&d->more, &d->lock);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	pthread_cond_timedwait(&d->more, &d->lock, &until);
}

static void deadletter_work_off(struct deadletter_entry *e)
{
	int fd = -1;
	e->line = e->work(e->ctx, &fd, &e->error);
	e->len = e->line != NULL ? strlen(e->line) : 0;
	if (e->len > 0 && !deadletter_append_to(fd, e))
		e->error = errno;
}

/* Somebody waits for the answer, whatever becomes of the letters. Under the lock, which it leaves
 * meanwhile. */
static bool deadletter_run_try(struct deadletter *d)
{
	struct deadletter_entry *e = STAILQ_FIRST(&d->tries);
	if (e == NULL || d->stop)
		return false;
	STAILQ_REMOVE_HEAD(&d->tries, next);
	pthread_mutex_unlock(&d->lock);
	deadletter_work_off(e);
	pthread_mutex_lock(&d->lock);
	STAILQ_INSERT_TAIL(&d->written, e, next);
	loop_wake(&d->waker);
	return true;
}

static void *deadletter_thread(void *arg)
{
	struct deadletter *d = arg;
	CHECK_IS(d, CHECK_DEADLETTER);
	pthread_mutex_lock(&d->lock);
	while (!d->stop || !STAILQ_EMPTY(&d->waiting)) {
		struct deadletter_entry *e = STAILQ_FIRST(&d->waiting);
		if (deadletter_run_try(d))
			continue;
		if (e == NULL || d->failed) {
			if (d->stop && d->failed)
				break;
			deadletter_wait(d, d->failed);
			d->failed = false;
			continue;
		}
		bool none = d->path == NULL;
		/* a reload may name another one meanwhile */
		char *path = none ? NULL : strdup(d->path);
		pthread_mutex_unlock(&d->lock);
		bool ok = none || (path != NULL && deadletter_append(path, e));
		int error = errno;
		free(path);
		pthread_mutex_lock(&d->lock);
		d->failed = !ok;
		d->error = error;
		if (ok) {
			STAILQ_REMOVE_HEAD(&d->waiting, next);
			STAILQ_INSERT_TAIL(&d->written, e, next);
		}
		loop_wake(&d->waker);
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

static void deadletter_free_entry(struct deadletter_entry *e)
{
	free(e->line);
	free(e);
}

static void deadletter_on_wake(void *arg)
{
	struct deadletter *d = arg;
	CHECK(d->magic == CHECK_DEADLETTER && loop_is_own(d->loop));
	struct deadletter_queue written = STAILQ_HEAD_INITIALIZER(written);
	struct deadletter_entry *e;
	pthread_mutex_lock(&d->lock);
	STAILQ_CONCAT(&written, &d->written);
	bool failed = d->failed, say = failed && !d->failed_said;
	d->failed_said = failed;
	int error = d->error;
	pthread_mutex_unlock(&d->lock);
	if (say)
		LOG(d->loop->log, LOG_ERROR, LOG_QUARANTINE,
		    "the dead-letter file can not be written: its connections wait",
		    LOG_STR("file", d->path), LOG_ERRNO(error));
	while ((e = STAILQ_FIRST(&written)) != NULL) {
		STAILQ_REMOVE_HEAD(&written, next);
		if (e->tried != NULL)
			e->tried(e->ctx, e->error);
		else
			e->done(e->ctx, e->item);
		deadletter_free_entry(e);
	}
}

/* Can it be written, and is there a thread to do that? False with errno set. */
static bool deadletter_start(struct deadletter *d, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	sigset_t all, old;
	if (fd < 0)
		return false;
	close(fd);
	if (d->running)
		return true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the loop's */
	int error = pthread_create(&d->thread, NULL, deadletter_thread, d);
	d->running = error == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = error;
	return d->running;
}

bool deadletter_move(struct deadletter *d, const char *path)
{
	char *copy = path != NULL ? strdup(path) : NULL;
	if (path != NULL && (copy == NULL || !deadletter_start(d, path))) {
		free(copy);
		return false;
	}
	pthread_mutex_lock(&d->lock);
	free(d->path);
	d->path = copy;
	pthread_mutex_unlock(&d->lock);
	return true;
}

struct deadletter *deadletter_open(struct loop *loop, const char *path)
{
	struct deadletter *d = calloc(1, sizeof *d);
	if (d == NULL)
		return NULL;
	d->magic = CHECK_DEADLETTER;
	d->loop = loop;
	STAILQ_INIT(&d->waiting);
	STAILQ_INIT(&d->tries);
	STAILQ_INIT(&d->written);
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->more, NULL);
	loop_waker_add(loop, &d->waker, deadletter_on_wake, d);
	if (path == NULL || deadletter_move(d, path))
		return d;
	int error = errno;
	deadletter_close(&d);
	errno = error;
	return NULL;
}

static void deadletter_drop(struct deadletter_queue *q)
{
	struct deadletter_entry *e;
	while ((e = STAILQ_FIRST(q)) != NULL) {
		STAILQ_REMOVE_HEAD(q, next);
		deadletter_free_entry(e);
	}
}

/* The log is the last place where it can be. */
static void deadletter_say_lost(const struct deadletter *d)
{
	const struct deadletter_entry *e;
	STAILQ_FOREACH(e, &d->waiting, next)
	LOG(d->loop->log, LOG_ERROR, LOG_QUARANTINE,
	    "a dead letter could not be written before the host ended", LOG_STR("file", d->path),
	    LOG_SPAN("event", ((struct span){e->line, e->len - 1})), LOG_ERRNO(d->error));
}

bool deadletter_is_closing(const struct deadletter *d)
{
	return atomic_load(&d->closing);
}

void deadletter_close(struct deadletter **d_p)
{
	struct deadletter *d = *d_p;
	*d_p = NULL;
	if (d == NULL)
		return;
	if (d->running) {
		pthread_mutex_lock(&d->lock);
		d->stop = true;
		atomic_store(&d->closing, true);
		pthread_cond_signal(&d->more);
		pthread_mutex_unlock(&d->lock);
		pthread_join(d->thread, NULL);
	}
	loop_waker_remove(&d->waker);
	deadletter_say_lost(d);
	deadletter_drop(&d->waiting);
	deadletter_drop(&d->tries);
	deadletter_drop(&d->written);
	pthread_cond_destroy(&d->more);
	pthread_mutex_destroy(&d->lock);
	free(d->path);
	free(d);
}

const char *deadletter_path(const struct deadletter *d)
{
	return d->path;
}

void deadletter_write(struct deadletter *d, char *line, deadletter_done *done, void *ctx,
		      void *item)
{
	struct deadletter_entry *e = calloc(1, sizeof *e);
	size_t len = strlen(line);
	char *whole = e != NULL ? realloc(line, len + 2) : NULL;
	if (whole == NULL) {
		LOG(d->loop->log, LOG_ERROR, LOG_QUARANTINE, "no memory for a dead letter",
		    LOG_STR("event", line));
		free(e);
		free(line);
		done(ctx, item);
		return;
	}
	memcpy(whole + len, "\n", 2);
	*e = (struct deadletter_entry){.line = whole,
				       .len = len + 1,
				       .done = done,
				       .ctx = ctx,
				       .item = item};
	pthread_mutex_lock(&d->lock);
	if (d->running)
		STAILQ_INSERT_TAIL(&d->waiting, e, next);
	else
		STAILQ_INSERT_TAIL(&d->written, e, next);
	pthread_cond_signal(&d->more);
	pthread_mutex_unlock(&d->lock);
	if (!d->running)
		loop_wake(&d->waker);
}

bool deadletter_try(struct deadletter *d, deadletter_work *work, deadletter_tried *tried, void *ctx)
{
	struct deadletter_entry *e = calloc(1, sizeof *e);
	if (e == NULL)
		return false;
	*e = (struct deadletter_entry){.work = work, .tried = tried, .ctx = ctx};
	pthread_mutex_lock(&d->lock);
	STAILQ_INSERT_TAIL(&d->tries, e, next);
	pthread_cond_signal(&d->more);
	pthread_mutex_unlock(&d->lock);
	return true;
}
