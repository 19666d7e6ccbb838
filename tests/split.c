// What fusion gains: each pattern as one realize, and as one realize an operation, taking turns in one run.
// In:  [rounds]. Out: a line a pattern and thread count: milliseconds fused and split, their ratio, launches of both.
// Exit status 1 if the fused one is slower by more than the noise that SLACK allows, or the results differ.
// Not a test of the suite: it measures. Shapes are those of PERFORMANCE.md, or near them.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tgc/tgc.h>
#include <time.h>

enum { MAX_ROUNDS = 101, OUT = 4, WARM = 4 };
static const double SLACK = 1.05;

static bool splitting;

// Where splitting, every operation's value is realized before the next one is recorded.
static tgc_tensor *S(tgc_tensor *x)
{
	if (splitting)
		tgc_realize(x);
	return x;
}

struct data {
	tgc_tensor *x, *g, *w, *b, *row, *bias, *labels, *q, *k, *v, *m, *u, *residual, *short_row;
};

static tgc_tensor *zeros_like(tgc_tensor *x) { return tgc_mul(x, 0.0); }

static int elementwise(struct data *d, tgc_tensor **out)
{
	tgc_tensor *h = S(tgc_add(d->x, d->row));
	tgc_tensor *c = S(tgc_mul(S(tgc_mul(S(tgc_mul(h, h)), h)), 0.044715));
	tgc_tensor *t = S(tgc_tanh(S(tgc_mul(S(tgc_add(h, c)), 0.7978845608))));
	out[0] = S(tgc_add(S(tgc_mul(S(tgc_mul(h, 0.5)), S(tgc_add(t, 1.0)))), d->residual));
	return 1;
}

static tgc_tensor *shifted(struct data *d) { return S(tgc_sub(d->x, S(tgc_max(d->x, TGC_AXES(1), true)))); }

static int softmax(struct data *d, tgc_tensor **out)
{
	tgc_tensor *e = S(tgc_exp(shifted(d)));
	out[0] = S(tgc_div(e, S(tgc_sum(e, TGC_AXES(1), true))));
	return 1;
}

static tgc_tensor *log_softmax(struct data *d)
{
	tgc_tensor *s = shifted(d);
	return S(tgc_sub(s, S(tgc_log(S(tgc_sum(S(tgc_exp(s)), TGC_AXES(1), true))))));
}

static tgc_tensor *one_hot(struct data *d)
{
	tgc_shape s = tgc_tensor_shape(d->x);
	tgc_tensor *i = tgc_iota(tgc_tensor_context(d->x), TGC_I32, s, 1);
	return S(tgc_eq(S(i), d->labels));
}

static int nll(struct data *d, tgc_tensor **out)
{
	tgc_tensor *l = log_softmax(d);
	tgc_tensor *picked = S(tgc_select(one_hot(d), l, S(zeros_like(l))));
	out[0] = S(tgc_neg(S(tgc_mean(S(tgc_sum(picked, TGC_AXES(1), true)), TGC_ALL_AXES, false))));
	return 1;
}

static int nll_backward(struct data *d, tgc_tensor **out)
{
	tgc_tensor *p = S(tgc_exp(log_softmax(d)));
	tgc_tensor *h = S(tgc_cast(one_hot(d), TGC_F32));
	out[0] = S(tgc_mul(S(tgc_sub(p, h)), 1.0 / 4096));
	return 1;
}

static tgc_tensor *normal(struct data *d, tgc_tensor **inverse)
{
	tgc_tensor *c = S(tgc_sub(d->x, S(tgc_mean(d->x, TGC_AXES(1), true))));
	tgc_tensor *v = S(tgc_mean(S(tgc_mul(c, c)), TGC_AXES(1), true));
	*inverse = S(tgc_div(1.0, S(tgc_sqrt(S(tgc_add(v, 1e-5))))));
	return S(tgc_mul(c, *inverse));
}

