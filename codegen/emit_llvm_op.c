// Elementwise instructions on scalars or vectors, by the operation table.
// In:  operation, operand type, LLVM operands of one length. Out: the result.
// Not here: casts (emit_llvm_cast.c), operations that the pass expand rewrites.
#include "emit_llvm.h"

struct spelling {
	const char *name;
	int code;
};

static const struct spelling opcodes[] = {
    {"fadd", LLVMFAdd}, {"fsub", LLVMFSub}, {"fmul", LLVMFMul}, {"fdiv", LLVMFDiv}, {"add", LLVMAdd},
    {"sub", LLVMSub},   {"mul", LLVMMul},   {"and", LLVMAnd},   {"or", LLVMOr},     {"xor", LLVMXor},
};
static const struct spelling float_predicates[] = {
    {"olt", LLVMRealOLT},
    {"ole", LLVMRealOLE},
    {"oeq", LLVMRealOEQ},
    {"une", LLVMRealUNE},
};
static const struct spelling int_predicates[] = {
    {"slt", LLVMIntSLT}, {"sle", LLVMIntSLE}, {"ult", LLVMIntULT},
    {"ule", LLVMIntULE}, {"eq", LLVMIntEQ},   {"ne", LLVMIntNE},
};

static int find(const struct spelling *table, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(table[i].name, name))
			return table[i].code;
	return -1;
}

static const char *spelled(int op, tgc_type t)
{
	const struct op_info *info = &op_info[op];
	return type_is_float(t) ? info->llvm_f : type_is_signed(t) ? info->llvm_i : info->llvm_u;
}

static LLVMValueRef select_value(struct emit *e, LLVMValueRef c, LLVMValueRef x, LLVMValueRef y)
{
	if (emit_all_true(c))
		return x;
	return LLVMBuildSelect(e->b, c, x, y, "");
}

// max and min that hand NaN on.
static LLVMValueRef extremum(struct emit *e, int op, LLVMValueRef x, LLVMValueRef y)
{
	LLVMValueRef nan = LLVMBuildFCmp(e->b, LLVMRealUNO, x, x, "");
	LLVMValueRef first = LLVMBuildFCmp(e->b, op == OP_MAX ? LLVMRealOGT : LLVMRealOLT, x, y, "");
	return select_value(e, nan, x, select_value(e, first, x, y));
}

static LLVMValueRef upper_half(struct emit *e, LLVMValueRef x, LLVMValueRef y)
{
	LLVMTypeRef narrow = LLVMTypeOf(x), wide = emit_like(e->i64, x);
	LLVMValueRef p =
	    LLVMBuildMul(e->b, LLVMBuildZExt(e->b, x, wide, ""), LLVMBuildZExt(e->b, y, wide, ""), "");
	return LLVMBuildTrunc(e->b, LLVMBuildLShr(e->b, p, emit_iconst(wide, 32), ""), narrow, "");
}

static LLVMValueRef call(struct emit *e, const char *name, int n, LLVMValueRef *x)
{
	LLVMTypeRef t = LLVMTypeOf(x[0]);
	return emit_intrinsic(e, name, 1, &t, n, x);
}

// x * 2^n for integral n in a float. In two steps, so that the only rounding is the last product's; the
// exponent is clamped to where both steps are normal numbers and the result is 0 or inf anyway.
static LLVMValueRef ldexp_steps(struct emit *e, tgc_type t, LLVMValueRef x, LLVMValueRef n)
{
	bool f64 = t == TGC_F64;
	LLVMTypeRef ft = LLVMTypeOf(x), it = emit_like(f64 ? e->i64 : e->i32, x);
	LLVMTypeRef it32 = emit_like(e->i32, x);
	double limit = f64 ? 2044 : 252;
	int bias = f64 ? 1023 : 127, digits = f64 ? 52 : 23;
	LLVMValueRef top = emit_fconst(ft, limit), bottom = emit_fconst(ft, -limit);

	n = select_value(e, LLVMBuildFCmp(e->b, LLVMRealOLT, n, top, ""), n, top);
	n = select_value(e, LLVMBuildFCmp(e->b, LLVMRealOGT, n, bottom, ""), n, bottom);
	LLVMValueRef i = LLVMBuildFPToSI(e->b, n, it32, "");
	LLVMValueRef half = LLVMBuildAShr(e->b, i, emit_iconst(it32, 1), "");
	LLVMValueRef rest = LLVMBuildSub(e->b, i, half, "");
	LLVMValueRef parts[2] = {half, rest};
	for (int s = 0; s < 2; s++) {
		LLVMValueRef p = LLVMBuildAdd(e->b, parts[s], emit_iconst(it32, bias), "");
		if (f64)
			p = LLVMBuildZExt(e->b, p, it, "");
		p = LLVMBuildShl(e->b, p, emit_iconst(it, digits), "");
		x = LLVMBuildFMul(e->b, x, LLVMBuildBitCast(e->b, p, ft, ""), "");
	}
	return x;
}

