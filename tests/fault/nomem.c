/* nomem: preloaded into a host, lets the allocation fail that a test names. The test and the host
 * share a file of three numbers: how many allocations still succeed (negative: all), how many fail
 * then, how many have failed. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct control {
	_Atomic long left, run, failed;
};

static struct control *control;
static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void (*real_free)(void *);

/* dlsym itself allocates before it can say where calloc is. */
static _Alignas(max_align_t) char early[8192];
static size_t early_used;

void *malloc(size_t n);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t n);
void free(void *p);

static void *early_alloc(size_t n)
{
	size_t at = early_used;
	n = (n + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
	if (n > sizeof early - at)
		abort();
	early_used += n;
	return early + at;
}

static int is_early(const void *p)
{
	return (const char *)p >= early && (const char *)p < early + sizeof early;
}

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("TOVA_NOMEM");
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	real_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
	real_realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
	real_calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
	real_malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
	if (fd < 0)
		return;
	void *p = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED)
		control = p;
	unsetenv("LD_PRELOAD"); /* its children are to have memory */
}

static int fails(void)
{
	if (control == NULL || atomic_load(&control->left) < 0)
		return 0;
	if (atomic_fetch_sub(&control->left, 1) > 0)
		return 0;
	if (atomic_fetch_sub(&control->run, 1) > 1)
		atomic_store(&control->left, 0); /* the next one too */
	atomic_fetch_add(&control->failed, 1);
	errno = ENOMEM;
	return 1;
}

void *malloc(size_t n)
{
	if (real_malloc == NULL)
		return early_alloc(n);
	return fails() ? NULL : real_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	if (real_calloc == NULL)
		return early_alloc(n * size); /* zero, as nobody has used it */
	return fails() ? NULL : real_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	if (real_realloc == NULL || is_early(p)) {
		void *moved = malloc(n);
		if (moved != NULL && p != NULL)
			memmove(moved, p,
				n < (size_t)(early + sizeof early - (char *)p)
					? n
					: (size_t)(early + sizeof early - (char *)p));
		return moved;
	}
	return fails() ? NULL : real_realloc(p, n);
}

void free(void *p)
{
	if (p != NULL && !is_early(p) && real_free != NULL)
		real_free(p);
}
