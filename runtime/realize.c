// Realizing: tensors and pending assignments become one program, which is looked up and run.
// In:  handles. Out: values with memory; variables stored and rebound to their next version.
// Not here: plans (plans.c), running them (exec.c), old values of variables (store.c), public doors (action.c).
#include "runtime.h"

#include <stdlib.h>

// What one realize asks for: values of their own first, then assignments.
struct request {
	struct tgc_context *c;
	struct arena arena;
	int n, cap;
	struct node **outs;
	struct variable **assign; // NULL: a value of its own
	struct buffer **bufs;     // of values of their own
	int nstores;
	struct store *stores; // of the others
};

static int64_t node_bytes(const struct node *n) { return node_elems(n) * (int64_t)tgc_type_bytes((tgc_type)n->type); }

static tgc_status no_memory(struct tgc_context *c, int n)
{
	return context_fail(c, TGC_ERROR_MEMORY, "realize", "no host memory for %d values", n);
}

static tgc_status failed(const struct tgc_context *c) { return c->status ? c->status : TGC_ERROR_INTERNAL; }

struct buffer *realize_buffer(const struct node *n)
{
	if (n->buf || n->op != OP_VARIABLE || n->flags & NODE_STALE)
		return n->buf;
	return node_variable(n)->buf;
}

tgc_status realize_read(struct tgc_context *c, struct node *n, void *data, size_t bytes)
{
	const struct buffer *b = realize_buffer(n);
	if (!b)
		return context_fail(c, TGC_ERROR_HANDLE, "read", "the value is gone");
	return device_read(c, "read", data, b->data, bytes);
}

// ---- running a program ------------------------------------------------------------------------------------------

static tgc_status interpret(struct tgc_context *c, const struct prog *p, void *const *leaf_data,
                            void *const *out_data)
{
	struct interp_value *values = calloc((size_t)p->n + 1, sizeof *values);
	int32_t flag = -1;
	if (!values)
		return no_memory(c, p->n);
	tgc_status s = interp_run(c, p, (const void *const *)leaf_data, values, &flag);
	for (int i = 0; i < p->nouts && !s && flag < 0; i++) {
		int32_t to = p->outs[i].assign;
		interp_store(&values[p->outs[i].node], to >= 0 ? leaf_data[to] : out_data[i]);
	}
	if (!s)
		interp_values_free(p, values);
	free(values);
	if (!s && flag >= 0)
		s = exec_flag_error(c, p->nodes[flag].op);
	return s;
}

tgc_status realize_run(struct tgc_context *c, const struct prog *p, struct plan_entry *e, void *const *leaf_data,
                       void *const *out_data)
{
	return e ? exec_run(c, e, leaf_data, out_data) : interpret(c, p, leaf_data, out_data);
}

tgc_status realize_leaves(struct tgc_context *c, struct arena *a, const struct linear *l, const void *const *inputs,
                          void ***out)
{
	int n = l->prog.nleaves;
	void **data = ARENA_ARRAY(a, void *, n + 1);
	int64_t *block = ARENA_ARRAY(a, int64_t, n + 1);
	if (!data || !block)
		return no_memory(c, n);
	for (int i = 0; i < n; i++) {
		switch (l->prog.leaves[i].cls) {
		case LEAF_SCALAR:
			number_store((tgc_type)l->prog.leaves[i].type, l->leaf_values[i], &block[i]);
			data[i] = &block[i];
			break;
		case LEAF_VARIABLE:
			data[i] = node_variable(l->leaf_nodes[i])->buf->data;
			break;
		case LEAF_INPUT: // never written
			data[i] = (void *)(uintptr_t)inputs[i];
			break;
		default:
			data[i] = l->leaf_nodes[i]->buf->data;
		}
	}
	*out = data;
	return TGC_OK;
}

// ---- one request ---------------------------------------------------------------------------------------------------

static tgc_status output_memory(struct request *r, void ***out)
{
	void **data = ARENA_ARRAY(&r->arena, void *, r->n + 1);
	r->bufs = ARENA_ARRAY(&r->arena, struct buffer *, r->n + 1);
	if (!data || !r->bufs)
		return no_memory(r->c, r->n);
	for (int i = 0; i < r->n; i++) {
		if (r->assign[i])
			continue;
		r->bufs[i] = device_alloc(r->c, "realize", node_bytes(r->outs[i]));
		if (!r->bufs[i])
			return failed(r->c);
		data[i] = r->bufs[i]->data;
	}
	*out = data;
	return TGC_OK;
}

