// fuzz_graph [--graphs N] [--seed S] [--device D] [--threads T] [--raw] [--only I] [--verbose]
// Random graphs on a device against the oracle, and with T threads against one, bit by bit. A failure is
// shrunk and printed as code. --seed fresh takes one from the clock and prints it.
// Not here: making graphs (fuzz_gen.c), shrinking (fuzz_shrink.c), what was covered (fuzz_cover.c).
#include "fuzz.h"

#include <stdlib.h>
#include <time.h>

struct judge { // what a graph must satisfy
	const struct fuzz_options *opt;
	tgc_context *one, *many;
	bool by_class;
	bool again; // build it twice
	bool grad;  // and its gradients
	int64_t gradients;
	struct tally grad_tally;
};

static void *read_raw(tgc_context *ctx, const struct sketch *s, int out)
{
	const struct snode *n = &s->nodes[s->outs[out]];
	size_t bytes = (size_t)sk_elems(n) * tgc_type_bytes(n->type);
	tgc_tensor *t[SK_NODES];
	uint8_t *data = calloc(bytes + 1, 1);

	tgc_scope_begin(ctx);
	sk_build(s, ctx, t);
	if (tgc_read(t[s->outs[out]], data, bytes)) {
		tgc_clear_error(ctx);
		data[bytes] = 1;
	}
	for (int i = 0; i < s->n; i++)
		if (tgc_is_variable(t[i]))
			tgc_release(t[i]);
	tgc_scope_end(ctx);
	return data;
}

static void compare_threads(struct judge *j, const struct sketch *s, struct tally *t)
{
	for (int i = 0; i < s->nouts && !t->failed; i++) {
		const struct snode *n = &s->nodes[s->outs[i]];
		size_t bytes = (size_t)sk_elems(n) * tgc_type_bytes(n->type);
		void *a = read_raw(j->one, s, i), *b = read_raw(j->many, s, i);

		if (memcmp(a, b, bytes + 1) != 0) {
			t->failed = true;
			snprintf(t->message, sizeof t->message, "output %d: %d threads differ from 1", i,
			         j->opt->threads);
		}
		free(a);
		free(b);
	}
}

// Gradients of the sum of all float outputs with respect to all float leaves. Graphs without one pass.
static void check_gradients(struct judge *j, const struct sketch *s, struct tally *t)
{
	tgc_tensor *built[SK_NODES], *wrt[8], *grads[8], *loss = NULL;
	tgc_type type = TGC_BOOL;
	int n = 0;

	tgc_scope_begin(j->one);
	sk_build(s, j->one, built);
	for (int i = 0; i < s->nouts; i++) {
		const struct snode *out = &s->nodes[s->outs[i]];
		tgc_tensor *sum;

		if (!interp_is_float(out->type) || (loss && out->type != type))
			continue;
		type = out->type;
		sum = tgc_sum(built[s->outs[i]], TGC_ALL_AXES, false);
		loss = loss ? tgc_add(loss, sum) : sum;
	}
	for (int i = 0; i < s->n && n < TG_COUNT(wrt); i++)
		if (s->nodes[i].op == OP_DATA && s->nodes[i].leaf != SK_LATE &&
		    interp_is_float(s->nodes[i].type))
			wrt[n++] = built[i];
	if (loss && n > 0 && !tgc_grad(loss, n, wrt, grads)) {
		j->gradients++;
		check_tensors(j->one, n, grads, t);
		if (t->failed)
			memmove(t->message + 10, t->message, sizeof t->message - 11);
		if (t->failed)
			memcpy(t->message, "gradient: ", 10);
	}
	for (int i = 0; i < s->n; i++)
		if (tgc_is_variable(built[i]))
			tgc_release(built[i]);
	tgc_scope_end(j->one);
	tgc_clear_error(j->one);
}

// Built again, a graph finds its plan.
static void check_again(struct judge *j, const struct sketch *s, struct tally *t)
{
	uint64_t before = tgc_get_stats(j->one).plans_built;
	struct tally again = {0};

	check_sketch(s, j->one, &again, j->by_class);
	if (again.failed)
		*t = again;
	if (!t->failed && tgc_get_stats(j->one).plans_built != before) {
		t->failed = true;
		snprintf(t->message, sizeof t->message, "the same graph built again got another plan");
	}
}

