// Lowering and the tile pass, one group at a time: small programs with plans made by hand, run by the scalar
// interpreter of the kernel IR before and after the passes, and compared with the oracle's values.
#include "kernel_eval.h"
#include "runtime.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *const targets[] = {"x86-64-v4", "x86-64", "sm_90"};
enum { MAX_BUFS = 24 };

struct bench {
	struct plan plan;
	struct group group;
	int32_t roots[16], root_bufs[16];
	struct pbuf bufs[MAX_BUFS];
	int32_t node_buf[256];
	int32_t flag_nodes[8];
	void *data[MAX_BUFS];
	int64_t last_order[TGC_MAX_RANK]; // physical order of the next root, outermost first; {-1}: row-major
	uint32_t seed;
};

static void open_bench(struct bench *t)
{
	memset(t, 0, sizeof *t);
	arena_init(&t->plan.arena, NULL);
	t->plan.prog.arena = &t->plan.arena;
	t->plan.prog.leaves = ARENA_ARRAY(&t->plan.arena, struct pleaf, 32);
	t->plan.bufs = t->bufs;
	t->plan.groups = &t->group;
	t->plan.ngroups = 1;
	t->plan.node_buf = t->node_buf;
	t->plan.flag_nodes = t->flag_nodes;
	t->group = (struct group){.roots = t->roots, .root_bufs = t->root_bufs, .main = -1, .scratch_buf = -1};
	memset(t->node_buf, 0xff, sizeof t->node_buf);
	t->last_order[0] = -1;
	t->seed = 1;
}

static void close_bench(struct bench *t)
{
	for (int i = 0; i < t->plan.nbufs; i++)
		free(t->data[i]);
	arena_free(&t->plan.arena);
}

static int add_buf(struct bench *t, enum buffer_class cls, tgc_type type, int rank, const struct dim *d,
                   int node)
{
	int at = t->plan.nbufs++;
	struct pbuf *p = &t->bufs[at];
	int64_t n = 1;
	*p = (struct pbuf){.cls = (uint8_t)cls, .type = (uint8_t)type, .rank = (uint8_t)rank, .node = node};
	p->dims = rank ? arena_dup(&t->plan.arena, d, sizeof *d * (size_t)rank) : NULL;
	p->strides = ARENA_ARRAY(&t->plan.arena, int64_t, rank + 1);
	for (int i = rank - 1; i >= 0; i--) {
		int a = t->last_order[0] < 0 ? i : (int)t->last_order[i];
		p->strides[a] = n;
		n *= d[a].n;
	}
	t->last_order[0] = -1;
	p->bytes = n * (int64_t)tgc_type_bytes(type);
	t->data[at] = calloc(1, (size_t)p->bytes + 64);
	return at;
}

static double next_number(struct bench *t)
{
	t->seed = t->seed * 1664525u + 1013904223u;
	return (double)(t->seed >> 8) / (1 << 24) * 2 - 1;
}

static void fill(struct bench *t, int buf)
{
	const struct pbuf *p = &t->bufs[buf];
	int64_t n = p->bytes / (int64_t)tgc_type_bytes((tgc_type)p->type);
	for (int64_t i = 0; i < n; i++) {
		double v = next_number(t);
		switch (p->type) {
		case TGC_F32:
			((float *)t->data[buf])[i] = (float)v;
			break;
		case TGC_F64:
			((double *)t->data[buf])[i] = v;
			break;
		case TGC_I32:
			((int32_t *)t->data[buf])[i] = (int32_t)(v * 100);
			break;
		case TGC_U8:
			((uint8_t *)t->data[buf])[i] = (uint8_t)(int)(100 + v * 99);
			break;
		default:
			fail_msg("no numbers for this type");
		}
	}
}

#define DIMS(...)                                                                                              \
	(int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[])                                 \
	{                                                                                                      \
		__VA_ARGS__                                                                                    \
	}

