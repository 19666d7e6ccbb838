// Sums of columns that a kernel of rows takes along, in parts (lib/group_partial.c).
// In:  graphs just large enough that it pays. Out: how many sums are taken along and in how many steps; values
// against the interpreter, and the same bits with any number of threads and in less memory. Not here: what it gains (tools/bench.c).
#include "check.h"

#include <stdlib.h>

enum { MAX_OUT = 4 };

struct job {
	tgc_context *c;
	int64_t rows, columns;
	tgc_tensor *out[MAX_OUT];
	int n;
};

static tgc_tensor *numbers(struct job *j, tgc_type type, tgc_shape shape)
{
	tgc_tensor *x = tgc_variable(tgc_cast(tgc_randn(j->c, TGC_F32, shape), type));

	assert_int_equal(tgc_realize(x), TGC_OK);
	return x;
}

static void out(struct job *j, tgc_tensor *t)
{
	assert_true(j->n < MAX_OUT);
	j->out[j->n++] = t;
}

static void gradients(struct job *j, tgc_tensor *y, tgc_tensor *dy, int n, tgc_tensor *const *wrt)
{
	tgc_tensor *g[MAX_OUT];

	assert_int_equal(tgc_grad(tgc_sum(tgc_mul(y, dy), TGC_ALL_AXES, false), n, wrt, g), TGC_OK);
	out(j, y);
	for (int i = 0; i < n; i++)
		out(j, g[i]);
}

static void norm(struct job *j, tgc_type type, tgc_shape shape)
{
	tgc_tensor *x = numbers(j, type, shape), *dy = numbers(j, type, shape);
	tgc_tensor *gamma = numbers(j, type, TGC_SHAPE(j->columns)), *beta = numbers(j, type, TGC_SHAPE(j->columns));

	gradients(j, tgc_layer_norm(x, gamma, beta, 1e-5), dy, 3, (tgc_tensor *[]){x, gamma, beta});
}

static void layer_norm(struct job *j)
{
	norm(j, TGC_F32, TGC_SHAPE(j->rows, j->columns));
}

static void of_sequences(struct job *j)
{
	norm(j, TGC_F32, TGC_SHAPE(24, j->rows, j->columns));
}

static void narrow(struct job *j)
{
	norm(j, TGC_BF16, TGC_SHAPE(j->rows, j->columns));
}

static void root_mean_square(struct job *j)
{
	tgc_tensor *x = numbers(j, TGC_F32, TGC_SHAPE(j->rows, j->columns));
	tgc_tensor *dy = numbers(j, TGC_F32, TGC_SHAPE(j->rows, j->columns));
	tgc_tensor *gamma = numbers(j, TGC_F32, TGC_SHAPE(j->columns));
	tgc_tensor *size = tgc_sqrt(tgc_add(tgc_mean(tgc_square(x), TGC_AXES(1), true), 1e-5));

	gradients(j, tgc_mul(tgc_div(x, size), gamma), dy, 2, (tgc_tensor *[]){x, gamma});
}

// The gradient of a bias, beside that of what it is added to.
static void bias(struct job *j)
{
	tgc_tensor *x = numbers(j, TGC_F32, TGC_SHAPE(j->rows, j->columns));
	tgc_tensor *dy = numbers(j, TGC_F32, TGC_SHAPE(j->rows, j->columns));
	tgc_tensor *dx = tgc_mul(dy, tgc_tanh(x));

	out(j, dx);
	out(j, tgc_sum(dx, TGC_AXES(0), false));
}

// What is made of the sum goes with what adds up its parts.
static void update(struct job *j)
{
	tgc_tensor *b = numbers(j, TGC_F32, TGC_SHAPE(j->columns));

	bias(j);
	tgc_assign(b, tgc_sub(b, tgc_mul(j->out[1], 0.1)));
	out(j, b);
}

static void largest(struct job *j)
{
	tgc_tensor *x = numbers(j, TGC_F32, TGC_SHAPE(j->rows, j->columns));

	out(j, tgc_softmax(x, 1));
	out(j, tgc_max(x, TGC_AXES(0), false));
}

// A later step needs the sum.
static void centered(struct job *j)
{
	tgc_tensor *x = numbers(j, TGC_F32, TGC_SHAPE(j->rows, j->columns));

	out(j, tgc_softmax(x, 1));
	out(j, tgc_sub(x, tgc_mean(x, TGC_AXES(0), true)));
}

