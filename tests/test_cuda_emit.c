// CUDA C of every group of the benchmark's workloads and of random graphs: it comes out, always the same, from
// kernels that the verifier finds sound, and it is C.
// In:  tgc's graphs, scheduled for a GPU. Out: texts, which a C compiler reads. Not here: what they compute
// (they are run where there is an emulator or a GPU).
#include "fuzz.h"
#include "plan_eval.h"
#include "plan_look.h"

#include <stdlib.h>

enum { MAX_OUTS = 2048, GRAPHS = 150 };

static const struct target *target;
static FILE *all;                                  // texts
static int kernels, groups, evaluated, graph = -1; // graph: of the random ones
static int products;                               // kernels that use tensor cores
static bool by_class;

// ---- one step

// A kernel's text reads back as the same kernel.
static void reads_back(const struct kernel *k)
{
	struct text one = {0}, two = {0};
	char *error = NULL;
	kernel_print(k, &one);
	struct kernel *again = kernel_parse(one.p, &error);
	if (!again)
		fail_msg("%s", error);
	kernel_print(again, &two);
	assert_string_equal(one.p, two.p);
	kernel_free(again);
	free(one.p);
	free(two.p);
}

static char *emitted(const struct plan *p, const struct pstep *s, struct cuda_source *out)
{
	char *error, name[32];
	struct kernel *k = lower_step(p, s, target, &error);
	snprintf(name, sizeof name, "k%d", kernels);
	if (k)
		error = kernel_run_passes(k, target, true);
	if (!error)
		reads_back(k);
	if (!error)
		error = emit_cuda(k, target, name, out);
	kernel_free(k);
	return error;
}

static void emit_step(const struct plan *p, const struct pstep *s)
{
	struct cuda_source one, two;
	char *error = emitted(p, s, &one);
	if (error)
		fail_msg("%s group %d: %s", target->name, s->group, error);
	assert_null(emitted(p, s, &two));
	assert_string_equal(one.text, two.text);
	for (int i = 0; i < one.nphases; i++) {
		const struct cuda_phase *x = &one.phases[i];
		assert_true(x->threads >= 32 && x->threads <= 1024 && x->threads % 32 == 0);
		assert_true(x->shared_bytes <= (x->dynamic_bytes ? target->block_shared_bytes : target->shared_bytes));
		assert_non_null(strstr(one.text, x->name));
	}
	products += strstr(one.text, "tg_mma_16816") != NULL;
	fputs(one.text, all);
	free(one.text);
	free(two.text);
	kernels++;
	groups++;
}

// ---- graphs: stands in for the runtime, runs nothing

// A variable's first value may be a graph that was not run.
static bool has_values(const struct linear *l)
{
	for (int i = 0; i < l->prog.nleaves; i++) {
		const struct node *n = l->leaf_nodes[i];
		n = n->op == OP_VARIABLE ? node_variable(n)->initial : n;
		if (l->prog.leaves[i].cls != LEAF_SCALAR && (!n || !n->buf))
			return false;
	}
	return true;
}

static void *leaf_value(const struct linear *l, int leaf)
{
	const struct pleaf *x = &l->prog.leaves[leaf];
	const struct node *n = l->leaf_nodes[leaf];
	size_t bytes = (size_t)x->elems * tgc_type_bytes((tgc_type)x->type);
	void *v = calloc(bytes + 8, 1);
	if (n->op == OP_VARIABLE)
		n = node_variable(n)->initial;
	if (x->cls != LEAF_SCALAR)
		memcpy(v, n->buf->data, bytes);
	else if (interp_is_float((tgc_type)x->type))
		interp_store_f((tgc_type)x->type, v, 0, l->leaf_values[leaf].f);
	else
		interp_store_i((tgc_type)x->type, v, 0, l->leaf_values[leaf].i);
	return v;
}

