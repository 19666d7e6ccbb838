// A scalar interpreter of the kernel IR, naive on purpose.
// In:  a verified kernel at any level, and its arguments. Out: its stores, or an error text.
// Replicating loops run one index after the other: their iterations do not see each other. Transcendental
// operations are those of libm, so they are only near what `expand` makes.
#include "kernel_eval.h"

#include <math.h>
#include <stdlib.h>

struct eval {
	const struct kernel *k;
	union number *v; // by instruction
	void **memory;   // by buffer: data, or a table of pointers
	void *const *scalars;
	int64_t begin, end; // blocks of this call
	char *error;
};

static void fail(struct eval *e, int v, const char *what)
{
	struct text t = {0};
	if (e->error)
		return;
	text_add(&t, "instruction %d: %s", v, what);
	e->error = text_take(&t);
}

// ---- memory

static union number get(tgc_type t, const void *base, int64_t at)
{
	union number n = {.i = 0};
	const char *p = (const char *)base + at * (int64_t)tgc_type_bytes(t);
#define INTEGER(T)                                                                                             \
	{                                                                                                      \
		T x;                                                                                           \
		memcpy(&x, p, sizeof x);                                                                       \
		n.i = (int64_t)x;                                                                              \
		break;                                                                                         \
	}
	switch (t) {
	case TGC_F32: {
		float f;
		memcpy(&f, p, sizeof f);
		n.f = f;
		break;
	}
	case TGC_F64:
		memcpy(&n.f, p, sizeof n.f);
		break;
	case TGC_F16: {
		_Float16 h;
		memcpy(&h, p, sizeof h);
		n.f = (double)h;
		break;
	}
	case TGC_BF16: {
		uint32_t bits = 0;
		float f;
		memcpy((char *)&bits + 2, p, 2);
		memcpy(&f, &bits, sizeof f);
		n.f = f;
		break;
	}
	case TGC_I8:
		INTEGER(int8_t)
	case TGC_I16:
		INTEGER(int16_t)
	case TGC_I32:
		INTEGER(int32_t)
	case TGC_U16:
		INTEGER(uint16_t)
	case TGC_U32:
		INTEGER(uint32_t)
	case TGC_I64:
	case TGC_U64:
		INTEGER(int64_t)
	default:
		INTEGER(uint8_t)
	}
	return n;
}

static void put(tgc_type t, void *base, int64_t at, union number n)
{
	size_t bytes = tgc_type_bytes(t);
	char *p = (char *)base + at * (int64_t)bytes;
	if (t == TGC_F64) {
		memcpy(p, &n.f, 8);
	} else if (t == TGC_F16) {
		_Float16 h = (_Float16)n.f;
		memcpy(p, &h, 2);
	} else if (type_is_float(t)) {
		float f = (float)n.f;
		memcpy(p, (char *)&f + (t == TGC_BF16 ? 2 : 0), bytes);
	} else {
		memcpy(p, &n.i, bytes); // little-endian
	}
}

static void *place(struct eval *e, int v, int64_t at, int segment)
{
	const struct kinst *in = &e->k->insts[v];
	const struct kbuf *b = &e->k->bufs[in->aux];
	if (at < 0 || at >= b->elems) {
		fail(e, v, "leaves its buffer");
		return NULL;
	}
	if (!b->segmented)
		return e->memory[in->aux];
	int64_t s = segment == K_NONE ? -1 : e->v[segment].i;
	if (s < 0 || s >= e->k->nsegs) {
		fail(e, v, "no such segment");
		return NULL;
	}
	return ((void **)e->memory[in->aux])[s];
}

static int optional(const struct eval *e, int v, int i)
{
	return i < e->k->insts[v].nsrc ? kernel_src(e->k, v, i) : K_NONE;
}

static union number load(struct eval *e, int v)
{
	int guard = optional(e, v, 1);
	int64_t at = e->v[kernel_src(e->k, v, 0)].i;
	union number zero = {.i = 0};
	if (guard != K_NONE && !e->v[guard].i)
		return zero;
	void *base = place(e, v, at, optional(e, v, 2));
	return base ? get(e->k->insts[v].type, base, at) : zero;
}

