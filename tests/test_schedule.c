// Schedules: how many kernels a network becomes, what stands side by side, in chunks, in which order and layout, what
// is overwritten in place, and that a plan computes what the oracle computes. Networks are rows of a table
// (plan_nets.c), in a large size for the counts and a small one for the values.
// Not here: the plan as text, its verifier (test_plan.c); machine code (test_primitives.c, fuzz_graph.c).
#include "plan_eval.h"
#include "plan_nets.h"

#include <stdlib.h>

static void test_counts(void **unused)
{
	int bad = 0;

	(void)unused;
	for (int i = 0; i < net_rows_count; i++) {
		struct net_plan b;
		int copies = 0, groups = 0;

		net_plan_build(&b, net_rows[i].name, NULL, false);
		net_plan_check(b.p, net_rows[i].name);
		for (int k = 0; k < b.p->ngroups; k++) // both halves are one
			groups += b.p->groups[k].half != HALF_FINISH;
		for (int k = 0; k < b.p->nsteps; k++)
			copies += b.p->steps[k].kind == STEP_COPY;
		if (groups != net_rows[i].groups || copies != net_rows[i].copies) {
			char *text = net_plan_text(b.p);

			fprintf(stderr, "%s: %d groups and %d copies, not %d and %d\n%s\n", net_rows[i].name,
			        groups, copies, net_rows[i].groups, net_rows[i].copies, text);
			free(text);
			bad++;
		}
		net_plan_free(&b);
	}
	assert_int_equal(bad, 0);
}

static void counted_loss(struct net *n)
{
	tgc_tensor *a = net_state(n, TGC_SHAPE(4)), *w = net_state(n, TGC_SHAPE(8, 10));
	tgc_tensor *h = tgc_matmul(net_data(n, TGC_SHAPE(6, 8)), w);

	net_store(n, a, tgc_add(a, 1.0));
	net_out(n, tgc_cross_entropy(h, net_labels(n, 6, 10)));
}

// A value in error leaves variables unchanged: what may raise an error runs before what stores.
static void test_errors_first(void **unused)
{
	struct net_plan b;
	int raised = -1, stored = -1;

	(void)unused;
	net_plan_build(&b, "counted_loss", counted_loss, false);
	net_plan_check(b.p, "counted_loss");
	for (int i = 0; i < b.p->ngroups; i++) { // in the order of steps
		struct source *s;
		struct group_size size;
		const struct group *g = &b.p->groups[i];

		assert_true(group_walk(b.p, i, &s, &size) >= 0);
		free(s);
		raised = size.flags ? i : raised;
		if (b.p->bufs[g->root_bufs[0]].cls == BUF_LEAF)
			stored = i;
	}
	assert_true(raised >= 0);
	assert_true(stored > raised);
	net_plan_free(&b);
}

static void embedded(struct net *n)
{
	tgc_tensor *p[] = {net_state(n, TGC_SHAPE(100, 8)), net_state(n, TGC_SHAPE(8, 6))}, *g[2];
	tgc_tensor *h = tgc_tanh(tgc_matmul(tgc_gather(p[0], net_labels(n, 12, 100), 0), p[1]));

	assert_int_equal(tgc_grad(tgc_sum(h, TGC_ALL_AXES, false), 2, p, g), TGC_OK);
	for (int i = 0; i < 2; i++)
		net_store(n, p[i], tgc_sub(p[i], tgc_mul(g[i], 0.1)));
}

// A gather's gradient checks what the gather did: nothing waits for it. The gather itself is first all the same.
static void test_repeated_checks(void **unused)
{
	struct net_plan b;
	int gather = -1, scatter = -1, stored = -1;

	(void)unused;
	net_plan_build(&b, "embedded", embedded, false);
	net_plan_check(b.p, "embedded");
	for (int i = 0; i < b.p->ngroups; i++) { // in the order of steps
		const struct group *g = &b.p->groups[i];
		struct source *s;
		struct group_size size;

		assert_true(group_walk(b.p, i, &s, &size) >= 0);
		free(s);
		if (g->kind == GROUP_SCATTER)
			scatter = i;
		else if (size.flags && gather < 0)
			gather = i;
		if (b.p->bufs[g->root_bufs[0]].cls == BUF_LEAF && stored < 0)
			stored = i;
	}
	assert_true(gather >= 0 && gather < stored);
	assert_true(stored < scatter);
	net_plan_free(&b);
}

static void long_columns(struct net *n)
{
	net_out(n, tgc_sum(net_data(n, TGC_SHAPE(4096, 4096)), TGC_AXES(0), false));
}

static void test_split(void **unused)
{
	static const struct {
		const char *name;
		void (*record)(struct net *n); // NULL: of the table
	} split[] = {{"sum_all", NULL}, {"tall", NULL}, {"long_columns", long_columns}};

	(void)unused;
	for (int i = 0; i < TG_COUNT(split); i++) {
		struct net_plan b;

		net_plan_build(&b, split[i].name, split[i].record, false);
		assert_true(b.p->groups[0].split > 1);
		assert_true(b.p->groups[0].scratch_buf >= 0);
		net_plan_free(&b);
	}
}