// What blocks and threads compute, one after the other, against the oracle.
static void evaluate(struct tgc_context *c, const struct linear *l, const struct plan *plan)
{
	const struct prog *p = &l->prog;
	struct interp_value *want = calloc((size_t)p->n + 1, sizeof *want);
	void *leaves[128], *outs[MAX_OUTS];
	int32_t flags[64] = {0}, flag = -1;
	struct tally t = {0};
	evaluated++;
	assert_true(p->nleaves <= 128);
	for (int i = 0; i < p->nleaves; i++)
		leaves[i] = leaf_value(l, i);
	assert_int_equal(interp_run(c, p, (const void *const *)leaves, want, &flag), TGC_OK);
	for (int i = 0; i < p->nouts; i++)
		outs[i] = calloc((size_t)prog_elems(p, p->outs[i].node) + 1, 8);
	char *error = plan_eval(plan, target, leaves, outs, flags);
	if (error)
		fail_msg("%s", error);
	for (int i = 0; i < p->nouts; i++) {
		tally_compare(&t, &want[p->outs[i].node], outs[i], by_class);
		if (t.failed)
			fail_msg("graph %d, output %d: %s", graph, i, t.message);
		free(outs[i]);
	}
	for (int i = 0; i < p->nleaves; i++)
		free(leaves[i]);
	interp_values_free(p, want);
	free(want);
}

static void emit_plan(struct tgc_context *c, const struct linear *l, const struct plan *p)
{
	for (int i = 0; i < p->nsteps; i++)
		if (p->steps[i].kind == STEP_KERNEL)
			emit_step(p, &p->steps[i]);
	if (graph >= 0 && has_values(l))
		evaluate(c, l, p);
}

static void sketch(tgc_context *c, uint64_t seed)
{
	struct sketch s;
	tgc_tensor *t[SK_NODES], *outs[SK_NODES];
	by_class = false;
	gen_graph(&s, seed, &by_class);
	tgc_scope_begin(c);
	sk_build(&s, c, t);
	for (int i = 0; i < s.nouts; i++)
		outs[i] = t[s.outs[i]];
	if (s.nouts)
		assert_int_equal(tgc_realize_n(s.nouts, outs), TGC_OK);
	for (int i = 0; i < s.n; i++)
		if (tgc_is_variable(t[i]))
			tgc_release(t[i]);
	tgc_scope_end(c);
	tgc_clear_error(c);
}

// ---- the C compiler

static void open_text(char *path)
{
	strcpy(path, "/tmp/tgc-cuda-XXXXXX");
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	all = fdopen(fd, "w");
	assert_non_null(all);
}

static void compiles(const char *path)
{
	char command[1024];
	assert_int_equal(fclose(all), 0);
	snprintf(command, sizeof command,
	         "%s -x c -std=gnu11 -fsyntax-only -Wall -Werror -Wno-unused -include %s -include %s %s",
	         TEST_CC, TEST_STAND_IN, TEST_COMMON, path);
	assert_int_equal(system(command), 0);
	remove(path);
}

static void test_workloads(void **state)
{
	char path[64];
	(void)state;
	target = target_find("sm_90");
	open_text(path);
	for (int i = 0; i < bench_workloads_count; i++)
		plan_look_workload(&bench_workloads[i], target, emit_plan);
	assert_true(groups > 100);
	compiles(path);
}

static void test_graphs(void **state)
{
	char path[64];
	tgc_context *c = check_context("interp", 1);
	(void)state;
	assert_non_null(c);
	target = target_find("sm_75");
	plan_look(c, target, emit_plan);
	open_text(path);
	for (graph = 0; graph < GRAPHS; graph++)
		sketch(c, 7000 + (uint64_t)graph);
	graph = -1;
	assert_true(evaluated > GRAPHS * 3 / 4);
	tgc_context_free(&c);
	compiles(path);
}

// ---- contractions: tiles in shared memory

static tgc_tensor *data(tgc_context *c, tgc_type type, tgc_shape s)
{
	int64_t n = 1;
	for (int i = 0; i < s.rank; i++)
		n *= s.dims[i];
	void *x = malloc((size_t)n * tgc_type_bytes(type));
	for (int64_t i = 0; i < n; i++)
		interp_store_f(type, x, i, (double)(i * 7919 % 128) / 64 - 1);
	tgc_tensor *t = tgc_from_data(c, type, s, x);
	free(x);
	return t;
}