static int layernorm(struct data *d, tgc_tensor **out)
{
	tgc_tensor *inverse;
	out[0] = S(tgc_add(S(tgc_mul(normal(d, &inverse), d->row)), d->bias));
	return 1;
}

static int layernorm_backward(struct data *d, tgc_tensor **out)
{
	tgc_tensor *inverse, *n = normal(d, &inverse), *g = S(tgc_mul(d->g, d->row));
	tgc_tensor *a = S(tgc_mean(g, TGC_AXES(1), true));
	tgc_tensor *b = S(tgc_mean(S(tgc_mul(g, n)), TGC_AXES(1), true));
	out[0] = S(tgc_mul(S(tgc_sub(S(tgc_sub(g, a)), S(tgc_mul(n, b)))), inverse));
	out[1] = S(tgc_sum(S(tgc_mul(d->g, n)), TGC_AXES(0), false));
	out[2] = S(tgc_sum(d->g, TGC_AXES(0), false));
	return 3;
}

static int var_mean(struct data *d, tgc_tensor **out)
{
	out[0] = S(tgc_mean(d->x, TGC_AXES(1), true));
	tgc_tensor *c = S(tgc_sub(d->x, out[0]));
	out[1] = S(tgc_mean(S(tgc_mul(c, c)), TGC_AXES(1), true));
	return 2;
}

static int siblings(struct data *d, tgc_tensor **out)
{
	out[0] = S(tgc_add(d->x, 1.0));
	out[1] = S(tgc_mul(d->x, 2.0));
	return 2;
}

static int sum_and_max(struct data *d, tgc_tensor **out)
{
	out[0] = S(tgc_sum(d->x, TGC_AXES(1), false));
	out[1] = S(tgc_max(d->x, TGC_AXES(1), false));
	return 2;
}

static int linear(struct data *d, tgc_tensor **out)
{
	out[0] = S(tgc_relu(S(tgc_add(S(tgc_matmul(d->w, d->b)), d->short_row))));
	return 1;
}

static int attention(struct data *d, tgc_tensor **out)
{
	tgc_tensor *s = S(tgc_mul(S(tgc_matmul(d->q, tgc_transpose(d->k, -1, -2))), 0.125));
	tgc_tensor *e = S(tgc_exp(S(tgc_sub(s, S(tgc_max(s, TGC_AXES(-1), true))))));
	tgc_tensor *p = S(tgc_div(e, S(tgc_sum(e, TGC_AXES(-1), true))));
	out[0] = S(tgc_matmul(p, d->v));
	return 1;
}

static int adam(struct data *d, tgc_tensor **out)
{
	out[0] = S(tgc_add(S(tgc_mul(d->m, 0.9)), S(tgc_mul(d->g, 0.1))));
	out[1] = S(tgc_add(S(tgc_mul(d->u, 0.999)), S(tgc_mul(S(tgc_mul(d->g, d->g)), 0.001))));
	tgc_tensor *step = S(tgc_div(out[0], S(tgc_add(S(tgc_sqrt(out[1])), 1e-8))));
	out[2] = S(tgc_sub(d->x, S(tgc_mul(step, 1e-3))));
	return 3;
}

static const struct pattern {
	const char *name;
	int (*build)(struct data *d, tgc_tensor **out);
} patterns[] = {
    {"gelu_chain", elementwise},
    {"softmax", softmax},
    {"log_softmax_nll", nll},
    {"log_softmax_nll_backward", nll_backward},
    {"layernorm", layernorm},
    {"layernorm_backward", layernorm_backward},
    {"var_mean", var_mean},
    {"x+1_x*2", siblings},
    {"sum_max", sum_and_max},
    {"matmul_bias_relu", linear},
    {"attention", attention},
    {"adam", adam},
};

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static tgc_tensor *noise(tgc_context *c, tgc_shape s)
{
	tgc_tensor *x = tgc_variable(tgc_randn(c, TGC_F32, s));
	tgc_realize(x);
	return x;
}

