// Program passes, on programs written as text: what they leave, and that values stay.
// Also the text round trip and what the verifier and the parser refuse.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime.h"

#include <math.h>
#include <stdlib.h>

static struct prog parse(struct arena *a, const char *text)
{
	struct prog p;
	char *error;

	if (!prog_parse(&p, a, &text, &error))
		fail_msg("%s", error);
	error = prog_verify(&p);
	if (error)
		fail_msg("%s", error);
	return p;
}

static int count(const struct prog *p, int op, int type)
{
	int n = 0;

	for (int i = 0; i < p->n; i++)
		n += p->nodes[i].op == op && (type < 0 || p->nodes[i].type == type);
	return n;
}

static char *text_of(const struct prog *p)
{
	struct text t = {0};
	char *s;

	prog_print(p, &t);
	s = text_take(&t);
	assert_non_null(s);
	return s;
}

// The first output's values, as doubles; every leaf holds the same data, seen in its own type.
static double *values(const struct prog *p, const double *data, int64_t n, int64_t *elems)
{
	struct interp_value *v = calloc((size_t)p->n, sizeof *v);
	void *leaf[4];
	int32_t flag, out = p->outs[0].node;
	double *r;

	assert_non_null(v);
	for (int i = 0; i < p->nleaves; i++) {
		tgc_type t = (tgc_type)p->leaves[i].type;
		struct interp_value x = {
		    .type = t, .elems = p->leaves[i].elems, .f = calloc((size_t)n, sizeof(double))};

		assert_true(x.elems <= n && type_is_float(t));
		for (int64_t k = 0; k < x.elems; k++)
			x.f[k] = number_from_double(t, data[k] * (i + 1)).f;
		leaf[i] = malloc((size_t)x.elems * 8);
		interp_store(&x, leaf[i]);
		free(x.f);
	}
	assert_int_equal(interp_run(NULL, p, (const void *const *)leaf, v, &flag), TGC_OK);
	*elems = v[out].elems;
	r = malloc(sizeof *r * (size_t)*elems);
	for (int64_t k = 0; k < *elems; k++)
		r[k] = v[out].f ? v[out].f[k] : (double)v[out].i[k];
	interp_values_free(p, v);
	free(v);
	for (int i = 0; i < p->nleaves; i++)
		free(leaf[i]);
	return r;
}

