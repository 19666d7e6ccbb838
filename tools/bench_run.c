// A workload in a context: its data, one step of it, and whether the result is right.
// In:  a workload. Out: steps run, errors against f64. Data is made by a first recording that nothing is run
// of, so that it can be handed on before a step changes it. Not here: what is computed (bench_workloads.c,
// bench_models.c).
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LARGE = 1 << 24 };

tgc_tensor *bench_input(struct bench_run *r, int i)
{
	return r->wide && !r->w->in[i].below ? tgc_cast(r->in[i], TGC_F64) : r->in[i];
}

tgc_tensor *bench_param(struct bench_run *r, tgc_shape s, double std, double mean)
{
	char name[16];
	int at = r->at++;
	tgc_tensor *p = tgc_param(r->params, at);
	if (!p) {
		snprintf(name, sizeof name, "p%d", at);
		p = tgc_module_param(r->params, name,
		                     std > 0 ? tgc_randn(r->c, TGC_F32, s, .std = std, .mean = mean)
		                             : tgc_full(r->c, TGC_F32, s, mean));
	}
	return r->wide ? tgc_cast(p, TGC_F64) : p;
}

tgc_tensor *bench_state(struct bench_run *r, tgc_shape s, double first)
{
	char name[16];
	int at = r->state_at++;
	tgc_tensor *v = tgc_param(r->state, at);
	snprintf(name, sizeof name, "s%d", at);
	return v ? v : tgc_module_param(r->state, name, tgc_full(r->c, TGC_F32, s, first));
}

static tgc_tensor *make_input(tgc_context *c, const struct bench_in *in)
{
	if (!in->below)
		return tgc_variable(tgc_cast(tgc_randn(c, TGC_F32, in->shape), in->bf16 ? TGC_BF16 : TGC_F32));
	tgc_tensor *u = tgc_rand(c, TGC_F32, in->shape);
	tgc_tensor *i = tgc_cast(tgc_mul(u, (double)in->below), TGC_I32);
	return tgc_variable(tgc_minimum(i, in->below - 1));
}

static tgc_tensor *same(tgc_module *m, tgc_tensor *x, void *user)
{
	(void)m, (void)user;
	return x;
}

static int record(struct bench_run *r, tgc_tensor **out)
{
	r->at = r->state_at = 0;
	return r->w->record(r, out);
}

// Records a step and drops it: parameters and state are there then, with their first values.
static void make_params(struct bench_run *r)
{
	tgc_tensor *out[BENCH_OUT];
	tgc_scope_begin(r->c);
	r->dry = true;
	record(r, out);
	r->dry = false;
	tgc_scope_end(r->c);
}

bool bench_open(struct bench_run *r, const struct bench_workload *w, int threads)
{
	return bench_open_within(r, w, threads, 0);
}

bool bench_open_within(struct bench_run *r, const struct bench_workload *w, int threads, int64_t budget_bytes)
{
	tgc_context_options o = {
	    .struct_size = sizeof o, .threads = threads, .memory_budget_bytes = (size_t)budget_bytes};
	*r = (struct bench_run){.w = w, .c = tgc_context_new(&o)};
	for (int i = 0; i < w->inputs; i++)
		r->in[i] = make_input(r->c, &w->in[i]);
	if (w->params)
		r->params = tgc_module_new(r->c, w->name, same, NULL);
	if (r->params)
		r->state = tgc_module_new(r->c, "state", same, NULL);
	if (r->state)
		make_params(r);
	return tgc_error_status(r->c) == TGC_OK;
}

void bench_close(struct bench_run *r)
{
	tgc_optim_free(&r->optim);
	tgc_module_free(&r->params);
	tgc_module_free(&r->state);
	tgc_context_free(&r->c);
}

tgc_status bench_step(struct bench_run *r, tgc_tensor **out, int *count)
{
	*count = record(r, out);
	if (!r->w->optim)
		return *count ? tgc_realize_n(*count, out) : tgc_flush(r->c);
	if (!r->optim)
		r->optim = r->w->optim(r->params);
	return tgc_step(r->optim, out[0]);
}

bool bench_is_far(const tgc_context *c) { return strncmp(tgc_device_name(c), "cuda", 4) == 0; }

// Host copy as doubles. Owner: the caller, free().
static double *fetch(tgc_tensor *t)
{
	size_t bytes = (size_t)tgc_tensor_elems(t) * sizeof(double);
	double *v = malloc(bytes);
	if (v && tgc_read(tgc_cast(t, TGC_F64), v, bytes) == TGC_OK)
		return v;
	free(v);
	return NULL;
}

// The same where both are too much to fetch.
static double difference_there(tgc_tensor *got, tgc_tensor *want)
{
	tgc_tensor *a = tgc_cast(got, TGC_F64), *b = tgc_cast(want, TGC_F64);
	tgc_tensor *most = tgc_max(tgc_abs(tgc_sub(a, b)), TGC_ALL_AXES, false);
	tgc_tensor *scale = tgc_max(tgc_abs(b), TGC_ALL_AXES, false);
	if (tgc_realize(most, scale))
		return INFINITY;
	double d = tgc_item(most);
	return isfinite(d) ? d / fmax(tgc_item(scale), 1e-30) : INFINITY;
}

static double difference(tgc_tensor *got, tgc_tensor *want)
{
	if (tgc_tensor_elems(got) > LARGE && bench_is_far(tgc_tensor_context(got)))
		return difference_there(got, want);
	double *a = fetch(got), *b = fetch(want), most = 0, scale = 0;
	int64_t n = a && b ? tgc_tensor_elems(got) : 0;
	for (int64_t i = 0; i < n; i++) {
		double d = fabs(a[i] - b[i]);
		most = d <= most ? most : isfinite(d) ? d : INFINITY;
		scale = fmax(scale, fabs(b[i]));
	}
	free(a);
	free(b);
	return n ? most / fmax(scale, 1e-30) : INFINITY;
}

// NaN, or every bit set.
static tgc_tensor *poisoned(tgc_context *c, tgc_tensor *like)
{
	tgc_type t = tgc_tensor_type(like);
	tgc_shape s = tgc_tensor_shape(like);
	return tgc_variable(t <= TGC_BF16 ? tgc_full(c, t, s, NAN) : tgc_full_int(c, t, s, -1));
}

// Fills memory of the outputs' sizes and gives it back: the next step takes its outputs from there, and what it does
// not write is not what the step before wrote.
static void poison(struct bench_run *r)
{
	tgc_tensor *out[BENCH_OUT] = {0};
	tgc_scope_begin(r->c);
	r->dry = true;
	int n = record(r, out);
	r->dry = false;
	for (int i = 0; i < n; i++)
		out[i] = poisoned(r->c, out[i]);
	if (n)
		tgc_realize_n(n, out);
	for (int i = 0; i < n; i++)
		tgc_release(out[i]);
	tgc_scope_end(r->c);
}

double bench_check(struct bench_run *r)
{
	tgc_tensor *got[BENCH_OUT], *want[BENCH_OUT];
	double worst = -1;
	poison(r);
	tgc_scope_begin(r->c);
	int n = record(r, got);
	r->wide = true;
	if (n)
		record(r, want);
	r->wide = false;
	if (n && (tgc_realize_n(n, got) || tgc_realize_n(n, want)))
		worst = INFINITY;
	for (int i = 0; i < n && worst < INFINITY; i++)
		worst = fmax(worst, difference(got[i], want[i]));
	if (!n && tgc_flush(r->c))
		worst = INFINITY;
	tgc_scope_end(r->c);
	return worst;
}
