// Exact substitutes for instructions that a target lacks, so that its results are the same and no library is
// called: fused multiply-add, floor and round, 16-bit float conversions.
// In:  scalars or vectors. Out: bit for bit what the instruction gives (f64 fma: unless the exact product
// leaves the normal range).
#include "emit_llvm.h"

static LLVMValueRef select3(struct emit *e, LLVMValueRef c, LLVMValueRef x, LLVMValueRef y)
{
	return LLVMBuildSelect(e->b, c, x, y, "");
}

static LLVMValueRef bits(struct emit *e, LLVMTypeRef element, LLVMValueRef x)
{
	return LLVMBuildBitCast(e->b, x, emit_like(element, x), "");
}

struct pair {
	LLVMValueRef hi, lo;
};

// hi + lo is x + y exactly.
static struct pair two_sum(struct emit *e, LLVMValueRef x, LLVMValueRef y)
{
	LLVMValueRef s = LLVMBuildFAdd(e->b, x, y, "");
	LLVMValueRef b = LLVMBuildFSub(e->b, s, x, "");
	LLVMValueRef dx = LLVMBuildFSub(e->b, x, LLVMBuildFSub(e->b, s, b, ""), "");
	LLVMValueRef dy = LLVMBuildFSub(e->b, y, b, "");
	return (struct pair){s, LLVMBuildFAdd(e->b, dx, dy, "")};
}

static struct pair halves(struct emit *e, LLVMValueRef x)
{
	LLVMValueRef c = LLVMBuildFMul(e->b, x, emit_fconst(LLVMTypeOf(x), 134217729.0), "");
	LLVMValueRef hi = LLVMBuildFSub(e->b, c, LLVMBuildFSub(e->b, c, x, ""), "");
	return (struct pair){hi, LLVMBuildFSub(e->b, x, hi, "")};
}

// hi + lo is x * y exactly (f64; Dekker 1971).
static struct pair two_product(struct emit *e, LLVMValueRef x, LLVMValueRef y)
{
	LLVMValueRef p = LLVMBuildFMul(e->b, x, y, "");
	struct pair a = halves(e, x), b = halves(e, y);
	LLVMValueRef r = LLVMBuildFSub(e->b, LLVMBuildFMul(e->b, a.hi, b.hi, ""), p, "");
	r = LLVMBuildFAdd(e->b, r, LLVMBuildFMul(e->b, a.hi, b.lo, ""), "");
	r = LLVMBuildFAdd(e->b, r, LLVMBuildFMul(e->b, a.lo, b.hi, ""), "");
	return (struct pair){p, LLVMBuildFAdd(e->b, r, LLVMBuildFMul(e->b, a.lo, b.lo, ""), "")};
}

// hi, or its neighbour towards lo if lo is not 0 and hi's last bit is even: the sum rounded to odd. `up`: lo
// points away from 0. On the bits of either width.
static LLVMValueRef odd_neighbour(struct emit *e, LLVMTypeRef it, LLVMValueRef hi, LLVMValueRef inexact,
                                  LLVMValueRef up)
{
	LLVMValueRef b = bits(e, it, hi);
	LLVMTypeRef vt = LLVMTypeOf(b);
	LLVMValueRef one = emit_iconst(vt, 1);
	LLVMValueRef even =
	    LLVMBuildICmp(e->b, LLVMIntEQ, LLVMBuildAnd(e->b, b, one, ""), LLVMConstNull(vt), "");
	LLVMValueRef step = select3(e, up, one, emit_iconst(vt, -1));
	LLVMValueRef moved = LLVMBuildAdd(e->b, b, step, "");
	LLVMValueRef r = select3(e, LLVMBuildAnd(e->b, inexact, even, ""), moved, b);
	return LLVMBuildBitCast(e->b, r, LLVMTypeOf(hi), "");
}

static LLVMValueRef odd_sum(struct emit *e, struct pair s)
{
	LLVMValueRef zero = LLVMConstNull(LLVMTypeOf(s.hi));
	LLVMValueRef inexact = LLVMBuildFCmp(e->b, LLVMRealONE, s.lo, zero, "");
	LLVMValueRef lo_up = LLVMBuildFCmp(e->b, LLVMRealOGT, s.lo, zero, "");
	LLVMValueRef hi_up = LLVMBuildFCmp(e->b, LLVMRealOGT, s.hi, zero, "");
	return odd_neighbour(e, e->i64, s.hi, inexact, LLVMBuildICmp(e->b, LLVMIntEQ, lo_up, hi_up, ""));
}