// A row's values are needed among those of another row.
static void of_other_rows(struct job *j)
{
	tgc_tensor *x = numbers(j, TGC_F32, TGC_SHAPE(j->rows, j->columns)), *y = tgc_softmax(x, 1);

	out(j, y);
	out(j, tgc_sum(tgc_mul(x, tgc_flip(y, TGC_AXES(0))), TGC_AXES(0), false));
}

// Layers whose values are kept for the way back.
static void deep(struct job *j)
{
	tgc_tensor *x = numbers(j, TGC_F32, TGC_SHAPE(j->rows, j->columns)), *y = x;
	tgc_tensor *dy = numbers(j, TGC_F32, TGC_SHAPE(j->rows, j->columns));
	tgc_tensor *gamma[4], *beta = numbers(j, TGC_F32, TGC_SHAPE(j->columns));

	for (int i = 0; i < 4; i++) {
		gamma[i] = numbers(j, TGC_F32, TGC_SHAPE(j->columns));
		y = tgc_add(y, tgc_exp(tgc_neg(tgc_square(tgc_layer_norm(y, gamma[i], beta, 1e-5)))));
	}
	gradients(j, y, dy, 3, (tgc_tensor *[]){x, gamma[0], gamma[3]});
}

static void overwritten(struct job *j)
{
	tgc_tensor *x = numbers(j, TGC_F32, TGC_SHAPE(j->rows, j->columns)), *s = tgc_sum(x, TGC_AXES(0), false);

	tgc_assign(x, tgc_mul(tgc_exp(x), 2.0));
	out(j, s);
	out(j, x);
}

static const struct row {
	const char *name;
	void (*build)(struct job *j);
	int64_t rows, columns;
	int sums, steps; // taken along; steps in all
} rows[] = {
    {"layer_norm", layer_norm, 1100, 256, 2, 1},
    {"layer_norm, blocks of uneven size", layer_norm, 2803, 100, 2, 1},
    {"layer_norm, wide", layer_norm, 269, 1000, 2, 1},
    {"layer_norm, short rows", layer_norm, 8011, 17, 0, 2},
    {"layer_norm, in the cache", layer_norm, 64, 256, 0, 2},
    {"of_sequences", of_sequences, 157, 72, 2, 1},
    {"narrow", narrow, 2803, 200, 2, 1},
    {"root_mean_square", root_mean_square, 2803, 129, 1, 1},
    {"bias", bias, 1001, 300, 1, 1},
    {"update", update, 1001, 300, 1, 1},
    {"largest", largest, 1001, 300, 1, 1},
    {"centered", centered, 1001, 300, 1, 2},
    {"of_other_rows", of_other_rows, 1001, 300, 0, 2},
    {"overwritten", overwritten, 1001, 300, 0, 2},
    {"deep", deep, 2803, 100, 0, 4},
};

static struct job job_of(const struct row *r, const char *device, int threads)
{
	struct job j = {.c = check_context(device, threads), .rows = r->rows, .columns = r->columns};

	if (j.c)
		r->build(&j);
	return j;
}

// Built as a realize would, for a record of its own: no such processor is needed.
static struct plan *plan_of(struct job *j, struct arena *a)
{
	struct node *outs[2 * MAX_OUT];
	struct variable *assign[2 * MAX_OUT] = {0};
	struct linear l;
	int n = check_outputs(j->c, j->n, j->out, TG_COUNT(outs), outs, assign);

	assert_true(linear_build(j->c, &l, a, n, outs, assign, 0, NULL));
	return schedule_build(j->c, &l, target_find("x86-64-v4"));
}

static void test_plans(void **unused)
{
	int bad = 0;

	(void)unused;
	for (int i = 0; i < TG_COUNT(rows); i++) {
		struct job j = job_of(&rows[i], "interp", 1);
		struct arena a;
		struct text t = {0};
		char *wrong, *text;
		int sums = 0;

		arena_init(&a, NULL);
		struct plan *p = plan_of(&j, &a);
		assert_non_null(p);
		for (int k = 0; k < p->ngroups; k++)
			for (int r = 0; r < p->groups[k].nroots; r++)
				sums += plan_is_part(p, &p->groups[k], r);
		wrong = plan_verify(p);
		plan_print(p, &t);
		text = text_take(&t);
		if (wrong || sums != rows[i].sums || p->nsteps != rows[i].steps) {
			print_error("%s: %d sums in %d steps, not %d in %d; %s\n%s", rows[i].name, sums, p->nsteps,
			            rows[i].sums, rows[i].steps, wrong ? wrong : "", text);
			bad++;
		}
		free(wrong);
		free(text);
		plan_free(p);
		arena_free(&a);
		tgc_context_free(&j.c);
	}
	assert_int_equal(bad, 0);
}

