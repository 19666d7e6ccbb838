// Private header of the pass expand: operations in terms of simpler kernel instructions.
// All take values of float type f32 or f64 (widened before) and return a value of that type.
#ifndef TG_EXPAND_H
#define TG_EXPAND_H

#include "codegen.h"

// The builder with the type at hand: short names, since formulas are read more often than anything here.
struct math {
	struct kbuild *b;
	tgc_type t;
};
int m_num(const struct math *m, double v);
int m_add(const struct math *m, int x, int y);
int m_sub(const struct math *m, int x, int y);
int m_mul(const struct math *m, int x, int y);
int m_div(const struct math *m, int x, int y);
int m_fma(const struct math *m, int x, int y, int z);
int m_neg(const struct math *m, int x);
int m_abs(const struct math *m, int x);
int m_lt(const struct math *m, int x, int y);
int m_eq(const struct math *m, int x, int y);
int m_select(const struct math *m, int c, int x, int y);
int m_op1(const struct math *m, int op, int x);
int m_op2(const struct math *m, int op, int x, int y);
int m_clamp(const struct math *m, int x, double lo, double hi); // NaN stays
int m_poly(const struct math *m, int x, int n, const double *c); // c[0] + c[1] x + ...
#define M_POLY(m, x, c) m_poly(m, x, TG_COUNT(c), c)

int expand_exp(const struct math *m, int x);
int expand_log(const struct math *m, int x);
int expand_tanh(const struct math *m, int x);
int expand_erf(const struct math *m, int x);
int expand_sin(const struct math *m, int x);
int expand_cos(const struct math *m, int x);

#endif