// f32: the product is exact in f64. Boldo, Melquiond, Emulation of FMA and correctly rounded sums, 2008.
static LLVMValueRef fma_f32(struct emit *e, LLVMValueRef *x)
{
	LLVMTypeRef t = LLVMTypeOf(x[0]), wide = emit_like(emit_type(e, TGC_F64), x[0]);
	LLVMValueRef w[3];

	for (int i = 0; i < 3; i++)
		w[i] = LLVMBuildFPExt(e->b, x[i], wide, "");
	LLVMValueRef p = LLVMBuildFMul(e->b, w[0], w[1], "");
	return LLVMBuildFPTrunc(e->b, odd_sum(e, two_sum(e, p, w[2])), t, "");
}

static LLVMValueRef fma_f64(struct emit *e, LLVMValueRef *x)
{
	LLVMValueRef plain = LLVMBuildFAdd(e->b, LLVMBuildFMul(e->b, x[0], x[1], ""), x[2], "");
	struct pair u = two_product(e, x[0], x[1]);
	struct pair t = two_sum(e, x[2], u.lo);
	struct pair v = two_sum(e, u.hi, t.hi);
	LLVMValueRef r = LLVMBuildFAdd(e->b, v.hi, odd_sum(e, two_sum(e, t.lo, v.lo)), "");
	return select3(e, LLVMBuildFCmp(e->b, LLVMRealUNO, r, r, ""), plain, r);
}

LLVMValueRef emit_soft_fma(struct emit *e, tgc_type t, LLVMValueRef *x)
{
	return t == TGC_F64 ? fma_f64(e, x) : fma_f32(e, x);
}

// Adding and subtracting 2^52 (2^23) rounds to even.
LLVMValueRef emit_soft_round(struct emit *e, tgc_type t, LLVMValueRef x, bool down)
{
	LLVMTypeRef ft = LLVMTypeOf(x);
	LLVMValueRef args[2] = {x, x}, big = emit_fconst(ft, t == TGC_F64 ? 0x1p52 : 0x1p23);
	LLVMValueRef size = emit_intrinsic(e, "llvm.fabs", 1, &ft, 1, args);
	LLVMValueRef r = LLVMBuildFSub(e->b, LLVMBuildFAdd(e->b, size, big, ""), big, "");

	args[0] = r;
	r = emit_intrinsic(e, "llvm.copysign", 1, &ft, 2, args);
	if (down) {
		LLVMValueRef less = LLVMBuildFSub(e->b, r, emit_fconst(ft, 1), "");
		args[0] = select3(e, LLVMBuildFCmp(e->b, LLVMRealOGT, r, x, ""), less, r);
		r = emit_intrinsic(e, "llvm.copysign", 1, &ft, 2, args);
	}
	return select3(e, LLVMBuildFCmp(e->b, LLVMRealOLT, size, big, ""), r, x);
}

// ---- 16-bit floats on their bits ----

static LLVMValueRef and_c(struct emit *e, LLVMValueRef x, int64_t c)
{
	return LLVMBuildAnd(e->b, x, emit_iconst(LLVMTypeOf(x), c), "");
}

static LLVMValueRef shl_c(struct emit *e, LLVMValueRef x, int64_t c)
{
	return LLVMBuildShl(e->b, x, emit_iconst(LLVMTypeOf(x), c), "");
}

static LLVMValueRef shr_c(struct emit *e, LLVMValueRef x, int64_t c)
{
	return LLVMBuildLShr(e->b, x, emit_iconst(LLVMTypeOf(x), c), "");
}

static LLVMValueRef add_c(struct emit *e, LLVMValueRef x, int64_t c)
{
	return LLVMBuildAdd(e->b, x, emit_iconst(LLVMTypeOf(x), c), "");
}

static LLVMValueRef is_above(struct emit *e, LLVMValueRef x, int64_t c)
{
	return LLVMBuildICmp(e->b, LLVMIntUGT, x, emit_iconst(LLVMTypeOf(x), c), "");
}

