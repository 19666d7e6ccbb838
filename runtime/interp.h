// Private to interp*.c: the oracle's own scalars, types and indices.
// Nothing here is shared with lib/ or codegen/ beyond the fields of a program, on purpose.
#ifndef TG_INTERP_H
#define TG_INTERP_H

#include "runtime.h"

// A float with what is known about it: the true implementation's value lies within v +- b, unless unsure.
struct fnum {
	double v, b;
	bool unsure;
};
struct interp {
	const struct prog *p;
	struct interp_value *v; // by pnode
	int32_t flag;           // first node whose check failed, -1: none
	bool tf32;              // products of f32 may round their operands: values stay, bounds allow for it
};

// ---- interp_scalar.c: rounding, conversion and scalar operations ----------------------------------------------
bool interp_is_float(tgc_type t);
bool interp_is_unsigned(tgc_type t); // bool counts
int interp_bits(tgc_type t);
double interp_eps(tgc_type t);  // spacing of the floats above 1
double interp_max(tgc_type t);  // largest finite
double interp_tiny(tgc_type t); // smallest positive
double interp_round(tgc_type t, double v);
int64_t interp_wrap(tgc_type t, int64_t v);
// The rounded result of a computation that gave r with propagated error b and own error of `ulps`; `finite`
// tells that every operand was finite, so that an infinity is an overflow.
struct fnum interp_finish(tgc_type t, double r, double b, double ulps, bool finite);
struct fnum interp_unary_f(int op, tgc_type t, struct fnum x);
int64_t interp_unary_i(int op, tgc_type t, int64_t x);
struct fnum interp_binary_f(int op, tgc_type t, struct fnum x, struct fnum y);
int64_t interp_binary_i(int op, tgc_type t, int64_t x, int64_t y);
struct fnum interp_fma(tgc_type t, struct fnum x, struct fnum y, struct fnum z);
bool interp_compare_f(int op, struct fnum x, struct fnum y, bool *unsure);
bool interp_compare_i(int op, tgc_type t, int64_t x, int64_t y);

// ---- interp_convert.c: between types and host memory ------------------------------------------------------------
int64_t interp_float_to_int(tgc_type t, double v);
double interp_int_to_float(tgc_type to, tgc_type from, int64_t v);
double interp_load_f(tgc_type t, const void *data, int64_t at);
int64_t interp_load_i(tgc_type t, const void *data, int64_t at);
void interp_store_f(tgc_type t, void *data, int64_t at, double v);
void interp_store_i(tgc_type t, void *data, int64_t at, int64_t v);
void interp_cast(struct interp *it, const struct pnode *n, struct interp_value *out);
void interp_bitcast(struct interp *it, const struct pnode *n, struct interp_value *out);

// ---- interp_index.c: row-major positions ----------------------------------------------------------------------------
void interp_unravel(int rank, const struct dim *d, int64_t at, int64_t *idx);
int64_t interp_ravel(int rank, const struct dim *d, const int64_t *idx);
struct fnum interp_get(const struct interp_value *v, int64_t at);
void interp_put(struct interp_value *v, int64_t at, struct fnum x);
void interp_copy(struct interp_value *to, int64_t at, const struct interp_value *from, int64_t from_at);

// ---- interp_move.c: movement, gather, scatter, check ----------------------------------------------------------------
bool interp_move(struct interp *it, int32_t node);
bool interp_gather(struct interp *it, int32_t node);
bool interp_scatter(struct interp *it, int32_t node);
void interp_check(struct interp *it, int32_t node);

// ---- interp_reduce.c: sums and everything made of them -----------------------------------------------------------------
// A running sum: exact enough to stand for the true one, with what its bound needs.
struct fsum {
	long double sum, mag; // mag: sum of |finite terms|
	double b;             // propagated
	int64_t n;
	bool unsure, finite;
};
void interp_sum_start(struct fsum *s);
void interp_sum_add(struct fsum *s, struct fnum x);
struct fnum interp_sum_end(const struct fsum *s, tgc_type t);
bool interp_reduce(struct interp *it, int32_t node);
bool interp_contract(struct interp *it, int32_t node);
bool interp_fold(struct interp *it, int32_t node);

// ---- interp_source.c: iota and random bits -------------------------------------------------------------------------------
void interp_iota(struct interp *it, int32_t node);
void interp_random(struct interp *it, int32_t node);

#endif
