// Random bits: element i of a draw is lane i % 4 of the block at counter base + i / 4.
// In:  a RANDOM pnode and an index vector. Out: u32 bits.
// Source: Philox4x32-10 of Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
#include "lower.h"

static int word(struct lower *lo, uint32_t v)
{
	return kb_const(&lo->b, TGC_U32, (union number){.i = v});
}

static int upper(struct lower *lo, int v)
{
	int shift = kb_const(&lo->b, TGC_U64, (union number){.i = 32});
	return kb_op1(&lo->b, OP_CAST, TGC_U32, kb_op2(&lo->b, OP_SHRX, TGC_U64, v, shift));
}

static int mix(struct lower *lo, int x, int y, int key)
{
	return kb_op2(&lo->b, OP_XOR, TGC_U32, kb_op2(&lo->b, OP_XOR, TGC_U32, x, y), key);
}

static void philox(struct lower *lo, int c[4], int k0, int k1)
{
	struct kbuild *b = &lo->b;
	int m0 = word(lo, 0xD2511F53), m1 = word(lo, 0xCD9E8D57);
	for (int round = 0; round < 10; round++) {
		int n0 = mix(lo, kb_op2(b, OP_MULHI, TGC_U32, m1, c[2]), c[1], k0);
		int n2 = mix(lo, kb_op2(b, OP_MULHI, TGC_U32, m0, c[0]), c[3], k1);
		c[1] = kb_op2(b, OP_MUL, TGC_U32, m1, c[2]);
		c[3] = kb_op2(b, OP_MUL, TGC_U32, m0, c[0]);
		c[0] = n0;
		c[2] = n2;
		k0 = kb_op2(b, OP_ADD, TGC_U32, k0, word(lo, 0x9E3779B9));
		k1 = kb_op2(b, OP_ADD, TGC_U32, k1, word(lo, 0xBB67AE85));
	}
}

int lower_random(struct lower *lo, int node, const int *idx)
{
	const struct pnode *n = NODE(lo, node);
	struct kbuild *b = &lo->b;
	int seed = lower_value(lo, n->src[0], idx), base = lower_value(lo, n->src[1], idx), at;
	lower_linear(lo, n->rank, n->dims, idx, &at);
	int lane = kb_imod(b, at, 4), offset = kb_op1(b, OP_CAST, TGC_U64, kb_idiv(b, at, 4));
	int block = kb_op2(b, OP_ADD, TGC_U64, base, offset);
	int zero = word(lo, 0), c[4] = {kb_op1(b, OP_CAST, TGC_U32, block), upper(lo, block), zero, zero};
	philox(lo, c, kb_op1(b, OP_CAST, TGC_U32, seed), upper(lo, seed));
	int v = c[3];
	for (int i = 2; i >= 0; i--)
		v = kb_select(b, kb_op2(b, OP_EQ, TGC_BOOL, lane, kb_int(b, i)), c[i], v);
	return v;
}
