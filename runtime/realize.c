// Realizing: tensors and pending assignments become one program, which is looked up and run.
// In:  handles. Out: values with memory; variables stored and rebound to their next version.
// Not here: plans (plans.c), running them (exec.c), the interpreter's arithmetic (interp.c).
#include "runtime.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

struct tgc_later {
	struct tgc_later *next;
	struct tgc_context *ctx;
	struct node *node; // NULL once read
	double value;
};

// What one realize asks for: values of their own first, then assignments.
struct request {
	struct tgc_context *c;
	struct arena arena;
	int n, cap;
	struct node **outs;
	struct variable **assign; // NULL: a value of its own
	struct buffer **bufs;     // of values of their own
	struct node **next;       // of assignments: the variable's next leaf
};

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int64_t node_bytes(const struct node *n) { return node_elems(n) * (int64_t)tgc_type_bytes((tgc_type)n->type); }

static bool is_stored(const struct node *n)
{
	return n->buf || (n->op == OP_VARIABLE && !(n->flags & NODE_STALE));
}

// ---- running a program ------------------------------------------------------------------------------------------

static tgc_status interpret(struct tgc_context *c, struct linear *l, void *const *leaf_data, void *const *out_data)
{
	const struct prog *p = &l->prog;
	struct interp_value *values = calloc((size_t)p->n + 1, sizeof *values);
	if (!values)
		return context_fail(c, TGC_ERROR_MEMORY, "realize", "no memory for %d values", p->n);
	int32_t flag = -1;
	tgc_status s = interp_run(c, p, (const void *const *)leaf_data, values, &flag);
	for (int i = 0; i < p->nouts && !s; i++) {
		int32_t to = p->outs[i].assign;
		interp_store(&values[p->outs[i].node], to >= 0 ? leaf_data[to] : out_data[i]);
	}
	interp_values_free(p, values);
	free(values);
	if (!s && flag >= 0)
		s = context_fail(c, TGC_ERROR_INDEX, op_info[p->nodes[flag].op].name,
		                 p->nodes[flag].op == OP_CHECK ? "a condition was false at run time"
		                                               : "an index was out of range at run time");
	return s;
}

// Memory of every leaf; scalars go into a block of eight bytes each. Promotion may have appended leaves.
static tgc_status leaf_memory(struct request *r, const struct linear *l, void ***out)
{
	int n = l->prog.nleaves;
	void **data = ARENA_ARRAY(&r->arena, void *, n + 1);
	int64_t *block = ARENA_ARRAY(&r->arena, int64_t, n + 1);
	if (!data || !block)
		return context_fail(r->c, TGC_ERROR_MEMORY, "realize", "no memory for %d leaves", n);
	for (int i = 0; i < n; i++) {
		const struct pleaf *f = &l->prog.leaves[i];
		struct node *node = l->leaf_nodes[i];
		if (f->cls == LEAF_SCALAR) {
			number_store((tgc_type)f->type, l->leaf_values[i], &block[i]);
			data[i] = &block[i];
		} else if (f->cls == LEAF_VARIABLE && !node->buf) {
			struct variable *v = node_variable(node);
			if (!v->buf)
				v->buf = buffer_new(device_of(r->c)->memory, node_bytes(node));
			if (!v->buf)
				return context_fail(r->c, TGC_ERROR_MEMORY, "realize",
				                    "no memory for a variable of %lld bytes", (long long)node_bytes(node));
			data[i] = v->buf->data;
		} else {
			data[i] = node->buf->data;
		}
	}
	*out = data;
	return TGC_OK;
}

static tgc_status output_memory(struct request *r, void ***out)
{
	void **data = ARENA_ARRAY(&r->arena, void *, r->n + 1);
	r->bufs = ARENA_ARRAY(&r->arena, struct buffer *, r->n + 1);
	r->next = ARENA_ARRAY(&r->arena, struct node *, r->n + 1);
	if (!data || !r->bufs || !r->next)
		return context_fail(r->c, TGC_ERROR_MEMORY, "realize", "no memory for %d outputs", r->n);
	for (int i = 0; i < r->n; i++) {
		if (r->assign[i]) {
			r->next[i] = r->assign[i]->initial == r->outs[i] ? NULL : variable_next(r->c, r->assign[i]);
			if (!r->next[i] && r->assign[i]->initial != r->outs[i])
				return TGC_ERROR_MEMORY;
			continue;
		}
		r->bufs[i] = buffer_new(device_of(r->c)->memory, node_bytes(r->outs[i]));
		if (!r->bufs[i])
			return context_fail(r->c, TGC_ERROR_MEMORY, "realize",
			                    "no memory for a result of %lld bytes; the device holds %lld",
			                    (long long)node_bytes(r->outs[i]),
			                    (long long)allocator_bytes(device_of(r->c)->memory));
		data[i] = r->bufs[i]->data;
	}
	*out = data;
	return TGC_OK;
}

