// Every elementwise primitive x every type it allows x awkward shapes, on each device against the oracle.
// The rows come from the operation table, so a new operation is tested by being there.
// Not here: the other classes (test_primitives.c), gradients (test_grad.c).
#include "check.h"

struct pair { // shapes of two operands that broadcast
	tgc_shape x, y;
};

static const tgc_shape shapes[] = {
    {0, {0}},   {1, {0}},    {1, {1}},    {1, {3}},    {1, {16}},      {1, {17}},
    {1, {255}}, {1, {1025}}, {2, {0, 3}}, {2, {1, 1}}, {3, {2, 3, 5}}, {6, {1, 2, 1, 3, 1, 2}},
};

static const struct pair pairs[] = {
    {{0, {0}}, {1, {5}}},      {{1, {0}}, {1, {1}}},          {{2, {3, 1}}, {2, {1, 4}}},
    {{2, {2, 33}}, {1, {33}}}, {{3, {2, 1, 3}}, {2, {4, 1}}}, {{2, {7, 65}}, {2, {7, 1}}},
};

static const tgc_type types[] = {TGC_F32, TGC_F64, TGC_F16, TGC_BF16, TGC_I8,  TGC_I16, TGC_I32,
                                 TGC_I64, TGC_U8,  TGC_U16, TGC_U32,  TGC_U64, TGC_BOOL};

static void run(const struct sketch *s, tgc_context *ctx, const char *what)
{
	struct tally t = {0};
	char where[64];

	check_sketch(s, ctx, &t, false);
	snprintf(where, sizeof where, "%s on %s", what, tgc_device_name(ctx));
	assert_sketch(s, &t, where);
}

// A leaf from the operation's own sample interval, then one with NaN, infinities and extremes.
static int leaf(struct sketch *s, int op, tgc_type t, tgc_shape shape, int special, uint64_t seed)
{
	double lo = op_info[op].lo, hi = op_info[op].hi;
	bool shift = op == OP_SHL || op == OP_SHR;
	int at;

	if (hi <= lo || !interp_is_float(t)) {
		lo = shift || interp_is_unsigned(t) ? 0 : -9;
		hi = shift ? interp_bits(t) + 3 : 9;
	}
	at = sk_leaf(s, t, shape, lo, hi, seed);
	s->nodes[at].special = special && !shift;
	return at;
}

static void one(tgc_context *ctx, int op, tgc_type t, tgc_type to, tgc_shape shape, int special)
{
	struct sketch s = {0};
	int x = leaf(&s, op, t, shape, special, 7);
	int y = sk_add(&s, (struct snode){.op = op, .type = to, .nsrc = 1, .src = {x}});

	if (y < 0)
		return;
	sk_out(&s, y);
	run(&s, ctx, sk_name(op));
}

static void two(tgc_context *ctx, int op, tgc_type t, tgc_shape a, tgc_shape b, int special)
{
	struct sketch s = {0};
	int x = leaf(&s, op, t, a, special, 11), y = leaf(&s, op, t, b, special, 13);
	int z = sk_op2(&s, op, x, y);

	if (z < 0)
		return;
	sk_out(&s, z);
	run(&s, ctx, sk_name(op));
}

static void all_types(tgc_context *ctx, int op, tgc_shape x, tgc_shape y, int special)
{
	for (int k = 0; k < TG_COUNT(types); k++) {
		if (op_info[op].cls == CLASS_UNARY)
			one(ctx, op, types[k], types[k], x, special);
		else
			two(ctx, op, types[k], x, y, special);
	}
}

static void all_ops(tgc_context *ctx)
{
	for (int op = 0; op < OP_COUNT; op++) {
		enum op_class cls = op_info[op].cls;

		if ((cls != CLASS_UNARY && cls != CLASS_BINARY && cls != CLASS_COMPARE) || op == OP_CAST ||
		    op == OP_BITCAST)
			continue;
		all_types(ctx, op, shapes[5], shapes[5], 0);
		all_types(ctx, op, shapes[7], shapes[7], 1);
		for (int i = 0; i < TG_COUNT(shapes); i++) {
			if (cls == CLASS_UNARY)
				one(ctx, op, TGC_F32, TGC_F32, shapes[i], 0);
			else
				two(ctx, op, op_info[op].types == 'I' ? TGC_I32 : TGC_F32, shapes[i], shapes[i],
				    0);
		}
		for (int i = 0; cls != CLASS_UNARY && i < TG_COUNT(pairs); i++)
			two(ctx, op, op_info[op].types == 'I' ? TGC_U8 : TGC_F64, pairs[i].x, pairs[i].y, 0);
	}
}

static void all_casts(tgc_context *ctx)
{
	for (int a = 0; a < TG_COUNT(types); a++) {
		for (int b = 0; b < TG_COUNT(types); b++) {
			one(ctx, OP_CAST, types[a], types[b], shapes[6], 0);
			one(ctx, OP_CAST, types[a], types[b], shapes[6], 1);
			one(ctx, OP_BITCAST, types[a], types[b], shapes[5], 0);
		}
	}
}

static void three(tgc_context *ctx, int op, tgc_type t, tgc_shape shape, int special)
{
	struct sketch s = {0};
	struct snode n = {.op = op, .nsrc = 3};
	int z;

	n.src[0] = sk_leaf(&s, op == OP_SELECT ? TGC_BOOL : t, shape, -2, 2, 3);
	n.src[1] = sk_leaf(&s, t, shape, -2, 2, 4);
	n.src[2] = sk_leaf(&s, t, shape, -2, 2, 5);
	for (int i = 0; i < 3; i++)
		s.nodes[i].special = special;
	z = sk_add(&s, n);
	if (z < 0)
		return;
	sk_out(&s, z);
	run(&s, ctx, sk_name(op));
}

static void all_ternary(tgc_context *ctx)
{
	for (int k = 0; k < TG_COUNT(types); k++) {
		three(ctx, OP_SELECT, types[k], shapes[6], 1);
		three(ctx, OP_FMA, types[k], shapes[6], 0);
		three(ctx, OP_FMA, types[k], shapes[6], 1);
	}
	for (int i = 0; i < TG_COUNT(shapes); i++) {
		three(ctx, OP_SELECT, TGC_F32, shapes[i], 0);
		three(ctx, OP_FMA, TGC_F32, shapes[i], 0);
	}
}

DEVICE_TEST(operations, all_ops)
DEVICE_TEST(casts, all_casts)
DEVICE_TEST(ternary, all_ternary)

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(operations), cmocka_unit_test(casts),
	                                   cmocka_unit_test(ternary)};

	return cmocka_run_group_tests_name("elementwise", tests, NULL, NULL);
}
