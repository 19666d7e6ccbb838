// Bugs planted into generated kernels that copy asynchronously: products of tiles in f32, as TF32 and in 16 bits.
// In:  x y of small integers, scheduled and emitted; a table of changes to its text. Out: the kernel comes out
// right as it is, in all orders, with copies early and late, and wrong or refused with each change. Not here:
// other kernels (test_emu.c has those that are written by hand).
#include "emu.h"
#include "plant.h"
#include "plan_look.h"

#include <stdlib.h>

enum { ROWS = 64, TERMS = 256, COLUMNS = 64, MAX_BUFS = 4 };

static struct { // of the last graph
	struct cuda_source source;
	int nbufs, elems[MAX_BUFS];
	tgc_type type[MAX_BUFS];
	bool written[MAX_BUFS];
} made;
static const struct target *target;

static void emit(struct tgc_context *c, const struct linear *l, const struct plan *p)
{
	char *error = NULL;
	(void)c;
	(void)l;
	assert_int_equal(p->nsteps, 1);
	struct kernel *k = lower_step(p, &p->steps[0], target, &error);
	assert_non_null(k);
	assert_null(kernel_run_passes(k, target, true));
	assert_null(emit_cuda(k, target, "k", &made.source));
	for (made.nbufs = 0; k->bufs[made.nbufs].space == SPACE_GLOBAL; made.nbufs++) {
		const struct kbuf *b = &k->bufs[made.nbufs];
		made.elems[made.nbufs] = (int)b->elems;
		made.type[made.nbufs] = (tgc_type)b->type;
		made.written[made.nbufs] = b->written;
	}
	assert_int_equal(made.nbufs, 3);
	kernel_free(k);
}

static void make(tgc_type type, bool tf32)
{
	tgc_context *c = check_context("interp", 1);
	struct target record;
	target = target_rounding(target_find("sm_90"), tf32, &record);
	plan_look(c, target, emit);
	tgc_tensor *x = tgc_variable(tgc_full(c, type, TGC_SHAPE(ROWS, TERMS), 0)),
	           *y = tgc_variable(tgc_full(c, type, TGC_SHAPE(TERMS, COLUMNS), 0));
	assert_int_equal(tgc_realize(tgc_matmul(x, y)), TGC_OK);
	tgc_release(x);
	tgc_release(y);
	tgc_context_free(&c);
}

static double number(int buf, int i)
{
	return (i * 7 + i / 13 + buf) % 3 - 1; // sums are exact in 8 bits
}

static double want(int i)
{
	double s = 0;
	for (int k = 0; k < TERMS; k++)
		s += number(1, i / COLUMNS * TERMS + k) * number(2, k * COLUMNS + i % COLUMNS);
	return s;
}

// NULL, or what is wrong (malloc'ed). The first argument that is only read is x.
static char *run_once(void *fn, enum emu_order order, bool reverse, bool deferred)
{
	struct emu_guard g[MAX_BUFS];
	void *args[MAX_BUFS];
	int operand = 0, out = -1;
	for (int i = 0; i < made.nbufs; i++) {
		assert_true(emu_guard_new(&g[i], made.elems[i] * (int64_t)tgc_type_bytes(made.type[i])));
		args[i] = g[i].data;
		out = made.written[i] ? i : out;
		operand += !made.written[i];
		for (int e = 0; !made.written[i] && e < made.elems[i]; e++)
			interp_store_f(made.type[i], g[i].data, e, number(operand, e));
	}
	const struct cuda_phase *p = &made.source.phases[0];
	struct emu_launch l = {.name = p->name,
	                       .fn = fn,
	                       .args = args,
	                       .nargs = made.nbufs,
	                       .threads = p->threads,
	                       .blocks = p->blocks,
	                       .shared_bytes = p->shared_bytes,
	                       .order = order,
	                       .reverse_blocks = reverse,
	                       .deferred = deferred};
	char *error = emu_launch(&l);
	for (int i = 0; i < made.elems[out] && !error; i++) {
		double got = interp_load_f(made.type[out], g[out].data, i);
		if (got != want(i) && asprintf(&error, "element %d is %g, not %g", i, got, want(i)) < 0)
			error = strdup("a wrong element");
	}
	for (int i = 0; i < made.nbufs; i++)
		emu_guard_free(&g[i]);
	return error;
}

static char *run(const char *text)
{
	struct emu_library *library = NULL;
	const char *name = "k";
	char *error = emu_build(1, &name, &text, &library);
	if (error)
		fail_msg("%s", error);
	void *fn = emu_function(library, made.source.phases[0].name);
	for (int i = 0; i < 6 && !error; i++)
		error = run_once(fn, (enum emu_order)(i % 3), i % 2, i / 3);
	emu_library_free(library);
	return error;
}

static const struct emu_bug bugs[] = {
    {"too few stages", "% 3u", "% 2u", EMU_ALL},
    {"wrong wait count", "tg_cp_async_wait(1)", "tg_cp_async_wait(2)", 0},
    {"no barrier after the wait", "tg_cp_async_wait(1);\n\t\ttg_barrier();", "tg_cp_async_wait(1);", 0},
    {"copies of no group", "tg_cp_async_commit();", "", 0},
    {"a stage ahead too many", "% 3u", "% 3u + 1", 0},
};

static void test_planted(void **state)
{
	static const struct {
		tgc_type type;
		const char *name;
	} types[] = {{TGC_F32, "f32"}, {TGC_F32, "TF32"}, {TGC_BF16, "bf16"}, {TGC_F16, "f16"}};
	(void)state;
	for (int t = 0; t < TG_COUNT(types); t++) {
		make(types[t].type, strcmp(types[t].name, "TF32") == 0);
		char *error = run(made.source.text);
		if (error)
			fail_msg("%s: %s", types[t].name, error);
		for (int i = 0; i < TG_COUNT(bugs); i++) {
			char *text = emu_changed(made.source.text, &bugs[i]);
			if (!text)
				fail_msg("%s: \"%s\" is not in\n%s", bugs[i].what, bugs[i].from, made.source.text);
			error = run(text);
			print_message("%-5s %-28s %s\n", types[t].name, bugs[i].what, error ? error : "-");
			if (!error)
				fail_msg("%s: not noticed\n%s", bugs[i].what, text);
			free(error);
			free(text);
		}
		free(made.source.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_planted),
	};
	return cmocka_run_group_tests_name("emu_product", tests, NULL, NULL);
}