static const struct product {
	const char *name;
	tgc_type type;
	tgc_shape x, y;
	bool turn, relu, conv, pad;
} rows[] = {
    {"whole tiles", TGC_F32, TGC_SHAPE(128, 64), TGC_SHAPE(64, 64), 0, 0, 0, 0},
    {"what is left of rows, columns and terms", TGC_F32, TGC_SHAPE(70, 37), TGC_SHAPE(37, 45), 0, 1, 0, 0},
    {"terms in parts", TGC_F32, TGC_SHAPE(40, 1100), TGC_SHAPE(1100, 64), 0, 0, 0, 0},
    {"a turned operand", TGC_F32, TGC_SHAPE(64, 48), TGC_SHAPE(80, 48), 1, 1, 0, 0},
    {"batches", TGC_F32, TGC_SHAPE(3, 65, 20), TGC_SHAPE(3, 20, 33), 0, 0, 0, 0},
    {"a padded convolution", TGC_F32, TGC_SHAPE(2, 5, 9, 9), TGC_SHAPE(40, 5, 3, 3), 0, 1, 1, 1},
    {"bf16: whole tiles", TGC_BF16, TGC_SHAPE(128, 64), TGC_SHAPE(64, 64), 0, 0, 0, 0},
    {"f16: what is left", TGC_F16, TGC_SHAPE(70, 37), TGC_SHAPE(37, 45), 0, 1, 0, 0},
    {"bf16: terms in parts", TGC_BF16, TGC_SHAPE(40, 1100), TGC_SHAPE(1100, 64), 0, 0, 0, 0},
    {"bf16: a turned operand", TGC_BF16, TGC_SHAPE(64, 48), TGC_SHAPE(80, 48), 1, 1, 0, 0},
    {"f16: batches", TGC_F16, TGC_SHAPE(3, 65, 32), TGC_SHAPE(3, 32, 40), 0, 0, 0, 0},
    {"a convolution", TGC_F32, TGC_SHAPE(2, 5, 9, 9), TGC_SHAPE(40, 5, 3, 3), 0, 1, 1, 0},
};

static void test_products(void **state)
{
	char path[64];
	tgc_context *c = check_context("interp", 1);
	(void)state;
	target = target_find("sm_90");
	plan_look(c, target, emit_plan);
	open_text(path);
	for (int i = 0; i < TG_COUNT(rows); i++) {
		const struct product *p = &rows[i];
		tgc_scope_begin(c);
		tgc_tensor *x = data(c, p->type, p->x), *y = data(c, p->type, p->y);
		y = p->turn ? tgc_transpose(y, 0, 1) : y;
		tgc_tensor *z =
		    p->conv ? tgc_conv2d(x, y, .padding = {p->pad, p->pad, p->pad, p->pad}) : tgc_matmul(x, y);
		z = p->relu ? tgc_maximum(z, 0.0) : z;
		assert_string_equal(tgc_error_message(c), "");
		evaluated = products = 0;
		graph = i;
		assert_int_equal(tgc_realize(z), TGC_OK);
		if (evaluated != 1 || products != (p->type != TGC_F32))
			fail_msg("%s: %d plans evaluated, %d kernels on tensor cores", p->name, evaluated,
			         products);
		tgc_scope_end(c);
	}
	graph = -1;
	tgc_context_free(&c);
	compiles(path);
}

// No include, and no name that a stand-in would not have.
static void test_prelude(void **state)
{
	(void)state;
	assert_null(strstr(emit_cuda_prelude(), "#include"));
	const char *common = strstr(emit_cuda_prelude(), emit_cuda_common());
	assert_true(common && common > emit_cuda_prelude());
}

static void test_targets(void **state)
{
	static const char *const names[] = {"sm_75", "sm_80", "sm_90", "sm_100", "sm_120"};
	(void)state;
	for (int i = 0; i < TG_COUNT(names); i++) {
		const struct target *t = target_find(names[i]);
		assert_non_null(t);
		assert_int_equal(t->family, FAMILY_CUDA);
		assert_int_equal(t->sm, atoi(names[i] + 3));
	}
	assert_int_equal(target_find("x86-64-v3")->family, FAMILY_CPU);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_targets), cmocka_unit_test(test_prelude),   cmocka_unit_test(test_products),
	    cmocka_unit_test(test_graphs),  cmocka_unit_test(test_workloads),
	};
	return cmocka_run_group_tests_name("cuda_emit", tests, NULL, NULL);
}
