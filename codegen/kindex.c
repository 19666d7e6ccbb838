// Index algebra of the builder: canonical sums, floor division and modulo by constants.
// In:  i64 values. Out: an equal i64 value, simplified as far as bounds allow.
// Arithmetic on indices never wraps: lowering works on sizes that were checked. Not here: data arithmetic on
// i64 (kfold.c), bounds (interval.c).
#include "codegen.h"

static int64_t floor_div(int64_t x, int64_t c)
{
	return x / c - (x % c < 0);
}

static int64_t gcd(int64_t a, int64_t b)
{
	a = a < 0 ? -a : a;
	while (b) {
		int64_t r = a % b;
		a = b;
		b = r;
	}
	return a;
}

static void drop(struct ksum *s, int i)
{
	memmove(&s->coef[i], &s->coef[i + 1], sizeof *s->coef * (size_t)(s->n - i - 1));
	memmove(&s->v[i], &s->v[i + 1], sizeof *s->v * (size_t)(s->n - i - 1));
	s->n--;
}

// Adds coef * v for a v that is neither constant nor a sum; keeps the terms sorted.
static void add_term(struct kbuild *b, struct ksum *s, int64_t coef, int v)
{
	int i = 0;
	while (i < s->n && s->v[i] < v)
		i++;
	if (i < s->n && s->v[i] == v) {
		s->coef[i] += coef;
		if (!s->coef[i])
			drop(s, i);
		return;
	}
	if (!coef)
		return;
	if (s->n == KSUM_MAX) { // far beyond what eight axes need: keep the value, give up the form
		int rest = ksum_value(b, s);
		*s = (struct ksum){
		    .n = 1, .coef = {1}, .v = {kb_op2(b, OP_ADD, TGC_I64, rest, kb_imul(b, v, coef))}};
		return;
	}
	memmove(&s->coef[i + 1], &s->coef[i], sizeof *s->coef * (size_t)(s->n - i));
	memmove(&s->v[i + 1], &s->v[i], sizeof *s->v * (size_t)(s->n - i));
	s->coef[i] = coef;
	s->v[i] = v;
	s->n++;
}

void ksum_add(struct kbuild *b, struct ksum *s, int64_t coef, int v)
{
	const struct kernel *k = b->k;
	const struct kinst *in = &k->insts[v];
	if (in->op == K_CONST) {
		s->imm += coef * in->imm;
	} else if (in->op == K_AFFINE) {
		int at = in->src_at, n = in->nsrc;
		s->imm += coef * in->imm;
		for (int i = 0; i < n; i++)
			add_term(b, s, coef * k->coefs[at + i], k->operands[at + i]);
	} else {
		add_term(b, s, coef, v);
	}
}

bool ksum_bounds(const struct kbuild *b, const struct ksum *s, int64_t *lo, int64_t *hi)
{
	*lo = *hi = s->imm;
	for (int i = 0; i < s->n; i++) {
		int64_t l, h, c = s->coef[i];
		if (!kernel_interval(b->k, s->v[i], &l, &h) || __builtin_mul_overflow(c, c < 0 ? h : l, &l) ||
		    __builtin_mul_overflow(c, c < 0 ? b->k->insts[s->v[i]].lo : h, &h) ||
		    __builtin_add_overflow(*lo, l, lo) || __builtin_add_overflow(*hi, h, hi))
			return false;
	}
	return true;
}

// Is q the value (x idiv n)? A quotient of a quotient was built as one division.
static bool is_quotient(const struct kernel *k, int q, int x, int64_t n)
{
	const struct kinst *iq = &k->insts[q], *ix = &k->insts[x];
	if (iq->op != K_IDIV)
		return false;
	int y = k->operands[iq->src_at];
	if (y == x)
		return iq->imm == n;
	return ix->op == K_IDIV && k->operands[ix->src_at] == y && iq->imm == ix->imm * n;
}

// c*n*(x idiv n) + c*(x imod n) is c*x.
static bool recombine(struct kbuild *b, struct ksum *s)
{
	const struct kernel *k = b->k;
	for (int i = 0; i < s->n; i++) {
		const struct kinst *in = &k->insts[s->v[i]];
		if (in->op != K_IMOD)
			continue;
		int x = k->operands[in->src_at];
		int64_t c = s->coef[i], n = in->imm;
		for (int j = 0; j < s->n; j++) {
			if (s->coef[j] != c * n || !is_quotient(k, s->v[j], x, n))
				continue;
			drop(s, i > j ? i : j);
			drop(s, i > j ? j : i);
			ksum_add(b, s, c, x);
			return true;
		}
	}
	return false;
}

int ksum_value(struct kbuild *b, struct ksum *s)
{
	while (recombine(b, s))
		;
	if (!s->n)
		return kb_int(b, s->imm);
	if (s->n == 1 && s->coef[0] == 1 && !s->imm)
		return s->v[0];
	return kb_place(b, K_AFFINE, TGC_I64, 0, s->imm, s->n, s->v, s->coef);
}