static void store(struct eval *e, int v)
{
	int guard = optional(e, v, 2);
	int64_t at = e->v[kernel_src(e->k, v, 0)].i;
	if (guard != K_NONE && !e->v[guard].i)
		return;
	void *base = place(e, v, at, optional(e, v, 3));
	if (base)
		put(e->k->bufs[e->k->insts[v].aux].type, base, at, e->v[kernel_src(e->k, v, 1)]);
}

// At once: what reads it waits.
static void copy(struct eval *e, int v)
{
	struct kcopied x = kernel_copied(e->k, v);
	int guard = optional(e, v, 2), to = e->k->insts[v].aux;
	int64_t at = e->v[kernel_src(e->k, v, 0)].i, from = e->v[kernel_src(e->k, v, 1)].i;
	bool ok = guard == K_NONE || e->v[guard].i;
	const struct kbuf *bufs = e->k->bufs;
	if (at < 0 || at + x.n > bufs[to].elems || (ok && (from < 0 || from + x.n > bufs[x.from].elems))) {
		fail(e, v, "leaves its buffer");
		return;
	}
	for (int i = 0; i < x.n; i++)
		put(bufs[to].type, e->memory[to], at + i,
		    ok ? get(bufs[to].type, e->memory[x.from], from + i) : (union number){.i = 0});
}

static int64_t in_slice(const struct eval *e, int v, const struct kmma *m, int side, int own, int term)
{
	bool turned = m->terms_first[side];
	return e->v[kernel_src(e->k, v, side)].i + (turned ? term : own) * m->pitch[side] + (turned ? own : term);
}

static void mma(struct eval *e, int v)
{
	const struct kbuf *bufs = e->k->bufs;
	struct kmma m = kernel_mma(e->k, v);
	int sums = e->k->insts[v].aux;
	for (int r = 0; r < m.rows; r++)
		for (int c = 0; c < m.columns; c++) {
			int64_t at = kernel_mma_sum(&m, r, c);
			union number s = get(TGC_F32, e->memory[sums], at);
			for (int i = 0; i < m.depth; i++)
				s.f += get(bufs[m.a].type, e->memory[m.a], in_slice(e, v, &m, 0, r, i)).f *
				       get(bufs[m.b].type, e->memory[m.b], in_slice(e, v, &m, 1, c, i)).f;
			put(TGC_F32, e->memory[sums], at, s);
		}
}

// ---- operations

static double float_op(int op, tgc_type t, double x, double y, double z, bool *known)
{
	switch (op) {
	case OP_NEG:
		return -x;
	case OP_ABS:
		return fabs(x);
	case OP_EXP:
		return exp(x);
	case OP_LOG:
		return log(x);
	case OP_SQRT:
		return sqrt(x);
	case OP_SIN:
		return sin(x);
	case OP_COS:
		return cos(x);
	case OP_TANH:
		return tanh(x);
	case OP_ERF:
		return erf(x);
	case OP_FLOOR:
		return floor(x);
	case OP_ROUND:
		return nearbyint(x);
	case OP_ADD:
		return x + y;
	case OP_SUB:
		return x - y;
	case OP_MUL:
		return x * y;
	case OP_DIV:
		return x / y;
	case OP_MOD: {
		double r = fmod(x, y);
		return r != 0 && (r < 0) != (y < 0) ? r + y : r;
	}
	case OP_MAX:
		return x != x || y != y ? NAN : x > y ? x : y;
	case OP_MIN:
		return x != x || y != y ? NAN : x < y ? x : y;
	case OP_FMA:
		return t == TGC_F64 ? fma(x, y, z) : (double)fmaf((float)x, (float)y, (float)z);
	case OP_COPYSIGN:
		return copysign(x, y);
	case OP_FMAX:
		return x > y ? x : y;
	case OP_FMIN:
		return x < y ? x : y;
	case OP_LDEXP:
		return ldexp(x, (int)y);
	default:
		*known = false;
		return 0;
	}
}

static int64_t wrap_mul(int64_t x, int64_t y)
{
	return (int64_t)((uint64_t)x * (uint64_t)y);
}

