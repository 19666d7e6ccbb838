// Ceilings: fused multiply-adds on registers, and copies, plain and non-temporal.
// In:  threads, buffers. Out: rates. Each call is one short sample; callers interleave and take medians.
#include "ceiling.h"

#include <immintrin.h>
#include <stdbool.h>
#include <pthread.h>
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

static void *thread_main(void *user)
{
	struct part *p = user;
	p->run(p);
	return NULL;
}

static double timed(struct part *parts, int threads)
{
	pthread_t id[MAX_THREADS];
	double t = ceiling_now();
	for (int i = 1; i < threads; i++)
		pthread_create(&id[i], NULL, thread_main, &parts[i]);
	parts[0].run(&parts[0]);
	for (int i = 1; i < threads; i++)
		pthread_join(id[i], NULL);
	return ceiling_now() - t;
}

double ceiling_fma(int threads)
{
	struct part parts[MAX_THREADS] = {0};
	bool wide = __builtin_cpu_supports("avx512f");
	for (int i = 0; i < threads; i++)
		parts[i].run = wide ? fma512 : fma256;
	double lanes = wide ? 16 : 8;
	return 2e-9 * lanes * CHAINS * ROUNDS * threads / timed(parts, threads);
}

double ceiling_copy(int threads, float *to, const float *from, size_t bytes)
{
	double best = 0;
	for (int kind = 0; kind < 2; kind++) {
		struct part parts[MAX_THREADS] = {0};
		size_t each = bytes / 4 / (size_t)threads / 16 * 16;
		for (int i = 0; i < threads; i++)
			parts[i] = (struct part){kind ? copy_stream : copy_plain, to + each * (size_t)i,
			                         from + each * (size_t)i, each, 0};
		double rate = 2e-9 * (double)(each * 4 * (size_t)threads) / timed(parts, threads);
		best = rate > best ? rate : best;
	}
	return best;
}