static int leaf(struct bench *t, tgc_type type, int rank, const int64_t *n)
{
	struct dim d[TGC_MAX_RANK];
	for (int i = 0; i < rank; i++)
		d[i] = (struct dim){.n = n[i]};
	int node = prog_add(&t->plan.prog, OP_DATA, type, rank, d, 0, NULL, 0, NULL),
	    l = t->plan.prog.nleaves++;
	t->plan.prog.nodes[node].leaf = l;
	int buf = add_buf(t, BUF_LEAF, type, rank, d, node);
	t->bufs[buf].index = l;
	t->plan.prog.leaves[l] = (struct pleaf){.cls = LEAF_DATA, .type = (uint8_t)type, .node = node};
	t->plan.prog.leaves[l].elems = prog_elems(&t->plan.prog, node);
	t->node_buf[node] = buf;
	fill(t, buf);
	return node;
}

static int node(struct bench *t, int op, tgc_type type, int rank, const int64_t *n, int nsrc,
                const int32_t *src, int nattr, const int64_t *attr)
{
	struct dim d[TGC_MAX_RANK];
	for (int i = 0; i < rank; i++)
		d[i] = (struct dim){.n = n[i]};
	return prog_add(&t->plan.prog, op, type, rank, d, nsrc, src, nattr, attr);
}

static int like(struct bench *t, int op, int nsrc, int x, int y, int z)
{
	const struct pnode *n = &t->plan.prog.nodes[op == OP_SELECT ? y : x];
	tgc_type type = op_info[op].cls == CLASS_COMPARE ? TGC_BOOL : (tgc_type)n->type;
	return prog_add(&t->plan.prog, op, type, n->rank, n->dims, nsrc, (int32_t[]){x, y, z}, 0, NULL);
}

static int reduce(struct bench *t, int op, int x, int64_t mask)
{
	const struct pnode *n = &t->plan.prog.nodes[x];
	struct dim d[TGC_MAX_RANK];
	for (int i = 0; i < n->rank; i++)
		d[i] = mask >> i & 1 ? (struct dim){.n = 1} : n->dims[i];
	return prog_add(&t->plan.prog, op, (tgc_type)n->type, n->rank, d, 1, (int32_t[]){x}, 1, &mask);
}

static int number(struct bench *t, tgc_type type, double v)
{
	union number u = number_from_double(type, v);
	return prog_add(&t->plan.prog, OP_CONST, type, 0, NULL, 0, NULL, 1, &u.i);
}

static int expand(struct bench *t, int x, int rank, const int64_t *n)
{
	return node(t, OP_EXPAND, (tgc_type)t->plan.prog.nodes[x].type, rank, n, 1, (int32_t[]){x}, 0, NULL);
}

