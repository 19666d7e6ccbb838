// Ceilings: fused multiply-adds on registers, and copies, plain and non-temporal.
// In:  threads, buffers. Out: rates. Each call is one short sample; callers interleave and take medians. Threads
// sleep between samples; in one, each works once to warm up, then all begin together, and only that is timed.
#include "ceiling.h"

#include <immintrin.h>
#include <stdbool.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_THREADS = 64, ROUNDS = 400000, CHAINS = 12 };

double ceiling_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct part {
	void (*run)(struct part *p);
	float *to;
	const float *from;
	size_t floats;
	float sink;
};

__attribute__((target("avx512f"))) static void fma512(struct part *p)
{
	__m512 acc[CHAINS], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(1e-3f);
	for (int i = 0; i < CHAINS; i++)
		acc[i] = _mm512_set1_ps((float)i);
	for (int r = 0; r < ROUNDS; r++)
#pragma GCC unroll 12
		for (int i = 0; i < CHAINS; i++)
			acc[i] = _mm512_fmadd_ps(acc[i], x, y);
	for (int i = 1; i < CHAINS; i++)
		acc[0] = _mm512_add_ps(acc[0], acc[i]);
	p->sink = _mm512_reduce_add_ps(acc[0]);
}

__attribute__((target("avx2,fma"))) static void fma256(struct part *p)
{
	__m256 acc[CHAINS], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(1e-3f);
	for (int i = 0; i < CHAINS; i++)
		acc[i] = _mm256_set1_ps((float)i);
	for (int r = 0; r < ROUNDS; r++)
#pragma GCC unroll 12
		for (int i = 0; i < CHAINS; i++)
			acc[i] = _mm256_fmadd_ps(acc[i], x, y);
	for (int i = 1; i < CHAINS; i++)
		acc[0] = _mm256_add_ps(acc[0], acc[i]);
	p->sink = acc[0][0];
}

static void copy_plain(struct part *p) { memcpy(p->to, p->from, p->floats * 4); }

__attribute__((target("avx2"))) static void copy_stream(struct part *p)
{
	for (size_t i = 0; i + 8 <= p->floats; i += 8)
		_mm256_stream_ps(p->to + i, _mm256_loadu_ps(p->from + i));
	_mm_sfence();
}

struct worker {
	struct ceiling *owner;
	struct part part;
	sem_t wake;
	pthread_t id;
};

struct ceiling {
	int threads; // the caller is worker 0
	struct worker workers[MAX_THREADS];
	atomic_int ready, sample, done;
	bool end;
};

static void *thread_main(void *user)
{
	struct worker *w = user;
	struct ceiling *c = w->owner;
	for (int sample = 1;; sample++) {
		while (sem_wait(&w->wake) != 0)
			;
		if (c->end)
			return NULL;
		w->part.run(&w->part);
		atomic_fetch_add(&c->ready, 1);
		while (atomic_load(&c->sample) != sample)
			_mm_pause();
		w->part.run(&w->part);
		atomic_fetch_add(&c->done, 1);
	}
}

// Fewer threads than asked for if there are no more.
struct ceiling *ceiling_open(int threads)
{
	struct ceiling *c = calloc(1, sizeof *c);
	for (int i = 0; c && i < threads && i < MAX_THREADS; i++) {
		struct worker *w = &c->workers[i];
		w->owner = c;
		if (i && (sem_init(&w->wake, 0, 0) != 0 || pthread_create(&w->id, NULL, thread_main, w) != 0))
			break;
		c->threads++;
	}
	return c;
}

void ceiling_close(struct ceiling *c)
{
	if (!c)
		return;
	c->end = true;
	for (int i = 1; i < c->threads; i++)
		sem_post(&c->workers[i].wake);
	for (int i = 1; i < c->threads; i++) {
		pthread_join(c->workers[i].id, NULL);
		sem_destroy(&c->workers[i].wake);
	}
	free(c);
}

// Seconds from when every thread has warmed up until the last is done.
static double timed(struct ceiling *c)
{
	struct part *mine = &c->workers[0].part;
	atomic_store(&c->ready, 0);
	atomic_store(&c->done, 0);
	for (int i = 1; i < c->threads; i++)
		sem_post(&c->workers[i].wake);
	mine->run(mine);
	while (atomic_load(&c->ready) < c->threads - 1)
		_mm_pause();
	double t = ceiling_now();
	atomic_fetch_add(&c->sample, 1);
	mine->run(mine);
	while (atomic_load(&c->done) < c->threads - 1)
		_mm_pause();
	return ceiling_now() - t;
}

double ceiling_fma(struct ceiling *c)
{
	bool wide = __builtin_cpu_supports("avx512f");
	for (int i = 0; i < c->threads; i++)
		c->workers[i].part = (struct part){.run = wide ? fma512 : fma256};
	double lanes = wide ? 16 : 8;
	return 2e-9 * lanes * CHAINS * ROUNDS * c->threads / timed(c);
}

double ceiling_copy(struct ceiling *c, float *to, const float *from, size_t bytes)
{
	double best = 0;
	size_t each = bytes / 4 / (size_t)c->threads / 16 * 16;
	for (int kind = 0; kind < 2; kind++) {
		for (int i = 0; i < c->threads; i++)
			c->workers[i].part = (struct part){kind ? copy_stream : copy_plain, to + each * (size_t)i,
			                                   from + each * (size_t)i, each, 0};
		double rate = 2e-9 * (double)(each * 4 * (size_t)c->threads) / timed(c);
		best = rate > best ? rate : best;
	}
	return best;
}