static void make(tgc_context *c, struct data *d)
{
	tgc_shape s = TGC_SHAPE(4096, 1024), row = TGC_SHAPE(1024), head = TGC_SHAPE(4, 8, 256, 64);
	*d = (struct data){noise(c, s), noise(c, s), noise(c, TGC_SHAPE(512, 512)), noise(c, TGC_SHAPE(512, 512)),
	                   noise(c, row), noise(c, row), NULL, noise(c, head), noise(c, head), noise(c, head),
	                   noise(c, s), NULL, noise(c, s), noise(c, TGC_SHAPE(512))};
	d->u = tgc_variable(tgc_square(noise(c, s)));
	d->labels = tgc_variable(tgc_cast(tgc_mul(tgc_abs(noise(c, TGC_SHAPE(4096, 1))), 100.0), TGC_I32));
	tgc_realize(d->u, d->labels);
}

struct sample {
	double ms;
	uint64_t launches;
	float probe[OUT]; // the largest magnitude of each output, so that the two can be compared
	int n;
};

static struct sample once(tgc_context *c, struct data *d, const struct pattern *p, bool split)
{
	tgc_tensor *out[OUT];
	struct sample s = {0};
	uint64_t before = tgc_get_stats(c).launches;
	tgc_scope_begin(c);
	double begun = now_ms();
	splitting = split;
	s.n = p->build(d, out);
	splitting = false;
	tgc_realize_n(s.n, out);
	s.ms = now_ms() - begun;
	s.launches = tgc_get_stats(c).launches - before;
	for (int i = 0; i < s.n; i++)
		s.probe[i] = (float)tgc_item(tgc_max(tgc_abs(out[i]), TGC_ALL_AXES, false));
	tgc_scope_end(c);
	return s;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static bool close_to(float a, float b) { return fabsf(a - b) <= 1e-3f * fmaxf(fabsf(a), fabsf(b)) + 1e-7f; }

static int measure(int threads, int rounds)
{
	tgc_context_options o = {.struct_size = sizeof o, .device = "cpu", .threads = threads};
	tgc_context *c = tgc_context_new(&o);
	struct data d;
	int bad = 0;
	make(c, &d);
	for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
		double fused[MAX_ROUNDS], split[MAX_ROUNDS], ratio[MAX_ROUNDS];
		struct sample f, s;
		for (int r = -WARM; r < rounds; r++) {
			f = once(c, &d, &patterns[i], false);
			s = once(c, &d, &patterns[i], true);
			if (r < 0)
				continue;
			fused[r] = f.ms;
			split[r] = s.ms;
			ratio[r] = s.ms / f.ms;
		}
		qsort(fused, (size_t)rounds, sizeof *fused, ascending);
		qsort(split, (size_t)rounds, sizeof *split, ascending);
		qsort(ratio, (size_t)rounds, sizeof *ratio, ascending);
		bool same = true;
		for (int k = 0; k < f.n; k++)
			same &= close_to(f.probe[k], s.probe[k]);
		bool slow = ratio[rounds / 2] * SLACK < 1;
		printf("%-26s %7d %10.3f %10.3f %7.2f %6llu %6llu%s%s\n", patterns[i].name, threads, fused[rounds / 2],
		       split[rounds / 2], ratio[rounds / 2], (unsigned long long)f.launches, (unsigned long long)s.launches,
		       slow ? "  slower" : "", same ? "" : "  results differ");
		fflush(stdout);
		bad |= slow || !same;
	}
	bad |= tgc_error_status(c) != TGC_OK;
	tgc_print_error(c);
	tgc_context_free(&c);
	return bad;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 21, bad = 0;
	rounds = rounds < 1 ? 1 : rounds > MAX_ROUNDS ? MAX_ROUNDS : rounds;
	printf("%-26s %7s %10s %10s %7s %6s %6s\n", "pattern", "threads", "fused ms", "split ms", "gain", "fused", "split");
	for (int threads = 1; threads <= 2; threads++)
		bad |= measure(threads, rounds);
	return bad;
}
