// Movement, reductions, contractions and indexing: a row per case, x types, on each device against the oracle.
// Not here: elementwise operations (test_elementwise.c), gradients (test_grad.c).
#include "check.h"

struct row {
	int op;
	tgc_shape x;
	tgc_shape y; // the second operand, or the shape asked for (reshape, expand, fold)
	int64_t attr[24];
	const char *spec; // einsum
};

#define SCALAR                                                                                                 \
	{                                                                                                      \
		0,                                                                                             \
		{                                                                                              \
			0                                                                                      \
		}                                                                                              \
	}

static const struct row moves[] = {
    {OP_RESHAPE, {2, {6, 4}}, {1, {24}}, {0}, NULL},
    {OP_RESHAPE, {1, {24}}, {4, {2, 1, 3, 4}}, {0}, NULL},
    {OP_RESHAPE, {2, {0, 4}}, {3, {2, 0, 7}}, {0}, NULL},
    {OP_RESHAPE, {0, {0}}, {3, {1, 1, 1}}, {0}, NULL},
    {OP_PERMUTE, {2, {17, 33}}, SCALAR, {1, 0}, NULL},
    {OP_PERMUTE, {3, {2, 3, 65}}, SCALAR, {2, 0, 1}, NULL},
    {OP_PERMUTE, {4, {2, 3, 1, 5}}, SCALAR, {0, 3, 2, 1}, NULL},
    {OP_PERMUTE, {6, {2, 1, 2, 3, 1, 2}}, SCALAR, {5, 3, 4, 1, 0, 2}, NULL},
    {OP_EXPAND, {2, {1, 5}}, {2, {7, 5}}, {0}, NULL},
    {OP_EXPAND, {0, {0}}, {2, {3, 17}}, {0}, NULL},
    {OP_EXPAND, {3, {2, 1, 3}}, {4, {2, 2, 33, 3}}, {0}, NULL},
    {OP_EXPAND, {2, {1, 3}}, {2, {0, 3}}, {0}, NULL},
    {OP_PAD, {1, {7}}, SCALAR, {2, 3, 0}, NULL},
    {OP_PAD, {2, {5, 33}}, SCALAR, {1, 0, 0, -2, 4, 0}, NULL},
    {OP_PAD, {2, {5, 6}}, SCALAR, {-1, -1, 0, -2, -4, 0}, NULL},
    {OP_PAD, {2, {0, 3}}, SCALAR, {2, 0, 0, 1, 1, 0}, NULL},
    {OP_PAD, {0, {0}}, SCALAR, {0}, NULL},
    {OP_SLICE, {1, {33}}, SCALAR, {3, 2, 31}, NULL},
    {OP_SLICE, {2, {8, 17}}, SCALAR, {0, 3, 8, 16, 1, 17}, NULL},
    {OP_SLICE, {2, {8, 17}}, SCALAR, {4, 1, 4, 0, 1, 17}, NULL},
    {OP_FLIP, {2, {5, 17}}, SCALAR, {0, 1}, NULL},
    {OP_FLIP, {3, {2, 3, 4}}, SCALAR, {1, 0, 1}, NULL},
    {OP_WINDOW, {1, {17}}, SCALAR, {0, 3, 1, 1}, NULL},
    {OP_WINDOW, {2, {4, 18}}, SCALAR, {1, 3, 2, 3}, NULL},
    {OP_WINDOW, {3, {2, 7, 3}}, SCALAR, {1, 7, 1, 1}, NULL},
    {OP_FOLD, {2, {15, 3}}, {1, {17}}, {0, 0, 1, 1}, NULL},
    {OP_FOLD, {3, {4, 6, 3}}, {2, {4, 18}}, {1, 0, 2, 3}, NULL},
    {OP_FOLD, {3, {3, 5, 2}}, {2, {9, 5}}, {0, 0, 3, 1}, NULL},
};

