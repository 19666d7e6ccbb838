// Threads that take ranges of blocks.
// In:  a count and a function. Out: it was called for contiguous ranges that cover the count, one a thread; the
// same ranges for the same count, so that consecutive kernels find their data in the same cache.
// Workers spin about 20 us for the next call, then sleep: a fork-join costs well under 1 us while they spin.
// Not here: how many blocks there are; results never depend on the number of threads.
#include "runtime.h"

#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SPIN_NS = 20000 };

struct pool {
	int threads;
	pthread_t *ids;
	pool_fn *fn;
	void *user;
	int64_t n;
	bool stop;
	// Words that are waited on, each on a cache line of its own.
	_Alignas(64) _Atomic uint32_t call; // number of the current call
	_Atomic uint32_t call_sleepers;
	_Alignas(64) _Atomic uint32_t done; // number of the last call that all workers finished
	_Atomic uint32_t done_sleepers;
	_Alignas(64) _Atomic int32_t left; // workers still at it
};
struct worker {
	struct pool *p;
	int thread;
};

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void pause_cpu(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

// Until *word differs from old.
static void await(_Atomic uint32_t *word, uint32_t old, _Atomic uint32_t *sleepers)
{
	int64_t until = 0;

	for (int i = 1; atomic_load(word) == old; i++) {
		pause_cpu();
		if (i % 64)
			continue;
		int64_t t = now_ns();
		if (!until)
			until = t + SPIN_NS;
		if (t > until)
			break;
	}
	if (atomic_load(word) != old)
		return;
	atomic_fetch_add(sleepers, 1);
	while (atomic_load(word) == old)
		syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
	atomic_fetch_sub(sleepers, 1);
}

static void announce(_Atomic uint32_t *word, uint32_t value, _Atomic uint32_t *sleepers)
{
	atomic_store(word, value);
	if (atomic_load(sleepers))
		syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static void take(struct pool *p, int thread)
{
	int64_t begin = (int64_t)((__int128)p->n * thread / p->threads);
	int64_t end = (int64_t)((__int128)p->n * (thread + 1) / p->threads);

	if (begin < end)
		p->fn(p->user, thread, begin, end);
}

static void *work(void *arg)
{
	struct worker w = *(struct worker *)arg;
	struct pool *p = w.p;
	uint32_t seen = 0;

	free(arg);
	for (;;) {
		await(&p->call, seen, &p->call_sleepers);
		seen = atomic_load(&p->call);
		if (p->stop)
			return NULL;
		take(p, w.thread);
		if (atomic_fetch_sub(&p->left, 1) == 1)
			announce(&p->done, seen, &p->done_sleepers);
	}
}

static bool start(struct pool *p, int thread)
{
	struct worker *w = malloc(sizeof *w);

	if (!w)
		return false;
	*w = (struct worker){p, thread};
	if (pthread_create(&p->ids[thread - 1], NULL, work, w) == 0)
		return true;
	free(w);
	return false;
}

struct pool *pool_new(int threads)
{
	struct pool *p = aligned_alloc(64, sizeof *p);
	sigset_t all, old;

	if (!p)
		return NULL;
	memset(p, 0, sizeof *p);
	p->threads = 1;
	p->ids = calloc((size_t)threads, sizeof *p->ids);
	if (!p->ids) {
		free(p);
		return NULL;
	}
	sigfillset(&all); // the program's handlers run on the program's threads
	pthread_sigmask(SIG_SETMASK, &all, &old);
	// Ranges are by p->threads, which workers read only when they are called.
	while (p->threads < threads && start(p, p->threads))
		p->threads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return p;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	p->stop = true;
	announce(&p->call, atomic_load(&p->call) + 1, &p->call_sleepers);
	for (int i = 0; i < p->threads - 1; i++)
		pthread_join(p->ids[i], NULL);
	free(p->ids);
	free(p);
}

int pool_threads(const struct pool *p)
{
	return p->threads;
}

void pool_run(struct pool *p, int64_t n, pool_fn *fn, void *user)
{
	if (p->threads == 1 || n <= 1) {
		if (n > 0)
			fn(user, 0, 0, n);
		return;
	}
	uint32_t call = atomic_load(&p->call) + 1, before = call - 1;
	p->fn = fn;
	p->user = user;
	p->n = n;
	atomic_store(&p->left, p->threads - 1);
	announce(&p->call, call, &p->call_sleepers);
	take(p, 0);
	await(&p->done, before, &p->done_sleepers);
}
