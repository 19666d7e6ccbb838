// Products of matrices through the passes: which copies and register tiles a target gets, and that sums stay right.
// In:  kernels as text, made from sizes. Out: what the text holds after the passes, and values, which are small
// integers, so that their order does not matter. Not here: speed (tgc bench).
#include "kernel_eval.h"
#include "runtime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const char avx2[] = "x86-64-v3", avx512[] = "x86-64-v4";

struct size {
	int64_t m, n, k;
	bool turned; // the left one lies [k][m]
};

static struct kernel *parsed(struct text *t)
{
	char *text = text_take(t), *error = NULL;
	struct kernel *k = kernel_parse(text, &error);
	if (!k)
		fail_msg("%s\n%s", error, text);
	free(text);
	return k;
}

static struct kernel *product(const struct size *s)
{
	struct text t = {0};
	text_add(&t, "kernel segments 0 scratch 0\n  b0 f32 %lld global\n  b1 f32 %lld global\n  b2 f32 %lld global\n",
	         (long long)(s->m * s->k), (long long)(s->k * s->n), (long long)(s->m * s->n));
	text_add(&t, "phase 0\n  for par %%0 = 0 .. %lld {\n    for par %%1 = 0 .. %lld {\n", (long long)s->m,
	         (long long)s->n);
	text_add(&t, "      for red %%2 = 0 .. %lld carry %%3 = f32:0 add {\n", (long long)s->k);
	text_add(&t, "        %%4 = affine 0 %lld*%%0 %lld*%%2\n        %%5 = load b0 [%%4]\n",
	         (long long)(s->turned ? 1 : s->k), (long long)(s->turned ? s->m : 1));
	text_add(&t, "        %%6 = affine 0 1*%%1 %lld*%%2\n        %%7 = load b1 [%%6]\n", (long long)s->n);
	text_add(&t, "        %%8 = fma f32 %%5, %%7, %%3\n      } yield %%8 -> %%9\n");
	text_add(&t, "      %%10 = affine 0 %lld*%%0 1*%%1\n      store b2 [%%10] %%9\n    }\n  }\n", (long long)s->n);
	return parsed(&t);
}

static char *after_passes(struct kernel *k, const struct target *t)
{
	struct text text = {0};
	char *error = kernel_run_passes(k, t, true);
	if (error)
		fail_msg("%s", error);
	kernel_print(k, &text);
	return text_take(&text);
}

// Lines that begin (after spaces) with `word` and have `part` in them.
static int lines_with(const char *text, const char *word, const char *part)
{
	int n = 0;
	for (const char *at = text; at; at = strchr(at, '\n')) {
		at += strspn(at, "\n ");
		const char *end = strchr(at, '\n'), *found = strstr(at, part);
		n += strncmp(at, word, strlen(word)) == 0 && found && end && found < end;
	}
	return n;
}

static const struct row {
	struct size size;
	const char *target, *word, *part;
	int lines; // at least so many of them; 0: none
} rows[] = {
    // Both operands copied: what fills a vector behind 6 rows is stored too, where masked stores are dear.
    {{512, 128, 768, true}, avx2, "store b3", "]", 1},
    {{512, 128, 768, true}, avx2, "store b4", "]", 1},
    {{512, 128, 768, true}, avx2, "store b3", " if ", 0},
    {{512, 128, 768, true}, avx2, "store b4", " if ", 0},
    {{512, 128, 768, true}, avx512, "store b4", " if ", 1},
    // Few rows side by side are read where they lie.
    {{128, 128, 768, true}, avx2, "store b3", "]", 1},
    {{128, 128, 768, true}, avx2, "store b4", "]", 0},
    // Many tiles: 6 rows and a last tile of fewer, though 4 are a divisor; a few: the divisor.
    {{128, 512, 784, false}, avx2, "for unroll", "0 .. 6 ", 1},
    {{16, 512, 784, false}, avx2, "for unroll", "0 .. 6 ", 0},
    {{16, 512, 784, false}, avx2, "for unroll", "0 .. 4 ", 1},
    {{128, 512, 784, false}, avx512, "for unroll", "0 .. 8 ", 1},
};