static const struct row reductions[] = {
    {OP_SUM, {1, {1}}, SCALAR, {1, 0}, NULL},          {OP_SUM, {1, {1025}}, SCALAR, {1, 1}, NULL},
    {OP_SUM, {2, {4, 0}}, SCALAR, {1, 0}, NULL},       {OP_SUM, {2, {4, 0}}, SCALAR, {2, 0}, NULL},
    {OP_SUM, {2, {33, 65}}, SCALAR, {1, 0}, NULL},     {OP_SUM, {2, {33, 65}}, SCALAR, {2, 1}, NULL},
    {OP_SUM, {2, {33, 65}}, SCALAR, {3, 0}, NULL},     {OP_SUM, {3, {5, 17, 7}}, SCALAR, {2, 0}, NULL},
    {OP_SUM, {3, {5, 17, 7}}, SCALAR, {5, 0}, NULL},   {OP_SUM, {4, {2, 3, 4, 5}}, SCALAR, {10, 0}, NULL},
    {OP_SUM, {0, {0}}, SCALAR, {0, 0}, NULL},          {OP_SUM, {2, {3, 1}}, SCALAR, {2, 0}, NULL},
    {OP_RMAX, {1, {257}}, SCALAR, {1, 0}, NULL},       {OP_RMAX, {2, {7, 33}}, SCALAR, {2, 1}, NULL},
    {OP_RMAX, {2, {7, 33}}, SCALAR, {1, 0}, NULL},     {OP_RMAX, {3, {3, 4, 5}}, SCALAR, {7, 0}, NULL},
    {OP_RMIN, {1, {17}}, SCALAR, {1, 0}, NULL},        {OP_RMIN, {3, {3, 4, 5}}, SCALAR, {5, 1}, NULL},
    {OP_RMIN, {2, {0, 5}}, SCALAR, {2, 0}, NULL},      {OP_ARGMAX, {1, {129}}, SCALAR, {1, 0}, NULL},
    {OP_ARGMAX, {2, {7, 33}}, SCALAR, {2, 0}, NULL},   {OP_ARGMAX, {2, {7, 33}}, SCALAR, {1, 1}, NULL},
    {OP_ARGMAX, {3, {2, 5, 3}}, SCALAR, {2, 0}, NULL}, {OP_ARGMAX, {2, {3, 1}}, SCALAR, {2, 0}, NULL},
};

static const struct row contractions[] = {
    {SK_MATMUL, {2, {1, 1}}, {2, {1, 1}}, {0}, NULL},
    {SK_MATMUL, {2, {7, 3}}, {2, {3, 5}}, {0}, NULL},
    {SK_MATMUL, {2, {16, 64}}, {2, {64, 32}}, {0}, NULL},
    {SK_MATMUL, {2, {33, 65}}, {2, {65, 17}}, {0}, NULL},
    {SK_MATMUL, {2, {8, 0}}, {2, {0, 8}}, {0}, NULL},
    {SK_MATMUL, {2, {0, 8}}, {2, {8, 3}}, {0}, NULL},
    {SK_MATMUL, {2, {1, 1025}}, {2, {1025, 2}}, {0}, NULL},
    {SK_MATMUL, {3, {3, 7, 8}}, {3, {3, 8, 5}}, {0}, NULL},
    {SK_MATMUL, {3, {3, 7, 8}}, {2, {8, 5}}, {0}, NULL},
    {SK_MATMUL, {4, {2, 1, 3, 4}}, {4, {1, 3, 4, 5}}, {0}, NULL},
    {SK_EINSUM, {2, {5, 7}}, {2, {7, 9}}, {0}, "ij,jk->ki"},
    {SK_EINSUM, {2, {5, 7}}, {2, {9, 7}}, {0}, "ij,kj->ik"},
    {SK_EINSUM, {2, {7, 5}}, {2, {7, 9}}, {0}, "ji,jk->ik"},
    {SK_EINSUM, {1, {17}}, {1, {17}}, {0}, "i,i->"},
    {SK_EINSUM, {1, {17}}, {1, {5}}, {0}, "i,j->ij"},
    {SK_EINSUM, {2, {5, 7}}, {2, {5, 7}}, {0}, "ij,ij->i"},
    {SK_EINSUM, {2, {5, 7}}, {2, {5, 7}}, {0}, "ij,ij->ij"},
    {SK_EINSUM, {2, {5, 7}}, {1, {3}}, {0}, "ij,k->k"},
    {SK_EINSUM, {3, {2, 3, 4}}, {3, {2, 4, 5}}, {0}, "bij,bjk->kib"},
    {SK_EINSUM, {4, {2, 3, 4, 5}}, {4, {2, 3, 6, 5}}, {0}, "bhid,bhjd->bhij"},
    {SK_EINSUM, {3, {3, 4, 5}}, {3, {5, 4, 2}}, {0}, "aij,jib->ab"},
    {SK_CONV, {4, {1, 1, 1, 1}}, {4, {1, 1, 1, 1}}, {1, 1, 0, 0, 0, 0, 1, 1, 1}, NULL},
    {SK_CONV, {4, {2, 3, 8, 9}}, {4, {4, 3, 3, 3}}, {1, 1, 1, 1, 1, 1, 1, 1, 1}, NULL},
    {SK_CONV, {4, {2, 3, 8, 9}}, {4, {4, 3, 3, 3}}, {2, 2, 1, 1, 1, 1, 1, 1, 1}, NULL},
    {SK_CONV, {4, {1, 2, 9, 9}}, {4, {3, 2, 3, 2}}, {2, 3, 0, 2, 1, 0, 2, 1, 1}, NULL},
    {SK_CONV, {4, {1, 4, 7, 7}}, {4, {6, 2, 3, 3}}, {1, 1, 1, 1, 1, 1, 1, 1, 2}, NULL},
    {SK_CONV, {4, {2, 8, 7, 7}}, {4, {8, 1, 3, 3}}, {1, 1, 1, 1, 1, 1, 1, 1, 8}, NULL},
    {SK_CONV, {4, {1, 2, 9, 9}}, {4, {3, 2, 3, 3}}, {1, 1, -1, 2, 0, -2, 1, 1, 1}, NULL},
    {SK_CONV, {4, {3, 5, 6, 6}}, {4, {7, 5, 1, 1}}, {2, 1, 0, 0, 0, 0, 1, 1, 1}, NULL},
    {SK_CONV, {4, {1, 16, 8, 8}}, {4, {16, 16, 3, 3}}, {1, 1, 1, 1, 1, 1, 1, 1, 1}, NULL},
};