static int full(struct bench *t, tgc_type type, double v, int rank, const int64_t *n)
{
	int64_t ones[TGC_MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
	int x = node(t, OP_RESHAPE, type, rank, ones, 1, (int32_t[]){number(t, type, v)}, 0, NULL);
	return expand(t, x, rank, n);
}

static int root(struct bench *t, int x)
{
	const struct pnode *n = &t->plan.prog.nodes[x];
	int buf = add_buf(t, BUF_OUT, (tgc_type)n->type, n->rank, n->dims, x);
	t->roots[t->group.nroots] = x;
	t->root_bufs[t->group.nroots++] = buf;
	t->node_buf[x] = buf;
	return buf;
}

static void flags(struct bench *t, int n)
{
	int64_t d[] = {8};
	struct dim dim = {.n = d[0]};
	add_buf(t, BUF_FLAGS, TGC_I32, 1, &dim, -1);
	t->flag_nodes[t->plan.nflags++] = n;
}

// ---- checking

static double element(const struct bench *t, int buf, int64_t at)
{
	switch (t->bufs[buf].type) {
	case TGC_F32:
		return (double)((float *)t->data[buf])[at];
	case TGC_F64:
		return ((double *)t->data[buf])[at];
	case TGC_I32:
		return (double)((int32_t *)t->data[buf])[at];
	case TGC_U32:
		return (double)((uint32_t *)t->data[buf])[at];
	case TGC_I64:
		return (double)((int64_t *)t->data[buf])[at];
	case TGC_U8:
	case TGC_BOOL:
		return (double)((uint8_t *)t->data[buf])[at];
	default:
		return NAN;
	}
}

static int64_t physical(const struct pbuf *p, int64_t i)
{
	int64_t at = 0;
	for (int a = p->rank - 1; a >= 0; a--) {
		at += i % p->dims[a].n * p->strides[a];
		i /= p->dims[a].n;
	}
	return at;
}

static void compare(struct bench *t, const struct interp_value *want, const char *stage)
{
	for (int r = 0; r < t->group.nroots; r++) {
		const struct interp_value *w = &want[t->roots[r]];
		int buf = t->root_bufs[r];
		for (int64_t i = 0; i < w->elems; i++) {
			double x = w->f ? w->f[i] : (double)w->i[i],
			       bound = w->f ? w->bound[i] + fabs(x) * 1e-6 : 0;
			double y = element(t, buf, physical(&t->bufs[buf], i));
			if (w->unsure[i] || (isnan(x) && isnan(y)) || x == y || fabs(x - y) <= bound)
				continue;
			fail_msg("%s: root %d element %lld is %.9g, not %.9g +- %.3g", stage, r, (long long)i,
			         y, x, bound);
		}
	}
}

static void poison(struct bench *t)
{
	for (int r = 0; r < t->group.nroots; r++)
		if (t->bufs[t->root_bufs[r]].cls == BUF_OUT)
			memset(t->data[t->root_bufs[r]], 0x5a, (size_t)t->bufs[t->root_bufs[r]].bytes);
}

static void run(struct bench *t, struct kernel *k, const struct interp_value *want, const char *stage,
                enum kernel_level level, void *const *scalars)
{
	void *args[MAX_BUFS + 64], *tables[MAX_BUFS][8];
	int n = 0;
	char *error = kernel_verify(k, level);
	if (getenv("LOWER_TEXT")) {
		struct text text = {0};
		kernel_print(k, &text);
		fprintf(stderr, "---- %s\n%s", stage, text.p);
		free(text.p);
	}
	if (error)
		fail_msg("%s: %s", stage, error);
	for (int i = 0; i < k->nbufs; i++) {
		if (k->bufs[i].space != SPACE_GLOBAL)
			continue;
		for (int seg = 0; k->bufs[i].segmented && seg < k->nsegs; seg++)
			tables[i][seg] = t->data[lower_segment_buf(&t->plan, 0, k->bufs[i].node, seg)];
		args[n++] = k->bufs[i].segmented ? (void *)tables[i] : t->data[k->bufs[i].node];
	}
	for (int i = 0; i < k->nscalars; i++)
		args[n++] = scalars[k->scalar_leaf[i]];
	poison(t);
	error = kernel_eval(k, args);
	if (error)
		fail_msg("%s: %s", stage, error);
	compare(t, want, stage);
}

static void check_target(struct bench *t, const struct interp_value *want, const struct target *target,
                         void *const *leaves)
{
	char *error = NULL;
	struct kernel *k = lower_group(&t->plan, 0, target, &error);
	if (!k)
		fail_msg("%s", error);
	run(t, k, want, "lowered", LEVEL_FREE, leaves);
	struct kernel *tiled = kernel_clone(k);
	kpass_merge(tiled, target);
	run(t, tiled, want, "merged", LEVEL_FREE, leaves);
	const struct kpass *spread = &kernel_passes(target)[1];
	spread->run(tiled, target);
	run(t, tiled, want, spread->name, LEVEL_FREE, leaves);
	kernel_free(tiled);
	error = kernel_run_passes(k, target, true);
	if (error)
		fail_msg("%s", error);
	run(t, k, want, "bound", kernel_machine_level(target), leaves);
	kernel_free(k);
}

// The oracle reads row-major.
static void *unpermuted(const struct bench *t, int buf)
{
	const struct pbuf *p = &t->bufs[buf];
	size_t bytes = tgc_type_bytes((tgc_type)p->type);
	char *copy = arena_alloc((struct arena *)&t->plan.arena, (size_t)p->bytes);
	for (int64_t i = 0; i < p->bytes / (int64_t)bytes; i++)
		memcpy(copy + (size_t)i * bytes, (char *)t->data[buf] + (size_t)physical(p, i) * bytes, bytes);
	return copy;
}

// Runs the group on all targets at every stage; leaves of class SCALAR have their value in scalars[leaf].
static void check_with(struct bench *t, void *const *scalars)
{
	const void *leaves[32];
	void *mine[32];
	int32_t flag = -1;
	struct interp_value *want = calloc((size_t)t->plan.prog.n, sizeof *want);
	tgc_context *c = tgc_context_new(
	    &(tgc_context_options){.struct_size = sizeof(tgc_context_options), .device = "interp"});
	for (int i = 0; i < t->plan.prog.nleaves; i++) {
		int n = t->plan.prog.leaves[i].node;
		mine[i] = t->node_buf[n] >= 0 ? NULL : scalars[i];
		leaves[i] = mine[i] ? mine[i] : unpermuted(t, t->node_buf[n]);
	}
	t->plan.prog.outs = ARENA_ARRAY(&t->plan.arena, struct pout, 16);
	t->plan.prog.nouts = t->group.nroots;
	for (int i = 0; i < t->group.nroots; i++)
		t->plan.prog.outs[i] = (struct pout){.node = t->roots[i], .assign = -1};
	assert_int_equal(interp_run(c, &t->plan.prog, leaves, want, &flag), TGC_OK);
	for (int i = 0; i < TG_COUNT(targets); i++)
		check_target(t, want, target_find(targets[i]), mine);
	interp_values_free(&t->plan.prog, want);
	free(want);
	tgc_context_free(&c);
	close_bench(t);
}

static void check(struct bench *t)
{
	check_with(t, NULL);
}

// ---- the cases

static void elementwise(void **state)
{
	(void)state;
	static const int64_t sizes[] = {1, 7, 16, 1000, 5000, 40007};
	for (int i = 0; i < TG_COUNT(sizes); i++) {
		struct bench t;
		open_bench(&t);
		int x = leaf(&t, TGC_F32, DIMS(sizes[i])), y = leaf(&t, TGC_F32, DIMS(sizes[i]));
		int s = like(&t, OP_ADD, 2, x, y, -1);
		root(&t, like(&t, OP_MUL, 2, s, x, -1));
		root(&t, s);
		check(&t);
	}
}

static void bias(void **state)
{
	(void)state;
	static const int64_t sizes[][2] = {{3, 5}, {17, 33}, {4, 1000}, {130, 64}, {1, 9}};
	for (int i = 0; i < TG_COUNT(sizes); i++) {
		struct bench t;
		open_bench(&t);
		int64_t m = sizes[i][0], n = sizes[i][1];
		int x = leaf(&t, TGC_F32, DIMS(m, n)), b = leaf(&t, TGC_F32, DIMS(n));
		b = node(&t, OP_RESHAPE, TGC_F32, DIMS(1, n), 1, (int32_t[]){b}, 0, NULL);
		b = expand(&t, b, DIMS(m, n));
		int c = like(&t, OP_LT, 2, x, b, -1);
		root(&t, like(&t, OP_SELECT, 3, c, like(&t, OP_ADD, 2, x, b, -1), b));
		check(&t);
	}
}

static void reductions(void **state)
{
	(void)state;
	static const struct {
		int64_t d[3];
		int64_t mask;
	} cases[] = {{{5, 7, 3}, 1},    {{5, 7, 3}, 2},     {{5, 7, 3}, 4},    {{5, 7, 3}, 5},
	             {{5, 7, 3}, 6},    {{5, 7, 3}, 7},     {{2, 3, 1100}, 4}, {{2, 3, 1100}, 6},
	             {{600, 3, 20}, 1}, {{1, 1500, 40}, 2}, {{1, 40, 1}, 2}};
	for (int i = 0; i < TG_COUNT(cases); i++)
		for (int op = OP_SUM; op <= OP_RMAX; op++) {
			struct bench t;
			open_bench(&t);
			int x = leaf(&t, op == OP_SUM ? TGC_F32 : TGC_I32, 3, cases[i].d);
			x = like(&t, OP_MUL, 2, x, x, -1);
			t.group.kind = GROUP_REDUCE;
			t.group.main = reduce(&t, op, x, cases[i].mask);
			root(&t, t.group.main);
			check(&t);
		}
}

static void softmax(void **state)
{
	(void)state;
	static const int64_t sizes[][2] = {{3, 5}, {7, 33}, {2, 1000}, {20, 10}};
	for (int i = 0; i < TG_COUNT(sizes); i++) {
		struct bench t;
		open_bench(&t);
		int64_t m = sizes[i][0], n = sizes[i][1];
		int x = leaf(&t, TGC_F32, DIMS(m, n)), top = reduce(&t, OP_RMAX, x, 2);
		int e = like(&t, OP_EXP, 1, like(&t, OP_SUB, 2, x, expand(&t, top, DIMS(m, n)), -1), -1, -1);
		int sum = reduce(&t, OP_SUM, e, 2);
		t.group.kind = GROUP_REDUCE;
		t.group.main = sum;
		root(&t, like(&t, OP_DIV, 2, e, expand(&t, sum, DIMS(m, n)), -1));
		root(&t, sum);
		check(&t);
	}
}

static int matmul(struct bench *t, int a, int b, int64_t m, int64_t n, bool transposed)
{
	struct tg_caxis ax[] = {{ROLE_LEFT, 0, -1, 0, 1, 0, 1, 1},
	                        {ROLE_RIGHT, -1, transposed ? 0 : 1, 1, 1, 0, 1, 1},
	                        {ROLE_CONTRACTED, 1, transposed ? 1 : 0, -1, 1, 0, 1, 1}};
	return node(t, OP_CONTRACT, (tgc_type)t->plan.prog.nodes[a].type, DIMS(m, n), 2, (int32_t[]){a, b}, 24,
	            (int64_t *)ax);
}

static void products(void **state)
{
	(void)state;
	static const struct {
		int64_t m, n, k;
		bool transposed;
		tgc_type type;
	} cases[] = {{5, 7, 9, 0, TGC_F32},     {24, 64, 33, 0, TGC_F32}, {64, 10, 100, 0, TGC_F32},
	             {30, 10, 700, 1, TGC_F32}, {1, 100, 40, 0, TGC_F32}, {100, 1, 40, 0, TGC_F32},
	             {13, 96, 600, 0, TGC_F32}, {13, 37, 60, 0, TGC_I32}, {9, 20, 30, 0, TGC_F64}};
	for (int i = 0; i < TG_COUNT(cases); i++) {
		struct bench t;
		open_bench(&t);
		int64_t m = cases[i].m, n = cases[i].n, k = cases[i].k;
		int a = leaf(&t, cases[i].type, DIMS(m, k));
		int b = cases[i].transposed ? leaf(&t, cases[i].type, DIMS(n, k))
		                            : leaf(&t, cases[i].type, DIMS(k, n));
		t.group.kind = GROUP_CONTRACT;
		t.group.main = matmul(&t, a, b, m, n, cases[i].transposed);
		int zero = full(&t, cases[i].type, 0, DIMS(m, n));
		root(&t, like(&t, OP_MAX, 2, t.group.main, zero, -1));
		root(&t, t.group.main);
		check(&t);
	}
}

static void split_sums(void **state)
{
	(void)state;
	static const struct {
		int64_t m, n, mask, split;
	} cases[] = {{1000, 3, 1, 4}, {1, 5000, 2, 8}, {70, 50, 3, 16}, {1001, 40, 1, 10}};
	for (int i = 0; i < TG_COUNT(cases); i++) {
		struct bench t;
		open_bench(&t);
		int x = leaf(&t, TGC_F32, DIMS(cases[i].m, cases[i].n));
		t.group.kind = GROUP_REDUCE;
		t.group.main = reduce(&t, OP_SUM, x, cases[i].mask);
		t.group.split = cases[i].split;
		struct dim d = {.n = cases[i].split * prog_elems(&t.plan.prog, t.group.main)};
		t.group.scratch_buf = add_buf(&t, BUF_ARENA, TGC_F32, 1, &d, -1);
		root(&t, like(&t, OP_NEG, 1, t.group.main, -1, -1));
		check(&t);
	}
}

static void split_products(void **state)
{
	(void)state;
	static const int64_t sizes[][4] = {{20, 30, 1000, 4}, {3, 40, 1001, 7}, {1, 1, 700, 16}};
	for (int i = 0; i < TG_COUNT(sizes); i++) {
		struct bench t;
		open_bench(&t);
		int64_t m = sizes[i][0], n = sizes[i][1], k = sizes[i][2];
		int a = leaf(&t, TGC_F32, DIMS(m, k)), b = leaf(&t, TGC_F32, DIMS(k, n));
		t.group.kind = GROUP_CONTRACT;
		t.group.main = matmul(&t, a, b, m, n, false);
		t.group.split = sizes[i][3];
		struct dim d = {.n = t.group.split * m * n};
		t.group.scratch_buf = add_buf(&t, BUF_ARENA, TGC_F32, 1, &d, -1);
		root(&t, like(&t, OP_NEG, 1, t.group.main, -1, -1));
		check(&t);
	}
}

// Roots of shapes that share no loops: a sum over rows beside one over columns and the elements.
static void mixed_roots(void **state)
{
	(void)state;
	struct bench t;
	open_bench(&t);
	int x = leaf(&t, TGC_F32, DIMS(30, 45)), y = like(&t, OP_MUL, 2, x, x, -1),
	    rows = reduce(&t, OP_SUM, y, 2);
	t.group.kind = GROUP_REDUCE;
	t.group.main = rows;
	root(&t, reduce(&t, OP_SUM, y, 1));
	root(&t, rows);
	root(&t, like(&t, OP_DIV, 2, y, expand(&t, rows, DIMS(30, 45)), -1));
	root(&t, node(&t, OP_RESHAPE, TGC_F32, DIMS(45, 30), 1, (int32_t[]){y}, 0, NULL));
	check(&t);
}

static void movements(void **state)
{
	(void)state;
	struct bench t;
	open_bench(&t);
	int x = leaf(&t, TGC_F32, DIMS(6, 10)), f = number(&t, TGC_F32, 7);
	int p =
	    node(&t, OP_PAD, TGC_F32, DIMS(20, 12), 2, (int32_t[]){x, f}, 6, (int64_t[]){2, 3, 2, 3, -1, 0});
	int r = node(&t, OP_RESHAPE, TGC_F32, DIMS(15, 16), 1, (int32_t[]){p}, 0, NULL);
	int q = node(&t, OP_PERMUTE, TGC_F32, DIMS(16, 15), 1, (int32_t[]){r}, 2, (int64_t[]){1, 0});
	int s = node(&t, OP_SLICE, TGC_F32, DIMS(5, 15), 1, (int32_t[]){q}, 4, (int64_t[]){1, 3, 0, 1});
	int l = node(&t, OP_FLIP, TGC_F32, DIMS(5, 15), 1, (int32_t[]){s}, 2, (int64_t[]){1, 1});
	int c = node(&t, OP_CONCAT, TGC_F32, DIMS(21, 15), 2, (int32_t[]){l, q}, 1, (int64_t[]){0});
	int w = node(&t, OP_WINDOW, TGC_F32, DIMS(21, 5, 4), 1, (int32_t[]){c}, 4, (int64_t[]){1, 4, 2, 2});
	(void)w;
	int w2 = node(&t, OP_WINDOW, TGC_F32, DIMS(21, 5, 4), 1, (int32_t[]){c}, 4, (int64_t[]){1, 4, 2, 2});
	root(&t, w2);
	root(&t, node(&t, OP_FOLD, TGC_F32, DIMS(21, 15), 1, (int32_t[]){w2}, 4, (int64_t[]){1, 4, 2, 2}));
	check(&t);
}

// Axis 1 of x[b, ci, h, w] convolved with w[co, ci, kh, kw].
static void convolutions(void **state)
{
	(void)state;
	static const struct {
		int64_t n, ci, co, h, w, kh, kw, stride, pad, dil_a, dil_b, oh, ow;
		bool last; // channels-last input, output and weights
	} cases[] = {
	    {2, 3, 5, 6, 8, 3, 3, 1, 1, 1, 1, 6, 8, false},
	    {2, 16, 32, 6, 16, 3, 3, 1, 1, 1, 1, 6, 16, true},
	    {1, 4, 17, 9, 40, 3, 3, 1, 1, 1, 1, 9, 40, true},
	    {2, 3, 4, 9, 11, 3, 3, 2, 1, 1, 1, 5, 6, false},
	    {2, 3, 4, 5, 5, 3, 3, 1, 1, 2, 1, 9, 9, true},
	    {2, 3, 4, 8, 8, 3, 3, 1, 2, 1, 2, 8, 8, false},
	    {2, 3, 4, 8, 8, 3, 3, 1, -1, 1, -1, 8, 8, true},
	    {2, 3, 4, 20, 20, 18, 18, 1, 0, 1, 1, 3, 3, true},
	    {2, 3, 4, 20, 20, 18, 18, 1, 1, 1, 1, 5, 5, false},
	    {2, 70, 3, 7, 7, 3, 3, 1, 1, 1, 1, 7, 7, true},
	    {1, 2, 3, 5, 5, 1, 1, 2, 0, 1, 1, 3, 3, true},
	};
	for (int i = 0; i < TG_COUNT(cases); i++) {
		struct bench t;
		open_bench(&t);
		int64_t c0 = cases[i].stride, p = cases[i].pad, da = cases[i].dil_a, db = cases[i].dil_b;
		const int64_t last[] = {0, 2, 3, 1}, wlast[] = {2, 3, 1, 0};
		if (cases[i].last)
			memcpy(t.last_order, last, sizeof last);
		int x = leaf(&t, TGC_F32, DIMS(cases[i].n, cases[i].ci, cases[i].h, cases[i].w));
		if (cases[i].last)
			memcpy(t.last_order, wlast, sizeof wlast);
		int w = leaf(&t, TGC_F32, DIMS(cases[i].co, cases[i].ci, cases[i].kh, cases[i].kw));
		struct tg_caxis ax[] = {{ROLE_LEFT, 0, -1, 0, 1, 0, 1, 1},
		                        {ROLE_RIGHT, -1, 0, 1, 1, 0, 1, 1},
		                        {ROLE_CONTRACTED, 1, 1, -1, 1, 0, 1, 1},
		                        {ROLE_WINDOW, 2, 2, 2, c0, p, da, db},
		                        {ROLE_WINDOW, 3, 3, 3, c0, p, da, db}};
		t.group.kind = GROUP_CONTRACT;
		t.group.main =
		    node(&t, OP_CONTRACT, TGC_F32, DIMS(cases[i].n, cases[i].co, cases[i].oh, cases[i].ow), 2,
		         (int32_t[]){x, w}, 40, (int64_t *)ax);
		if (cases[i].last)
			memcpy(t.last_order, last, sizeof last);
		root(&t, like(&t, OP_NEG, 1, t.group.main, -1, -1));
		check(&t);
	}
}

static void gathers(void **state)
{
	(void)state;
	struct bench t;
	open_bench(&t);
	int x = leaf(&t, TGC_F32, DIMS(50, 20)), index = leaf(&t, TGC_I32, DIMS(3, 4));
	int g = node(&t, OP_GATHER, TGC_F32, DIMS(3, 4, 20), 2, (int32_t[]){x, index}, 1, (int64_t[]){0});
	flags(&t, g);
	root(&t, g);
	check(&t);
	open_bench(&t);
	x = leaf(&t, TGC_F32, DIMS(50, 20));
	index = leaf(&t, TGC_I32, DIMS(40));
	int b = leaf(&t, TGC_F32, DIMS(50, 33)), u = leaf(&t, TGC_F32, DIMS(50, 40));
	b = node(&t, OP_SLICE, TGC_F32, DIMS(50, 20), 1, (int32_t[]){b}, 4, (int64_t[]){0, 1, 3, 1});
	int s = node(&t, OP_SCATTER, TGC_F32, DIMS(50, 20), 3, (int32_t[]){b, index, u}, 2, (int64_t[]){1, 1});
	flags(&t, s);
	t.group.kind = GROUP_SCATTER;
	t.group.main = s;
	root(&t, s);
	check(&t);
	(void)x;
}

static void sources(void **state)
{
	(void)state;
	struct bench t;
	open_bench(&t);
	uint64_t seed = 0x123456789abcdef, counter = 0xfffffffe;
	void *scalars[2] = {&seed, &counter};
	int32_t src[2];
	for (int i = 0; i < 2; i++) {
		src[i] = prog_add(&t.plan.prog, OP_SCALAR, TGC_U64, 0, NULL, 0, NULL, 0, NULL);
		t.plan.prog.nodes[src[i]].leaf = t.plan.prog.nleaves;
		t.plan.prog.leaves[t.plan.prog.nleaves++] =
		    (struct pleaf){.cls = LEAF_SCALAR, .type = TGC_U64, .node = src[i], .elems = 1};
	}
	root(&t, node(&t, OP_RANDOM, TGC_U32, DIMS(5, 27), 2, src, 0, NULL));
	root(&t, node(&t, OP_IOTA, TGC_I32, DIMS(5, 27), 0, NULL, 1, (int64_t[]){1}));
	check_with(&t, scalars);
}

static void layer_norm(void **state)
{
	(void)state;
	struct bench t;
	open_bench(&t);
	int64_t d[] = {6, 50}, r[] = {6, 1};
	int x = leaf(&t, TGC_F32, 2, d), g = leaf(&t, TGC_F32, DIMS(50));
	int mean = like(&t, OP_MUL, 2, reduce(&t, OP_SUM, x, 2), full(&t, TGC_F32, 0.02, 2, r), -1);
	int c = like(&t, OP_SUB, 2, x, expand(&t, mean, 2, d), -1);
	int var = reduce(&t, OP_SUM, like(&t, OP_MUL, 2, c, c, -1), 2);
	int rstd = like(&t, OP_DIV, 2, full(&t, TGC_F32, 1, 2, r), like(&t, OP_SQRT, 1, var, -1, -1), -1);
	g = expand(&t, node(&t, OP_RESHAPE, TGC_F32, DIMS(1, 50), 1, (int32_t[]){g}, 0, NULL), 2, d);
	t.group.kind = GROUP_REDUCE;
	t.group.main = var;
	root(&t, like(&t, OP_MUL, 2, like(&t, OP_MUL, 2, c, expand(&t, rstd, 2, d), -1), g, -1));
	root(&t, node(&t, OP_RESHAPE, TGC_F32, DIMS(6), 1, (int32_t[]){mean}, 0, NULL));
	root(&t, rstd);
	check(&t);
}

static void segments(void **state)
{
	(void)state;
	struct bench t;
	open_bench(&t);
	static const int64_t sizes[] = {10, 40000, 1, 16384};
	for (int i = 0; i < 4; i++) {
		int x = leaf(&t, TGC_F32, DIMS(sizes[i])), y = leaf(&t, TGC_F32, DIMS(sizes[i]));
		int s = like(&t, OP_ADD, 2, x, y, -1);
		root(&t, s);
		root(&t, like(&t, OP_MUL, 2, s, x, -1));
	}
	t.group.kind = GROUP_SEGMENTED;
	t.group.nsegs = 4;
	check(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(elementwise),    cmocka_unit_test(bias),        cmocka_unit_test(reductions),
	    cmocka_unit_test(softmax),        cmocka_unit_test(products),    cmocka_unit_test(split_sums),
	    cmocka_unit_test(split_products), cmocka_unit_test(mixed_roots), cmocka_unit_test(movements),
	    cmocka_unit_test(convolutions),   cmocka_unit_test(gathers),     cmocka_unit_test(sources),
	    cmocka_unit_test(layer_norm),     cmocka_unit_test(segments),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
