// Plans as data: they print and parse back to the same text, the verifier refuses what is unsound, the parser what is
// no plan, and programs of 100,000 nodes are planned without recursion.
// In:  the networks of plan_nets.c, mutations, texts, long chains. Out: texts and errors.
// Not here: which plan a network gets and what it computes (test_schedule.c).
#include "plan_nets.h"

#include <stdlib.h>

static void test_round_trip(void **unused)
{
	(void)unused;
	for (int i = 0; i < net_rows_count; i++) {
		struct net_plan b;
		char *first, *second, *error;
		struct plan *again;

		net_plan_build(&b, net_rows[i].name, NULL, false);
		first = net_plan_text(b.p);
		again = plan_parse(b.n.c, first, &error);
		if (!again)
			print_error("%s: %s\n", net_rows[i].name, error);
		assert_non_null(again);
		second = net_plan_text(again);
		assert_string_equal(first, second);
		net_plan_check(again, net_rows[i].name);
		free(first);
		free(second);
		plan_free(again);
		net_plan_free(&b);
	}
}

// ---- what the verifier must refuse ---------------------------------------------------------------------------------
static void overlap(struct plan *p)
{
	int64_t at = -1;

	for (int i = 0; i < p->nbufs; i++) {
		if (p->bufs[i].cls != BUF_ARENA)
			continue;
		if (at < 0)
			at = p->bufs[i].offset_bytes;
		else
			p->bufs[i].offset_bytes = at;
	}
}

static void reverse(struct plan *p)
{
	struct pstep s = p->steps[0];

	p->steps[0] = p->steps[p->nsteps - 1];
	p->steps[p->nsteps - 1] = s;
}

static void lose(struct plan *p)
{
	p->nsteps--;
}

static void mistype(struct plan *p)
{
	p->bufs[p->groups[0].root_bufs[0]].type = TGC_I64;
}

static void stray(struct plan *p)
{
	p->groups[0].roots[0] = p->groups[p->ngroups - 1].roots[0];
}

static void unsplit(struct plan *p)
{
	p->groups[0].split = 4;
}

static void shrunk(struct plan *p)
{
	p->bufs[p->groups[0].root_bufs[0]].bytes /= 2;
}

static void outside(struct plan *p)
{
	p->arena_bytes = 64;
}

// A reader that would wait for what stands beside it.
static void waiting(struct plan *p)
{
	for (int i = 0; i < p->ngroups; i++)
		p->groups[i].npre = 0;
}

static void never_finished(struct plan *p)
{
	for (int i = 0; i < p->ngroups; i++)
		p->groups[i].half = p->groups[i].half == HALF_FINISH ? HALF_NONE : p->groups[i].half;
}

// A variable is stored to before an index is looked at.
static void hasty(struct plan *p)
{
	struct pstep store = p->steps[0];
	int at = 0;

	while (p->bufs[p->groups[p->steps[at].group].root_bufs[0]].cls != BUF_LEAF)
		at++;
	for (store = p->steps[at]; at > 0; at--)
		p->steps[at] = p->steps[at - 1];
	p->steps[0] = store;
}

static void unfounded(struct plan *p)
{
	p->steps[1].group = p->steps[0].group;
}

static void checked(struct net *n)
{
	tgc_tensor *a = net_state(n, TGC_SHAPE(40)), *b = net_state(n, TGC_SHAPE(12)), *ids = net_labels(n, 12, 40);

	net_store(n, b, tgc_add(b, 1.0));
	net_out(n, tgc_sum(tgc_gather(tgc_mul(a, a), ids, 0), TGC_AXES(0), false));
}