// ---- readers of old values -----------------------------------------------------------------------------------------
// A live handle whose value is not part of this program, but hangs on a variable that it overwrites, keeps the
// old value: it is copied before the run. Handles inside the program do not count; used later, they fail.

struct readers {
	struct request *r;
	uint32_t program; // epoch of the program's nodes
	uint32_t epoch;   // of this walk
	struct node **stack;
	int n, cap;
	bool failed;
};

static void push(struct readers *w, struct node *n)
{
	if (n->mark == w->epoch || n->buf)
		return;
	if (w->n == w->cap) {
		int cap = w->cap ? 2 * w->cap : 64;
		struct node **wide = realloc(w->stack, sizeof *wide * (size_t)cap);
		if (!wide) {
			w->failed = true;
			return;
		}
		w->stack = wide;
		w->cap = cap;
	}
	n->mark = w->epoch;
	w->stack[w->n++] = n;
}

static bool is_overwritten(const struct request *r, const struct node *n)
{
	const struct variable *v = node_variable(n);
	if (n->flags & NODE_STALE || v->home != n)
		return false;
	for (int i = 0; i < r->n; i++)
		if (r->assign[i] == v)
			return v->initial != r->outs[i];
	return false;
}

static void keep_old(struct readers *w, struct node *n)
{
	struct variable *v = node_variable(n);
	if (!v->buf)
		return;
	struct buffer *copy = buffer_new(device_of(w->r->c)->memory, v->buf->bytes);
	if (!copy) {
		w->failed = true;
		return;
	}
	if (copy->bytes)
		memcpy(copy->data, v->buf->data, (size_t)copy->bytes);
	n->buf = copy;
	context_log(w->r->c, 'p', "an old value of a variable is kept for a tensor that reads it (%lld bytes)",
	            (long long)copy->bytes);
}

static void look(tgc_tensor *t, void *user)
{
	struct readers *w = user;
	if (!t->node || t->node->buf || t->node->mark == w->program || t->var)
		return;
	push(w, t->node);
	while (w->n > 0) {
		struct node *n = w->stack[--w->n];
		if (n->op == OP_VARIABLE && is_overwritten(w->r, n))
			keep_old(w, n);
		for (int i = 0; i < n->nsrc; i++)
			push(w, n->src[i]);
	}
}

static tgc_status keep_old_values(struct request *r, bool assigns)
{
	if (!assigns)
		return TGC_OK;
	struct readers w = {.r = r, .program = r->c->epoch};
	w.epoch = ++r->c->epoch;
	handle_each(r->c, look, &w);
	free(w.stack);
	if (w.failed)
		return context_fail(r->c, TGC_ERROR_MEMORY, "realize", "no memory to keep the old value of a variable");
	return TGC_OK;
}

// ---- a request from start to end -----------------------------------------------------------------------------------

static void release(struct request *r)
{
	for (int i = 0; i < r->n; i++) {
		if (r->bufs && r->bufs[i])
			buffer_unref(r->bufs[i]);
		if (r->next && r->next[i])
			node_unref(r->c, r->next[i]);
	}
	arena_free(&r->arena);
}

static void commit(struct request *r)
{
	for (int i = 0; i < r->n; i++) {
		struct variable *v = r->assign[i];
		if (!v) {
			r->outs[i]->buf = r->bufs[i];
			r->bufs[i] = NULL;
		} else if (r->next[i]) {
			variable_stored(r->c, v, r->next[i]);
			r->next[i] = NULL;
		} else {
			node_unref(r->c, v->initial);
			v->initial = NULL;
		}
	}
}