// One instruction where the target has it for this length; NULL elsewhere.
static LLVMValueRef scalef(struct emit *e, tgc_type t, LLVMValueRef x, LLVMValueRef n)
{
	int lanes = emit_lanes_of(x), bits = lanes * (int)tgc_type_bytes(t) * 8;
	char name[48];

	if (!e->has_avx512 || (bits != 256 && (bits != 512 || e->t->vector_bytes < 64)))
		return NULL;
	snprintf(name, sizeof name, "llvm.x86.avx512.mask.scalef.%s.%d", t == TGC_F64 ? "pd" : "ps", bits);
	LLVMTypeRef mask = LLVMIntTypeInContext(e->c, lanes <= 8 ? 8 : 16);
	LLVMValueRef args[5] = {x, n, x, LLVMConstAllOnes(mask), LLVMConstInt(e->i32, 4, 0)};
	return emit_intrinsic(e, name, 0, NULL, bits == 512 ? 5 : 4, args);
}

static LLVMValueRef by_name(struct emit *e, const char *name, LLVMValueRef *x)
{
	int code = find(opcodes, TG_COUNT(opcodes), name);

	if (code >= 0)
		return LLVMBuildBinOp(e->b, (LLVMOpcode)code, x[0], x[1], "");
	if (!strcmp(name, "copy"))
		return x[0];
	if (!strcmp(name, "fneg"))
		return LLVMBuildFNeg(e->b, x[0], "");
	if (!strcmp(name, "neg"))
		return LLVMBuildNeg(e->b, x[0], "");
	if (!strcmp(name, "not"))
		return LLVMBuildNot(e->b, x[0], "");
	return NULL;
}

static LLVMValueRef compare(struct emit *e, tgc_type t, const char *name, LLVMValueRef *x)
{
	if (type_is_float(t)) {
		int p = find(float_predicates, TG_COUNT(float_predicates), name);
		return p < 0 ? NULL : LLVMBuildFCmp(e->b, (LLVMRealPredicate)p, x[0], x[1], "");
	}
	int p = find(int_predicates, TG_COUNT(int_predicates), name);
	return p < 0 ? NULL : LLVMBuildICmp(e->b, (LLVMIntPredicate)p, x[0], x[1], "");
}

static int operands_of(int op)
{
	return op_info[op].cls == CLASS_UNARY ? 1 : 2;
}

static LLVMValueRef by_table(struct emit *e, int op, tgc_type t, LLVMValueRef *x)
{
	const char *name = spelled(op, t);
	LLVMValueRef r = NULL;

	if (name[0] == '@')
		return call(e, name + 1, operands_of(op), x);
	r = op_info[op].cls == CLASS_COMPARE ? compare(e, t, name, x) : by_name(e, name, x);
	if (!r) {
		emit_fail(e, "an operation that has no instruction (the pass expand rewrites it)");
		r = x[0];
	}
	return r;
}

// 16-bit floats compute in f32.
static LLVMValueRef sixteen(struct emit *e, int op, tgc_type t, LLVMValueRef *x)
{
	LLVMValueRef wide[3];
	int n = op == OP_FMA ? 3 : operands_of(op);

	for (int i = 0; i < n; i++)
		wide[i] = emit_widened(e, t, x[i]);
	LLVMValueRef r = emit_op(e, op, TGC_F32, wide);
	return op_info[op].cls == CLASS_COMPARE ? r : emit_cast(e, TGC_F32, t, r);
}

LLVMValueRef emit_op(struct emit *e, int op, tgc_type t, LLVMValueRef *x)
{
	bool sign = type_is_signed(t);
	LLVMValueRef r;

	if (op == OP_SELECT)
		return select_value(e, x[0], x[1], x[2]);
	if (t == TGC_F16 || t == TGC_BF16)
		return sixteen(e, op, t, x);
	switch (op) {
	case OP_FMA:
		return e->has_fma ? call(e, "llvm.fma", 3, x) : emit_soft_fma(e, t, x);
	case OP_FLOOR:
	case OP_ROUND:
		return e->has_sse41 ? by_table(e, op, t, x) : emit_soft_round(e, t, x[0], op == OP_FLOOR);
	case OP_MAX:
	case OP_MIN:
		return type_is_float(t) ? extremum(e, op, x[0], x[1]) : by_table(e, op, t, x);
	case OP_TDIV:
		return LLVMBuildBinOp(e->b, sign ? LLVMSDiv : LLVMUDiv, x[0], x[1], "");
	case OP_TMOD:
		return LLVMBuildBinOp(e->b, sign ? LLVMSRem : LLVMURem, x[0], x[1], "");
	case OP_SHLX:
		return LLVMBuildShl(e->b, x[0], x[1], "");
	case OP_SHRX:
		return LLVMBuildBinOp(e->b, sign ? LLVMAShr : LLVMLShr, x[0], x[1], "");
	case OP_MULHI:
		return upper_half(e, x[0], x[1]);
	case OP_COPYSIGN:
		return call(e, "llvm.copysign", 2, x);
	case OP_FMAX:
		return select_value(e, LLVMBuildFCmp(e->b, LLVMRealOGT, x[0], x[1], ""), x[0], x[1]);
	case OP_FMIN:
		return select_value(e, LLVMBuildFCmp(e->b, LLVMRealOLT, x[0], x[1], ""), x[0], x[1]);
	case OP_LDEXP:
		r = scalef(e, t, x[0], x[1]);
		return r ? r : ldexp_steps(e, t, x[0], x[1]);
	default:
		return by_table(e, op, t, x);
	}
}