int kb_affine(struct kbuild *b, int64_t imm, int n, const int64_t *coef, const int *v)
{
	struct ksum s = {.imm = imm};
	for (int i = 0; i < n; i++)
		ksum_add(b, &s, coef[i], v[i]);
	return ksum_value(b, &s);
}

int kb_iadd(struct kbuild *b, int x, int y)
{
	return kb_affine(b, 0, 2, (const int64_t[]){1, 1}, (const int[]){x, y});
}

int kb_imul(struct kbuild *b, int x, int64_t c)
{
	return kb_affine(b, 0, 1, &c, &x);
}

// x = c * whole + rest, where rest has no coefficient divisible by c and 0 <= rest.imm < c.
static void split(struct kbuild *b, int x, int64_t c, struct ksum *whole, struct ksum *rest)
{
	struct ksum s = {0};
	ksum_add(b, &s, 1, x);
	whole->n = rest->n = 0;
	whole->imm = floor_div(s.imm, c);
	rest->imm = s.imm - c * whole->imm;
	for (int i = 0; i < s.n; i++) {
		struct ksum *to = s.coef[i] % c ? rest : whole;
		to->coef[to->n] = to == whole ? s.coef[i] / c : s.coef[i];
		to->v[to->n++] = s.v[i];
	}
}

// All of s in one step of c: floor(s / c) is *q throughout.
static bool one_step(const struct kbuild *b, const struct ksum *s, int64_t c, int64_t *q)
{
	int64_t lo, hi;
	if (!ksum_bounds(b, s, &lo, &hi))
		return false;
	*q = floor_div(lo, c);
	return floor_div(hi, c) == *q;
}

// Tries rest = g * high + low with 0 <= low < g and g > 1 a divisor of c; the largest such g.
static int64_t factor(struct kbuild *b, const struct ksum *rest, int64_t c, struct ksum *high, struct ksum *low)
{
	int64_t best = 1;
	for (int i = 0; i < rest->n; i++) {
		int64_t g = gcd(rest->coef[i], c), q;
		if (g <= best)
			continue;
		struct ksum h = {.imm = floor_div(rest->imm, g)}, l = {.imm = rest->imm - g * h.imm};
		for (int j = 0; j < rest->n; j++) {
			struct ksum *to = rest->coef[j] % g ? &l : &h;
			to->coef[to->n] = to == &h ? rest->coef[j] / g : rest->coef[j];
			to->v[to->n++] = rest->v[j];
		}
		if (!one_step(b, &l, g, &q))
			continue;
		l.imm -= g * q;
		h.imm += q;
		*high = h;
		*low = l;
		best = g;
	}
	return best;
}

// The operand of s if s is a single value of the operation, else K_NONE.
static int single(const struct kbuild *b, const struct ksum *s, int op, int64_t *imm)
{
	if (s->n != 1 || s->coef[0] != 1 || s->imm || b->k->insts[s->v[0]].op != op)
		return K_NONE;
	*imm = b->k->insts[s->v[0]].imm;
	return kernel_src(b->k, s->v[0], 0);
}

static int quotient(struct kbuild *b, struct ksum *rest, int64_t c)
{
	struct ksum high, low;
	int64_t m, product, g = factor(b, rest, c, &high, &low);
	if (g > 1)
		return kb_idiv(b, ksum_value(b, &high), c / g);
	int y = single(b, rest, K_IDIV, &m);
	if (y != K_NONE && !__builtin_mul_overflow(m, c, &product))
		return kb_idiv(b, y, product);
	y = single(b, rest, K_IMOD, &m);
	if (y != K_NONE && m % c == 0)
		return kb_imod(b, kb_idiv(b, y, c), m / c);
	int x = ksum_value(b, rest);
	return kb_place(b, K_IDIV, TGC_I64, 0, c, 1, &x, NULL);
}

int kb_idiv(struct kbuild *b, int x, int64_t c)
{
	struct ksum whole, rest;
	int64_t q;
	assert(c > 0);
	if (c == 1)
		return x;
	split(b, x, c, &whole, &rest);
	if (one_step(b, &rest, c, &q))
		whole.imm += q;
	else
		ksum_add(b, &whole, 1, quotient(b, &rest, c));
	return ksum_value(b, &whole);
}

int kb_imod(struct kbuild *b, int x, int64_t c)
{
	struct ksum whole, rest, high, low;
	int64_t q, m;
	assert(c > 0);
	if (c == 1)
		return kb_int(b, 0);
	split(b, x, c, &whole, &rest);
	if (one_step(b, &rest, c, &q)) {
		rest.imm -= c * q;
		return ksum_value(b, &rest);
	}
	int64_t g = factor(b, &rest, c, &high, &low);
	if (g > 1) {
		ksum_add(b, &low, g, kb_imod(b, ksum_value(b, &high), c / g));
		return ksum_value(b, &low);
	}
	int y = single(b, &rest, K_IMOD, &m);
	if (y != K_NONE && m % c == 0)
		return kb_imod(b, y, c);
	x = ksum_value(b, &rest);
	return kb_place(b, K_IMOD, TGC_I64, 0, c, 1, &x, NULL);
}
