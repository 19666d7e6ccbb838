// Programs held by hand: a plan that reruns without the graph.
// In:  inputs, outputs and the assignments that are pending. Out: runs over host buffers; text.
// Late scalars have their value of the moment of each run; random draws reserve new counters at each run.
// Not here: writing one as an object (export.c), its state (program_state.c), files (program_save.c,
// program_load.c).
#include "runtime.h"

#include <stdlib.h>

struct wanted { // what a program is made of
	struct tgc_program *p;
	struct node **inputs, **outs;
	struct variable **assign;
	int nassigns;
};

// ---- making one ----------------------------------------------------------------------------------------------------

static bool check_inputs(struct door *d, int n, tgc_tensor *const *inputs)
{
	for (int i = 0; i < n; i++) {
		const struct node *x = inputs[i]->node;
		if (x->op != OP_DATA || !x->attr[1])
			return door_fail(d, TGC_ERROR_ARG, "inputs[%d] was not made by tgc_input", i);
		for (int k = 0; k < i; k++)
			if (inputs[k]->node == x)
				return door_fail(d, TGC_ERROR_ARG, "inputs[%d] and inputs[%d] are the same", k,
				                 i);
	}
	return true;
}

static bool gather(struct wanted *w, int nin, tgc_tensor *const *inputs, int nout, tgc_tensor *const *outputs)
{
	struct arena *a = &w->p->arena;
	struct tgc_context *c = w->p->ctx;
	int pending = (int)c->assigns_pending, n = nout;
	w->inputs = ARENA_ARRAY(a, struct node *, nin + 1);
	w->outs = ARENA_ARRAY(a, struct node *, nout + pending + 1);
	w->assign = ARENA_ARRAY(a, struct variable *, nout + pending + 1);
	if (a->failed)
		return false;
	for (int i = 0; i < nin; i++)
		w->inputs[i] = inputs[i]->node;
	for (int i = 0; i < nout; i++)
		w->outs[i] = outputs[i]->node;
	for (struct variable *v = pending ? c->variables : NULL; v; v = v->next)
		if (variable_is_pending(v)) {
			w->outs[n] = v->handle->node;
			w->assign[n++] = v;
		}
	w->nassigns = n - nout;
	return true;
}

// Blocks of random numbers by the late scalar that counts them.
bool program_find_draws(struct tgc_program *p)
{
	const struct prog *g = &p->linear.prog;
	p->draws = ARENA_ARRAY(&p->arena, int64_t, g->nleaves + 1);
	if (!p->draws)
		return false;
	for (int i = 0; i < g->n; i++) {
		if (g->nodes[i].op != OP_RANDOM)
			continue;
		int leaf = g->nodes[g->nodes[i].src[1]].leaf;
		int64_t blocks = (prog_elems(g, i) + 3) / 4;
		if (leaf >= 0 && blocks > p->draws[leaf])
			p->draws[leaf] = blocks;
	}
	return true;
}

// The program's own copy of what linear_build left borrowed from the graph.
static bool own(struct tgc_program *p)
{
	struct linear *l = &p->linear;
	struct prog copy;
	if (!prog_copy(&copy, &p->arena, &l->prog))
		return false;
	l->prog = copy;
	if (!program_find_draws(p))
		return false;
	p->nheld = copy.nleaves;
	for (int i = 0; i < p->nheld; i++) {
		node_ref(l->leaf_nodes[i]);
		p->late |= copy.leaves[i].cls == LEAF_SCALAR;
	}
	return true;
}

static tgc_status build(struct wanted *w)
{
	struct tgc_program *p = w->p;
	struct tgc_context *c = p->ctx;
	int n = p->nouts + w->nassigns;
	if (!linear_build(c, &p->linear, &p->arena, n, w->outs, w->assign, p->ninputs, w->inputs))
		return c->status ? c->status : TGC_ERROR_INTERNAL;
	if (!own(p))
		return context_fail(c, TGC_ERROR_MEMORY, "compile", "no memory for a program");
	if (device_of(c)->kind->interp)
		return TGC_OK;
	struct plan_entry *e = plans_get(c, &p->linear);
	if (!e)
		return c->status ? c->status : TGC_ERROR_INTERNAL;
	p->entry = plan_entry_ref(e);
	return TGC_OK;
}

// The assignments belong to the program now; outside it the variables are what they were.
static void take_assigns(struct wanted *w)
{
	struct tgc_context *c = w->p->ctx;
	for (int i = 0; i < w->nassigns; i++) {
		struct variable *v = w->assign[w->p->nouts + i];
		handle_rebind(v->handle, node_ref(v->home));
		c->assigns_pending--;
	}
}

static tgc_program *compile(struct door *d, int nin, tgc_tensor *const *inputs, int nout,
                            tgc_tensor *const *outputs)
{
	struct tgc_program *p = calloc(1, sizeof *p);
	if (!p) {
		door_fail(d, TGC_ERROR_MEMORY, "no memory for a program");
		return NULL;
	}
	*p = (struct tgc_program){.ctx = d->c, .ninputs = nin, .nouts = nout};
	arena_init(&p->arena, &d->c->host);
	struct wanted w = {.p = p};
	bool ok = gather(&w, nin, inputs, nout, outputs);
	if (!ok)
		door_fail(d, TGC_ERROR_MEMORY, "no memory for a program");
	if (ok && build(&w) == TGC_OK)
		take_assigns(&w);
	else
		tgc_program_free(&p);
	return p;
}