static tgc_status run(struct request *r, bool assigns)
{
	struct linear l;
	void **leaf_data = NULL, **out_data = NULL;
	uint64_t begun = now_ns();
	if (!linear_build(r->c, &l, &r->arena, r->n, r->outs, r->assign, 0, NULL))
		return r->c->status ? r->c->status : TGC_ERROR_INTERNAL;
	tgc_status s = keep_old_values(r, assigns);
	if (!s)
		s = output_memory(r, &out_data);
	if (s)
		return s;
	struct plan_entry *e = NULL;
	if (!device_of(r->c)->interp && !(e = plans_get(r->c, &l)))
		return r->c->status ? r->c->status : TGC_ERROR_INTERNAL;
	s = leaf_memory(r, &l, &leaf_data);
	r->c->stats.host_ns_build += now_ns() - begun;
	if (!s)
		s = e ? exec_run(r->c, e, leaf_data, out_data) : interpret(r->c, &l, leaf_data, out_data);
	if (!s)
		commit(r);
	return s;
}

static bool add(struct request *r, struct node *n, struct variable *v)
{
	if (r->n == r->cap) {
		int cap = r->cap ? 2 * r->cap : 64;
		struct node **outs = ARENA_ARRAY(&r->arena, struct node *, cap);
		struct variable **assign = ARENA_ARRAY(&r->arena, struct variable *, cap);
		if (!outs || !assign)
			return false;
		if (r->n) {
			memcpy(outs, r->outs, sizeof *outs * (size_t)r->n);
			memcpy(assign, r->assign, sizeof *assign * (size_t)r->n);
		}
		r->outs = outs;
		r->assign = assign;
		r->cap = cap;
	}
	r->outs[r->n] = n;
	r->assign[r->n++] = v;
	return true;
}

static bool add_value(struct request *r, struct node *n)
{
	for (int i = 0; i < r->n; i++)
		if (r->outs[i] == n && !r->assign[i])
			return true;
	return is_stored(n) || add(r, n, NULL);
}

static tgc_status no_memory(struct request *r)
{
	return context_fail(r->c, TGC_ERROR_MEMORY, "realize", "no memory for %d outputs", r->n);
}

// First values of variables are plans of their own. One that hangs on another variable's first value waits for
// it: variables are made in order, so the list is served from its far end.
static tgc_status realize_one_initial(struct tgc_context *c, struct variable *v)
{
	struct request r = {.c = c};
	arena_init(&r.arena, &c->host);
	tgc_status s = add(&r, v->initial, v) ? run(&r, false) : no_memory(&r);
	release(&r);
	return s;
}

tgc_status realize_initial(struct tgc_context *c)
{
	for (;;) {
		struct variable *oldest = NULL;
		for (struct variable *v = c->variables; v; v = v->next)
			if (v->initial)
				oldest = v;
		if (!oldest)
			return TGC_OK;
		tgc_status s = realize_one_initial(c, oldest);
		if (s)
			return s;
	}
}

static bool add_later(struct request *r)
{
	for (struct tgc_later *l = device_of(r->c)->later; l; l = l->next)
		if (l->node && !add_value(r, l->node))
			return false;
	return true;
}

static double item_of(const struct node *n)
{
	const struct buffer *b = n->buf ? n->buf : node_variable(n)->buf;
	union number v = number_load((tgc_type)n->type, b->data);
	return type_is_float((tgc_type)n->type) ? v.f
	       : n->type == TGC_U64             ? (double)(uint64_t)v.i
	                                        : (double)v.i;
}

static void serve_later(struct tgc_context *c)
{
	struct device *d = device_of(c);
	while (d->later) {
		struct tgc_later *l = d->later;
		d->later = l->next;
		if (!l->node)
			continue;
		l->value = item_of(l->node);
		node_unref(c, l->node);
		l->node = NULL;
	}
}

static tgc_status collect(struct request *r, int n, tgc_tensor *const *tensors)
{
	for (int i = 0; i < n; i++)
		if (!(tensors[i]->var && variable_is_pending(tensors[i]->var)) && !add_value(r, tensors[i]->node))
			return no_memory(r);
	if (!add_later(r))
		return no_memory(r);
	if (r->c->assigns_pending)
		for (struct variable *v = r->c->variables; v; v = v->next)
			if (variable_is_pending(v) && !add(r, v->handle->node, v))
				return no_memory(r);
	return TGC_OK;
}