static void test_text(void **state)
{
	(void)state;
	for (int i = 0; i < TG_COUNT(rows); i++) {
		const struct row *r = &rows[i];
		struct kernel *k = product(&r->size);
		char *text = after_passes(k, target_find(r->target));
		int n = lines_with(text, r->word, r->part);
		if (r->lines ? n < r->lines : n > 0)
			fail_msg("row %d: \"%s\" with \"%s\": %d lines\n%s", i, r->word, r->part, n, text);
		free(text);
		kernel_free(k);
	}
}

static void test_values(void **state)
{
	(void)state;
	struct target targets[] = {*target_find(avx2), *target_find(avx512), *target_find(avx2), *target_find(avx512)};
	static const struct size sizes[] = {{61, 40, 96, true}, {64, 48, 64, true}, {67, 33, 50, false}};
	targets[2].l2_bytes = targets[3].l2_bytes = 16 << 10; // so that slices are cut
	for (int i = 0; i < TG_COUNT(sizes) * TG_COUNT(targets); i++) {
		const struct size *s = &sizes[i / TG_COUNT(targets)];
		struct kernel *k = product(s);
		float *a = calloc((size_t)(s->m * s->k), sizeof *a), *b = calloc((size_t)(s->k * s->n), sizeof *b),
		      *want = calloc((size_t)(s->m * s->n), sizeof *want),
		      *got = calloc((size_t)(s->m * s->n), sizeof *got);
		assert_true(a && b && want && got);
		for (int64_t j = 0; j < s->m * s->k; j++)
			a[j] = (float)(j * 7 % 11 - 5);
		for (int64_t j = 0; j < s->k * s->n; j++)
			b[j] = (float)(j * 5 % 13 - 6);
		assert_null(kernel_eval(k, (void *[]){a, b, want}));
		free(after_passes(k, &targets[i % TG_COUNT(targets)]));
		char *error = kernel_eval(k, (void *[]){a, b, got});
		if (error)
			fail_msg("case %d: %s", i, error);
		assert_memory_equal(got, want, sizeof *got * (size_t)(s->m * s->n));
		kernel_free(k);
		free(a);
		free(b);
		free(want);
		free(got);
	}
}

// A matrix turned, every element multiplied by itself `ops` times.
static struct kernel *turned(int ops)
{
	struct text t = {0};
	text_add(&t, "kernel segments 0 scratch 0\n  b0 f32 4096 global\n  b1 f32 4096 global\nphase 0\n"
	             "  for par %%0 = 0 .. 64 {\n    for par %%1 = 0 .. 64 {\n      %%2 = affine 0 1*%%0 64*%%1\n"
	             "      %%3 = load b0 [%%2]\n");
	for (int i = 0; i < ops; i++)
		text_add(&t, "      %%%d = mul f32 %%%d, %%3\n", 4 + i, 3 + i);
	text_add(&t, "      %%%d = affine 0 64*%%0 1*%%1\n      store b1 [%%%d] %%%d\n    }\n  }\n", 4 + ops, 4 + ops,
	         3 + ops);
	return parsed(&t);
}

// Blocks that are transposed in registers pay for little work only: replicas of a long body take long to compile.
static void test_long_bodies_stand_once(void **state)
{
	(void)state;
	for (int ops = 5; ops <= 200; ops *= 40) {
		struct kernel *k = turned(ops);
		char *text = after_passes(k, target_find(avx512));
		assert_int_equal(lines_with(text, "for unroll", ""), ops < 100);
		free(text);
		kernel_free(k);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_text), cmocka_unit_test(test_values),
	                                   cmocka_unit_test(test_long_bodies_stand_once)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
