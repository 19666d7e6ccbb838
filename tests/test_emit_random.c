// Random kernels at the machine level: machine code and the evaluator store the same bits.
// In:  seeds. Out: a failure that prints the kernel.
// Loops of all kinds in each other, carries of each, indices from sums, quotients, tables and casts, guards
// that hold for some, strides of all signs, values of several types.
#include "emit_run.h"

#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SIZE = 4096, MAX_SEEN = 48, MAX_DEPTH = 5 };

struct axis {
	int index;
	int64_t n;
};
struct maker {
	struct kernel *k;
	struct kbuild b;
	uint32_t seed;
	int in, bytes, out, flags, table;
	int floats[MAX_SEEN], nfloats; // visible values
	struct axis axes[MAX_DEPTH + 1];
	int naxes, nopaque; // opaque: loops that keep stores out, since they may run again
	bool lane;
	int64_t used; // elements of `out` and `flags` handed out
};

static uint32_t draw(struct maker *m, uint32_t n)
{
	m->seed = m->seed * 1664525u + 1013904223u;
	return (m->seed >> 9) % n;
}

static int some_sum(struct maker *m, int64_t least)
{
	int64_t coef[MAX_DEPTH + 1];
	int v[MAX_DEPTH + 1];
	for (int i = 0; i < m->naxes; i++) {
		coef[i] = draw(m, 3) ? (int64_t)draw(m, 40) - 16 : (int64_t)draw(m, 3) - 1;
		v[i] = m->axes[i].index;
	}
	return kb_affine(&m->b, least + (int64_t)draw(m, 50), m->naxes, coef, v);
}

// In 0 .. n.
static int some_index(struct maker *m, int64_t n)
{
	int v = some_sum(m, 0);
	switch (draw(m, 5)) {
	case 0:
		v = kb_idiv(&m->b, v, 1 + (int64_t)draw(m, 9));
		break;
	case 1:
		v = kb_table(&m->b, m->table, kb_imod(&m->b, v, 7));
		break;
	case 2: { // far from both ends whatever the indices are
		int64_t lo, hi;
		v = kb_iadd(&m->b, v, kb_int(&m->b, 1500));
		if (kernel_interval(m->k, v, &lo, &hi) && lo >= 0 && hi < n)
			return v;
		break;
	}
	case 3:
		v = kb_op1(&m->b, OP_CAST, TGC_I64,
		           kb_load(&m->b, m->bytes, kb_imod(&m->b, v, SIZE), K_NONE, K_NONE));
		break;
	default:
		break;
	}
	return kb_imod(&m->b, v, n);
}

static int some_float(struct maker *m)
{
	return m->floats[draw(m, (uint32_t)m->nfloats)];
}

static int some_bool(struct maker *m)
{
	struct kbuild *b = &m->b;
	switch (draw(m, 3)) {
	case 0:
		return kb_op2(b, OP_LT, TGC_BOOL, some_float(m), some_float(m));
	case 1:
		return kb_load(b, m->flags, some_index(m, SIZE), K_NONE, K_NONE);
	default:
		return kb_op2(b, OP_LE, TGC_BOOL, some_sum(m, -30), some_sum(m, -10));
	}
}

static int some_guard(struct maker *m)
{
	return draw(m, 3) ? K_NONE : some_bool(m);
}

static void see(struct maker *m, int v)
{
	if (m->nfloats < MAX_SEEN)
		m->floats[m->nfloats++] = v;
}

static void arithmetic(struct maker *m)
{
	static const int ops[] = {OP_ADD, OP_SUB, OP_MUL, OP_FMAX, OP_COPYSIGN};
	struct kbuild *b = &m->b;
	int x = some_float(m), y = some_float(m), z = some_float(m);
	switch (draw(m, 4)) {
	case 0:
		see(m, kb_op(b, OP_FMA, TGC_F32, 3, (int[]){x, y, z}));
		break;
	case 1:
		see(m, kb_select(b, some_bool(m), x, y));
		break;
	case 2: // through another type
		see(m, kb_op1(b, OP_CAST, TGC_F32, kb_op1(b, OP_CAST, draw(m, 2) ? TGC_I64 : TGC_I16, x)));
		break;
	default:
		see(m, kb_op2(b, ops[draw(m, TG_COUNT(ops))], TGC_F32, x, y));
	}
}

// Each iteration of all loops around has an element of its own; the innermost loop is not always the fastest.
static void store(struct maker *m)
{
	int64_t n = 1, coef[MAX_DEPTH + 1];
	int v[MAX_DEPTH + 1], turn = (int)draw(m, (uint32_t)m->naxes);
	for (int i = 0; i < m->naxes; i++) {
		const struct axis *a = &m->axes[(i + turn) % m->naxes];
		bool back = draw(m, 4) == 0;
		v[i] = a->index;
		coef[i] = back ? -n : n;
		m->used += back ? n * (a->n - 1) : 0;
		n *= a->n;
	}
	int64_t at = m->used;
	m->used += n;
	if (m->used > SIZE || m->nopaque)
		return;
	kb_store(&m->b, m->out, kb_affine(&m->b, at, m->naxes, coef, v), some_float(m), some_guard(m), K_NONE);
}