static int64_t truncated(tgc_type t, int64_t x, int64_t y, bool remainder)
{
	if (t == TGC_U64) {
		uint64_t a = (uint64_t)x, b = (uint64_t)y;
		return (int64_t)(remainder ? a % b : a / b);
	}
	if (y == -1)
		return remainder ? 0 : (int64_t)(0 - (uint64_t)x);
	return remainder ? x % y : x / y;
}

static int64_t divide(tgc_type t, int64_t x, int64_t y, bool remainder)
{
	if (y == 0)
		return remainder ? x : -1;
	int64_t q = truncated(t, x, y, false), r = truncated(t, x, y, true);
	bool down = t != TGC_U64 && r != 0 && (r < 0) != (y < 0);
	return remainder ? r + (down ? y : 0) : q - down;
}

static int64_t shift(int op, tgc_type t, int64_t x, int64_t y)
{
	int width = (int)tgc_type_bytes(t) * 8;
	bool left = op == OP_SHL || op == OP_SHLX;
	if ((uint64_t)y >= (uint64_t)width)
		return left || !type_is_signed(t) || x >= 0 ? 0 : -1;
	if (left)
		return (int64_t)((uint64_t)x << y);
	return t == TGC_U64 ? (int64_t)((uint64_t)x >> y) : x >> y;
}

static bool less(tgc_type t, union number x, union number y)
{
	if (type_is_float(t))
		return x.f < y.f;
	return t == TGC_U64 ? (uint64_t)x.i < (uint64_t)y.i : x.i < y.i;
}

static bool equal(tgc_type t, union number x, union number y)
{
	return type_is_float(t) ? x.f == y.f : x.i == y.i;
}

static int64_t integer_op(int op, tgc_type t, int64_t x, int64_t y, bool *known)
{
	bool lt = less(t, (union number){.i = x}, (union number){.i = y});
	switch (op) {
	case OP_NEG:
		return (int64_t)(0 - (uint64_t)x);
	case OP_ABS:
		return x < 0 && t != TGC_U64 ? (int64_t)(0 - (uint64_t)x) : x;
	case OP_NOT:
		return t == TGC_BOOL ? !x : ~x;
	case OP_ADD:
		return (int64_t)((uint64_t)x + (uint64_t)y);
	case OP_SUB:
		return (int64_t)((uint64_t)x - (uint64_t)y);
	case OP_MUL:
		return wrap_mul(x, y);
	case OP_DIV:
	case OP_MOD:
		return divide(t, x, y, op == OP_MOD);
	case OP_MAX:
		return lt ? y : x;
	case OP_MIN:
		return lt ? x : y;
	case OP_AND:
		return x & y;
	case OP_OR:
		return x | y;
	case OP_XOR:
		return x ^ y;
	case OP_SHL:
	case OP_SHR:
	case OP_SHLX:
	case OP_SHRX:
		return shift(op, t, x, y);
	case OP_TDIV:
	case OP_TMOD:
		if (y == 0)
			break;
		return truncated(t, x, y, op == OP_TMOD);
	case OP_MULHI:
		return (int64_t)((uint64_t)x * (uint64_t)y >> 32);
	default:
		break;
	}
	*known = false;
	return 0;
}

static union number cast(tgc_type from, tgc_type to, union number x)
{
	union number n = {.i = 0};
	if (to == TGC_BOOL) {
		n.i = type_is_float(from) ? x.f != 0 : x.i != 0;
	} else if (!type_is_float(from) && !type_is_float(to)) {
		n = number_round(to, x);
	} else if (!type_is_float(from)) {
		double d = from == TGC_U64 ? (double)(uint64_t)x.i : (double)x.i;
		if (to == TGC_F32) // one rounding
			d = from == TGC_U64 ? (double)(float)(uint64_t)x.i : (double)(float)x.i;
		n = number_from_double(to, d);
	} else {
		n = type_is_float(to) ? number_round(to, x) : number_from_double(to, x.f);
	}
	return n;
}

