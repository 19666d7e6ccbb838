// Three workloads beside their ceilings, interleaved in one run: matmul 512^3, a 3x3 convolution, gelu_chain.
// In:  [--rounds N] [--only NAME]; TGC_THREADS. Out: one line a workload: median ms and percent of the ceiling.
// Not here: peers (tests/bench_torch.py prints the same three in PyTorch).
#include "ceiling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tgc/tgc.h>

enum { MAX_ROUNDS = 1000 };

struct workload {
	const char *name;
	tgc_tensor *(*record)(tgc_context *ctx, tgc_tensor **in);
	tgc_shape shapes[3];
	int inputs;
	double flops, bytes; // per run; the one that is not 0 names the ceiling
};

static tgc_tensor *matmul(tgc_context *ctx, tgc_tensor **in)
{
	(void)ctx;
	return tgc_matmul(in[0], in[1]);
}

static tgc_tensor *conv(tgc_context *ctx, tgc_tensor **in)
{
	(void)ctx;
	return tgc_conv2d(in[0], in[1], .padding = {1, 1, 1, 1});
}

static tgc_tensor *gelu_chain(tgc_context *ctx, tgc_tensor **in)
{
	(void)ctx;
	return tgc_add(tgc_gelu_tanh(tgc_add(in[0], in[1])), in[2]);
}

static const struct workload workloads[] = {
    {"matmul_512x512x512", matmul, {{2, {512, 512}}, {2, {512, 512}}}, 2, 2.0 * 512 * 512 * 512, 0},
    {"conv3_32-32_16", conv, {{4, {64, 32, 16, 16}}, {4, {32, 32, 3, 3}}}, 2, 2.0 * 64 * 256 * 32 * 32 * 9, 0},
    {"gelu_chain",
     gelu_chain,
     {{2, {16384, 1024}}, {1, {1024}}, {2, {16384, 1024}}},
     3,
     0,
     3.0 * 16384 * 1024 * 4},
};

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof *v, ascending);
	return v[n / 2];
}

static int measure(tgc_context *ctx, const struct workload *w, int rounds, int threads)
{
	static double ms[MAX_ROUNDS], percent[MAX_ROUNDS], ceilings[MAX_ROUNDS];
	tgc_tensor *in[3];
	for (int i = 0; i < w->inputs; i++)
		in[i] = tgc_variable(tgc_randn(ctx, TGC_F32, w->shapes[i]));
	size_t copy_bytes = (size_t)w->bytes / 2;
	float *from = copy_bytes ? aligned_alloc(64, copy_bytes) : NULL;
	float *to = copy_bytes ? aligned_alloc(64, copy_bytes) : NULL;
	if (copy_bytes)
		memset(from, 1, copy_bytes), memset(to, 1, copy_bytes);
	for (int r = -3; r < rounds; r++) {
		tgc_scope_begin(ctx);
		tgc_tensor *y = w->record(ctx, in);
		double t = ceiling_now();
		if (tgc_realize(y))
			return tgc_print_error(ctx), 1;
		t = ceiling_now() - t;
		tgc_scope_end(ctx);
		double ceiling =
		    w->flops > 0 ? ceiling_fma(threads) : ceiling_copy(threads, to, from, copy_bytes);
		double rate = 1e-9 * (w->flops > 0 ? w->flops : w->bytes) / t;
		if (r >= 0) {
			ms[r] = 1e3 * t;
			percent[r] = 100 * rate / ceiling;
			ceilings[r] = ceiling;
		}
	}
	double m = median(ms, rounds);
	printf("%-20s %9.3f ms  %7.1f %s  ceiling %7.1f  %5.1f %%\n", w->name, m,
	       1e-6 * (w->flops > 0 ? w->flops : w->bytes) / m, w->flops > 0 ? "GFLOP/s" : "GB/s   ",
	       median(ceilings, rounds), median(percent, rounds));
	free(from);
	free(to);
	return 0;
}

int main(int argc, char **argv)
{
	int rounds = 41;
	const char *only = NULL;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--rounds"))
			rounds = atoi(argv[i + 1]);
		else if (!strcmp(argv[i], "--only"))
			only = argv[i + 1];
	}
	rounds = rounds < 1 ? 1 : rounds > MAX_ROUNDS ? MAX_ROUNDS : rounds;
	const char *env = getenv("TGC_THREADS");
	int threads = env && atoi(env) > 0 ? atoi(env) : 2;
	tgc_context_options o = {.struct_size = sizeof o, .threads = threads};
	tgc_context *ctx = tgc_context_new(&o);
	int status = 0;
	printf("device %s, %d threads, %d interleaved rounds, medians\n", tgc_device_name(ctx), threads,
	       rounds);
	for (size_t i = 0; i < sizeof workloads / sizeof *workloads && !status; i++)
		if (!only || strstr(workloads[i].name, only))
			status = measure(ctx, &workloads[i], rounds, threads);
	tgc_print_error(ctx);
	tgc_context_free(&ctx);
	return status;
}