static void judge_graph(struct judge *j, const struct sketch *s, struct tally *t)
{
	check_sketch(s, j->one, t, j->by_class);
	if (!t->failed && j->again)
		check_again(j, s, t);
	if (!t->failed && j->grad && !j->by_class)
		check_gradients(j, s, &j->grad_tally);
	if (j->grad_tally.failed) {
		*t = j->grad_tally;
		j->grad_tally = (struct tally){0};
	}
	if (j->many && !t->failed)
		compare_threads(j, s, t);
}

static bool still_fails(void *user, const struct sketch *s)
{
	struct tally t = {0};

	judge_graph(user, s, &t);
	return t.failed;
}

static bool run_one(struct judge *j, int64_t index, struct coverage *c)
{
	struct sketch s;
	struct tally t = {0};

	j->by_class = j->opt->raw;
	gen_graph(&s, j->opt->seed + (uint64_t)index, &j->by_class);
	if (j->opt->verbose) {
		printf("// graph %lld\n", (long long)index);
		sk_print(&s, stdout);
		fflush(stdout);
	}
	j->again = index % 4 == 0;
	j->grad = index % 4 == 1;
	judge_graph(j, &s, &t);
	cover_nodes(c, &s, j->by_class);
	cover_fusion(c, j->one, &s);
	c->tally.compared += t.compared;
	if (!j->by_class) {
		c->tally.unsure += t.unsure;
		c->tally.vague += t.vague;
	}
	if (!t.failed)
		return true;
	printf("FAIL seed %llu graph %lld%s: %s\n", (unsigned long long)j->opt->seed, (long long)index,
	       j->by_class ? " (raw)" : "", t.message);
	shrink(&s, still_fails, j);
	t = (struct tally){0};
	judge_graph(j, &s, &t);
	printf("shrunk to %d nodes: %s\n", s.n, t.message);
	sk_print(&s, stdout);
	fflush(stdout);
	return false;
}

static bool parse(int argc, char **argv, struct fuzz_options *o)
{
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--raw") == 0)
			o->raw = true;
		else if (strcmp(argv[i], "--verbose") == 0)
			o->verbose = true;
		else if (strcmp(argv[i], "--graphs") == 0)
			o->graphs = strtoll(argv[++i < argc ? i : 0], NULL, 10);
		else if (strcmp(argv[i], "--only") == 0)
			o->only = strtoll(argv[++i < argc ? i : 0], NULL, 10);
		else if (strcmp(argv[i], "--threads") == 0)
			o->threads = atoi(argv[++i < argc ? i : 0]);
		else if (strcmp(argv[i], "--device") == 0)
			o->device = argv[++i < argc ? i : 0];
		else if (strcmp(argv[i], "--seed") == 0 && ++i < argc)
			o->seed = strcmp(value, "fresh") == 0 ? (uint64_t)time(NULL) * 1000003
			                                      : strtoull(value, NULL, 10);
		else
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct fuzz_options opt = {.seed = 1, .graphs = 1000, .device = "cpu", .threads = 1, .only = -1};
	static struct coverage cover;
	struct judge j = {.opt = &opt};
	tgc_stats stats;
	int failures = 0;

	if (!parse(argc, argv, &opt)) {
		fprintf(stderr,
		        "usage: fuzz_graph [--graphs N] [--seed S|fresh] [--device D] [--threads T] [--raw]"
		        " [--only I] [--verbose]\n");
		return 2;
	}
	j.one = check_context(opt.device, 1);
	if (!j.one) {
		printf("no device %s\n", opt.device);
		return 77;
	}
	j.many = opt.threads > 1 ? check_context(opt.device, opt.threads) : NULL;
	printf("seed %llu, device %s\n", (unsigned long long)opt.seed, opt.device);
	fflush(stdout);
	for (int64_t i = opt.only >= 0 ? opt.only : 0; i < (opt.only >= 0 ? opt.only + 1 : opt.graphs); i++) {
		failures += !run_one(&j, i, &cover);
		if (failures >= 10)
			break;
	}
	cover_print(&cover);
	printf("%lld gradients, %lld elements compared, %.3f %% unsure\n", (long long)j.gradients,
	       (long long)j.grad_tally.compared,
	       100.0 * (double)j.grad_tally.unsure / ((double)j.grad_tally.compared + 1));
	stats = tgc_get_stats(j.one);
	printf("%llu plans, %llu kernels compiled, %llu reused, %llu launches\n",
	       (unsigned long long)stats.plans_built, (unsigned long long)stats.kernels_compiled,
	       (unsigned long long)stats.kernels_reused, (unsigned long long)stats.launches);
	printf("%d failures\n", failures);
	tgc_context_free(&j.one);
	tgc_context_free(&j.many);
	return failures > 0;
}