static void two_short(struct net *n)
{
	net_out(n, tgc_sum(net_data(n, TGC_SHAPE(64, 64)), TGC_AXES(0), false));
	net_out(n, tgc_exp(net_data(n, TGC_SHAPE(100))));
}

static void two_long(struct net *n)
{
	for (int i = 0; i < 2; i++)
		net_out(n, tgc_matmul(net_data(n, TGC_SHAPE(512, 512)), net_data(n, TGC_SHAPE(512, 512))));
}

static void one_source(struct net *n)
{
	tgc_tensor *x = net_data(n, TGC_SHAPE(2048, 512));

	net_out(n, tgc_softmax(x, 1));
	net_out(n, tgc_sum(x, TGC_AXES(0), false));
}

static void overwritten(struct net *n)
{
	tgc_tensor *a = net_state(n, TGC_SHAPE(64, 64));

	net_out(n, tgc_sum(a, TGC_AXES(0), false));
	net_store(n, a, tgc_mul(a, 2.0));
}

// Two groups are one step where one is short or both read the same, and none writes what the other reads.
static void test_beside(void **unused)
{
	static const struct {
		const char *name;
		void (*record)(struct net *n);
		int steps;
	} cases[] = {{"two_short", two_short, 1},
	             {"two_long", two_long, 2},
	             {"one_source", one_source, 1},
	             {"overwritten", overwritten, 2}};

	(void)unused;
	for (int i = 0; i < TG_COUNT(cases); i++) {
		struct net_plan b;

		net_plan_build(&b, cases[i].name, cases[i].record, false);
		net_plan_check(b.p, cases[i].name);
		if (b.p->ngroups != 2 || b.p->nsteps != cases[i].steps)
			fail_msg("%s: %d groups in %d steps", cases[i].name, b.p->ngroups, b.p->nsteps);
		net_plan_free(&b);
	}
}

// The three parts of a projection, as attention takes them.
static void three_parts(struct net *n)
{
	tgc_tensor *w = net_state(n, TGC_SHAPE(32, 96)), *v = net_state(n, TGC_SHAPE(32, 32)), *p[] = {v, w}, *g[2], *part[3];
	tgc_tensor *h = tgc_matmul(tgc_matmul(net_data(n, TGC_SHAPE(64, 32)), v), w);

	for (int i = 0; i < 3; i++)
		part[i] = tgc_tanh(tgc_matmul(tgc_slice_axis(h, 1, 32 * i, 32 * (i + 1)), net_data(n, TGC_SHAPE(32, 32))));
	h = tgc_mul(tgc_mul(part[0], part[1]), part[2]);
	tgc_grad(tgc_sum(h, TGC_ALL_AXES, false), 2, p, g);
	for (int i = 0; i < 2; i++)
		net_store(n, p[i], tgc_sub(p[i], g[i]));
}

// Their gradients are put together once, not again for each element that a product reads.
static void test_parts(void **unused)
{
	struct net_plan b;
	int contractions = 0;

	(void)unused;
	net_plan_build(&b, "three_parts", three_parts, false);
	net_plan_check(b.p, "three_parts");
	for (int i = 0; i < b.p->prog.n; i++) {
		const struct pnode *n = &b.p->prog.nodes[i];

		for (int k = 0; k < n->nsrc && n->op == OP_CONTRACT; k++) {
			int x = n->src[k];

			while (b.p->node_buf[x] < 0 && op_info[b.p->prog.nodes[x].op].cls == CLASS_MOVE)
				x = b.p->prog.nodes[x].src[0];
			assert_true(b.p->node_buf[x] >= 0);
		}
		contractions += n->op == OP_CONTRACT;
	}
	assert_int_equal(contractions, 11);
	net_plan_free(&b);
}

static void two_readers(struct net *n)
{
	tgc_tensor *x = net_data(n, TGC_SHAPE(4096, 16)), *y = net_data(n, TGC_SHAPE(64, 64));
	tgc_tensor *m = tgc_sum(x, TGC_AXES(0), true);

	net_out(n, tgc_softmax(tgc_add(tgc_matmul(y, y), tgc_sum(m, TGC_ALL_AXES, true)), 1));
	net_out(n, tgc_sub(x, m));
}

// The reader takes what is stored over what it comes from.
static void follows_itself(struct net *n)
{
	tgc_tensor *x = net_data(n, TGC_SHAPE(4096, 16)), *seen = net_state(n, TGC_SHAPE(1, 16));
	tgc_tensor *now = tgc_add(tgc_mul(seen, 0.9), tgc_sum(x, TGC_AXES(0), true));

	net_store(n, seen, now);
	net_out(n, tgc_sub(x, now));
}

// Partial results too many for every thread to add up.
static void too_many(struct net *n)
{
	tgc_tensor *x = net_data(n, TGC_SHAPE(16384, 8)), *y = net_data(n, TGC_SHAPE(16384, 130));

	net_out(n, tgc_matmul(net_data(n, TGC_SHAPE(64, 8)), tgc_matmul(tgc_transpose(x, 0, 1), y)));
}

