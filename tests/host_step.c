// Host time of a training step with kernels stubbed out, the graph rebuilt each time: what tgc itself costs.
// In:  [steps]. Out: microseconds a step, nodes a step, nanoseconds a node; and that nothing was compiled or
// planned from the third step on, exit status 1 if something was. Then how the core was: where another hardware
// thread shares it, independent instructions take longer and dependent ones do not, and neither does tgc get the
// instructions a cycle that it would have alone.
#include "runtime.h"

#include <inttypes.h>
#include <stdlib.h>
#include <tgc/tgc.h>
#include <time.h>

enum { WARM = 3, MAX_STEPS = 20000, EVERY = 20, PROBE = 2000 };

static double now(void) // seconds
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Nanoseconds that n multiplications take of which each needs the last one, and n times eight additions that do not
// need each other.
static double dependent(int n)
{
	uint64_t x = 3;
	double t = now();
	for (int i = 0; i < n; i++) {
		x *= 0x9e3779b97f4a7c15u;
		__asm__ volatile("" : "+r"(x));
	}
	return 1e9 * (now() - t) / n;
}

static double independent(int n)
{
	uint64_t a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
	double t = now();
	for (int i = 0; i < n; i++) {
		a++, b++, c++, d++, e++, f++, g++, h++;
		__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f), "+r"(g), "+r"(h));
	}
	return 1e9 * (now() - t) / n;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

// One step of an MLP 784-512-10 with Adam.
static void step(tgc_context *c, tgc_module *m, tgc_optim *o, tgc_tensor *x, tgc_tensor *y)
{
	tgc_scope_begin(c);
	tgc_step(o, tgc_cross_entropy(tgc_forward(m, x), y));
	tgc_scope_end(c);
}

int main(int argc, char **argv)
{
	int steps = argc > 1 ? atoi(argv[1]) : 1000;
	steps = steps < 1 ? 1 : steps > MAX_STEPS ? MAX_STEPS : steps;
	static double us[MAX_STEPS], alone[MAX_STEPS / EVERY + 1], beside[MAX_STEPS / EVERY + 1];
	tgc_context *c = tgc_context_new(NULL);
	tgc_tensor *x = tgc_variable(tgc_randn(c, TGC_F32, TGC_SHAPE(128, 784)));
	tgc_tensor *y = tgc_variable(tgc_zeros(c, TGC_I32, TGC_SHAPE(128)));
	tgc_module *m = tgc_mlp(c, 3, (int64_t[]){784, 512, 10});
	tgc_optim *o = tgc_adamw(m, .lr = 1e-3, .schedule = TGC_LINEAR, .total_steps = steps + WARM);
	for (int i = 0; i < WARM; i++)
		step(c, m, o, x, y);
	tgc_stats before = tgc_get_stats(c);
	exec_skip_kernels(c, true);
	int probes = (steps + EVERY - 1) / EVERY;
	for (int i = 0; i < steps; i++) {
		double t = now();
		step(c, m, o, x, y);
		us[i] = 1e6 * (now() - t);
		if (i % EVERY == 0) {
			alone[i / EVERY] = dependent(PROBE);
			beside[i / EVERY] = independent(PROBE);
		}
	}
	tgc_stats after = tgc_get_stats(c);
	qsort(us, (size_t)steps, sizeof *us, ascending);
	double nodes = (double)(after.nodes_built - before.nodes_built) / steps;
	uint64_t plans = after.plans_built - before.plans_built;
	uint64_t compiled = after.kernels_compiled - before.kernels_compiled;
	printf("%d steps: median %.1f us a step, %.0f nodes, %.1f ns a node; %" PRIu64 " plans built, %" PRIu64
	       " kernels compiled\n",
	       steps, us[steps / 2], nodes, 1e3 * us[steps / 2] / nodes, plans, compiled);
	qsort(alone, (size_t)probes, sizeof *alone, ascending);
	qsort(beside, (size_t)probes, sizeof *beside, ascending);
	printf("a dependent multiplication %.2f ns, eight independent additions %.2f ns: %.2f of it\n",
	       alone[probes / 2], beside[probes / 2], beside[probes / 2] / alone[probes / 2]);
	bool bad = tgc_error_status(c) != TGC_OK || plans || compiled;
	tgc_print_error(c);
	tgc_optim_free(&o);
	tgc_module_free(&m);
	tgc_context_free(&c);
	return bad;
}
