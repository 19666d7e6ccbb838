// Threads that take ranges of blocks.
// In:  a count and a function. Out: it was called for contiguous ranges that cover the count. Each thread begins with a
// share of its own, the same for the same count, so that consecutive kernels find their data in the same cache. It takes
// half of what is left of it at a time, and then half of what another still has: processors are not equally fast, and
// other programs use them too.
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

enum { SPIN_NS = 20000, PIECES = 16 }; // of a share, the smallest

// What is left of a share: begin and end, 32 bits each.
struct share {
	_Alignas(64) _Atomic uint64_t left;
};
struct pool {
	int threads;
	pthread_t *ids;
	struct share *shares; // by thread
	pool_fn *fn;
	void *user;
	int64_t n;
	int64_t unit;   // blocks in one of a share
	uint32_t least; // of a piece
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

static uint64_t range(uint32_t begin, uint32_t end)
{
	return (uint64_t)begin << 32 | end;
}

// Half of a share: the first for its owner, the last for another.
static bool take(const struct pool *p, int thread, bool own, uint32_t *begin, uint32_t *end)
{
	_Atomic uint64_t *left = &p->shares[thread].left;
	uint64_t old = atomic_load(left), rest;
	uint32_t cut;

	do {
		*begin = (uint32_t)(old >> 32);
		*end = (uint32_t)old;
		if (*begin >= *end)
			return false;
		uint32_t n = (*end - *begin) / 2;
		n = n > p->least ? n : p->least < *end - *begin ? p->least : *end - *begin;
		cut = own ? *begin + n : *end - n;
		rest = own ? range(cut, *end) : range(*begin, cut);
	} while (!atomic_compare_exchange_weak(left, &old, rest));
	*(own ? end : begin) = cut;
	return true;
}

static void run_share(struct pool *p, int thread)
{
	uint32_t begin, end;

	while (take(p, thread, true, &begin, &end)) {
		int64_t to = p->unit * end;

		p->fn(p->user, thread, p->unit * begin, to < p->n ? to : p->n);
	}
}

// The thread's own share, then others'. What is taken from another becomes a share that a third may take from.
static void take_part(struct pool *p, int thread)
{
	uint32_t begin, end;

	run_share(p, thread);
	for (int i = 1; i < p->threads; i++)
		while (take(p, (thread + i) % p->threads, false, &begin, &end)) {
			atomic_store(&p->shares[thread].left, range(begin, end));
			run_share(p, thread);
		}
}

static void share_out(struct pool *p, int64_t n)
{
	p->unit = n / INT32_MAX + 1;
	uint32_t units = (uint32_t)((n + p->unit - 1) / p->unit);

	p->least = units / (uint32_t)(p->threads * PIECES) + 1;
	for (int t = 0; t < p->threads; t++)
		atomic_store(&p->shares[t].left,
		             range((uint32_t)((uint64_t)units * (uint64_t)t / (uint64_t)p->threads),
		                   (uint32_t)((uint64_t)units * (uint64_t)(t + 1) / (uint64_t)p->threads)));
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
		take_part(p, w.thread);
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
	p->shares = aligned_alloc(64, (size_t)threads * sizeof *p->shares);
	if (!p->ids || !p->shares) {
		free(p->shares);
		free(p->ids);
		free(p);
		return NULL;
	}
	memset(p->shares, 0, (size_t)threads * sizeof *p->shares);
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
	free(p->shares);
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
	share_out(p, n);
	atomic_store(&p->left, p->threads - 1);
	announce(&p->call, call, &p->call_sleepers);
	take_part(p, 0);
	await(&p->done, before, &p->done_sleepers);
}