static tgc_status prepare_stores(struct request *r)
{
	r->stores = ARENA_ARRAY(&r->arena, struct store, r->n + 1);
	if (!r->stores)
		return no_memory(r->c, r->n);
	for (int i = 0; i < r->n; i++)
		if (r->assign[i])
			r->stores[r->nstores++].var = r->assign[i];
	return store_prepare(r->c, r->nstores, r->stores, r->c->epoch);
}

// Everything before the kernels run: the program, its plan, memory.
static tgc_status prepare(struct request *r, struct linear *l, struct plan_entry **e, void ***leaf_data,
                          void ***out_data)
{
	struct tgc_context *c = r->c;
	if (!linear_build(c, l, &r->arena, r->n, r->outs, r->assign, 0, NULL))
		return failed(c);
	tgc_status s = prepare_stores(r);
	if (!s)
		s = realize_homes(c, l);
	if (!s)
		s = output_memory(r, out_data);
	*e = NULL;
	if (!s && !device_of(c)->kind->interp && !(*e = plans_get(c, l)))
		s = failed(c);
	return s ? s : realize_leaves(c, &r->arena, l, NULL, leaf_data);
}

static void commit(struct request *r)
{
	for (int i = 0; i < r->n; i++)
		if (!r->assign[i])
			r->outs[i]->buf = r->bufs[i];
	store_commit(r->c, r->nstores, r->stores);
}

static void roll_back(struct request *r)
{
	for (int i = 0; i < r->n && r->bufs; i++)
		buffer_unref(r->bufs[i]);
	store_drop(r->c, r->nstores, r->stores);
}

