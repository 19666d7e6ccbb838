// Memory budgets: training steps that recompute keep their bits and their budget; what cannot fit says so.
// In:  networks whose intermediate values outweigh their parameters. Not here: the allocator (test_runtime.c).
#include "check.h"

#include <stdlib.h>

enum { MAX_PARAMS = 64 };

struct net {
	tgc_context *c;
	tgc_tensor *params[MAX_PARAMS];
	int n;
};

static tgc_tensor *param(struct net *n, tgc_shape s, double std)
{
	assert_true(n->n < MAX_PARAMS);
	return n->params[n->n++] = tgc_variable(tgc_randn(n->c, TGC_F32, s, .std = std));
}

static tgc_tensor *linear(struct net *n, tgc_tensor *x, int64_t in, int64_t out)
{
	tgc_tensor *w = param(n, TGC_SHAPE(in, out), 0.2);

	return tgc_add(tgc_matmul(x, w), param(n, TGC_SHAPE(out), 0.1));
}

// Ten layers, random numbers among them.
static tgc_tensor *mlp(struct net *n, tgc_tensor *x)
{
	for (int i = 0; i < 10; i++) {
		x = linear(n, x, 48, 48);
		x = i == 4 ? tgc_dropout(x, 0.3) : tgc_relu(x);
	}
	return tgc_mean(tgc_square(x), TGC_ALL_AXES, false);
}

static tgc_tensor *heads(tgc_tensor *x, int64_t which)
{
	tgc_tensor *part = tgc_slice_axis(x, 2, 48 * which, 48 * (which + 1));

	return tgc_transpose(tgc_reshape(part, TGC_SHAPE(8, 32, 3, 16)), 1, 2);
}

static tgc_tensor *norm(struct net *n, tgc_tensor *x)
{
	return tgc_layer_norm(x, param(n, TGC_SHAPE(48), 1), param(n, TGC_SHAPE(48), 0.1), 1e-5);
}

// Three blocks behind an embedding, whose gather and scatter may raise errors.
static tgc_tensor *transformer(struct net *n, tgc_tensor *x)
{
	tgc_tensor *tokens = tgc_mod(tgc_iota(n->c, TGC_I32, TGC_SHAPE(256), 0), 11);

	x = tgc_add(x, tgc_gather(param(n, TGC_SHAPE(11, 48), 0.5), tokens, 0));
	x = tgc_reshape(x, TGC_SHAPE(8, 32, 48));
	for (int i = 0; i < 3; i++) {
		tgc_tensor *qkv = linear(n, norm(n, x), 48, 144);
		tgc_tensor *a = tgc_attention(heads(qkv, 0), heads(qkv, 1), heads(qkv, 2), true);

		a = tgc_reshape(tgc_transpose(a, 1, 2), TGC_SHAPE(8, 32, 48));
		x = tgc_add(x, linear(n, a, 48, 48));
		x = tgc_add(x, linear(n, tgc_gelu(linear(n, norm(n, x), 48, 192)), 192, 48));
	}
	return tgc_mean(tgc_square(x), TGC_ALL_AXES, false);
}

static const struct row {
	const char *name;
	tgc_tensor *(*make)(struct net *n, tgc_tensor *x);
} rows[] = {{"mlp", mlp}, {"transformer", transformer}};

static void quiet(void *user, const char *line)
{
	(void)user, (void)line;
}

static tgc_context *context(int64_t budget)
{
	tgc_context_options o = {.struct_size = sizeof o,
	                         .device = "cpu",
	                         .threads = 2,
	                         .seed = 7,
	                         .log = quiet,
	                         .memory_budget_bytes = (size_t)budget};

	return tgc_context_new(&o);
}

// ---- steps within a budget --------------------------------------------------------------------------------------
struct result {
	float *values; // loss, gradients and parameters, back to back
	int64_t n;
	int64_t peak; // planned
	int steps, groups;
	uint64_t held; // at most, by the allocator
};

