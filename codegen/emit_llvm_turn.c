// Blocks of a matrix transposed in registers, so that memory that is contiguous along an unroll axis and
// strided along the lanes is read and written in rows. In:  vectors. Out: vectors. Not here: which accesses are
// blocks, and their addresses (emit_llvm_memory.c).
#include "emit_llvm.h"

static LLVMValueRef pick(struct emit *e, LLVMValueRef x, LLVMValueRef y, const int *from, int n)
{
	LLVMValueRef mask[EMIT_MAX_LANES];

	for (int i = 0; i < n; i++)
		mask[i] = LLVMConstInt(e->i32, (unsigned)from[i], 0);
	return LLVMBuildShuffleVector(e->b, x, y, LLVMConstVector(mask, (unsigned)n), "");
}

// Exchanges the elements of rows x and y whose columns differ in bit s: those off the diagonal.
static void exchange(struct emit *e, LLVMValueRef *x, LLVMValueRef *y, int s)
{
	int n = emit_lanes_of(*x), upper[EMIT_MAX_LANES], lower[EMIT_MAX_LANES];

	for (int i = 0; i < n; i++) {
		upper[i] = i & s ? n + i - s : i;
		lower[i] = i & s ? n + i : i + s;
	}
	LLVMValueRef first = pick(e, *x, *y, upper, n);
	*y = pick(e, *x, *y, lower, n);
	*x = first;
}

void emit_turn(struct emit *e, LLVMValueRef *v, int n)
{
	for (int s = n / 2; s > 0; s /= 2)
		for (int i = 0; i < n; i++)
			if (!(i & s))
				exchange(e, &v[i], &v[i + s], s);
}

LLVMValueRef emit_join(struct emit *e, int n, LLVMValueRef *x)
{
	int lanes = emit_lanes_of(x[0]), from[EMIT_MAX_LANES];

	for (int i = 0; i < EMIT_MAX_LANES; i++)
		from[i] = i;
	for (; n > 1; n /= 2, lanes *= 2)
		for (int i = 0; i < n / 2; i++)
			x[i] = pick(e, x[2 * i], x[2 * i + 1], from, 2 * lanes);
	return x[0];
}
