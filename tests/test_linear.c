// Graph to program: what two graphs must share a key, which must not, what becomes a leaf.
// Not here: what programs compute (test_passes.c, test_primitives.c).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plan.h"

#include <pthread.h>
#include <stdlib.h>

static void no_buffer(struct buffer *b)
{
	(void)b;
}

static tgc_context *open_context(void)
{
	tgc_context *c = context_create(NULL);

	assert_non_null(c);
	c->backend.buffer_unref = no_buffer;
	return c;
}

static void close_context(tgc_context *c)
{
	context_clear(c);
	assert_int_equal(c->table_used, 0);
	context_destroy(c);
}

// ---- keys: each graph is built in a context of its own, so nothing but structure can agree ----
static tgc_tensor *state(tgc_context *c, int64_t n)
{
	return tgc_variable(tgc_zeros(c, TGC_F32, TGC_SHAPE(n)));
}

static tgc_tensor *scaled(tgc_context *c)
{
	return tgc_mul(state(c, 8), 0.5);
}
static tgc_tensor *scaled_more(tgc_context *c)
{
	return tgc_mul(state(c, 8), 0.25);
}
static tgc_tensor *longer(tgc_context *c)
{
	return tgc_mul(state(c, 9), 0.5);
}
static tgc_tensor *added(tgc_context *c)
{
	return tgc_add(state(c, 8), 0.5);
}

static tgc_tensor *late(tgc_context *c)
{
	return tgc_mul(state(c, 8), tgc_scalar(c, 0.5));
}
static tgc_tensor *later(tgc_context *c)
{
	tgc_tensor *s = tgc_scalar(c, 0.5);

	assert_int_equal(tgc_set(s, 7), TGC_OK);
	return tgc_mul(state(c, 8), s);
}

static tgc_tensor *two(tgc_context *c)
{
	return tgc_mul(state(c, 8), state(c, 8));
}
static tgc_tensor *squared(tgc_context *c)
{
	tgc_tensor *v = state(c, 8);

	return tgc_mul(v, v);
}
static tgc_tensor *after_noise(tgc_context *c) // other identities, another context history
{
	for (int i = 0; i < 5; i++)
		tgc_exp(state(c, 3));
	return scaled(c);
}

static tgc_tensor *named(tgc_context *c, const char *a, const char *b)
{
	tgc_tensor *x = tgc_name_axis(state(c, 8), 0, a), *y = tgc_name_axis(state(c, 8), 0, b);

	return tgc_concat(2, (tgc_tensor *[]){x, y}, 0);
}
static tgc_tensor *one_symbol(tgc_context *c)
{
	return named(c, "batch", "batch");
}
static tgc_tensor *renamed_symbol(tgc_context *c)
{
	return named(c, "rows", "rows");
}
static tgc_tensor *two_symbols(tgc_context *c)
{
	return named(c, "batch", "rows");
}

static tgc_tensor *far_slice(tgc_context *c)
{
	tgc_tensor *x = tgc_expand(tgc_reshape(state(c, 1), TGC_SHAPE(1)), TGC_SHAPE((int64_t)1 << 40));

	return tgc_slice_axis(x, 0, (int64_t)1 << 35, ((int64_t)1 << 35) + 4);
}
static tgc_tensor *farther_slice(tgc_context *c)
{
	tgc_tensor *x = tgc_expand(tgc_reshape(state(c, 1), TGC_SHAPE(1)), TGC_SHAPE((int64_t)1 << 40));

	return tgc_slice_axis(x, 0, (int64_t)1 << 36, ((int64_t)1 << 36) + 4);
}

static const struct key_row {
	tgc_tensor *(*a)(tgc_context *), *(*b)(tgc_context *);
	bool same;
} key_rows[] = {
    {scaled, scaled, true},
    {scaled, scaled_more, true}, // another literal, the same skeleton
    {scaled, after_noise, true},
    {scaled, longer, false},
    {scaled, added, false},
    {scaled, late, false},
    {late, later, true},
    {two, squared, false},
    {one_symbol, renamed_symbol, true},
    {one_symbol, two_symbols, false},
    {far_slice, far_slice, true},
    {far_slice, farther_slice, false},
};

struct built {
	tgc_context *c;
	struct arena a;
	struct linear l;
};

static struct built build(tgc_tensor *(*f)(tgc_context *))
{
	struct built b = {.c = open_context()};
	tgc_tensor *t = f(b.c);
	char *wrong;

	assert_false(tgc_is_error(t));
	arena_init(&b.a, NULL);
	assert_true(linear_build(b.c, &b.l, &b.a, 1, &t->node, NULL, 0, NULL));
	wrong = prog_verify(&b.l.prog);
	assert_null(wrong);
	return b;
}

static void unbuild(struct built *b)
{
	arena_free(&b->a);
	close_context(b->c);
}

