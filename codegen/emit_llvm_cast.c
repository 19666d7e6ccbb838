// Casts between the types of values, by NUMERICS: float to integer truncates and saturates, NaN gives 0;
// integers wrap; anything to bool is "not 0". 16-bit floats round once.
// In:  a scalar or vector. Out: the same in another type.
#include "emit_llvm.h"

LLVMValueRef emit_widened(struct emit *e, tgc_type from, LLVMValueRef x)
{
	LLVMTypeRef f32 = emit_like(emit_type(e, TGC_F32), x);

	if (from == TGC_BF16) {
		LLVMTypeRef i32 = emit_like(e->i32, x);
		LLVMValueRef wide = LLVMBuildZExt(e->b, x, i32, "");
		return LLVMBuildBitCast(e->b, LLVMBuildShl(e->b, wide, emit_iconst(i32, 16), ""), f32, "");
	}
	if (from != TGC_F16)
		return x;
	if (!e->has_f16c)
		return emit_half_to_float(e, x);
	LLVMTypeRef half = emit_like(LLVMHalfTypeInContext(e->c), x);
	return LLVMBuildFPExt(e->b, LLVMBuildBitCast(e->b, x, half, ""), f32, "");
}

static LLVMValueRef to_sixteen(struct emit *e, tgc_type to, LLVMValueRef x)
{
	if (to == TGC_BF16)
		return emit_float_to_bfloat(e, x);
	if (!e->has_f16c)
		return emit_float_to_half(e, x);
	LLVMValueRef half = LLVMBuildFPTrunc(e->b, x, emit_like(LLVMHalfTypeInContext(e->c), x), "");
	return LLVMBuildBitCast(e->b, half, emit_like(emit_type(e, to), x), "");
}

static LLVMValueRef float_to_float(struct emit *e, tgc_type from, tgc_type to, LLVMValueRef x)
{
	if (from == to)
		return x;
	x = emit_widened(e, from, x);
	if (to == TGC_F64)
		return LLVMBuildFPExt(e->b, x, emit_like(emit_type(e, to), x), "");
	if (to == TGC_F32)
		return from == TGC_F64 ? LLVMBuildFPTrunc(e->b, x, emit_like(emit_type(e, to), x), "") : x;
	return to_sixteen(e, to, from == TGC_F64 ? emit_round_to_odd(e, x) : x);
}

static LLVMValueRef float_to_int(struct emit *e, tgc_type from, tgc_type to, LLVMValueRef x)
{
	x = emit_widened(e, from, x);
	if (to == TGC_BOOL)
		return LLVMBuildFCmp(e->b, LLVMRealUNE, x, LLVMConstNull(LLVMTypeOf(x)), "");
	LLVMTypeRef types[2] = {emit_like(emit_type(e, to), x), LLVMTypeOf(x)};
	return emit_intrinsic(e, type_is_signed(to) ? "llvm.fptosi.sat" : "llvm.fptoui.sat", 2, types, 1, &x);
}

// 16-bit floats come from integers through f32 (exact up to 24 bits) or f64 (exact up to 53; rounded to odd
// above, so that the last rounding is the only one that counts).
static LLVMValueRef int_to_float(struct emit *e, tgc_type from, tgc_type to, LLVMValueRef x)
{
	size_t bytes = from == TGC_BOOL ? 1 : tgc_type_bytes(from);
	tgc_type via = to == TGC_F64 || to == TGC_F32 ? to : bytes <= 2 ? TGC_F32 : TGC_F64;
	LLVMTypeRef type = emit_like(emit_type(e, via), x);

	if (via != to && bytes == 8) { // keep what a 53-bit significand would lose in its last bit
		LLVMTypeRef it = LLVMTypeOf(x);
		LLVMValueRef low = LLVMBuildAnd(e->b, x, emit_iconst(it, 0xfff), "");
		LLVMValueRef sticky = LLVMBuildICmp(e->b, LLVMIntNE, low, LLVMConstNull(it), "");
		LLVMValueRef high = LLVMBuildAnd(e->b, x, emit_iconst(it, ~(int64_t)0xfff), "");
		LLVMValueRef mark =
		    LLVMBuildShl(e->b, LLVMBuildZExt(e->b, sticky, it, ""), emit_iconst(it, 11), "");
		LLVMValueRef folded = LLVMBuildOr(e->b, high, mark, "");
		LLVMValueRef size = LLVMBuildAdd(e->b, x, emit_iconst(it, (int64_t)1 << 52), "");
		LLVMValueRef big = LLVMBuildICmp(e->b, LLVMIntUGE, size, emit_iconst(it, (int64_t)1 << 53), "");
		x = LLVMBuildSelect(e->b, big, folded, x, "");
	}
	x = type_is_signed(from) ? LLVMBuildSIToFP(e->b, x, type, "") : LLVMBuildUIToFP(e->b, x, type, "");
	return float_to_float(e, via, to, x);
}

static LLVMValueRef int_to_int(struct emit *e, tgc_type from, tgc_type to, LLVMValueRef x)
{
	if (to == TGC_BOOL)
		return from == TGC_BOOL ? x
		                        : LLVMBuildICmp(e->b, LLVMIntNE, x, LLVMConstNull(LLVMTypeOf(x)), "");
	LLVMTypeRef type = emit_like(emit_type(e, to), x);
	size_t have = from == TGC_BOOL ? 0 : tgc_type_bytes(from), want = tgc_type_bytes(to);
	if (have == want)
		return x;
	if (have > want)
		return LLVMBuildTrunc(e->b, x, type, "");
	return type_is_signed(from) ? LLVMBuildSExt(e->b, x, type, "") : LLVMBuildZExt(e->b, x, type, "");
}

LLVMValueRef emit_cast(struct emit *e, tgc_type from, tgc_type to, LLVMValueRef x)
{
	if (type_is_float(from))
		return type_is_float(to) ? float_to_float(e, from, to, x) : float_to_int(e, from, to, x);
	return type_is_float(to) ? int_to_float(e, from, to, x) : int_to_int(e, from, to, x);
}