static union number operation(struct eval *e, int v)
{
	const struct kinst *in = &e->k->insts[v];
	union number x[3] = {{0}, {0}, {0}}, out = {.i = 0};
	bool known = true;
	for (int i = 0; i < in->nsrc && i < 3; i++)
		x[i] = e->v[kernel_src(e->k, v, i)];
	tgc_type from = in->nsrc ? e->k->insts[kernel_src(e->k, v, 0)].type : in->type;
	switch (in->op) {
	case OP_CAST:
		return cast(from, in->type, x[0]);
	case OP_BITCAST: {
		char bytes[8] = {0};
		put(from, bytes, 0, x[0]);
		return get(in->type, bytes, 0);
	}
	case OP_SELECT:
		return x[0].i ? x[1] : x[2];
	case OP_LT:
		out.i = less(from, x[0], x[1]);
		return out;
	case OP_LE:
		out.i = less(from, x[0], x[1]) || equal(from, x[0], x[1]);
		return out;
	case OP_EQ:
		out.i = equal(from, x[0], x[1]);
		return out;
	case OP_NE:
		out.i = !equal(from, x[0], x[1]);
		return out;
	default:
		break;
	}
	if (type_is_float(in->type))
		out.f = float_op(in->op, in->type, x[0].f, x[1].f, x[2].f, &known);
	else
		out.i = integer_op(in->op, in->type, x[0].i, x[1].i, &known);
	if (!known)
		fail(e, v, op_info[in->op].name);
	return number_round(in->type, out);
}

static union number combine(struct eval *e, int v, int op, union number x, union number y)
{
	tgc_type t = e->k->insts[v].type;
	bool known = true;
	union number out;
	if (type_is_float(t))
		out.f = float_op(op, t, x.f, y.f, 0, &known);
	else
		out.i = integer_op(op, t, x.i, y.i, &known);
	if (!known)
		fail(e, v, "cannot combine");
	return number_round(t, out);
}

// ---- regions

static void region(struct eval *e, int r);

static void serial(struct eval *e, const struct kloop *l)
{
	union number next[64];
	for (int i = 0; i < l->ncarry; i++)
		e->v[l->arg[i]] = e->v[l->init[i]];
	bool block = l->kind == AXIS_BLOCK;
	int64_t lo = block ? e->begin : e->v[l->lo].i, hi = block ? e->end : e->v[l->hi].i;
	for (int64_t at = lo; at < hi && !e->error; at++) {
		e->v[l->index].i = at;
		region(e, l->body);
		for (int i = 0; i < l->ncarry; i++)
			next[i] = e->v[l->next[i]];
		for (int i = 0; i < l->ncarry; i++)
			e->v[l->arg[i]] = next[i];
	}
	for (int i = 0; i < l->ncarry; i++)
		e->v[l->res[i]] = e->v[l->arg[i]];
}

// Pairs i with i + half until one value is left.
static union number tree(struct eval *e, int v, int op, union number *x, int64_t n)
{
	while (n > 1) {
		int64_t half = (n + 1) / 2;
		for (int64_t i = 0; i + half < n; i++)
			x[i] = combine(e, v, op, x[i], x[i + half]);
		n = half;
	}
	return x[0];
}

static void replicated(struct eval *e, const struct kloop *l)
{
	int64_t n = e->v[l->hi].i;
	union number *terms = calloc((size_t)(n * l->ncarry + 1), sizeof *terms);
	if (!terms) {
		fail(e, l->inst, "out of memory");
		return;
	}
	for (int64_t at = 0; at < n && !e->error; at++) {
		e->v[l->index].i = at;
		region(e, l->body);
		for (int i = 0; i < l->ncarry; i++)
			terms[i * n + at] = e->v[l->next[i]];
	}
	for (int i = 0; i < l->ncarry; i++)
		e->v[l->res[i]] = combine(e, l->res[i], l->combine[i], e->v[l->init[i]],
		                          tree(e, l->res[i], l->combine[i], terms + i * n, n));
	free(terms);
}

static void loop(struct eval *e, int v, const struct kloop *l)
{
	if (l->ncarry > 64)
		fail(e, v, "too many carries");
	else if (l->kind == AXIS_LANE || l->kind == AXIS_UNROLL)
		replicated(e, l);
	else
		serial(e, l);
}