// A plan whose steps run again is as sound as any other, and its text says all of it.
static void check_plan(tgc_context *c, const struct plan *p)
{
	struct text t = {0}, again = {0};
	char *wrong = plan_verify(p), *error, *text, *text_again;
	struct plan *q;

	if (wrong)
		fail_msg("%s", wrong);
	plan_print(p, &t);
	text = text_take(&t);
	q = plan_parse(c, text, &error);
	if (!q)
		fail_msg("%s", error);
	wrong = plan_verify(q);
	if (wrong)
		fail_msg("parsed: %s", wrong);
	plan_print(q, &again);
	text_again = text_take(&again);
	assert_string_equal(text, text_again);
	plan_free(q);
	free(text);
	free(text_again);
}

static tgc_program *compile(const struct row *row, struct net *n, bool train, tgc_tensor **outs, int *nouts)
{
	tgc_tensor *x = tgc_randn(n->c, TGC_F32, TGC_SHAPE(256, 48)), *grads[MAX_PARAMS];
	tgc_program *p;

	assert_int_equal(tgc_realize(x), TGC_OK);
	outs[0] = row->make(n, x);
	tgc_flush(n->c);
	assert_int_equal(tgc_grad(outs[0], n->n, n->params, grads), TGC_OK);
	for (int i = 0; i < n->n; i++) {
		outs[1 + i] = grads[i];
		if (train)
			tgc_assign(n->params[i], tgc_sub(n->params[i], tgc_mul(grads[i], 0.1)));
	}
	*nouts = train ? 1 : 1 + n->n;
	p = tgc_compile(n->c, 0, NULL, *nouts, outs);
	return p;
}

static float *room(struct result *r, int64_t elems)
{
	r->values = realloc(r->values, sizeof *r->values * (size_t)(r->n + elems));
	assert_non_null(r->values);
	r->n += elems;
	return r->values + r->n - elems;
}

static struct result run(const struct row *row, bool train, int64_t budget)
{
	struct net n = {.c = context(budget)};
	struct result r = {0};
	tgc_tensor *outs[MAX_PARAMS + 1];
	int nouts;
	tgc_program *p = compile(row, &n, train, outs, &nouts);
	const struct plan *plan;

	assert_ok(n.c);
	plan = p->entry->plan;
	check_plan(n.c, plan);
	assert_int_equal(tgc_get_stats(n.c).planned_peak_bytes, plan->peak_bytes);
	assert_int_equal(tgc_get_stats(n.c).planned_lower_bound_bytes, plan->lower_bound_bytes);
	assert_true(plan->lower_bound_bytes <= plan->peak_bytes && plan->arena_bytes == plan->peak_bytes);
	r.peak = plan->peak_bytes;
	r.steps = plan->nsteps;
	r.groups = plan->ngroups;
	for (int step = 0; step < 2; step++) {
		void *to[MAX_PARAMS + 1];
		int64_t at = r.n;

		for (int i = 0; i < nouts; i++)
			room(&r, tgc_tensor_elems(outs[i]));
		for (int i = 0; i < nouts; i++) {
			to[i] = r.values + at;
			at += tgc_tensor_elems(outs[i]);
		}
		assert_int_equal(tgc_program_run(p, NULL, to), TGC_OK);
	}
	for (int i = 0; i < n.n && train; i++) {
		int64_t elems = tgc_tensor_elems(n.params[i]);

		check_read_f32(n.params[i], room(&r, elems), elems);
	}
	assert_ok(n.c);
	r.held = tgc_get_stats(n.c).device_bytes_peak;
	tgc_program_free(&p);
	tgc_context_free(&n.c);
	return r;
}