// Sums in chunks are finished where the next step needs them, each thread for itself, unless that would be unsound or
// take longer than a barrier.
static void test_halve(void **unused)
{
	static const struct {
		const char *name;
		void (*record)(struct net *n); // NULL: of the table
		int steps, finishes, pre;
	} cases[] = {{"norm_columns", NULL, 3, 2, 2},
	             {"center", NULL, 2, 1, 1},
	             {"sum_all", NULL, 1, 0, 0},
	             {"two_readers", two_readers, 3, 1, 2},
	             {"follows_itself", follows_itself, 2, 0, 0},
	             {"too_many", too_many, 2, 0, 0}};

	(void)unused;
	for (int i = 0; i < TG_COUNT(cases); i++) {
		int finishes = 0, pre = 0;
		struct net_plan b;

		net_plan_build(&b, cases[i].name, cases[i].record, false);
		net_plan_check(b.p, cases[i].name);
		for (int k = 0; k < b.p->ngroups; k++) {
			finishes += b.p->groups[k].half == HALF_FINISH;
			pre += b.p->groups[k].npre;
		}
		if (b.p->nsteps != cases[i].steps || finishes != cases[i].finishes || pre != cases[i].pre)
			fail_msg("%s: %d steps, %d finish what an earlier one left, %d for themselves", cases[i].name,
			         b.p->nsteps, finishes, pre);
		net_plan_free(&b);
	}
}

static void test_layout(void **unused)
{
	struct net_plan b;
	int last = 0;

	(void)unused;
	net_plan_build(&b, "two_convs", NULL, false);
	for (int i = 0; i < b.p->nbufs; i++) {
		const struct pbuf *p = &b.p->bufs[i];

		last += p->cls == BUF_ARENA && p->rank == 4 && p->dims[0].n == 64 && p->strides[1] == 1;
		if (p->cls != BUF_ARENA && p->rank == 4)
			assert_int_equal(p->strides[3], 1);
	}
	assert_int_equal(last, 1);
	net_plan_free(&b);
}

// ---- values --------------------------------------------------------------------------------------------------------
static void *leaf_value(const struct net_plan *b, int leaf)
{
	const struct pleaf *l = &b->l.prog.leaves[leaf];
	const struct node *n = b->l.leaf_nodes[leaf];
	size_t bytes = (size_t)l->elems * tgc_type_bytes((tgc_type)l->type);
	void *v = calloc(bytes + 8, 1);

	if (n->op == OP_VARIABLE)
		n = node_variable(n)->initial;
	if (l->cls != LEAF_SCALAR)
		memcpy(v, n->buf->data, bytes);
	else if (interp_is_float((tgc_type)l->type))
		interp_store_f((tgc_type)l->type, v, 0, b->l.leaf_values[leaf].f);
	else
		interp_store_i((tgc_type)l->type, v, 0, b->l.leaf_values[leaf].i);
	return v;
}

static void values(struct net_plan *b, const char *name)
{
	const struct prog *p = &b->l.prog;
	struct interp_value *want = calloc((size_t)p->n, sizeof *want);
	void *leaves[128], *outs[NET_OUTS];
	int32_t flags[64] = {0}, flag = -1;
	struct tally t = {0};
	char *error;

	for (int i = 0; i < p->nleaves; i++)
		leaves[i] = leaf_value(b, i);
	assert_int_equal(interp_run(b->n.c, p, (const void *const *)leaves, want, &flag), TGC_OK);
	for (int i = 0; i < p->nouts; i++)
		outs[i] = p->outs[i].assign >= 0 ? leaves[p->outs[i].assign]
		                                 : calloc((size_t)prog_elems(p, p->outs[i].node) + 1, 8);
	error = plan_eval(b->p, net_target(), leaves, outs, flags);
	if (error)
		print_error("%s: %s\n", name, error);
	assert_null(error);
	for (int i = 0; i < p->nouts; i++) {
		tally_compare(&t, &want[p->outs[i].node], outs[i], false);
		if (t.failed)
			print_error("%s: output %d: %s\n", name, i, t.message);
		assert_false(t.failed);
	}
	for (int i = 0; i < p->nouts; i++)
		if (p->outs[i].assign < 0)
			free(outs[i]);
	for (int i = 0; i < p->nleaves; i++)
		free(leaves[i]);
	interp_values_free(p, want);
	free(want);
}

static void test_values(void **unused)
{
	(void)unused;
	for (int i = 0; i < net_rows_count; i++) {
		struct net_plan b;

		net_plan_build(&b, net_rows[i].name, NULL, true);
		net_plan_check(b.p, net_rows[i].name);
		values(&b, net_rows[i].name);
		net_plan_free(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_counts),       cmocka_unit_test(test_errors_first), cmocka_unit_test(test_repeated_checks),
	    cmocka_unit_test(test_split),        cmocka_unit_test(test_beside),       cmocka_unit_test(test_parts),
	    cmocka_unit_test(test_halve),        cmocka_unit_test(test_layout),       cmocka_unit_test(test_values),
	};

	return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