static void instruction(struct eval *e, int v)
{
	const struct kinst *in = &e->k->insts[v];
	int64_t x = in->nsrc && in->op != K_AFFINE ? e->v[kernel_src(e->k, v, 0)].i : 0;
	switch (in->op) {
	case K_CONST:
		e->v[v].i = in->imm;
		break;
	case K_SCALAR:
		e->v[v] = get(in->type, e->scalars[in->aux], 0);
		break;
	case K_INDEX:
	case K_ARG:
	case K_RES:
		break;
	case K_FOR:
		loop(e, v, &e->k->loops[in->aux]);
		break;
	case K_AFFINE:
		e->v[v].i = in->imm;
		for (int i = 0; i < in->nsrc; i++)
			e->v[v].i += e->k->coefs[in->src_at + i] * e->v[kernel_src(e->k, v, i)].i;
		break;
	case K_IDIV:
		e->v[v].i = divide(TGC_I64, x, in->imm, false);
		break;
	case K_IMOD:
		e->v[v].i = divide(TGC_I64, x, in->imm, true);
		break;
	case K_TABLE:
		if (x < 0 || x >= e->k->tables[in->aux].n)
			fail(e, v, "leaves its table");
		else
			e->v[v].i = e->k->tables[in->aux].values[x];
		break;
	case K_LOAD:
		e->v[v] = load(e, v);
		break;
	case K_STORE:
		store(e, v);
		break;
	case K_MMA:
		mma(e, v);
		break;
	case K_COPY:
		copy(e, v);
		break;
	case K_COMMIT:
	case K_WAIT:
		break;
	default:
		e->v[v] = operation(e, v);
	}
}

static void region(struct eval *e, int r)
{
	const struct kregion *reg = &e->k->regions[r];
	for (int i = 0; i < reg->n && !e->error; i++)
		instruction(e, reg->insts[i]);
}

// A call of a phase, with scratch as another call may have left it.
static void call(struct eval *e, int phase, int64_t begin, int64_t end)
{
	for (int i = 0; i < e->k->nbufs; i++)
		if (e->k->bufs[i].space != SPACE_GLOBAL)
			memset(e->memory[i], 0xa5, (size_t)e->k->bufs[i].elems * 8);
	e->begin = begin;
	e->end = end;
	region(e, e->k->phases[phase]);
}

// A bound phase runs as two calls, the later blocks first: blocks and calls must not see each other.
static void phase(struct eval *e, int p)
{
	const struct kregion *r = &e->k->regions[e->k->phases[p]];
	int last = r->n ? r->insts[r->n - 1] : -1;
	int64_t n = 1;
	if (last >= 0 && e->k->insts[last].op == K_FOR && e->k->loops[e->k->insts[last].aux].kind == AXIS_BLOCK)
		kernel_trip(e->k, e->k->insts[last].aux, &n);
	if (n > 1)
		call(e, p, n / 2, n);
	if (!e->error)
		call(e, p, 0, n > 1 ? n / 2 : n);
}

static int globals(const struct kernel *k)
{
	int n = 0;
	while (n < k->nbufs && k->bufs[n].space == SPACE_GLOBAL)
		n++;
	return n;
}

char *kernel_eval(const struct kernel *k, void *const *args)
{
	int n = globals(k);
	struct eval e = {.k = k, .scalars = args + n};
	e.v = calloc((size_t)k->n + 1, sizeof *e.v);
	e.memory = calloc((size_t)k->nbufs + 1, sizeof *e.memory);
	for (int i = 0; e.v && e.memory && i < k->nbufs; i++)
		e.memory[i] = i < n ? args[i] : calloc((size_t)k->bufs[i].elems + 1, 8);
	if (!e.v || !e.memory)
		fail(&e, 0, "out of memory");
	for (int i = 0; i < k->nphases && !e.error; i++)
		phase(&e, i);
	for (int i = n; e.memory && i < k->nbufs; i++)
		free(e.memory[i]);
	free(e.v);
	free(e.memory);
	return e.error;
}