typedef void pass_fn(struct prog *p);
static const struct pass_row {
	const char *name;
	pass_fn *pass;
	double tolerance;
	int gone, gone_type;        // an operation that must not be left; type -1: of any type
	int made, made_type, times; // and one that must, so many times
	const char *text;
} pass_rows[] = {
    {"argmax", pass_argmax, 0, OP_ARGMAX, -1, OP_RMIN, TGC_I32, 1,
     "program { leaf 0 data f32 12\n %0 = data f32[3,4] @0\n %1 = argmax i64[3,1] %0 {2}\n out %1\n}"},
    {"argmax of the outer axis, 16 bits", pass_argmax, 0, OP_ARGMAX, -1, OP_RMAX, TGC_BF16, 1,
     "program { leaf 0 data bf16 12\n %0 = data bf16[3,4] @0\n %1 = argmax i64[1,4] %0 {1}\n out %1\n}"},
    {"argmax twice", pass_argmax, 0, OP_ARGMAX, -1, OP_RMIN, -1, 2,
     "program { leaf 0 data f32 12\n %0 = data f32[12] @0\n %1 = argmax i64[1] %0 {1}\n %2 = neg f32[12] %0\n"
     "%3 = argmax i64[1] %2 {1}\n %4 = add i64[1] %1 %3\n out %4\n}"},
    {"a permuted contraction", pass_permute, 0, OP_PERMUTE, -1, OP_CONTRACT, -1, 1,
     "program { leaf 0 data f32 12\n leaf 1 data f32 12\n %0 = data f32[3,4] @0\n %1 = data f32[4,3] @1\n"
     "%2 = contract f32[3,3] %0 %1 {1,0,-1,0,1,0,1,1,2,-1,1,1,1,0,1,1,3,1,0,-1,1,0,1,1}\n"
     "%3 = permute f32[3,3] %2 {1,0}\n out %3\n}"},
    {"a permuted contraction with two users stays", pass_permute, 0, OP_ARGMAX, -1, OP_PERMUTE, -1, 1,
     "program { leaf 0 data f32 12\n leaf 1 data f32 12\n %0 = data f32[3,4] @0\n %1 = data f32[4,3] @1\n"
     "%2 = contract f32[3,3] %0 %1 {1,0,-1,0,1,0,1,1,2,-1,1,1,1,0,1,1,3,1,0,-1,1,0,1,1}\n"
     "%3 = permute f32[3,3] %2 {1,0}\n %4 = add f32[3,3] %2 %3\n out %4\n}"},
    {"a chain is rounded once", pass_widen, 2e-3, OP_MUL, TGC_F16, OP_CAST, TGC_F16, 1,
     "program { leaf 0 data f16 12\n leaf 1 data f16 12\n %0 = data f16[12] @0\n %1 = data f16[12] @1\n"
     "%2 = mul f16[12] %0 %1\n %3 = tanh f16[12] %2\n %4 = add f16[12] %3 %0\n out %4\n}"},
    {"a value with two users is rounded", pass_widen, 2e-3, OP_MUL, TGC_F16, OP_CAST, TGC_F16, 2,
     "program { leaf 0 data f16 12\n %0 = data f16[12] @0\n %1 = mul f16[12] %0 %0\n"
     "%2 = tanh f16[12] %1\n %3 = add f16[12] %1 %2\n out %3\n}"},
    {"sums take the chain whole", pass_widen, 4e-3, OP_SUM, TGC_F16, OP_CAST, TGC_F16, 1,
     "program { leaf 0 data f16 12\n %0 = data f16[12] @0\n %1 = mul f16[12] %0 %0\n"
     "%2 = sum f16[1] %1 {1}\n out %2\n}"},
    {"compares see rounded values", pass_widen, 0, OP_MUL, TGC_BF16, OP_CAST, TGC_BF16, 1,
     "program { leaf 0 data bf16 12\n %0 = data bf16[12] @0\n %1 = mul bf16[12] %0 %0\n"
     "%2 = eq bool[12] %1 %0\n out %2\n}"},
    {"contractions are f32", pass_widen, 4e-3, OP_CONTRACT, TGC_F16, OP_CONTRACT, TGC_F32, 1,
     "program { leaf 0 data f16 12\n %0 = data f16[3,4] @0\n"
     "%1 = contract f16[3,3] %0 %0 {1,0,-1,0,1,0,1,1, 2,-1,0,1,1,0,1,1, 3,1,1,-1,1,0,1,1}\n out %1\n}"},
    {"literals are widened, not cast", pass_widen, 2e-3, OP_MUL, TGC_F16, OP_CAST, TGC_F32, 1,
     "program { leaf 0 data f16 12\n %0 = data f16[12] @0\n %1 = const f16[] {4602678819172646912}\n"
     "%2 = reshape f16[1] %1\n %3 = expand f16[12] %2\n %4 = mul f16[12] %0 %3\n out %4\n}"},
    {"scatter adds in f32", pass_widen, 4e-3, OP_SCATTER, TGC_F16, OP_SCATTER, TGC_F32, 1,
     "program { leaf 0 data f16 3\n leaf 1 data f16 12\n %0 = data f16[3] @0\n %1 = data f16[12] @1\n"
     "%2 = iota i32[12] {0}\n %3 = const i32[] {3}\n %4 = reshape i32[1] %3\n %5 = expand i32[12] %4\n"
     "%6 = mod i32[12] %2 %5\n %7 = scatter f16[3] %0 %6 %1 {0,1}\n out %7\n}"},
    {"mul and add", pass_fma, 1e-6, OP_MUL, -1, OP_FMA, -1, 1,
     "program { leaf 0 data f32 12\n leaf 1 data f32 12\n %0 = data f32[12] @0\n %1 = data f32[12] @1\n"
     "%2 = mul f32[12] %0 %1\n %3 = add f32[12] %0 %2\n out %3\n}"},
    {"product minus value", pass_fma, 1e-6, OP_SUB, -1, OP_NEG, -1, 1,
     "program { leaf 0 data f32 12\n leaf 1 data f32 12\n %0 = data f32[12] @0\n %1 = data f32[12] @1\n"
     "%2 = mul f32[12] %0 %1\n %3 = sub f32[12] %2 %1\n out %3\n}"},
    {"value minus product", pass_fma, 1e-6, OP_SUB, -1, OP_FMA, -1, 1,
     "program { leaf 0 data f64 12\n leaf 1 data f64 12\n %0 = data f64[12] @0\n %1 = data f64[12] @1\n"
     "%2 = mul f64[12] %0 %1\n %3 = sub f64[12] %1 %2\n out %3\n}"},
    {"a product with two users stays", pass_fma, 0, OP_FMA, -1, OP_MUL, -1, 1,
     "program { leaf 0 data f32 12\n %0 = data f32[12] @0\n %1 = mul f32[12] %0 %0\n"
     "%2 = add f32[12] %1 %1\n out %2\n}"},
    {"an output stays", pass_fma, 0, OP_FMA, -1, OP_MUL, -1, 1,
     "program { leaf 0 data f32 12\n %0 = data f32[12] @0\n %1 = mul f32[12] %0 %0\n"
     "%2 = add f32[12] %1 %0\n out %2\n out %1\n}"},
    {"two products: the first", pass_fma, 1e-6, OP_ADD, -1, OP_MUL, -1, 1,
     "program { leaf 0 data f32 12\n %0 = data f32[12] @0\n %1 = mul f32[12] %0 %0\n"
     "%2 = exp f32[12] %0\n %3 = mul f32[12] %2 %0\n %4 = add f32[12] %1 %3\n out %4\n}"},
    {"integers are left alone", pass_fma, 0, OP_FMA, -1, OP_MUL, -1, 1,
     "program { leaf 0 data f32 12\n %0 = data f32[12] @0\n %1 = cast i32[12] %0\n %2 = mul i32[12] %1 %1\n"
     "%3 = add i32[12] %2 %1\n out %3\n}"},
};

