// The operation table as data, and facts about element types.
// In:  ops.def. Out: op_info, names, widths.
// Not here: what operations mean on numbers (number.c).
#include "lib.h"

// TG_NOGRAD or a formula.
#define HAS_GRAD(text) !(text[0] == 'T' && text[sizeof(text) > 4 ? 3 : 0] == 'N')
#define OTHER_HAS_GRAD(ID, CLASS)                                                                              \
	(CLASS != CLASS_SOURCE && CLASS != CLASS_KERNEL && ID != OP_ARGMAX && ID != OP_BITCAST)

const struct op_info op_info[OP_COUNT] = {
#define TG_UNARY(ID, NAME, TYPES, LF, LI, LU, C, FOLD, GX, LO, HI)                                             \
	[OP_##ID] = {#NAME, CLASS_UNARY, #TYPES[0], LF, LI, LU, C, LO, HI, HAS_GRAD(#GX)},
#define TG_BINARY(ID, NAME, TYPES, LF, LI, LU, C, FOLD, GX, GY, LO, HI)                                        \
	[OP_##ID] = {#NAME, CLASS_BINARY, #TYPES[0], LF, LI, LU, C, LO, HI, HAS_GRAD(#GX)},
#define TG_COMPARE(ID, NAME, TYPES, LF, LI, LU, C, FOLD)                                                       \
	[OP_##ID] = {#NAME, CLASS_COMPARE, #TYPES[0], LF, LI, LU, C, -4, 4, false},
#define TG_OTHER(ID, NAME, CLASS)                                                                              \
	[OP_##ID] = {#NAME, CLASS_##CLASS, 'A', "", "", "", "", -4, 4, OTHER_HAS_GRAD(OP_##ID, CLASS_##CLASS)},
#include "ops.def"
};

int op_find(const char *name)
{
	for (int i = 0; i < OP_COUNT; i++)
		if (strcmp(op_info[i].name, name) == 0)
			return i;
	return -1;
}

bool type_is_int(tgc_type t)
{
	return t >= TGC_I8 && t <= TGC_U64;
}
bool type_is_signed(tgc_type t)
{
	return t <= TGC_I64;
}

bool op_allows(int op, tgc_type t)
{
	switch (op_info[op].types) {
	case 'F':
		return type_is_float(t);
	case 'N':
		return t != TGC_BOOL;
	case 'I':
		return !type_is_float(t);
	default:
		return true;
	}
}

size_t tgc_type_bytes(tgc_type type)
{
	static const uint8_t bytes[TGC_TYPE_COUNT] = {4, 8, 2, 2, 1, 2, 4, 8, 1, 2, 4, 8, 1};
	return (unsigned)type < TGC_TYPE_COUNT ? bytes[type] : 0;
}

const char *tgc_type_name(tgc_type type)
{
	static const char *const names[TGC_TYPE_COUNT] = {"f32", "f64", "f16", "bf16", "i8",  "i16", "i32",
	                                                  "i64", "u8",  "u16", "u32",  "u64", "bool"};
	return (unsigned)type < TGC_TYPE_COUNT ? names[type] : "?";
}

const char *tgc_status_name(tgc_status status)
{
	static const char *const names[] = {"OK",     "ARG",      "TYPE",    "SHAPE",   "RANK",
	                                    "AXIS",   "OVERFLOW", "INDEX",   "GRAD",    "HANDLE",
	                                    "MEMORY", "NODEVICE", "COMPILE", "IO",      "TRUNCATED",
	                                    "FORMAT", "LIMIT",    "FORKED",  "INTERNAL"};
	_Static_assert(sizeof names / sizeof *names == TGC_ERROR_INTERNAL + 1, "one name a status");
	return (unsigned)status <= TGC_ERROR_INTERNAL ? names[status] : "?";
}
