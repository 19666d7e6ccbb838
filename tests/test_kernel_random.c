// Random kernels through merge, unroll, simplify and bind: sound after each pass, and the same bits stored.
// In:  a seed. Out: a failure that prints the kernel before and after.
// Not here: tile (it regroups sums) and expand (it approximates).
#include "kernel_eval.h"

#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SIZE = 2048, MAX_SEEN = 64, MAX_RANGES = 32 };

// Where a statement stores: own elements for every iteration around it.
struct range {
	int64_t base, n;
	int top; // the statement of the phase it belongs to
};
struct maker {
	struct kernel *k;
	struct kbuild b;
	uint32_t seed;
	int in, out, row;              // buffers
	int floats[MAX_SEEN], nfloats; // visible values
	int indices[16], nindices;     // of loops around
	int64_t extents[16];           // of parallel ones, outermost first
	int pars[16], npars;
	struct range ranges[MAX_RANGES];
	int nranges;
	int64_t used; // elements of `out` handed out
	int top;
};

static uint32_t draw(struct maker *m, uint32_t n)
{
	m->seed = m->seed * 1664525u + 1013904223u;
	return (m->seed >> 9) % n;
}

static int some_index(struct maker *m, int64_t n)
{
	int64_t coef[16];
	for (int i = 0; i < m->nindices; i++)
		coef[i] = (int64_t)draw(m, 40) - 8;
	int v = kb_affine(&m->b, (int64_t)draw(m, 50), m->nindices, coef, m->indices);
	return kb_imod(&m->b, v, n);
}

static int some_float(struct maker *m)
{
	return m->floats[draw(m, (uint32_t)m->nfloats)];
}

static void see(struct maker *m, int v)
{
	if (m->nfloats < MAX_SEEN)
		m->floats[m->nfloats++] = v;
}

static int some_guard(struct maker *m)
{
	int bound = kb_int(&m->b, (int64_t)draw(m, 64));
	return draw(m, 3) ? K_NONE : kb_op2(&m->b, OP_LT, TGC_BOOL, some_index(m, 64), bound);
}

static void load(struct maker *m)
{
	int r = m->nranges ? (int)draw(m, (uint32_t)m->nranges) : 0;
	int kind = (int)draw(m, 4);
	if (kind == 0 && !m->nindices) { // any element, also one that is stored later
		see(m, kb_load(&m->b, m->out, some_index(m, SIZE), K_NONE, K_NONE));
	} else if (kind <= 1 && m->nranges && m->ranges[r].top < m->top) {
		int at = kb_affine(&m->b, m->ranges[r].base, 1, (int64_t[]){1},
		                   (int[]){some_index(m, m->ranges[r].n)});
		see(m, kb_load(&m->b, m->out, at, some_guard(m), K_NONE));
	} else {
		see(m, kb_load(&m->b, m->in, some_index(m, SIZE), some_guard(m), K_NONE));
	}
}

static void arithmetic(struct maker *m)
{
	static const int ops[] = {OP_ADD, OP_SUB, OP_MUL, OP_MAX, OP_MIN};
	see(m, kb_op2(&m->b, ops[draw(m, TG_COUNT(ops))], TGC_F32, some_float(m), some_float(m)));
}

static void store(struct maker *m)
{
	int64_t n = 1, coef[16];
	for (int i = m->npars - 1; i >= 0; i--) {
		coef[i] = n;
		n *= m->extents[i];
	}
	if (m->used + n > SIZE || m->nranges == MAX_RANGES)
		return;
	int at = kb_affine(&m->b, m->used, m->npars, coef, m->pars);
	kb_store(&m->b, m->out, at, some_float(m), some_guard(m), K_NONE);
	m->ranges[m->nranges++] = (struct range){m->used, n, m->top};
	m->used += n;
}

static void statements(struct maker *m, int n, bool reducing);

static void reduce(struct maker *m)
{
	static const int64_t trips[] = {1, 2, 3, 4, 7, 16};
	static const uint8_t ops[] = {OP_ADD, OP_MAX, OP_MIN};
	uint8_t op = ops[draw(m, 3)];
	int init = kb_identity(&m->b, op, TGC_F32), seen = m->nfloats;
	int hi = kb_int(&m->b, trips[draw(m, TG_COUNT(trips))]);
	int loop = kb_for(&m->b, AXIS_RED, kb_int(&m->b, 0), hi, 1, &init, &op);
	m->indices[m->nindices++] = kb_index(&m->b, loop);
	statements(m, 1 + (int)draw(m, 2), true);
	load(m);
	int next = kb_op2(&m->b, op, TGC_F32, kb_arg(&m->b, loop, 0), m->floats[m->nfloats - 1]);
	m->nindices--;
	m->nfloats = seen;
	kb_end(&m->b, loop, &next);
	see(m, kb_res(&m->b, loop, 0));
}

static void parallel(struct maker *m)
{
	static const int64_t trips[] = {1, 2, 5, 9};
	int64_t n = trips[draw(m, TG_COUNT(trips))];
	int seen = m->nfloats;
	int loop = kb_for(&m->b, AXIS_PAR, kb_int(&m->b, 0), kb_int(&m->b, n), 0, NULL, NULL);
	m->extents[m->npars] = n;
	m->pars[m->npars++] = m->indices[m->nindices++] = kb_index(&m->b, loop);
	statements(m, 1 + (int)draw(m, 4), false);
	store(m);
	m->npars--;
	m->nindices--;
	m->nfloats = seen;
	kb_end(&m->b, loop, NULL);
}