tgc_program *tgc_compile(tgc_context *ctx, int inputs_count, tgc_tensor *const *inputs, int outputs_count,
                         tgc_tensor *const *outputs)
{
	struct door d = door_open_context("compile", DOOR_SITE, ctx);
	struct door in = {.ok = true}, out = {.ok = true};
	if (d.ok &&
	    (inputs_count < 0 || outputs_count < 0 || (inputs_count && !inputs) || (outputs_count && !outputs)))
		door_fail(&d, TGC_ERROR_ARG, "inputs or outputs are missing");
	if (d.ok && inputs_count) {
		in = door_open("compile", DOOR_SITE, "inputs", inputs_count, inputs);
		door_leave(&in);
	}
	if (d.ok && in.ok && outputs_count) {
		out = door_open("compile", DOOR_SITE, "outputs", outputs_count, outputs);
		door_leave(&out);
	}
	bool ok = d.ok && in.ok && out.ok && !device_check(ctx, d.op);
	if (ok && ((in.c && in.c != ctx) || (out.c && out.c != ctx)))
		ok = door_fail(&d, TGC_ERROR_HANDLE, "a tensor belongs to another context");
	tgc_program *p = ok && check_inputs(&d, inputs_count, inputs)
	                     ? compile(&d, inputs_count, inputs, outputs_count, outputs)
	                     : NULL;
	door_leave(&d);
	return p;
}

void tgc_program_free(tgc_program **pp)
{
	if (!pp || !*pp)
		return;
	struct tgc_program *p = *pp;
	*pp = NULL;
	if (p->loaded)
		program_release_state(p);
	for (int i = 0; i < p->nheld; i++)
		node_unref(p->ctx, p->linear.leaf_nodes[i]);
	plan_entry_unref(p->entry);
	arena_free(&p->arena);
	free(p);
}

// ---- running one ---------------------------------------------------------------------------------------------------

static void refresh(tgc_tensor *t, void *user)
{
	struct tgc_program *p = user;
	if (!t->scalar_id)
		return;
	for (int i = 0; i < p->nheld; i++)
		if (p->linear.prog.leaves[i].cls == LEAF_SCALAR &&
		    p->linear.leaf_nodes[i]->attr[0] == t->scalar_id)
			p->linear.leaf_values[i] = node_scalar_value(t->node);
}

bool program_is_seed(const struct tgc_program *p, int leaf)
{
	return leaf < p->nheld && p->linear.prog.leaves[leaf].cls == LEAF_SCALAR &&
	       p->linear.leaf_nodes[leaf]->attr[0] == p->ctx->seed_node->attr[0];
}

void program_scalars(struct tgc_program *p)
{
	if (p->late)
		handle_each(p->ctx, refresh, p);
}

void program_refresh(struct tgc_program *p)
{
	struct tgc_context *c = p->ctx;
	if (!p->late)
		return;
	program_scalars(p);
	for (int i = 0; i < p->nheld; i++) {
		if (program_is_seed(p, i))
			p->linear.leaf_values[i].i = (int64_t)c->seed;
		if (p->draws[i]) {
			p->linear.leaf_values[i].i = (int64_t)c->counter;
			c->counter += (uint64_t)p->draws[i];
		}
	}
}

static size_t bytes_of(const struct tgc_program *p, int node)
{
	const struct prog *g = &p->linear.prog;
	return (size_t)prog_elems(g, node) * tgc_type_bytes((tgc_type)g->nodes[node].type);
}

static size_t input_bytes(const struct tgc_program *p, int i)
{
	return bytes_of(p, p->linear.prog.leaves[i].node);
}

static size_t output_bytes(const struct tgc_program *p, int i)
{
	return bytes_of(p, p->linear.prog.outs[i].node);
}

static bool overlap(const void *x, size_t nx, const void *y, size_t ny)
{
	return (uintptr_t)x < (uintptr_t)y + ny && (uintptr_t)y < (uintptr_t)x + nx;
}

// An output that shares memory with an input must not be written before all is read.
static bool shares(const struct tgc_program *p, const void *const *inputs, void *const *outputs, int i)
{
	for (int k = 0; k < p->ninputs; k++)
		if (overlap(outputs[i], output_bytes(p, i), inputs[k], input_bytes(p, k)))
			return true;
	return false;
}

struct call {
	struct tgc_program *p;
	const void *const *inputs;
	void *const *outputs;
	struct arena arena;
	void **out_data;
	struct buffer **aside; // of outputs that share memory with inputs, or are far from the host
	struct buffer **staged; // inputs, where they are far; else NULL
	struct store *stores;
	int nstores;
};