static void keys(void **state_)
{
	(void)state_;
	for (int i = 0; i < TG_COUNT(key_rows); i++) {
		struct built x = build(key_rows[i].a), y = build(key_rows[i].b);
		bool same = x.l.key_words == y.l.key_words &&
		            memcmp(x.l.key, y.l.key, x.l.key_words * sizeof *x.l.key) == 0;

		if (same != key_rows[i].same)
			fail_msg("row %d: keys %s", i, same ? "agree" : "differ");
		assert_true((x.l.hash == y.l.hash) == same);
		unbuild(&x);
		unbuild(&y);
	}
}

// ---- literals ----
static void literals(void **state_)
{
	struct built b = build(scaled);
	uint8_t mask[1] = {1};

	(void)state_;
	assert_int_equal(b.l.nconsts, 1);
	assert_true(b.l.consts[0].f == 0.5);
	assert_int_equal(b.l.prog.nleaves, 1);
	assert_true(linear_promote(&b.l, mask));
	assert_int_equal(b.l.nconsts, 0);
	assert_int_equal(b.l.prog.nleaves, 2);
	assert_int_equal(b.l.prog.leaves[1].cls, LEAF_SCALAR);
	assert_true(b.l.leaf_values[1].f == 0.5);
	assert_null(b.l.leaf_nodes[1]);
	assert_null(prog_verify(&b.l.prog));
	unbuild(&b);
}

// ---- leaves and outputs ----
static void assigned(void **state_)
{
	tgc_context *c = open_context();
	tgc_tensor *v = state(c, 4), *u = state(c, 4), *x = tgc_input(c, TGC_F32, TGC_SHAPE(4));
	tgc_tensor *unused = tgc_input(c, TGC_I32, TGC_SHAPE(2));
	struct node *outs[2] = {tgc_add(v, x)->node, tgc_mul(v, x)->node};
	struct node *inputs[2] = {unused->node, x->node};
	struct variable *homes[2] = {v->var, u->var};
	struct arena a;
	struct linear l;

	(void)state_;
	arena_init(&a, NULL);
	assert_true(linear_build(c, &l, &a, 2, outs, homes, 2, inputs));
	assert_null(prog_verify(&l.prog));
	assert_int_equal(l.prog.nleaves, 4);
	assert_ptr_equal(l.leaf_nodes[0], unused->node); // inputs come first, read or not
	assert_ptr_equal(l.leaf_nodes[1], x->node);
	assert_int_equal(l.prog.leaves[l.prog.outs[0].assign].node, v->node->slot);
	assert_int_equal(l.prog.leaves[l.prog.outs[1].assign].node, -1); // stored to, read by nothing
	assert_ptr_equal(l.leaf_nodes[l.prog.outs[1].assign], u->node);
	prog_compact(&l.prog);
	assert_int_equal(l.prog.leaves[0].node, -1);
	assert_null(prog_verify(&l.prog));
	assert_false(linear_build(c, &l, &a, 1, outs, NULL, 0, NULL)); // x is not bound
	assert_int_equal(tgc_error_status(c), TGC_ERROR_HANDLE);
	arena_free(&a);
	close_context(c);
}

static void stale(void **state_)
{
	tgc_context *c = open_context();
	tgc_tensor *v = state(c, 4), *old = tgc_exp(v);
	struct node *next;
	struct arena a;
	struct linear l;

	(void)state_;
	assert_int_equal(tgc_assign(v, tgc_add(v, 1)), TGC_OK);
	next = variable_next(c, v->var);
	assert_non_null(next);
	variable_stored(c, v->var, next);
	arena_init(&a, NULL);
	assert_false(linear_build(c, &l, &a, 1, &old->node, NULL, 0, NULL));
	assert_int_equal(tgc_error_status(c), TGC_ERROR_HANDLE);
	assert_non_null(strstr(tgc_error_message(c), "overwritten"));
	assert_true(linear_build(c, &l, &a, 1, &v->node, NULL, 0, NULL));
	arena_free(&a);
	close_context(c);
}

// ---- long chains on a small stack ----
enum { CHAIN = 100000, SMALL_STACK = 512 << 10 };

static void *chain(void *failed)
{
	tgc_context *c = context_create(NULL);
	struct arena a;
	struct linear l;
	struct node *grad, *loss;

	c->backend.buffer_unref = no_buffer;
	tgc_tensor *v = tgc_variable(tgc_zeros(c, TGC_F32, TGC_SHAPE(2))), *x = v;
	for (int i = 0; i < CHAIN; i++)
		x = tgc_sin(x);
	arena_init(&a, NULL);
	loss = tgc_sum(x, TGC_ALL_AXES, false)->node;
	bool ok = autograd_build(c, loss, 1, &v->node, &grad) == TGC_OK &&
	          linear_build(c, &l, &a, 2, (struct node *[]){loss, grad}, NULL, 0, NULL) &&
	          l.prog.n > 3 * CHAIN;

	pass_argmax(&l.prog);
	pass_widen(&l.prog);
	pass_fma(&l.prog);
	ok = ok && !a.failed && !prog_verify(&l.prog);
	arena_free(&a);
	node_unref(c, grad);
	context_clear(c);
	ok = ok && c->table_used == 0;
	context_destroy(c);
	*(bool *)failed = !ok;
	return NULL;
}