static const tgc_type types[] = {TGC_F32, TGC_F64, TGC_I32, TGC_I64, TGC_U8, TGC_BOOL};

static void run(struct sketch *s, int out, tgc_context *ctx)
{
	struct tally t = {0};
	char where[64];

	if (out < 0)
		return;
	sk_out(s, out);
	check_sketch(s, ctx, &t, false);
	snprintf(where, sizeof where, "%s on %s", sk_name(s->nodes[out].op), tgc_device_name(ctx));
	assert_sketch(s, &t, where);
}

static int operand(struct sketch *s, tgc_type t, tgc_shape shape, uint64_t seed)
{
	return sk_leaf(s, t, shape, interp_is_unsigned(t) ? 0 : -9, 9, seed);
}

static void move_row(tgc_context *ctx, const struct row *r, tgc_type t, int special)
{
	struct sketch s = {0};
	struct snode n = {.op = r->op, .nsrc = 1, .num = 1, .rank = r->y.rank};

	n.src[0] = operand(&s, t, r->x, 5);
	s.nodes[0].special = special;
	memcpy(n.dims, r->y.dims, sizeof n.dims);
	memcpy(n.attr, r->attr, sizeof n.attr);
	run(&s, sk_add(&s, n), ctx);
}

static void two_row(tgc_context *ctx, const struct row *r, tgc_type t)
{
	struct sketch s = {0};
	struct snode n = {.op = r->op, .nsrc = 2};

	n.src[0] = operand(&s, t, r->x, 5);
	n.src[1] = operand(&s, t, r->y, 6);
	memcpy(n.attr, r->attr, sizeof n.attr);
	if (r->spec)
		strcpy(n.spec, r->spec);
	run(&s, sk_add(&s, n), ctx);
}

static void all_moves(tgc_context *ctx)
{
	for (int i = 0; i < TG_COUNT(moves); i++)
		for (int k = 0; k < TG_COUNT(types); k++)
			move_row(ctx, &moves[i], types[k], moves[i].op != OP_FOLD);
}

// Ties come from integers in a small interval; special 2 is NaN among numbers.
static void all_reductions(tgc_context *ctx)
{
	for (int i = 0; i < TG_COUNT(reductions); i++) {
		for (int k = 0; k < TG_COUNT(types); k++) {
			move_row(ctx, &reductions[i], types[k], 0);
			move_row(ctx, &reductions[i], types[k], 2);
		}
	}
}

static void all_contractions(tgc_context *ctx)
{
	for (int i = 0; i < TG_COUNT(contractions); i++)
		for (int k = 0; k < TG_COUNT(types); k++)
			two_row(ctx, &contractions[i], types[k]);
}

struct index_row {
	tgc_shape x, index;
	int64_t axis;
	double lo, hi; // of the index
};

static const struct index_row indexing[] = {
    {{1, {7}}, {0, {0}}, 0, 0, 7},       {{1, {7}}, {1, {17}}, 0, 0, 7},
    {{2, {5, 3}}, {1, {33}}, 0, 0, 5},   {{2, {5, 3}}, {2, {2, 4}}, 1, 0, 3},
    {{3, {2, 5, 3}}, {1, {4}}, 1, 0, 5}, {{2, {65, 17}}, {1, {9}}, 0, 0, 65},
    {{2, {5, 3}}, {1, {0}}, 0, 0, 5},    {{2, {5, 3}}, {1, {9}}, 0, -2, 8},
    {{1, {1}}, {1, {5}}, 0, 0, 1},
};

