// Status codes, element types, shapes and the argument type shared by every header.
// In:  nothing. Out: plain data types; no function here allocates.
// Not here: tensors (tensor.h), contexts (context.h).
#ifndef TGC_BASE_H
#define TGC_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define TGC_API __declspec(dllexport)
#else
#define TGC_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
#include <initializer_list>
extern "C" {
#endif

// Behind a field of an options struct: 0 when left out, also where C++ would warn.
#ifdef __cplusplus
#define TGC_ZERO = {}
#else
#define TGC_ZERO
#endif

#define TGC_VERSION_MAJOR 0
#define TGC_VERSION_MINOR 1
#define TGC_MAX_RANK 8

// What an action returns and what the first error of a context is filed under.
typedef enum tgc_status {
	TGC_OK = 0,
	TGC_ERROR_ARG,       // an argument is NULL, zero where it must not be, or out of its range
	TGC_ERROR_TYPE,      // element types do not fit the operation or each other
	TGC_ERROR_SHAPE,     // shapes do not broadcast, multiply or match
	TGC_ERROR_RANK,      // more than TGC_MAX_RANK axes, or fewer than the operation needs
	TGC_ERROR_AXIS,      // an axis out of range or named twice
	TGC_ERROR_OVERFLOW,  // a count of elements or bytes does not fit in 63 bits
	TGC_ERROR_INDEX,     // an index read at run time is out of range
	TGC_ERROR_GRAD,      // no gradient can be taken as asked
	TGC_ERROR_HANDLE,    // a tensor of another context, or a value that is gone
	TGC_ERROR_MEMORY,    // host or device memory is exhausted
	TGC_ERROR_NODEVICE,  // the device asked for is not there
	TGC_ERROR_COMPILE,   // a code generator or a compiler refused a kernel
	TGC_ERROR_IO,        // the operating system refused a file
	TGC_ERROR_TRUNCATED, // a file ends before its header says
	TGC_ERROR_FORMAT,    // a file is not what it should be
	TGC_ERROR_LIMIT,     // a file claims more than the limit allows
	TGC_ERROR_FORKED,    // the process forked after the context started
	TGC_ERROR_INTERNAL,  // a broken invariant of tgc itself: please report it
} tgc_status;

// The short name of a status: "SHAPE", "TYPE", ... Never NULL.
TGC_API const char *tgc_status_name(tgc_status status);

// Element types. TGC_BOOL is one byte holding 0 or 1.
typedef enum tgc_type {
	TGC_F32 = 0,
	TGC_F64,
	TGC_F16,
	TGC_BF16,
	TGC_I8,
	TGC_I16,
	TGC_I32,
	TGC_I64,
	TGC_U8,
	TGC_U16,
	TGC_U32,
	TGC_U64,
	TGC_BOOL,
	TGC_TYPE_COUNT
} tgc_type;

// Bytes of one element; 0 for a value outside the enum.
TGC_API size_t tgc_type_bytes(tgc_type type);
// "f32", "i64", "bool", ...; "?" for a value outside the enum.
TGC_API const char *tgc_type_name(tgc_type type);

// A shape by value: `rank` axes, outermost first. Rank 0 is a scalar.
typedef struct tgc_shape {
	int rank;
	int64_t dims[TGC_MAX_RANK];
} tgc_shape;

// A list of axes by value. Negative axes count from the end.
typedef struct tgc_axes {
	int count;
	int axes[TGC_MAX_RANK];
} tgc_axes;

typedef struct tgc_context tgc_context;
typedef struct tgc_tensor tgc_tensor;
typedef struct tgc_program tgc_program;

// An operand: a tensor, or a number that takes the other operand's type.
// Made by TGC_ARG; two words, passed in registers.
typedef struct tgc_arg {
	int kind; // 0 tensor, 1 floating-point number, 2 integer
	union {
		tgc_tensor *tensor;
		double number;
		int64_t integer;
	} u;
} tgc_arg;

static inline tgc_arg tgc_arg_tensor(tgc_tensor *t)
{
	tgc_arg a;
	a.kind = 0;
	a.u.tensor = t;
	return a;
}
static inline tgc_arg tgc_arg_number(double v)
{
	tgc_arg a;
	a.kind = 1;
	a.u.number = v;
	return a;
}
static inline tgc_arg tgc_arg_integer(int64_t v)
{
	tgc_arg a;
	a.kind = 2;
	a.u.integer = v;
	return a;
}

#ifdef __cplusplus
} // extern "C"

// C++ spellings of the same macros: overloads stand in for _Generic, an initializer list for a
// compound literal.
static inline tgc_arg tgc_arg_of(tgc_tensor *t) { return tgc_arg_tensor(t); }
static inline tgc_arg tgc_arg_of(double v) { return tgc_arg_number(v); }
static inline tgc_arg tgc_arg_of(float v) { return tgc_arg_number((double)v); }
static inline tgc_arg tgc_arg_of(int v) { return tgc_arg_integer(v); }
static inline tgc_arg tgc_arg_of(unsigned v) { return tgc_arg_integer((int64_t)v); }
static inline tgc_arg tgc_arg_of(long v) { return tgc_arg_integer(v); }
static inline tgc_arg tgc_arg_of(long long v) { return tgc_arg_integer((int64_t)v); }
static inline tgc_shape tgc_shape_of(std::initializer_list<int64_t> list)
{
	tgc_shape s = {};
	for (int64_t d : list) {
		if (s.rank < TGC_MAX_RANK)
			s.dims[s.rank] = d;
		s.rank++;
	}
	return s;
}
static inline tgc_axes tgc_axes_of(std::initializer_list<int> list)
{
	tgc_axes s = {};
	for (int a : list) {
		if (s.count < TGC_MAX_RANK)
			s.axes[s.count] = a;
		s.count++;
	}
	return s;
}
#define TGC_ARG(x) tgc_arg_of(x)
#define TGC_SHAPE(...) tgc_shape_of({__VA_ARGS__})
#define TGC_AXES(...) tgc_axes_of({__VA_ARGS__})
#else
#define TGC_ARG(x)                                                                                           \
	_Generic((x),                                                                                        \
	    tgc_tensor *: tgc_arg_tensor,                                                                    \
	    double: tgc_arg_number,                                                                          \
	    float: tgc_arg_number,                                                                           \
	    default: tgc_arg_integer)(x)
// A counted shape: TGC_SHAPE(32, 784). TGC_SCALAR_SHAPE is the shape of a scalar.
#define TGC_SHAPE(...)                                                                                       \
	((tgc_shape){(int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}})
// A counted list of axes: TGC_AXES(0, -1).
#define TGC_AXES(...) ((tgc_axes){(int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), {__VA_ARGS__}})
#endif

static inline tgc_shape tgc_shape_scalar(void)
{
	tgc_shape s;
	s.rank = 0;
	for (int i = 0; i < TGC_MAX_RANK; i++)
		s.dims[i] = 0;
	return s;
}
#define TGC_SCALAR_SHAPE tgc_shape_scalar()
// Every axis, where a list of axes is asked for.
static inline tgc_axes tgc_axes_all(void)
{
	tgc_axes s;
	s.count = -1;
	for (int i = 0; i < TGC_MAX_RANK; i++)
		s.axes[i] = 0;
	return s;
}
#define TGC_ALL_AXES tgc_axes_all()

#endif