// The exponent moves by a product with 2^112, which also normalises denormals.
LLVMValueRef emit_half_to_float(struct emit *e, LLVMValueRef h)
{
	LLVMTypeRef it = emit_like(e->i32, h), ft = emit_like(emit_type(e, TGC_F32), h);
	LLVMValueRef w = LLVMBuildZExt(e->b, h, it, "");
	LLVMValueRef size = and_c(e, w, 0x7fff);
	LLVMValueRef f = LLVMBuildBitCast(e->b, shl_c(e, size, 13), ft, "");
	f = LLVMBuildFMul(e->b, f, emit_fconst(ft, 0x1p112), "");
	LLVMValueRef finite = LLVMBuildBitCast(e->b, f, it, "");
	LLVMValueRef special = LLVMBuildOr(e->b, shl_c(e, size, 13), emit_iconst(it, 0x7f800000), "");
	LLVMValueRef r = select3(e, is_above(e, size, 0x7bff), special, finite);
	r = LLVMBuildOr(e->b, r, shl_c(e, and_c(e, w, 0x8000), 16), "");
	return LLVMBuildBitCast(e->b, r, ft, "");
}

// To even: adding the bit above the cut and just under half of the cut carries where it must.
static LLVMValueRef cut(struct emit *e, LLVMValueRef x, int n)
{
	LLVMValueRef even = and_c(e, shr_c(e, x, n), 1);
	LLVMValueRef up = add_c(e, even, ((int64_t)1 << (n - 1)) - 1);
	return shr_c(e, LLVMBuildAdd(e->b, x, up, ""), n);
}

LLVMValueRef emit_float_to_half(struct emit *e, LLVMValueRef x)
{
	LLVMTypeRef it = emit_like(e->i32, x), ft = LLVMTypeOf(x);
	LLVMValueRef b = LLVMBuildBitCast(e->b, x, it, "");
	LLVMValueRef size = and_c(e, b, 0x7fffffff);
	LLVMValueRef normal = cut(e, add_c(e, size, -((int64_t)112 << 23)), 13);
	// Denormal halves: the adder rounds at 2^-24 when 0.5 is added.
	LLVMValueRef f = LLVMBuildFAdd(e->b, LLVMBuildBitCast(e->b, size, ft, ""), emit_fconst(ft, 0.5), "");
	LLVMValueRef small = add_c(e, LLVMBuildBitCast(e->b, f, it, ""), -0x3f000000);
	LLVMValueRef r = select3(e, is_above(e, size, 0x387fffff), normal, small);
	r = select3(e, is_above(e, size, 0x477fefff), emit_iconst(it, 0x7c00), r);
	r = select3(e, is_above(e, size, 0x7f800000), emit_iconst(it, 0x7e00), r);
	r = LLVMBuildOr(e->b, r, and_c(e, shr_c(e, b, 16), 0x8000), "");
	return LLVMBuildTrunc(e->b, r, emit_like(LLVMInt16TypeInContext(e->c), x), "");
}

// Always on the bits: vcvtneps2bf16 flushes denormals.
LLVMValueRef emit_float_to_bfloat(struct emit *e, LLVMValueRef x)
{
	LLVMTypeRef it = emit_like(e->i32, x);
	LLVMValueRef b = LLVMBuildBitCast(e->b, x, it, "");
	LLVMValueRef nan = LLVMBuildOr(e->b, shr_c(e, b, 16), emit_iconst(it, 0x40), "");
	LLVMValueRef r = select3(e, LLVMBuildFCmp(e->b, LLVMRealUNO, x, x, ""), nan, cut(e, b, 16));
	return LLVMBuildTrunc(e->b, r, emit_like(LLVMInt16TypeInContext(e->c), x), "");
}

LLVMValueRef emit_round_to_odd(struct emit *e, LLVMValueRef x)
{
	LLVMTypeRef wide = LLVMTypeOf(x);
	LLVMValueRef f = LLVMBuildFPTrunc(e->b, x, emit_like(emit_type(e, TGC_F32), x), "");
	LLVMValueRef back = LLVMBuildFPExt(e->b, f, wide, "");
	LLVMValueRef sizes[2] = {emit_intrinsic(e, "llvm.fabs", 1, &wide, 1, &x),
	                         emit_intrinsic(e, "llvm.fabs", 1, &wide, 1, &back)};
	LLVMValueRef inexact = LLVMBuildFCmp(e->b, LLVMRealONE, x, back, "");
	LLVMValueRef up = LLVMBuildFCmp(e->b, LLVMRealOGT, sizes[0], sizes[1], "");
	return odd_neighbour(e, e->i32, f, inexact, up);
}