static void index_case(tgc_context *ctx, const struct index_row *r, tgc_type t, tgc_type it, int mode)
{
	struct sketch s = {0};
	struct snode n = {.op = OP_GATHER, .nsrc = 2, .attr = {r->axis}};

	n.src[0] = operand(&s, t, r->x, 5);
	n.src[1] = sk_leaf(&s, it, r->index, r->lo, r->hi, 6);
	if (mode >= 0) {
		struct snode probe = n;

		(void)sk_infer(&s, &probe);
		n.op = OP_SCATTER;
		n.nsrc = 3;
		n.attr[1] = mode;
		n.src[2] = operand(&s, t, (tgc_shape){probe.rank, {0}}, 7);
		memcpy(s.nodes[n.src[2]].dims, probe.dims, sizeof probe.dims);
	}
	run(&s, sk_add(&s, n), ctx);
}

static void all_indexing(tgc_context *ctx)
{
	for (int i = 0; i < TG_COUNT(indexing); i++)
		for (int k = 0; k < TG_COUNT(types); k++)
			for (int mode = -1; mode < 3; mode++)
				index_case(ctx, &indexing[i], types[k], k % 2 ? TGC_I64 : TGC_I32, mode);
}

static void all_sources(tgc_context *ctx)
{
	const tgc_shape shapes[] = {{1, {0}}, {1, {1}}, {1, {257}}, {2, {3, 17}}, {3, {2, 5, 3}}};

	for (int i = 0; i < TG_COUNT(shapes); i++) {
		for (int k = 0; k < TG_COUNT(types); k++) {
			struct sketch s = {0};
			struct snode n = {.op = OP_IOTA, .type = types[k], .rank = shapes[i].rank, .num = 2.5};

			memcpy(n.dims, shapes[i].dims, sizeof n.dims);
			n.attr[0] = n.rank - 1;
			if (types[k] != TGC_BOOL && (types[k] != TGC_U8 || n.dims[n.rank - 1] < 256))
				run(&s, sk_add(&s, n), ctx);
			n.op = OP_CONST;
			s = (struct sketch){0};
			n.num = types[k] == TGC_F32 || types[k] == TGC_F64 ? 2.5 : 1;
			run(&s, sk_add(&s, n), ctx);
			n.op = SK_RAND;
			n.type = TGC_F32;
			n.seed = UINT64_C(0x123456789abcdef) + (uint64_t)k;
			s = (struct sketch){0};
			run(&s, sk_add(&s, n), ctx);
		}
	}
}

static void concat_case(tgc_context *ctx, tgc_type t, int axis, int count)
{
	struct sketch s = {0};
	struct snode n = {.op = OP_CONCAT, .nsrc = count, .attr = {axis}};

	for (int k = 0; k < count; k++) {
		tgc_shape shape = {3, {2, 3, 5}};

		shape.dims[axis] = k == 1 ? 0 : 1 + 7 * k;
		n.src[k] = operand(&s, t, shape, (uint64_t)k + 1);
	}
	run(&s, sk_add(&s, n), ctx);
}

static void all_concats(tgc_context *ctx)
{
	for (int k = 0; k < TG_COUNT(types); k++)
		for (int axis = 0; axis < 3; axis++)
			for (int count = 1; count <= SK_SRC; count++)
				concat_case(ctx, types[k], axis, count);
}

static void check_case(tgc_context *ctx, double limit)
{
	struct sketch s = {0};
	int x = sk_leaf(&s, TGC_F32, (tgc_shape){1, {33}}, 0, 1, 3);
	int l = sk_add(&s, (struct snode){.op = OP_CONST, .type = TGC_F32, .num = limit});
	int c = sk_op2(&s, OP_LT, x, l);

	run(&s, sk_op2(&s, OP_CHECK, x, c), ctx);
}

static void all_checks(tgc_context *ctx)
{
	check_case(ctx, 2);
	check_case(ctx, 0.5);
}

DEVICE_TEST(test_moves, all_moves)
DEVICE_TEST(test_concats, all_concats)
DEVICE_TEST(test_reductions, all_reductions)
DEVICE_TEST(test_contractions, all_contractions)
DEVICE_TEST(test_indexing, all_indexing)
DEVICE_TEST(test_sources, all_sources)
DEVICE_TEST(test_checks, all_checks)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_moves),      cmocka_unit_test(test_concats),
	    cmocka_unit_test(test_reductions), cmocka_unit_test(test_contractions),
	    cmocka_unit_test(test_indexing),   cmocka_unit_test(test_sources),
	    cmocka_unit_test(test_checks),
	};

	return cmocka_run_group_tests_name("primitives", tests, NULL, NULL);
}