static tgc_status stage_inputs(struct call *k, const void *const **inputs)
{
	struct tgc_program *p = k->p;
	const void **far = ARENA_ARRAY(&k->arena, const void *, p->ninputs + 1);
	k->staged = ARENA_ARRAY(&k->arena, struct buffer *, p->ninputs + 1);
	if (k->arena.failed)
		return context_fail(p->ctx, TGC_ERROR_MEMORY, "program_run", "no memory");
	for (int i = 0; i < p->ninputs; i++) {
		k->staged[i] = device_alloc(p->ctx, "program_run", (int64_t)input_bytes(p, i));
		if (!k->staged[i])
			return p->ctx->status;
		far[i] = k->staged[i]->data;
		tgc_status s = device_write(p->ctx, "program_run", k->staged[i]->data, k->inputs[i], input_bytes(p, i));
		if (s)
			return s;
	}
	*inputs = far;
	return TGC_OK;
}

static tgc_status prepare(struct call *k, void ***leaf_data)
{
	struct tgc_program *p = k->p;
	struct tgc_context *c = p->ctx;
	const struct prog *g = &p->linear.prog;
	k->out_data = ARENA_ARRAY(&k->arena, void *, g->nouts + 1);
	k->aside = ARENA_ARRAY(&k->arena, struct buffer *, g->nouts + 1);
	k->stores = ARENA_ARRAY(&k->arena, struct store, g->nouts + 1);
	if (k->arena.failed)
		return context_fail(c, TGC_ERROR_MEMORY, "program_run", "no memory");
	for (int i = 0; i < p->nouts; i++) {
		k->out_data[i] = k->outputs[i];
		if (!device_is_far(c) && !shares(p, k->inputs, k->outputs, i))
			continue;
		k->aside[i] = device_alloc(c, "program_run", (int64_t)output_bytes(p, i));
		if (!k->aside[i])
			return c->status;
		k->out_data[i] = k->aside[i]->data;
	}
	for (int i = p->nouts; i < g->nouts; i++)
		k->stores[k->nstores++].var = node_variable(p->linear.leaf_nodes[g->outs[i].assign]);
	tgc_status s = store_prepare(c, k->nstores, k->stores, 0);
	if (!s)
		s = realize_homes(c, &p->linear);
	program_refresh(p);
	const void *const *inputs = k->inputs;
	if (!s && device_is_far(c))
		s = stage_inputs(k, &inputs);
	return s ? s : realize_leaves(c, &k->arena, &p->linear, inputs, leaf_data);
}

static tgc_status run(struct call *k)
{
	struct tgc_program *p = k->p;
	void **leaf_data = NULL;
	tgc_status s = prepare(k, &leaf_data);
	if (!s)
		s = realize_run(p->ctx, &p->linear.prog, p->entry, leaf_data, k->out_data);
	for (int i = 0; i < p->nouts && k->aside; i++) {
		if (k->aside[i] && !s)
			s = device_read(p->ctx, "program_run", k->outputs[i], k->aside[i]->data, output_bytes(p, i));
		buffer_unref(k->aside[i]);
	}
	for (int i = 0; i < p->ninputs && k->staged; i++)
		buffer_unref(k->staged[i]);
	if (!s)
		store_commit(p->ctx, k->nstores, k->stores);
	else
		store_drop(p->ctx, k->nstores, k->stores);
	return s;
}

static bool all_given(struct door *d, const struct tgc_program *p, const void *const *inputs,
                      void *const *outputs)
{
	for (int i = 0; i < p->ninputs; i++)
		if (!inputs || (!inputs[i] && input_bytes(p, i)))
			return door_fail(d, TGC_ERROR_ARG, "inputs[%d] is NULL", i);
	for (int i = 0; i < p->nouts; i++)
		if (!outputs || (!outputs[i] && output_bytes(p, i)))
			return door_fail(d, TGC_ERROR_ARG, "outputs[%d] is NULL", i);
	return true;
}

tgc_status tgc_program_run(tgc_program *p, const void *const *inputs, void *const *outputs)
{
	struct door d = door_open_context("program_run", DOOR_SITE, p ? p->ctx : NULL);
	tgc_status s = d.status;
	if (d.ok)
		s = all_given(&d, p, inputs, outputs) ? d.c->backend.realize(d.c, 0, NULL) : d.status;
	if (d.ok && !s) {
		struct call k = {.p = p, .inputs = inputs, .outputs = outputs};
		arena_init(&k.arena, &d.c->host);
		s = run(&k);
		arena_free(&k.arena);
	}
	door_leave(&d);
	return s;
}

// ---- text ----------------------------------------------------------------------------------------------------------

char *tgc_program_text(const tgc_program *p)
{
	struct text t = {0};
	if (!p)
		return NULL;
	if (!p->entry) {
		prog_print(&p->linear.prog, &t);
		return text_take(&t);
	}
	int n;
	struct lowered *x = lowered_new(p->ctx, p->entry->plan, device_of(p->ctx)->target, false, &n);
	if (!x)
		return NULL;
	plan_print(p->entry->plan, &t);
	for (int i = 0; i < n; i++) {
		text_add(&t, "\n# kernel %d\n", i);
		kernel_print(x[i].kernel, &t);
	}
	lowered_free(x, n);
	return text_take(&t);
}