static tgc_status run(struct request *r)
{
	struct linear l;
	struct plan_entry *e;
	void **leaf_data = NULL, **out_data = NULL;
	uint64_t plans = r->c->stats.plans_built, begun = clock_ns();
	tgc_status s = prepare(r, &l, &e, &leaf_data, &out_data);
	uint64_t ready = clock_ns();
	if (!s)
		s = realize_run(r->c, &l.prog, e, leaf_data, out_data);
	uint64_t ran = clock_ns();
	if (!s)
		commit(r);
	else
		roll_back(r);
	struct timeline *t = device_of(r->c)->timeline;
	if (t) {
		timeline_add(t, "prepare", "", begun, ready);
		timeline_add(t, "run", "", ready, ran);
		timeline_add(t, "realize", "", begun, clock_ns());
	}
	if (plans == r->c->stats.plans_built) // else a compiler was at work
		r->c->stats.host_ns_build += clock_ns() - ran + ready - begun;
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

// Each value once: the walk's mark says that it is in.
static bool add_value(struct request *r, struct node *n)
{
	bool stored = n->buf || (n->op == OP_VARIABLE && !(n->flags & NODE_STALE));
	if (stored || n->mark == r->c->epoch)
		return true;
	n->mark = r->c->epoch;
	return add(r, n, NULL);
}

// ---- first values of variables ---------------------------------------------------------------------------------------

// Takes the memory of an initialiser that nothing else reads, else a copy of it.
static tgc_status take_initial(struct tgc_context *c, struct variable *v)
{
	struct buffer *from = realize_buffer(v->initial);
	if (v->initial->refs == 1 && v->initial->buf && from->refs == 1) {
		v->buf = buffer_ref(from);
	} else {
		v->buf = device_alloc(c, "variable", from->bytes);
		if (!v->buf)
			return failed(c);
		tgc_status s = device_copy(c, "variable", v->buf->data, from->data, (size_t)from->bytes);
		if (s)
			return s;
	}
	struct node *initial = v->initial;
	v->initial = NULL;
	node_unref(c, initial);
	return TGC_OK;
}

static tgc_status store_initial(struct tgc_context *c, struct variable *v)
{
	struct request r = {.c = c};
	tgc_status s = TGC_OK;
	arena_init(&r.arena, &c->host);
	c->epoch++;
	if (!add_value(&r, v->initial))
		s = no_memory(c, 1);
	else if (r.n)
		s = run(&r);
	arena_free(&r.arena);
	return s ? s : take_initial(c, v);
}

// Whether none of the values hangs on another variable's first value.
static bool are_free(struct tgc_context *c, struct request *r, bool *free)
{
	struct linear l;
	if (!linear_build(c, &l, &r->arena, r->n, r->outs, r->assign, 0, NULL))
		return false;
	*free = true;
	for (int i = 0; i < l.prog.nleaves && *free; i++)
		*free = l.prog.leaves[i].cls != LEAF_VARIABLE || !node_variable(l.leaf_nodes[i])->initial;
	return true;
}

// All that are pending as one plan, so that what they need is compiled together; where one reads another's first
// value, nothing is done yet.
static tgc_status store_together(struct tgc_context *c)
{
	struct request r = {.c = c};
	tgc_status s = TGC_OK;
	bool free = false, ok = true;
	arena_init(&r.arena, &c->host);
	c->epoch++;
	for (struct variable *v = c->variables; v && ok; v = v->next)
		ok = !v->initial || add_value(&r, v->initial);
	if (!ok)
		s = no_memory(c, r.n);
	else if (r.n && !are_free(c, &r, &free))
		s = failed(c);
	else if (free)
		s = run(&r);
	arena_free(&r.arena);
	return s;
}

// One that reads another variable's first value waits for it: variables are made in order, so the list is served from
// its far end.
tgc_status realize_initial(struct tgc_context *c)
{
	struct variable *last = NULL;
	for (struct variable *v = c->variables; v; v = v->next)
		if (v->initial)
			last = v;
	tgc_status s = last ? store_together(c) : TGC_OK;
	while (last && !s) {
		s = store_initial(c, last);
		do
			last = last->prev == &c->variables
			           ? NULL
			           : (struct variable *)(void *)((char *)last->prev - offsetof(struct variable, next));
		while (last && !last->initial);
	}
	return s;
}

// A variable whose handle is gone, and which has no memory yet, may hang on others like it.
struct orphans {
	struct variable **v;
	size_t n, cap;
};

static tgc_status push_orphans(struct tgc_context *c, struct orphans *o, const struct linear *l)
{
	for (int i = 0; i < l->prog.nleaves; i++) {
		struct variable *v = l->prog.leaves[i].cls == LEAF_VARIABLE ? node_variable(l->leaf_nodes[i]) : NULL;
		if (!v || !v->initial)
			continue;
		if (o->n == o->cap) {
			size_t cap = o->cap ? 2 * o->cap : 16;
			struct variable **wide =
			    host_realloc(&c->host, o->v, sizeof *wide * o->cap, sizeof *wide * cap);
			if (!wide)
				return no_memory(c, (int)o->n);
			o->v = wide;
			o->cap = cap;
		}
		o->v[o->n++] = v;
	}
	return TGC_OK;
}

// Looks what the last one hangs on; if that is nothing more, stores it.
static tgc_status settle_orphan(struct tgc_context *c, struct orphans *o)
{
	struct variable *v = o->v[o->n - 1];
	size_t before = o->n;
	struct linear l;
	struct arena a;
	if (!v->initial) { // listed twice
		o->n--;
		return TGC_OK;
	}
	arena_init(&a, &c->host);
	tgc_status s = linear_build(c, &l, &a, 1, &v->initial, NULL, 0, NULL) ? push_orphans(c, o, &l) : failed(c);
	arena_free(&a);
	if (s || o->n > before)
		return s;
	o->n--;
	return store_initial(c, v);
}

tgc_status realize_homes(struct tgc_context *c, const struct linear *l)
{
	struct orphans o = {0};
	tgc_status s = push_orphans(c, &o, l);
	while (!s && o.n)
		s = settle_orphan(c, &o);
	host_realloc(&c->host, o.v, sizeof *o.v * o.cap, 0);
	return s;
}

// ---- the seam ----------------------------------------------------------------------------------------------------------

static bool collect(struct request *r, int n, tgc_tensor *const *tensors)
{
	struct tgc_context *c = r->c;
	bool ok = true;
	c->epoch++;
	for (int i = 0; i < n && ok; i++)
		ok = (tensors[i]->var && variable_is_pending(tensors[i]->var)) || add_value(r, tensors[i]->node);
	for (struct tgc_later *l = device_of(c)->later; l && ok; l = l->next)
		ok = add_value(r, l->node);
	for (struct variable *v = c->assigns_pending ? c->variables : NULL; v && ok; v = v->next)
		ok = !variable_is_pending(v) || add(r, v->handle->node, v);
	return ok;
}

tgc_status realize_tensors(struct tgc_context *c, int n, tgc_tensor *const *tensors)
{
	tgc_status s = device_check(c, "realize");
	if (!s)
		s = realize_initial(c);
	if (s)
		return s;
	later_serve(c); // a variable's value from before what is stored now
	struct device *d = device_of(c);
	struct request r = {.c = c, .arena = d->requests}; // its pages stay warm from step to step
	if (!collect(&r, n, tensors))
		s = no_memory(c, n);
	else if (r.n)
		s = run(&r);
	arena_reset(&r.arena);
	d->requests = r.arena;
	if (!s)
		later_serve(c);
	return s;
}