static void test_refused(void **unused)
{
	static const struct {
		void (*mutate)(struct plan *p);
		const char *name;
		void (*record)(struct net *n); // NULL: of the table
	} cases[] = {{overlap, "mlp", NULL},
	             {reverse, "mlp", NULL},
	             {lose, "mlp", NULL},
	             {mistype, "mlp", NULL},
	             {stray, "mlp", NULL},
	             {unsplit, "mlp", NULL},
	             {shrunk, "mlp", NULL},
	             {outside, "mlp", NULL},
	             {waiting, "norm_columns", NULL},
	             {never_finished, "norm_columns", NULL},
	             {hasty, "checked", checked},
	             {unfounded, "norm_columns", NULL},
	             {reverse, "norm_columns", NULL}};

	(void)unused;
	for (int i = 0; i < TG_COUNT(cases); i++) {
		struct net_plan b;
		char *wrong;

		net_plan_build(&b, cases[i].name, cases[i].record, false);
		cases[i].mutate(b.p);
		wrong = plan_verify(b.p);
		if (!wrong)
			print_error("mutation %d passes\n", i);
		assert_non_null(wrong);
		free(wrong);
		net_plan_free(&b);
	}
}

static void test_bad_text(void **unused)
{
	static const char *const texts[] = {
	    "",
	    "plan {",
	    "plan { program { } arena 0 peak 0 bound 0 }}x",
	    "plan { program { } arena 0 peak 0 bound 0 buf b1 arena 0 f32[] {} at 0 bytes 4 live 0..0 }",
	    "plan { program { } arena 0 peak 0 bound 0 group g0 map split 1 segs 0 roots %0=b0 why \"\" }",
	    "plan { program { } arena 0 peak 0 bound 0 step kernel g0 }",
	    "plan { program { } arena 0 peak 0 bound 0 step copy b0 b1 }",
	    "plan { program { } arena 0 peak 0 bound 0 group g0 map split 1 segs 0 roots why \"",
	};
	tgc_context *c = context_create(NULL);

	(void)unused;
	for (int i = 0; i < TG_COUNT(texts); i++) {
		char *error;
		struct plan *p = plan_parse(c, texts[i], &error);

		if (i == 2) { // the smallest plan; what follows it is not its business
			assert_non_null(p);
			plan_free(p);
			continue;
		}
		assert_null(p);
		assert_non_null(error);
		free(error);
	}
	context_destroy(c);
}

// ---- long programs -------------------------------------------------------------------------------------------------
static struct plan *chain(struct tgc_context *c, int n, int op, struct arena *a)
{
	struct pleaf leaf = {.cls = LEAF_DATA, .type = TGC_F32, .elems = 1000};
	struct pout last = {.assign = -1};
	struct linear l = {.prog = {.arena = a, .leaves = &leaf, .nleaves = 1, .outs = &last, .nouts = 1}};
	struct dim d = {1000, 0};
	int32_t x = prog_add(&l.prog, OP_DATA, TGC_F32, 1, &d, 0, NULL, 0, NULL);

	l.prog.nodes[x].leaf = 0;
	for (int i = 0; i < n; i++) {
		int32_t src[2] = {x, x};

		x = prog_add(&l.prog, op, TGC_F32, 1, &d, op == OP_ADD ? 2 : 1, src, op == OP_FLIP,
		             &(int64_t){1});
	}
	last.node = x;
	return schedule_build(c, &l, net_target());
}

static void test_long(void **unused)
{
	static const int ops[] = {OP_ADD, OP_NEG, OP_FLIP};
	tgc_context *c = context_create(NULL);

	(void)unused;
	for (int i = 0; i < TG_COUNT(ops); i++) {
		struct arena a;
		struct plan *p;
		char *wrong;

		arena_init(&a, NULL);
		p = chain(c, 100000, ops[i], &a);
		assert_non_null(p);
		wrong = plan_verify(p);
		if (wrong)
			print_error("%s\n", wrong);
		assert_null(wrong);
		assert_in_range(p->ngroups, 1, 2000);
		plan_free(p);
		arena_free(&a);
	}
	context_destroy(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_bad_text),
	    cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
