// Random graphs that once failed, shrunk: each stays here for good.
// In:  sketches written out. Out: every device agrees with the oracle. Not here: making new ones (fuzz_graph.c).
#include "check.h"

// A minimum over padding: bounds of unsigned values decided a step of the reduction, which lost its carry.
static void minimum_of_padding(struct sketch *s)
{
	sk_add(s, (struct snode){.op = OP_DATA, .type = TGC_U32, .rank = 3, .dims = {3, 3, 1}, .hi = 9, .seed = 3});
	sk_add(s, (struct snode){.op = OP_PAD, .nsrc = 1, .src = {0}, .attr = {2, -1, 0, 0, 0, 0, 0, 3}});
	sk_add(s, (struct snode){.op = OP_RMIN, .nsrc = 1, .src = {1}, .attr = {7, 1}});
	sk_out(s, 2);
}

// The same for a maximum of 8 bits, reached from above.
static void maximum_of_padding(struct sketch *s)
{
	sk_add(s, (struct snode){.op = OP_DATA, .type = TGC_U8, .rank = 2, .dims = {5, 3}, .hi = 9, .seed = 4});
	sk_add(s, (struct snode){.op = OP_PAD, .nsrc = 1, .src = {0}, .attr = {3, 2, 0, 0, 0, 5}, .num = 255});
	sk_add(s, (struct snode){.op = OP_RMAX, .nsrc = 1, .src = {1}, .attr = {1, 0}});
	sk_add(s, (struct snode){.op = OP_RMAX, .nsrc = 1, .src = {1}, .attr = {3, 0}});
	sk_out(s, 2);
	sk_out(s, 3);
}

// A product that overflows beside an infinity: infinite when rounded first, NaN or not when added at once.
static void overflow_beside_infinity(struct sketch *s)
{
	sk_add(s, (struct snode){.op = OP_DATA, .type = TGC_F64, .rank = 2, .dims = {4, 3}, .lo = -3, .hi = 3,
	                         .seed = 3837263984401756586u, .special = 1});
	sk_add(s, (struct snode){.op = OP_DATA, .type = TGC_F64, .rank = 2, .dims = {4, 3}, .lo = -3, .hi = 3,
	                         .seed = 17318616394132453503u});
	sk_add(s, (struct snode){.op = SK_EINSUM, .nsrc = 2, .src = {0, 1}, .spec = "ij,kj->ik"});
	sk_out(s, 2);
}

// A check whose value nobody wants: x - x of integers is 0, whatever x is.
static void check_of_no_use(struct sketch *s)
{
	sk_add(s, (struct snode){.op = OP_DATA, .type = TGC_I64, .rank = 2, .dims = {2, 9}, .hi = 120, .seed = 5});
	sk_add(s, (struct snode){.op = OP_DATA, .type = TGC_BOOL, .rank = 2, .dims = {2, 9}, .hi = 9, .seed = 3});
	sk_add(s, (struct snode){.op = OP_CHECK, .nsrc = 2, .src = {0, 1}});
	sk_add(s, (struct snode){.op = OP_SUB, .nsrc = 2, .src = {2, 2}});
	sk_out(s, 3);
}

// The error of a cosine survives a root: the oracle's bound had cancelled to 0.
static void root_of_cosine(struct sketch *s)
{
	sk_add(s, (struct snode){.op = OP_DATA, .type = TGC_F64, .rank = 3, .dims = {7, 2, 64}, .lo = -3, .hi = 3,
	                         .seed = 13196616900849014023u});
	sk_add(s, (struct snode){.op = OP_COS, .nsrc = 1, .src = {0}});
	sk_add(s, (struct snode){.op = OP_ABS, .nsrc = 1, .src = {1}});
	sk_add(s, (struct snode){.op = OP_CONST, .type = TGC_F64, .num = 0.25});
	sk_add(s, (struct snode){.op = OP_ADD, .nsrc = 2, .src = {2, 3}});
	sk_add(s, (struct snode){.op = OP_SQRT, .nsrc = 1, .src = {4}});
	sk_out(s, 5);
}