static void statements(struct maker *m, int n);

static int next_of(struct maker *m, enum axis_kind kind, int arg, uint8_t op)
{
	if (kind != AXIS_SERIAL)
		return some_float(m);
	if (draw(m, 3) == 0 && op == OP_ADD)
		return kb_op(&m->b, OP_FMA, TGC_F32, 3, (int[]){some_float(m), some_float(m), arg});
	return kb_op2(&m->b, op, TGC_F32, arg, some_float(m));
}

static void loop(struct maker *m, enum axis_kind kind)
{
	static const int64_t serial[] = {1, 2, 3, 5}, copies[] = {2, 3, 4}, lanes[] = {2, 4, 7, 8, 16};
	static const uint8_t ops[] = {OP_ADD, OP_MUL};
	struct kbuild *b = &m->b;
	int64_t n = kind == AXIS_LANE     ? lanes[draw(m, 5)]
	            : kind == AXIS_UNROLL ? copies[draw(m, 3)]
	                                  : serial[draw(m, 4)];
	int ncarry = (int)draw(m, 3), init[2], next[2], seen = m->nfloats, hi = kb_int(b, n);
	uint8_t op[2];
	for (int i = 0; i < ncarry; i++) {
		init[i] = some_float(m);
		op[i] = ops[draw(m, 2)];
	}
	if (kind == AXIS_SERIAL && draw(m, 4) == 0) // bounds that vary, sometimes empty
		hi = kb_imod(b, some_sum(m, 0), n + 1);
	int l = kb_for(b, kind, kb_int(b, 0), hi, ncarry, init, op);
	m->axes[m->naxes++] = (struct axis){kb_index(b, l), n};
	m->lane |= kind == AXIS_LANE;
	for (int i = 0; i < ncarry && kind == AXIS_SERIAL && draw(m, 2); i++)
		see(m, kb_arg(b, l, i));
	statements(m, 2 + (int)draw(m, 4));
	store(m);
	for (int i = 0; i < ncarry; i++)
		next[i] = next_of(m, kind, kb_arg(b, l, i), op[i]);
	if (kind == AXIS_LANE)
		m->lane = false;
	m->naxes--;
	m->nfloats = seen;
	kb_end(b, l, next);
	for (int i = 0; i < ncarry; i++)
		see(m, kb_res(b, l, i));
}

static void statements(struct maker *m, int n)
{
	for (int i = 0; i < n; i++) {
		bool deep = m->naxes >= MAX_DEPTH - 1;
		switch (draw(m, 8)) {
		case 0:
		case 1:
		case 2:
			see(m, kb_load(&m->b, m->in, some_index(m, SIZE), some_guard(m), K_NONE));
			break;
		case 3:
		case 4:
			arithmetic(m);
			break;
		case 5:
			if (!deep)
				loop(m, AXIS_SERIAL);
			break;
		case 6:
			if (!deep)
				loop(m, AXIS_UNROLL);
			break;
		default:
			if (!deep && !m->lane)
				loop(m, AXIS_LANE);
		}
	}
}

static struct kernel *make(uint32_t seed)
{
	static const int64_t table[] = {9, 2, 40, 0, 33, 7, 21};
	struct maker m = {.k = kernel_new(), .seed = seed * 2654435761u + 1};
	struct kbuild *b = &m.b;

	m.in = kernel_buf(m.k, TGC_F32, SPACE_GLOBAL, SIZE);
	m.bytes = kernel_buf(m.k, TGC_U8, SPACE_GLOBAL, SIZE);
	m.flags = kernel_buf(m.k, TGC_BOOL, SPACE_GLOBAL, SIZE);
	m.out = kernel_buf(m.k, TGC_F32, SPACE_GLOBAL, SIZE);
	m.table = kernel_table(m.k, table, TG_COUNT(table));
	kbuild_init(b, m.k, kernel_phase(m.k));
	see(&m, kb_const(b, TGC_F32, (union number){.f = 1.5}));
	int block = kb_for(b, AXIS_PAR, kb_int(b, 0), kb_int(b, 3), 0, NULL, NULL);
	m.axes[m.naxes++] = (struct axis){kb_index(b, block), 3};
	statements(&m, 4 + (int)draw(&m, 5));
	store(&m);
	kb_end(b, block, NULL);
	kbuild_done(b);
	return m.k;
}

static void test_random(void **state)
{
	(void)state;
	const char *from = getenv("TEST_EMIT_SEED"), *count = getenv("TEST_EMIT_COUNT");
	uint32_t first = from ? (uint32_t)atoi(from) : 1, n = count ? (uint32_t)atoi(count) : 150;
	for (uint32_t seed = first; seed < first + n; seed++) {
		const struct target *t = &run_targets[seed % (uint32_t)run_targets_count];
		struct kernel *k = make(seed);
		kpass_expand(k, t);
		kpass_bind(k, t);
		char *error = kernel_verify(k, LEVEL_MACHINE);
		if (!error)
			error = run_both(k, t, seed);
		if (error) {
			struct text text = {0};
			kernel_print(k, &text);
			fprintf(stderr, "%s\n", text_take(&text));
			fail_msg("seed %u on %s: %s", seed, t->name, error);
		}
		kernel_free(k);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