static void check_pass(const struct pass_row *r, const double *data, int64_t n)
{
	struct arena a = {0};
	struct prog before = parse(&a, r->text), after;
	int64_t elems, after_elems;
	double *want, *got;
	char *wrong;

	assert_true(prog_copy(&after, &a, &before));
	r->pass(&after);
	assert_false(a.failed);
	wrong = prog_verify(&after);
	if (wrong)
		fail_msg("%s: %s", r->name, wrong);
	if (count(&after, r->gone, r->gone_type) || count(&after, r->made, r->made_type) != r->times)
		fail_msg("%s:\n%s", r->name, text_of(&after));
	want = values(&before, data, n, &elems);
	got = values(&after, data, n, &after_elems);
	assert_int_equal(elems, after_elems);
	for (int64_t i = 0; i < elems; i++)
		if (!(fabs(want[i] - got[i]) <= r->tolerance * (1 + fabs(want[i]))) &&
		    !(isnan(want[i]) && isnan(got[i])))
			fail_msg("%s: element %d is %.9g, was %.9g", r->name, (int)i, got[i], want[i]);
	free(want);
	free(got);
	arena_free(&a);
}

static void passes(void **state)
{
	static const double plain[12] = {0.5, -1.25, 3, 3, 0.1, 2, 2, -7, 0, 1, 0.75, 1};
	static const double special[12] = {1, NAN, 3, NAN, -INFINITY, INFINITY, INFINITY, 1, 0, -0.0, 0, 0};

	(void)state;
	for (int i = 0; i < TG_COUNT(pass_rows); i++) {
		check_pass(&pass_rows[i], plain, 12);
		if (pass_rows[i].pass == pass_argmax)
			check_pass(&pass_rows[i], special, 12);
	}
}

static void round_trip(void **state)
{
	struct arena a = {0};

	(void)state;
	for (int i = 0; i < TG_COUNT(pass_rows); i++) {
		struct prog p = parse(&a, pass_rows[i].text), again;
		char *once = text_of(&p), *twice;

		again = parse(&a, once);
		twice = text_of(&again);
		assert_string_equal(once, twice);
		free(once);
		free(twice);
	}
	arena_free(&a);
}