static void test_values(void **unused)
{
	(void)unused;
	for (int i = 0; i < TG_COUNT(rows); i++) {
		struct job j = job_of(&rows[i], "cpu", 2);
		struct tally t = {0};

		if (!j.c)
			return;
		check_tensors(j.c, j.n, j.out, &t);
		if (t.failed)
			print_error("%s: %s\n", rows[i].name, t.message);
		assert_false(t.failed);
		tgc_context_free(&j.c);
	}
}

static uint64_t bytes_of(const struct row *r, int threads, uint8_t **out, size_t *n)
{
	struct job j = job_of(r, "cpu", threads);
	uint64_t peak;

	if (!j.c)
		skip();
	tgc_realize_n(j.n, j.out);
	assert_string_equal(tgc_error_message(j.c), "");
	peak = tgc_get_stats(j.c).planned_peak_bytes;
	for (int i = 0; i < j.n; i++) {
		n[i] = (size_t)tgc_tensor_elems(j.out[i]) * tgc_type_bytes(tgc_tensor_type(j.out[i]));
		out[i] = malloc(n[i]);
		assert_int_equal(tgc_read(j.out[i], out[i], n[i]), TGC_OK);
	}
	tgc_context_free(&j.c);
	return peak;
}

static void same_bytes(uint8_t **x, uint8_t **y, const size_t *n)
{
	for (int k = 0; k < MAX_OUT && x[k]; k++) {
		assert_memory_equal(x[k], y[k], n[k]);
		free(x[k]);
		free(y[k]);
	}
}

static void test_threads(void **unused)
{
	(void)unused;
	for (int i = 0; i < TG_COUNT(rows); i++) {
		uint8_t *one[MAX_OUT] = {0}, *three[MAX_OUT] = {0};
		size_t n[MAX_OUT];

		bytes_of(&rows[i], 1, one, n);
		bytes_of(&rows[i], 3, three, n);
		same_bytes(one, three, n);
	}
}

// Steps that may have to run again stand alone, and leave and finish the same parts.
static void test_budget(void **unused)
{
	const struct row *r = &rows[TG_COUNT(rows) - 1];
	uint8_t *all[MAX_OUT] = {0}, *less[MAX_OUT] = {0};
	size_t n[MAX_OUT];
	uint64_t peak = bytes_of(r, 2, all, n), low;
	char budget[32];

	(void)unused;
	snprintf(budget, sizeof budget, "%llu", (unsigned long long)peak - 1);
	assert_int_equal(setenv("TGC_MEMORY_BUDGET", budget, 1), 0);
	low = bytes_of(r, 2, less, n);
	assert_int_equal(unsetenv("TGC_MEMORY_BUDGET"), 0);
	assert_true(low < peak);
	same_bytes(all, less, n);
}

static void lose_part(struct plan *p)
{
	p->groups[0].nroots--;
}

static void widen_blocks(struct plan *p)
{
	p->groups[0].rows *= 2;
}

static void finish_first(struct plan *p)
{
	struct group first = p->groups[0];

	p->groups[0] = p->groups[1];
	p->groups[1] = first;
	p->steps[0].ngroups = 1;
	p->steps[1] = (struct pstep){.kind = STEP_KERNEL, .group = 1, .ngroups = 2, .kernel = -1};
	p->nsteps = 2;
}

static void test_refused(void **unused)
{
	void (*const mutate[])(struct plan *p) = {lose_part, widen_blocks, finish_first};

	(void)unused;
	for (int i = 0; i < TG_COUNT(mutate); i++) {
		struct job j = job_of(&rows[0], "interp", 1);
		struct arena a;
		char *wrong;

		arena_init(&a, NULL);
		struct plan *p = plan_of(&j, &a);
		p->steps = ARENA_ARRAY(&p->arena, struct pstep, 2);
		p->steps[0] = (struct pstep){.kind = STEP_KERNEL, .ngroups = p->ngroups, .kernel = -1};
		assert_int_equal(p->nsteps, 1);
		mutate[i](p);
		wrong = plan_verify(p);
		if (!wrong)
			print_error("mutation %d passes\n", i);
		assert_non_null(wrong);
		free(wrong);
		plan_free(p);
		arena_free(&a);
		tgc_context_free(&j.c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_plans), cmocka_unit_test(test_values),
	                                   cmocka_unit_test(test_threads), cmocka_unit_test(test_budget),
	                                   cmocka_unit_test(test_refused)};

	return cmocka_run_group_tests_name("partial", tests, NULL, NULL);
}
