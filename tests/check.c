// What every test shares: contexts by device, comparison against the oracle.
// In: sketches, contexts. Out: tallies and failed assertions. Not here: what is tested.
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "runtime.h"

static void differ(struct tally *t, const struct interp_value *want, int64_t at, double w, double g)
{
	if (!t->failed)
		snprintf(t->message, sizeof t->message,
		         "%s element %lld of %lld: want %.17g, got %.17g, bound %.3g",
		         tgc_type_name(want->type), (long long)at, (long long)want->elems, w, g,
		         want->f ? want->bound[at] : 0.0);
	t->failed = true;
}

static bool same_float(struct tally *t, double w, double g, double bound, bool by_class)
{
	if (isnan(w) || isnan(g))
		return isnan(w) && isnan(g);
	if (isinf(w) || isinf(g))
		return by_class ? isinf(w) && isinf(g) : w == g;
	if (bound > 1e-2 * (1 + fabs(w)))
		t->vague++;
	return by_class || fabs(w - g) <= bound * (1 + 1e-9);
}

void tally_compare(struct tally *t, const struct interp_value *want, const void *got, bool by_class)
{
	for (int64_t i = 0; i < want->elems; i++) {
		t->compared++;
		if (want->unsure[i]) {
			t->unsure++;
		} else if (want->f) {
			double g = interp_load_f(want->type, got, i);

			if (!same_float(t, want->f[i], g, want->bound[i], by_class))
				differ(t, want, i, want->f[i], g);
		} else {
			int64_t g = interp_load_i(want->type, got, i);

			if (g != want->i[i] && !by_class)
				differ(t, want, i, (double)want->i[i], (double)g);
		}
	}
}

const char *const *check_devices(int *n)
{
	static const char *const all[] = {"interp", "cpu"};
	static const char *one[1];
	const char *wanted = getenv("TGC_DEVICE");

	if (wanted && *wanted) {
		one[0] = wanted;
		*n = 1;
		return one;
	}
	*n = TG_COUNT(all);
	return all;
}

tgc_context *check_context(const char *device, int threads)
{
	tgc_context_options o = {.struct_size = sizeof o, .device = device, .threads = threads, .seed = 1};
	tgc_context *ctx = tgc_context_new(&o);

	const char *wanted = getenv("TGC_DEVICE");

	if (tgc_error_status(ctx) != TGC_ERROR_NODEVICE)
		return ctx;
	if (wanted && strcmp(wanted, device) == 0)
		fail_msg("%s", tgc_error_message(ctx));
	tgc_context_free(&ctx);
	return NULL;
}

void check_each_device(void (*test)(tgc_context *ctx))
{
	int n;
	const char *const *devices = check_devices(&n);

	for (int i = 0; i < n; i++) {
		tgc_context *ctx = check_context(devices[i], 1);

		if (!ctx)
			continue;
		test(ctx);
		assert_ok(ctx);
		tgc_context_free(&ctx);
	}
}

static void tally_status(struct tally *t, tgc_context *ctx, const char *what, int node)
{
	if (!t->failed)
		snprintf(t->message, sizeof t->message, "%s of node %d: %s", what, node,
		         tgc_error_message(ctx));
	t->failed = true;
}

static void check_shape(struct tally *t, const struct snode *n, const tgc_tensor *got)
{
	tgc_shape shape = tgc_tensor_shape(got);

	if (shape.rank != n->rank || memcmp(shape.dims, n->dims, sizeof *n->dims * (size_t)n->rank) != 0 ||
	    tgc_tensor_type(got) != n->type) {
		if (!t->failed)
			snprintf(t->message, sizeof t->message, "%s: shape or type differs", sk_name(n->op));
		t->failed = true;
	}
}

struct bits { // of the outputs, as the first run left them
	void *of[SK_OUTS];
};

static void same_bits(struct tally *t, struct bits *first, int out, void *got, size_t bytes)
{
	if (!first->of[out]) {
		first->of[out] = got;
		return;
	}
	if (memcmp(first->of[out], got, bytes) != 0 && !t->failed) {
		snprintf(t->message, sizeof t->message, "output %d has other bits when it runs again", out);
		t->failed = true;
	}
	free(got);
}

static void read_outputs(const struct sketch *s, tgc_tensor *const *t, const struct oracle *o, tgc_context *ctx,
                         struct tally *tally, bool by_class, struct bits *first)
{
	for (int i = 0; i < s->nouts && !tally->failed; i++) {
		const struct snode *n = &s->nodes[s->outs[i]];
		size_t bytes = (size_t)sk_elems(n) * tgc_type_bytes(n->type);
		void *got = calloc(bytes + 8, 1);

		if (tgc_read(t[s->outs[i]], got, bytes))
			tally_status(tally, ctx, "read", s->outs[i]);
		else
			tally_compare(tally, oracle_value(o, s->outs[i]), got, by_class);
		same_bits(tally, first, i, got, bytes);
	}
}