// A number without axes, first of several tensors that one segmented kernel writes: it stood for all of them.
static void number_beside_matrix(struct sketch *s)
{
	int matrix = sk_add(s, (struct snode){.op = OP_DATA, .type = TGC_F32, .rank = 2, .dims = {2, 2}, .hi = 9, .seed = 7});
	int number = sk_add(s, (struct snode){.op = OP_DATA, .type = TGC_F32, .hi = 9, .seed = 3});
	int wide = sk_add(s, (struct snode){
	                         .op = OP_CAST, .type = TGC_F64, .rank = 2, .dims = {2, 2}, .nsrc = 1, .src = {matrix}});
	int narrow = sk_add(s, (struct snode){.op = OP_CAST, .type = TGC_F64, .nsrc = 1, .src = {number}});

	sk_out(s, narrow);
	sk_out(s, wide);
}

// exp(x - max) over its sum, times a number on the way, along rows too long for a first cache of 32 KiB.
static int long_softmax(struct sketch *s, int x, int number, int *sub)
{
	enum { ROWS = 8, COLS = 4097 };
	int max = sk_add(s, (struct snode){.op = OP_RMAX,
	                                   .type = TGC_F64,
	                                   .rank = 2,
	                                   .dims = {ROWS, 1},
	                                   .nsrc = 1,
	                                   .src = {x},
	                                   .attr = {2, 1}});
	*sub = sk_add(
	    s, (struct snode){.op = OP_SUB, .type = TGC_F64, .rank = 2, .dims = {ROWS, COLS}, .nsrc = 2, .src = {x, max}});
	int e = sk_add(
	    s, (struct snode){.op = OP_EXP, .type = TGC_F64, .rank = 2, .dims = {ROWS, COLS}, .nsrc = 1, .src = {*sub}});
	if (number >= 0)
		e = sk_add(s, (struct snode){
		                  .op = OP_MUL, .type = TGC_F64, .rank = 2, .dims = {ROWS, COLS}, .nsrc = 2, .src = {e, number}});
	int sum = sk_add(s, (struct snode){.op = OP_SUM,
	                                   .type = TGC_F64,
	                                   .rank = 2,
	                                   .dims = {ROWS, 1},
	                                   .nsrc = 1,
	                                   .src = {e},
	                                   .attr = {2, 1}});
	return sk_add(
	    s, (struct snode){.op = OP_DIV, .type = TGC_F64, .rank = 2, .dims = {ROWS, COLS}, .nsrc = 2, .src = {e, sum}});
}

// The exponentials of both were kept where the first result goes.
static void two_long_softmaxes(struct sketch *s)
{
	s->most = 80000;
	int x = sk_add(s, (struct snode){
	                      .op = OP_DATA, .type = TGC_F64, .rank = 2, .dims = {8, 4097}, .lo = -3, .hi = 3, .seed = 17});
	int sub, again, first = long_softmax(s, x, -1, &sub);
	int number = sk_add(s, (struct snode){.op = OP_CONST, .type = TGC_F64, .num = 0.000244140625});
	sk_out(s, long_softmax(s, sub, number, &again));
	sk_out(s, first);
}

static const struct row {
	const char *name;
	void (*make)(struct sketch *s);
	bool by_class;
} rows[] = {
    {"minimum_of_padding", minimum_of_padding, false},
    {"maximum_of_padding", maximum_of_padding, false},
    {"overflow_beside_infinity", overflow_beside_infinity, true},
    {"check_of_no_use", check_of_no_use, false},
    {"root_of_cosine", root_of_cosine, false},
    {"number_beside_matrix", number_beside_matrix, false},
    {"two_long_softmaxes", two_long_softmaxes, false},
};

static void graphs(void **state)
{
	int n;
	const char *const *devices = check_devices(&n);

	(void)state;
	for (int d = 0; d < n; d++) {
		tgc_context *ctx = check_context(devices[d], 1);

		for (int i = 0; ctx && i < TG_COUNT(rows); i++) {
			struct sketch s = {0};
			struct tally t = {0};

			rows[i].make(&s);
			assert_true(s.nouts > 0 && s.n > 2);
			check_sketch(&s, ctx, &t, rows[i].by_class);
			assert_sketch(&s, &t, rows[i].name);
		}
		tgc_context_free(&ctx);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(graphs)};

	return cmocka_run_group_tests_name("kept", tests, NULL, NULL);
}