static void small_stack(void **state_)
{
	pthread_attr_t attr;
	pthread_t t;
	bool failed = true;

	(void)state_;
	assert_int_equal(pthread_attr_init(&attr), 0);
	assert_int_equal(pthread_attr_setstacksize(&attr, SMALL_STACK), 0);
	assert_int_equal(pthread_create(&t, &attr, chain, &failed), 0);
	pthread_join(t, NULL);
	pthread_attr_destroy(&attr);
	assert_false(failed);
}

// ---- gradient errors ----
static void gradient_errors(void **state_)
{
	tgc_context *c = open_context();
	tgc_tensor *v = state(c, 4), *whole = tgc_variable(tgc_zeros(c, TGC_I32, TGC_SHAPE(4)));
	tgc_tensor *loss = tgc_sum(tgc_exp(v), TGC_ALL_AXES, false), *g;
	tgc_tensor *bits = tgc_bitcast(tgc_cast(v, TGC_F16), TGC_BF16);
	struct {
		tgc_tensor *loss, *wrt;
		const char *says;
	} rows[] = {
	    {v, v, "one floating-point number"},
	    {tgc_sum(whole, TGC_ALL_AXES, false), v, "one floating-point number"},
	    {loss, whole, "has no gradient"},
	    {tgc_sum(bits, TGC_ALL_AXES, false), v, "bitcast"},
	};

	(void)state_;
	for (int i = 0; i < TG_COUNT(rows); i++) {
		assert_int_equal(tgc_grad(rows[i].loss, 1, &rows[i].wrt, &g), TGC_ERROR_GRAD);
		assert_true(tgc_is_error(g));
		assert_non_null(strstr(tgc_error_message(c), rows[i].says));
		tgc_clear_error(c);
	}
	assert_int_equal(tgc_assign(v, tgc_add(v, 1)), TGC_OK);
	assert_int_equal(tgc_grad(loss, 1, &v, &g), TGC_ERROR_GRAD);
	tgc_clear_error(c);
	struct node *next = variable_next(c, v->var);
	assert_non_null(next);
	variable_stored(c, v->var, next);
	assert_int_equal(tgc_grad(loss, 1, &v, &g), TGC_ERROR_GRAD);
	assert_non_null(strstr(tgc_error_message(c), "stored since"));
	close_context(c);
}

// ---- memory that runs out at every allocation in turn ----
struct meter {
	int64_t left; // allocations until one fails
	int64_t bytes;
};

static void *metered(void *user, void *p, size_t old_bytes, size_t new_bytes)
{
	struct meter *m = user;
	void *q;

	if (new_bytes && m->left-- <= 0)
		return NULL;
	m->bytes += (int64_t)new_bytes - (int64_t)old_bytes;
	if (new_bytes)
		q = realloc(p, new_bytes);
	else {
		free(p);
		q = NULL;
	}
	assert_true(q || !new_bytes);
	return q;
}

static bool try_all(tgc_context *c, tgc_tensor *v, const tgc_tensor *loss)
{
	struct node *grad = NULL;
	struct arena a;
	struct linear l;
	bool ok;

	arena_init(&a, &c->host);
	ok = autograd_build(c, loss->node, 1, &v->node, &grad) == TGC_OK &&
	     linear_build(c, &l, &a, 1, &grad, &v->var, 0, NULL);
	if (ok) {
		uint8_t mask[8] = {1};

		assert_true(l.nconsts <= TG_COUNT(mask));
		ok = linear_promote(&l, mask);
		pass_argmax(&l.prog);
		pass_widen(&l.prog);
		pass_fma(&l.prog);
		assert_null(prog_verify(&l.prog)); // whole, whether a pass could run or not
		ok = ok && !a.failed;
	}
	if (!ok && !a.failed)
		assert_int_equal(tgc_error_status(c), TGC_ERROR_MEMORY);
	tgc_clear_error(c);
	node_unref(c, grad);
	arena_free(&a);
	return ok;
}

static void failing_memory(void **state_)
{
	struct meter m = {INT64_MAX, 0};
	tgc_context_options o = {.struct_size = sizeof o, .alloc = metered, .alloc_user = &m};
	tgc_context *c = context_create(&o);
	bool ok = false;

	(void)state_;
	c->backend.buffer_unref = no_buffer;
	tgc_tensor *v = tgc_variable(tgc_zeros(c, TGC_F16, TGC_SHAPE(4, 5)));
	tgc_tensor *x = tgc_sub(tgc_mul(tgc_tanh(tgc_mul(v, v)), 3), tgc_exp(v));
	tgc_tensor *loss = tgc_sum(x, TGC_ALL_AXES, false);
	for (int n = 0; !ok; n++) {
		size_t used = c->table_used;

		m.left = n;
		ok = try_all(c, v, loss);
		assert_int_equal(c->table_used, used);
		assert_true(n < 1000);
	}
	m.left = INT64_MAX;
	context_clear(c);
	context_destroy(c);
	assert_int_equal(m.bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(keys),           cmocka_unit_test(literals),    cmocka_unit_test(assigned),
	    cmocka_unit_test(stale),          cmocka_unit_test(small_stack), cmocka_unit_test(gradient_errors),
	    cmocka_unit_test(failing_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