// Integers of which an operation wants nothing: constructors may replace them by a number.
static bool ignores_operands(const struct sketch *s, const struct snode *n)
{
	bool twice = n->nsrc == 2 && n->src[0] == n->src[1] && !interp_is_float(s->nodes[n->src[0]].type);

	if (sk_elems(n) == 0)
		return true;
	return twice && (n->op == OP_SUB || n->op == OP_XOR ||
	                 (n->op < OP_COUNT && op_info[n->op].cls == CLASS_COMPARE));
}

// Some output hangs on the node: what it checks has to be noticed.
static bool is_needed(const struct sketch *s, int node)
{
	bool need[SK_NODES] = {false};

	for (int i = 0; i < s->nouts; i++)
		need[s->outs[i]] = true;
	for (int i = s->n - 1; i > node; i--)
		for (int k = 0; need[i] && k < s->nodes[i].nsrc; k++)
			need[s->nodes[i].src[k]] |= !ignores_operands(s, &s->nodes[i]);
	return need[node] && sk_elems(&s->nodes[node]) > 0;
}

// An INDEX error is right exactly when the oracle raised its flag, for a value that is needed.
static bool expect_index(const struct sketch *s, const struct oracle *o, tgc_context *ctx, tgc_status status)
{
	if (o->flag >= 0 && status == TGC_ERROR_INDEX)
		tgc_clear_error(ctx);
	if (o->flag < 0 || status)
		return (o->flag >= 0) == (status == TGC_ERROR_INDEX);
	for (int i = 0; i < s->n; i++)
		if (o->at[i] == o->flag && is_needed(s, i))
			return false;
	return true;
}

static void check_round(const struct sketch *s, const struct oracle *o, tgc_context *ctx, struct tally *t, bool by_class,
                        struct bits *first)
{
	tgc_tensor *built[SK_NODES], *outs[SK_OUTS];
	tgc_status status;

	tgc_scope_begin(ctx);
	sk_build(s, ctx, built);
	for (int i = 0; i < s->n; i++) {
		if (tgc_is_error(built[i]))
			tally_status(t, ctx, "construction", i);
		else
			check_shape(t, &s->nodes[i], built[i]);
	}
	for (int i = 0; i < s->nouts; i++)
		outs[i] = built[s->outs[i]];
	if (!t->failed) {
		status = tgc_realize_n(s->nouts, outs);
		if (!expect_index(s, o, ctx, status) || (status && o->flag < 0))
			tally_status(t, ctx, "realize", s->outs[0]);
		else if (!status && o->flag < 0)
			read_outputs(s, built, o, ctx, t, by_class, first);
	}
	for (int i = 0; i < s->n; i++)
		if (tgc_is_variable(built[i]))
			tgc_release(built[i]);
	tgc_scope_end(ctx);
	tgc_clear_error(ctx);
}

// TGC_CHECK_PART=I/N: of the sketches that this process meets, each N-th from the I-th on, so that N processes share a
// table of them.
static bool is_mine(void)
{
	static unsigned met;
	const char *part = getenv("TGC_CHECK_PART");
	unsigned i, n;

	if (!part || sscanf(part, "%u/%u", &i, &n) != 2 || n == 0)
		return true;
	return met++ % n == i;
}

// TGC_CHECK_RUNS=N: each so many times, and all bits the same.
static int runs(void)
{
	const char *n = getenv("TGC_CHECK_RUNS");

	return n && atoi(n) > 1 ? atoi(n) : 1;
}

void check_sketch(const struct sketch *s, tgc_context *ctx, struct tally *t, bool by_class)
{
	struct bits first = {{NULL}};
	struct oracle o;

	if (!is_mine() || !oracle_run(&o, s, ctx))
		return;
	for (int i = 0; i < runs() && !t->failed; i++)
		check_round(s, &o, ctx, t, by_class, &first);
	for (int i = 0; i < SK_OUTS; i++)
		free(first.of[i]);
	oracle_free(&o);
}

// What the interpreter says about a linearised program; leaves are copied from the device's memory.
struct reference {
	struct arena arena;
	struct linear l;
	struct interp_value *values;
	void **leaf_data; // of scalars: into scalars; else malloc'ed
	int64_t *scalars;
	int32_t flag;
};

static bool reference_leaves(struct reference *r, tgc_context *ctx)
{
	int n = r->l.prog.nleaves;

	r->leaf_data = calloc((size_t)n + 1, sizeof *r->leaf_data);
	r->scalars = calloc((size_t)n + 1, sizeof *r->scalars);
	for (int i = 0; i < n; i++) {
		struct node *node = r->l.leaf_nodes[i];
		size_t bytes;

		r->leaf_data[i] = &r->scalars[i];
		if (r->l.prog.leaves[i].cls == LEAF_SCALAR) {
			if (interp_is_float((tgc_type)node->type))
				interp_store_f((tgc_type)node->type, &r->scalars[i], 0, r->l.leaf_values[i].f);
			else
				interp_store_i((tgc_type)node->type, &r->scalars[i], 0, r->l.leaf_values[i].i);
			continue;
		}
		bytes = (size_t)node_elems(node) * tgc_type_bytes((tgc_type)node->type);
		r->leaf_data[i] = calloc(bytes + 8, 1);
		if (realize_read(ctx, node, r->leaf_data[i], bytes))
			return false;
	}
	return true;
}