static void budgets_keep_the_bits(void **state)
{
	static const int percents[] = {100, 70, 50};

	(void)state;
	for (int i = 0; i < 2 * TG_COUNT(rows); i++) {
		const struct row *row = &rows[i / 2];
		struct result want = run(row, i % 2, 0);

		for (int k = 0; k < TG_COUNT(percents); k++) {
			int64_t budget = want.peak * percents[k] / 100;
			struct result got = run(row, i % 2, budget);

			if (got.peak > budget)
				fail_msg("%s: %lld bytes are planned, the budget is %lld", row->name,
				         (long long)got.peak, (long long)budget);
			assert_int_equal(got.groups, want.groups);
			assert_int_equal(got.steps > want.steps, percents[k] < 100);
			assert_int_equal(got.held < want.held, percents[k] < 100);
			assert_int_equal(got.n, want.n);
			for (int64_t e = 0; e < want.n; e++)
				if (memcmp(&got.values[e], &want.values[e], sizeof *want.values) != 0)
					fail_msg("%s at %d %%: value %lld is %.9g, not %.9g", row->name,
					         percents[k], (long long)e, (double)got.values[e],
					         (double)want.values[e]);
			free(got.values);
		}
		free(want.values);
	}
}

// ---- too little ---------------------------------------------------------------------------------------------------
static void what_cannot_fit_says_so(void **state)
{
	static const char *const says[] = {"schedule: intermediate values need", "memory_budget_bytes is 4096: ", "too few"};
	struct net n = {.c = context(4096)};
	tgc_tensor *grad, *sum, *w, *huge;

	(void)state;
	w = tgc_variable(tgc_full(n.c, TGC_F32, TGC_SHAPE(48, 48), 0.5));
	assert_int_equal(tgc_flush(n.c), TGC_OK);
	huge = tgc_sum(tgc_matmul(tgc_relu(tgc_matmul(w, w)), w), TGC_ALL_AXES, false);
	assert_int_equal(tgc_grad(huge, 1, &w, &grad), TGC_OK);
	assert_int_equal(tgc_realize(grad), TGC_ERROR_MEMORY);
	assert_int_equal(tgc_error_status(n.c), TGC_ERROR_MEMORY);
	for (int i = 0; i < TG_COUNT(says); i++)
		if (!strstr(tgc_error_message(n.c), says[i]))
			fail_msg("\"%s\" does not say \"%s\"", tgc_error_message(n.c), says[i]);
	tgc_clear_error(n.c);

	// An assignment that cannot be computed is not stored; another one takes its place.
	tgc_assign(w, tgc_sub(w, grad));
	assert_int_equal(tgc_flush(n.c), TGC_ERROR_MEMORY);
	tgc_clear_error(n.c);
	tgc_assign(w, tgc_full(n.c, TGC_F32, TGC_SHAPE(48, 48), 0.25));
	assert_int_equal(tgc_flush(n.c), TGC_OK);
	sum = tgc_sum(w, TGC_ALL_AXES, false);
	assert_true(check_item(sum) == 48 * 48 * 0.25);
	assert_ok(n.c);
	tgc_context_free(&n.c);
}

// ---- where the budget comes from ----------------------------------------------------------------------------------
static void the_environment_names_it(void **state)
{
	static const struct {
		const char *text;
		bool good;
		int64_t bytes;
	} cases[] = {{"123456", true, 123456}, {"", true, 0},     {"1e6", false, 0},
	             {"-5", false, 0},         {"12K", false, 0}, {"99999999999999999999", false, 0}};

	(void)state;
	for (int i = 0; i < TG_COUNT(cases); i++) {
		tgc_context *c;

		setenv("TGC_MEMORY_BUDGET", cases[i].text, 1);
		c = context(0);
		assert_int_equal(tgc_error_status(c), cases[i].good ? TGC_OK : TGC_ERROR_ARG);
		if (cases[i].good)
			assert_int_equal(c->memory_budget_bytes, cases[i].bytes);
		else
			assert_non_null(strstr(tgc_error_message(c), cases[i].text));
		tgc_context_free(&c);
		c = context(77); // the program's word comes first
		assert_int_equal(c->memory_budget_bytes, 77);
		assert_ok(c);
		tgc_context_free(&c);
	}
	unsetenv("TGC_MEMORY_BUDGET");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(budgets_keep_the_bits),
	                                   cmocka_unit_test(what_cannot_fit_says_so),
	                                   cmocka_unit_test(the_environment_names_it)};
	const char *device = getenv("TGC_DEVICE");

	// The interpreter has no plans.
	if (!jit_available() || (device && strcmp(device, "cpu") != 0))
		return 77;
	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