tgc_status realize_tensors(struct tgc_context *c, int n, tgc_tensor *const *tensors)
{
	tgc_status s = device_check(c, "realize");
	if (!s)
		s = realize_initial(c);
	if (s)
		return s;
	struct request r = {.c = c};
	arena_init(&r.arena, &c->host);
	s = collect(&r, n, tensors);
	if (!s && r.n)
		s = run(&r, c->assigns_pending > 0);
	release(&r);
	if (!s)
		serve_later(c);
	return s;
}

tgc_status realize_read(struct tgc_context *c, struct node *n, void *data, size_t bytes)
{
	const struct buffer *b = n->buf ? n->buf : n->op == OP_VARIABLE ? node_variable(n)->buf : NULL;
	if (!b)
		return context_fail(c, TGC_ERROR_HANDLE, "read", "the value is gone");
	if (bytes)
		memcpy(data, b->data, bytes);
	return TGC_OK;
}

// ---- public -------------------------------------------------------------------------------------------------------

tgc_status tgc_realize_n(int count, tgc_tensor *const *tensors)
{
	if (count < 1 || !tensors)
		return TGC_ERROR_ARG;
	struct door d = door_open("realize", DOOR_SITE, "tensor", count, tensors);
	tgc_status s = d.ok ? d.c->backend.realize(d.c, count, tensors) : d.status;
	door_leave(&d);
	return s;
}

tgc_status tgc_flush(tgc_context *c)
{
	struct door d = door_open_context("flush", DOOR_SITE, c);
	tgc_status s = d.ok ? c->backend.realize(c, 0, NULL) : d.status;
	door_leave(&d);
	return s;
}

tgc_status tgc_read(tgc_tensor *t, void *data, size_t bytes)
{
	struct door d = door_open("read", DOOR_SITE, "t", 1, &t);
	size_t want = d.ok ? (size_t)node_bytes(t->node) : 0;
	if (d.ok && (bytes != want || (!data && bytes)))
		door_fail(&d, TGC_ERROR_ARG, "data is %s, bytes is %zu; the tensor has %zu", data ? "given" : "NULL",
		          bytes, want);
	tgc_status s = d.ok ? d.c->backend.realize(d.c, 1, &t) : d.status;
	if (!s)
		s = d.c->backend.read(d.c, t->node, data, bytes);
	door_leave(&d);
	return s;
}

double tgc_item(tgc_tensor *t)
{
	struct door d = door_open("item", DOOR_SITE, "t", 1, &t);
	if (d.ok && node_elems(t->node) != 1)
		door_fail(&d, TGC_ERROR_SHAPE, "the tensor has %lld elements, not one", (long long)node_elems(t->node));
	tgc_status s = d.ok ? d.c->backend.realize(d.c, 1, &t) : d.status;
	double v = s ? NAN : item_of(t->node);
	door_leave(&d);
	return v;
}

static void drop_later(struct tgc_context *c, void *item)
{
	struct tgc_later *l = item;
	for (struct tgc_later **p = &device_of(c)->later; *p; p = &(*p)->next)
		if (*p == l) {
			*p = l->next;
			break;
		}
	node_unref(c, l->node);
}

tgc_later *tgc_item_later(tgc_tensor *t)
{
	struct door d = door_open("item_later", DOOR_SITE, "t", 1, &t);
	if (d.ok && node_elems(t->node) != 1)
		door_fail(&d, TGC_ERROR_SHAPE, "the tensor has %lld elements, not one", (long long)node_elems(t->node));
	struct tgc_later *l = d.ok ? scope_item(d.c, sizeof *l, drop_later) : NULL;
	if (l) {
		struct device *dev = device_of(d.c);
		*l = (struct tgc_later){.next = dev->later, .ctx = d.c, .node = node_ref(t->node)};
		dev->later = l;
	}
	door_leave(&d);
	return l;
}

double tgc_later_get(tgc_later *l)
{
	if (!l)
		return NAN;
	if (l->node && l->ctx->backend.realize(l->ctx, 0, NULL) != TGC_OK)
		return NAN;
	return l->value;
}
