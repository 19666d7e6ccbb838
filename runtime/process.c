// What is process-wide: one reference-counted, locked object.
// In:  contexts opening and closing. Out: the object that holds the kernel cache.
// A process that ends without closing its contexts still has its kernels written to the disk.
// Not here: the cache itself (jit.c, disk.c).
#include "cuda.h"

#include <stdlib.h>
#include <unistd.h>

static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static struct runtime *shared;

enum { EXIT_SECONDS = 5 };

// Waits a while only: a disk that hangs must not hold the process.
__attribute__((destructor)) static void finish(void)
{
	if (shared && !process_forked(shared) && shared->disk)
		disk_wait(shared->disk, EXIT_SECONDS);
}

static struct runtime *create(void)
{
	struct runtime *r = calloc(1, sizeof *r);

	if (r) {
		r->pid = getpid();
		pthread_mutex_init(&r->lock, NULL);
		pthread_mutex_init(&r->sites_lock, NULL);
	}
	return r;
}

struct runtime *process_open(void)
{
	pthread_mutex_lock(&open_lock);
	if (!shared ||
	    process_forked(shared)) // a parent's object is left alone: its locks may be taken for ever
		shared = create();
	if (shared)
		shared->refs++;
	struct runtime *r = shared;
	pthread_mutex_unlock(&open_lock);
	return r;
}

void process_close(struct runtime *r)
{
	if (!r || process_forked(r))
		return;
	pthread_mutex_lock(&open_lock);
	if (--r->refs == 0) {
		shared = NULL;
		if (r->jit)
			jit_close(r);
		if (r->cuda)
			cuda_process_close(r);
		disk_close(r->disk);
		sites_close(r);
		pthread_mutex_destroy(&r->sites_lock);
		pthread_mutex_destroy(&r->lock);
		free(r);
	}
	pthread_mutex_unlock(&open_lock);
}

bool process_forked(const struct runtime *r)
{
	return r->pid != getpid();
}