static bool reference_run(struct reference *r, tgc_context *ctx, int n, tgc_tensor *const *tensors)
{
	struct node *outs[16];

	assert(n <= TG_COUNT(outs));
	memset(r, 0, sizeof *r);
	arena_init(&r->arena, &ctx->host);
	for (int i = 0; i < n; i++)
		outs[i] = tensors[i]->node;
	if (!linear_build(ctx, &r->l, &r->arena, n, outs, NULL, 0, NULL) || !reference_leaves(r, ctx))
		return false;
	r->values = calloc((size_t)r->l.prog.n + 1, sizeof *r->values);
	return interp_run(ctx, &r->l.prog, (const void *const *)r->leaf_data, r->values, &r->flag) == TGC_OK;
}

static void reference_free(struct reference *r)
{
	if (r->values)
		interp_values_free(&r->l.prog, r->values);
	free(r->values);
	for (int i = 0; i < r->l.prog.nleaves; i++)
		if (r->l.prog.leaves[i].cls != LEAF_SCALAR)
			free(r->leaf_data[i]);
	free(r->leaf_data);
	free(r->scalars);
	arena_free(&r->arena);
}

void check_tensors(tgc_context *ctx, int n, tgc_tensor *const *tensors, struct tally *t)
{
	struct reference r;

	if (tgc_flush(ctx) || !reference_run(&r, ctx, n, tensors)) {
		tally_status(t, ctx, "reference", 0);
		return;
	}
	if (tgc_realize_n(n, tensors) && r.flag < 0)
		tally_status(t, ctx, "realize", 0);
	for (int i = 0; i < n && !t->failed && r.flag < 0; i++) {
		const struct interp_value *want = &r.values[r.l.prog.outs[i].node];
		size_t bytes = (size_t)want->elems * tgc_type_bytes(want->type);
		void *got = calloc(bytes + 8, 1);

		if (tgc_read(tensors[i], got, bytes))
			tally_status(t, ctx, "read", i);
		else
			tally_compare(t, want, got, false);
		free(got);
	}
	reference_free(&r);
}

void assert_sketch(const struct sketch *s, const struct tally *t, const char *where)
{
	if (!t->failed)
		return;
	print_error("%s: %s\n", where, t->message);
	sk_print(s, stderr);
	fail();
}

void assert_ok(tgc_context *ctx)
{
	if (tgc_error_status(ctx))
		fail_msg("%s", tgc_error_message(ctx));
}

double check_item(tgc_tensor *t)
{
	double v = tgc_item(t);

	assert_ok(tgc_tensor_context(t));
	return v;
}

static void *read_all(tgc_tensor *t, int64_t n)
{
	size_t bytes = (size_t)n * tgc_type_bytes(tgc_tensor_type(t));
	void *raw = calloc(bytes + 8, 1);

	assert_non_null(raw);
	if (tgc_read(t, raw, bytes))
		fail_msg("%s", tgc_error_message(tgc_tensor_context(t)));
	return raw;
}

void check_read_f32(tgc_tensor *t, float *out, int64_t n)
{
	void *raw = read_all(t, n);

	for (int64_t i = 0; i < n; i++)
		out[i] = (float)interp_load_f(tgc_tensor_type(t), raw, i);
	free(raw);
}

void check_read_f64(tgc_tensor *t, double *out, int64_t n)
{
	void *raw = read_all(t, n);

	for (int64_t i = 0; i < n; i++)
		out[i] = interp_load_f(tgc_tensor_type(t), raw, i);
	free(raw);
}

void check_read_i64(tgc_tensor *t, int64_t *out, int64_t n)
{
	void *raw = read_all(t, n);

	for (int64_t i = 0; i < n; i++)
		out[i] = interp_load_i(tgc_tensor_type(t), raw, i);
	free(raw);
}

int check_outputs(struct tgc_context *c, int n, tgc_tensor *const *tensors, int cap, struct node **outs,
                  struct variable **assign)
{
	int count = 0;

	for (int i = 0; i < n; i++)
		if (!tensors[i]->var)
			outs[count++] = tensors[i]->node;
	for (struct variable *v = c->variables; v; v = v->next) {
		if (!variable_is_pending(v))
			continue;
		assert_true(count < cap);
		outs[count] = v->handle->node;
		assign[count++] = v;
	}
	return count;
}