// A row of scratch, filled and summed.
static void scratch_row(struct maker *m)
{
	uint8_t op = OP_ADD;
	int lo = kb_int(&m->b, 0), hi = kb_int(&m->b, 8), init = kb_identity(&m->b, op, TGC_F32);
	int fill = kb_for(&m->b, AXIS_PAR, lo, hi, 0, NULL, NULL);
	int at = kb_load(&m->b, m->in, kb_affine(&m->b, 9, 1, (int64_t[]){3}, (int[]){kb_index(&m->b, fill)}),
	                 K_NONE, K_NONE);
	kb_store(&m->b, m->row, kb_index(&m->b, fill), kb_op2(&m->b, OP_MUL, TGC_F32, at, some_float(m)),
	         K_NONE, K_NONE);
	kb_end(&m->b, fill, NULL);
	int sum = kb_for(&m->b, AXIS_RED, lo, hi, 1, &init, &op);
	int term = kb_load(&m->b, m->row, kb_index(&m->b, sum), K_NONE, K_NONE);
	int next = kb_op2(&m->b, OP_ADD, TGC_F32, kb_arg(&m->b, sum, 0), term);
	kb_end(&m->b, sum, &next);
	see(m, kb_res(&m->b, sum, 0));
}

static void statements(struct maker *m, int n, bool reducing)
{
	for (int i = 0; i < n; i++) {
		bool deep = m->nindices >= 3;
		switch (draw(m, 7)) {
		case 0:
		case 1:
			load(m);
			break;
		case 2:
			arithmetic(m);
			break;
		case 3:
			if (!deep)
				reduce(m);
			break;
		case 4:
			if (!reducing)
				store(m);
			break;
		case 5:
			if (!reducing && !deep)
				parallel(m);
			break;
		default:
			if (!reducing && !deep)
				scratch_row(m);
		}
		m->top += m->nindices == 0;
	}
}

static struct kernel *make(uint32_t seed)
{
	struct maker m = {.k = kernel_new(), .seed = seed * 2654435761u + 1};
	m.in = kernel_buf(m.k, TGC_F32, SPACE_GLOBAL, SIZE);
	m.out = kernel_buf(m.k, TGC_F32, SPACE_GLOBAL, SIZE);
	m.row = kernel_buf(m.k, TGC_F32, SPACE_LOCAL, 8);
	kbuild_init(&m.b, m.k, kernel_phase(m.k));
	see(&m, kb_const(&m.b, TGC_F32, (union number){.f = 1.5}));
	statements(&m, 4 + (int)draw(&m, 6), false);
	parallel(&m);
	kbuild_done(&m.b);
	return m.k;
}

static char *text_of(const struct kernel *k)
{
	struct text t = {0};
	kernel_print(k, &t);
	return text_take(&t);
}

static void run(const struct kernel *k, float *in, float *out, const char *when, uint32_t seed)
{
	for (int i = 0; i < SIZE; i++) {
		in[i] = (float)((i * 37) % 101) / 8.0f - 5;
		out[i] = (float)((i * 53) % 97) / 16.0f;
	}
	char *error = kernel_eval(k, (void *[]){in, out});
	if (error)
		fail_msg("seed %u, %s: %s\n%s", seed, when, error, text_of(k));
}

static void fail_values(uint32_t seed, const char *what, const struct kernel *k, const char *built)
{
	fprintf(stderr, "%s\nfrom\n%s", text_of(k), built); // fail_msg cuts long texts
	fail_msg("seed %u, %s", seed, what);
}

static void check(uint32_t seed)
{
	static const struct kpass passes[] = {
	    {"as built", NULL},       {"gather", kpass_gather},     {"merge", kpass_merge},
	    {"unroll", kpass_unroll}, {"simplify", kpass_simplify}, {"bind", kpass_bind},
	};
	static const struct target families[] = {{.family = FAMILY_CPU}, {.family = FAMILY_CUDA}};
	static float in[SIZE], want[SIZE], got[SIZE];
	struct kernel *k = make(seed);
	char *built = text_of(k);
	run(k, in, want, "as built", seed);
	for (int i = 0; i < TG_COUNT(passes); i++) {
		if (passes[i].run)
			passes[i].run(k, &families[seed % 2]);
		char *error = kernel_verify(k, passes[i].run == kpass_bind ? LEVEL_MACHINE : LEVEL_FREE);
		if (error)
			fail_values(seed, error, k, built);
		run(k, in, got, passes[i].name, seed);
		if (memcmp(want, got, sizeof want) != 0)
			fail_values(seed, passes[i].name, k, built);
	}
	char *text = text_of(k);
	struct kernel *again = kernel_parse(text, NULL);
	assert_non_null(again);
	char *same = text_of(again);
	assert_string_equal(text, same);
	kernel_free(again);
	kernel_free(k);
	free(text);
	free(same);
	free(built);
}

static void test_random(void **state)
{
	const char *from = getenv("TGC_TEST_SEED");
	uint32_t seed = from ? (uint32_t)strtoul(from, NULL, 10) : 1;
	(void)state;
	for (uint32_t i = 0; i < 400; i++)
		check(seed + i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