#define LEAF "program { leaf 0 data f32 6\n %0 = data f32[2,3] @0\n "
static const char *const unsound[] = {
    LEAF "%1 = add f32[3,2] %0 %0\n out %1\n}",
    LEAF "%1 = add f64[2,3] %0 %0\n out %1\n}",
    LEAF "%1 = add f32[2,3] %0\n out %1\n}",
    LEAF "%1 = not f32[2,3] %0\n out %1\n}",
    LEAF "%1 = lt f32[2,3] %0 %0\n out %1\n}",
    LEAF "%1 = reshape f32[5] %0\n out %1\n}",
    LEAF "%1 = permute f32[3,2] %0 {0,1}\n out %1\n}",
    LEAF "%1 = permute f32[2,2] %0 {0,0}\n out %1\n}",
    LEAF "%1 = expand f32[4,3] %0\n out %1\n}",
    LEAF "%1 = slice f32[2,3] %0 {0,1,1,1}\n out %1\n}",
    LEAF "%1 = slice f32[2,3] %0 {0,0,0,1}\n out %1\n}",
    LEAF "%1 = pad f32[2,3] %0 %0 {0,0,0,0,0,0}\n out %1\n}",
    LEAF "%1 = concat f32[4,3] %0 %0 {1}\n out %1\n}",
    LEAF "%1 = window f32[2,2,3] %0 {1,3,1,1}\n out %1\n}",
    LEAF "%1 = sum f32[2,1] %0 {1}\n out %1\n}",
    LEAF "%1 = sum f32[2,3] %0 {0}\n out %1\n}",
    LEAF "%1 = argmax i64[1,1] %0 {3}\n out %1\n}",
    LEAF "%1 = argmax f32[2,1] %0 {2}\n out %1\n}",
    LEAF "%1 = contract f32[2,2] %0 %0 {1,0,-1,0,1,0,1,1,2,-1,0,1,1,0,1,1}\n out %1\n}",
    LEAF "%1 = contract f32[2] %0 %0 {1,0,-1,0,1,0,1,1,3,1,0,-1,1,0,1,1,3,1,1,-1,1,0,1,1}\n out %1\n}",
    LEAF "%1 = gather f32[2,3] %0 %0 {0}\n out %1\n}",
    LEAF "%1 = iota i32[4] {1}\n out %1\n}",
    LEAF "%1 = const f32[2] {0}\n out %1\n}",
    LEAF "out %0 -> 0\n}", // data is no place to store to
    "program { leaf 0 data f32 5\n %0 = data f32[2,3] @0\n out %0\n}",
    "program { leaf 0 data f64 6\n %0 = data f32[2,3] @0\n out %0\n}",
    "program { leaf 0 data f32 6\n %0 = data f32[2,3] @0\n %1 = data f32[2,3] @0\n out %1\n}",
    "program { %0 = data f32[2,3]\n out %0\n}",
};

static void refused(void **state)
{
	static const char *const garbled[] = {
	    "",
	    "program",
	    "program {",
	    "program { leaf 1 data f32 6\n}",
	    "program { leaf 0 date f32 6\n}",
	    "program { leaf 0 data f31 6\n}",
	    "program { %0 = frobnicate f32[2]\n}",
	    "program { %0 = iota i32[4 {0}\n}",
	    "program { %0 = iota i32[4] {0\n}",
	    "program { %0 = neg f32[4] %0\n}",
	    "program { %1 = iota i32[4] {0}\n}",
	    "program { %0 = iota i32[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1] {0}\n}",
	    "program { %0 = iota i32[4] {0}\n out %1\n}",
	    "program { %0 = iota i32[4] {0}\n out %0 -> 0\n}",
	};
	struct arena a = {0};

	(void)state;
	for (int i = 0; i < TG_COUNT(unsound); i++) {
		const char *text = unsound[i];
		struct prog p;
		char *error;

		assert_true(prog_parse(&p, &a, &text, &error));
		error = prog_verify(&p);
		if (!error)
			fail_msg("accepted:\n%s", unsound[i]);
		free(error);
	}
	for (int i = 0; i < TG_COUNT(garbled); i++) {
		const char *text = garbled[i];
		struct prog p;
		char *error;

		if (prog_parse(&p, &a, &text, &error))
			fail_msg("parsed:\n%s", garbled[i]);
		assert_non_null(error);
		free(error);
	}
	arena_free(&a);
}

// Nodes out of order, dead ones between.
static void compact(void **state)
{
	struct arena a = {0};
	struct prog p =
	    parse(&a, LEAF "%1 = neg f32[2,3] %0\n %2 = exp f32[2,3] %0\n %3 = neg f32[2,3] %2\n out %3\n}");
	struct pnode t = p.nodes[2];
	char *text;

	(void)state;
	p.nodes[2] = p.nodes[3];
	p.nodes[3] = t;
	p.nodes[2].src[0] = 3;
	p.outs[0].node = 2;
	prog_compact(&p);
	assert_null(prog_verify(&p));
	text = text_of(&p);
	assert_string_equal(text, "program {\n  leaf 0 data f32 6\n  %0 = data f32[2,3] @0\n"
	                          "  %1 = exp f32[2,3] %0\n  %2 = neg f32[2,3] %1\n  out %2\n}\n");
	free(text);
	arena_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(passes),
	    cmocka_unit_test(round_trip),
	    cmocka_unit_test(refused),
	    cmocka_unit_test(compact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
