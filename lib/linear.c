// Graph to program, with its key.
// In:  output nodes. Out: struct linear: the program in topological order, its leaves, its literals apart, and
//      the skeleton by which a plan is found.
// One walk: numbers, instructions and key words are made together. Per node no allocation of its own.
// Not here: looking the key up (runtime/plans.c), passes (pass_*.c).
#include "plan.h"

#include <xxhash.h>

enum { KEY_ESCAPE = -1, KEY_SYMBOL = -2 };

struct frame {
	struct node *n;
	struct node **next, **end; // sources still to look at
};
struct walk {
	struct tgc_context *c;
	struct linear *l;
	struct arena *a;
	uint32_t epoch;
	struct frame *stack;
	int depth, stack_cap;
	uint32_t *key, *key_end; // where the key goes on, and to where there is room
	int leaves_cap, consts_cap;
	int64_t *syms; // by number
	int nsyms, syms_cap;
};

// Doubles an array in the arena; the old one is left behind.
static bool widen(struct arena *a, void *array, int used, int *cap, size_t bytes)
{
	int more = *cap ? *cap * 2 : 64;
	void *old, *new;

	memcpy(&old, array, sizeof old);
	new = arena_grow(a, old, bytes * (size_t)used, bytes * (size_t)more);
	if (!new)
		return false;
	memcpy(array, &new, sizeof new);
	*cap = more;
	return true;
}

static bool key_grow(struct walk *w, size_t more)
{
	struct linear *l = w->l;
	size_t used = (size_t)(w->key - l->key), cap = used * 2 + more + 1024;
	uint32_t *key = arena_grow(w->a, l->key, sizeof *key * used, sizeof *key * cap);

	if (!key)
		return false;
	l->key = key;
	w->key = key + used;
	w->key_end = key + cap;
	return true;
}

static inline bool key_reserve(struct walk *w, size_t more)
{
	return (size_t)(w->key_end - w->key) >= more || key_grow(w, more);
}

// The functions below write where key_reserve has made room, and return where to go on.
static inline uint32_t *put_number(uint32_t *k, int64_t v)
{
	if (v >= 0 && v <= INT32_MAX) {
		*k = (uint32_t)v;
		return k + 1;
	}
	k[0] = (uint32_t)KEY_ESCAPE;
	k[1] = (uint32_t)(uint64_t)v;
	k[2] = (uint32_t)((uint64_t)v >> 32);
	return k + 3;
}

// Symbols by first appearance, from 1; 0: out of memory.
static int symbol(struct walk *w, int64_t sym)
{
	for (int i = 0; i < w->nsyms; i++)
		if (w->syms[i] == sym)
			return i + 1;
	if (w->nsyms == w->syms_cap && !widen(w->a, &w->syms, w->nsyms, &w->syms_cap, sizeof *w->syms))
		return 0;
	w->syms[w->nsyms++] = sym;
	return w->nsyms;
}

// Sizes with symbols: the instruction gets dims of its own, with their numbers. NULL: out of memory.
static uint32_t *put_symbols(struct walk *w, struct pnode *p, uint32_t *k)
{
	struct dim *own = arena_dup(w->a, p->dims, sizeof *own * p->rank);

	p->dims = own;
	for (int i = 0; own && i < p->rank; i++) {
		if (own[i].sym) {
			own[i].sym = symbol(w, own[i].sym);
			if (!own[i].sym)
				return NULL;
			*k++ = (uint32_t)KEY_SYMBOL;
			*k++ = (uint32_t)own[i].sym;
		}
		k = put_number(k, own[i].n);
	}
	return own ? k : NULL;
}

static inline uint32_t *put_dims(struct walk *w, struct pnode *p, uint32_t *k)
{
	uint32_t *start = k;

	for (int i = 0; i < p->rank; i++) {
		if (p->dims[i].sym)
			return put_symbols(w, p, start);
		k = put_number(k, p->dims[i].n);
	}
	return k;
}

static int leaf_new(struct walk *w, enum leaf_class cls, int type, int32_t node, int64_t elems, struct node *n)
{
	struct linear *l = w->l;
	int cap = w->leaves_cap, again = cap, values = cap, nleaves = l->prog.nleaves;

	if (nleaves == cap && (!widen(w->a, &l->prog.leaves, nleaves, &cap, sizeof *l->prog.leaves) ||
	                       !widen(w->a, &l->leaf_nodes, nleaves, &again, sizeof(struct node *)) ||
	                       !widen(w->a, &l->leaf_values, nleaves, &values, sizeof *l->leaf_values)))
		return -1;
	w->leaves_cap = cap;
	l->prog.leaves[nleaves] =
	    (struct pleaf){.cls = (uint8_t)cls, .type = (uint8_t)type, .node = node, .elems = elems};
	l->leaf_nodes[nleaves] = n;
	l->leaf_values[nleaves] = cls == LEAF_SCALAR ? node_scalar_value(n) : (union number){.i = 0};
	return l->prog.nleaves++;
}

static bool const_new(struct walk *w, int32_t node, const struct node *n)
{
	struct linear *l = w->l;
	int cap = w->consts_cap, again = cap;

	if (l->nconsts == cap && (!widen(w->a, &l->consts, l->nconsts, &cap, sizeof *l->consts) ||
	                          !widen(w->a, &l->const_nodes, l->nconsts, &again, sizeof *l->const_nodes)))
		return false;
	w->consts_cap = cap;
	l->consts[l->nconsts].i = n->attr[0];
	l->const_nodes[l->nconsts++] = node;
	return true;
}

static bool fail(struct walk *w, const char *what)
{
	context_fail(w->c, TGC_ERROR_HANDLE, "realize", "%s", what);
	return false;
}

// The class of a node at which the walk stops; -1 if it does not.
static int leaf_class(const struct node *n)
{
	if (n->buf || n->op == OP_DATA)
		return n->buf ? LEAF_DATA : LEAF_INPUT;
	return n->op == OP_VARIABLE ? LEAF_VARIABLE : n->op == OP_SCALAR ? LEAF_SCALAR : -1;
}

static const uint8_t leaf_op[] = {
    [LEAF_VARIABLE] = OP_VARIABLE, [LEAF_DATA] = OP_DATA, [LEAF_INPUT] = OP_DATA, [LEAF_SCALAR] = OP_SCALAR};

static uint32_t *emit_leaf(struct walk *w, struct node *n, int cls, struct pnode *p, uint32_t *k)
{
	*p = (struct pnode){.op = leaf_op[cls], .type = n->type, .rank = n->rank, .dims = n->dims};
	p->leaf = leaf_new(w, (enum leaf_class)cls, n->type, n->slot, node_elems(n), n);
	*k++ = (uint32_t)(p->op | n->type << 8 | n->rank << 16 | (cls + 1) << 24);
	return p->leaf < 0 ? NULL : put_dims(w, p, k);
}

// The numbers of its sources are a part of the key: there they stay, also when the key moves on to more room.
static inline uint32_t *emit_op(struct walk *w, const struct node *n, struct pnode *p, uint32_t *k)
{
	int nsrc = n->nsrc;

	p->head = n->head;
	p->leaf = -1;
	p->attr = n->attr;
	memcpy(k, &n->head, sizeof n->head);
	k += sizeof n->head / sizeof *k;
	for (int i = 0; i < nsrc; i++)
		k[i] = (uint32_t)n->src[i]->slot;
	p->src = (int32_t *)k;
	k += nsrc;
	if (op_is_elementwise(n->op)) { // the sources say its shape, and there are no attributes
		p->dims = w->l->prog.nodes[p->src[0]].dims;
		return k;
	}
	p->dims = n->dims;
	if (n->op == OP_CONST)
		return const_new(w, n->slot, n) ? k : NULL;
	for (int i = 0; i < n->nattr; i++)
		k = put_number(k, n->attr[i]);
	return put_dims(w, p, k);
}

// Appends n; its sources are numbered.
static inline bool emit(struct walk *w, struct node *n, int cls)
{
	struct prog *prog = &w->l->prog;
	uint32_t *k;

	n->mark = w->epoch;
	if (n->op == OP_DETACH && cls < 0) { // means something to gradients only
		n->slot = n->src[0]->slot;
		return true;
	}
	if ((prog->n == prog->cap && !prog_reserve(prog, prog->n + 1)) ||
	    !key_reserve(w, 2 + 5 * TGC_MAX_RANK + 3 * ((size_t)n->nattr + n->nsrc)))
		return false;
	n->slot = prog->n;
	k = cls >= 0 ? emit_leaf(w, n, cls, &prog->nodes[prog->n], w->key)
	             : emit_op(w, n, &prog->nodes[prog->n], w->key);
	if (!k)
		return false;
	w->key = k;
	prog->n++;
	return true;
}

static bool usable(struct walk *w, const struct node *n, int cls)
{
	if (cls == LEAF_INPUT)
		return fail(w, "an input (tgc_input) has no value here: only tgc_compile can bind it");
	if (cls == LEAF_VARIABLE && n->flags & NODE_STALE)
		return fail(w, "a variable was overwritten by an assignment since this value was recorded; "
		               "realize the value before assigning");
	return true;
}

// A node met for the first time: leaves are appended at once, others wait for their sources.
static inline bool enter(struct walk *w, struct node *n)
{
	int cls = leaf_class(n);

	if (cls >= 0 || n->nsrc == 0)
		return usable(w, n, cls) && emit(w, n, cls);
	if (w->depth == w->stack_cap && !widen(w->a, &w->stack, w->depth, &w->stack_cap, sizeof *w->stack))
		return false;
	w->stack[w->depth++] = (struct frame){n, n->src, n->src + n->nsrc};
	return true;
}

// Post-order from n.
static bool visit(struct walk *w, struct node *n)
{
	while (n->mark == w->epoch || enter(w, n)) {
		struct frame *f;

		for (;;) { // what has all its sources
			if (w->depth == 0)
				return true;
			f = &w->stack[w->depth - 1];
			while (f->next < f->end && (*f->next)->mark == w->epoch)
				f->next++;
			if (f->next < f->end)
				break;
			if (!emit(w, f->n, -1))
				return false;
			w->depth--;
		}
		n = *f->next++;
	}
	return false;
}

static bool add_inputs(struct walk *w, int n, struct node *const *inputs)
{
	for (int i = 0; i < n; i++) {
		assert(inputs[i]->op == OP_DATA);
		if (inputs[i]->mark == w->epoch)
			return fail(w, "an input is listed twice");
		if (!emit(w, inputs[i], LEAF_INPUT))
			return false;
	}
	return true;
}

// The leaf of a variable that an output is stored to; one that nothing reads gets a leaf without a node.
static int32_t home_leaf(struct walk *w, const struct variable *v)
{
	struct linear *l = w->l;

	if (v->home->mark == w->epoch)
		return l->prog.nodes[v->home->slot].leaf;
	return leaf_new(w, LEAF_VARIABLE, v->home->type, -1, node_elems(v->home), v->home);
}

static bool add_outs(struct walk *w, int n, struct node *const *outs, struct variable *const *assign,
                     int ninputs)
{
	struct linear *l = w->l;

	l->prog.outs = ARENA_ARRAY(w->a, struct pout, n);
	l->out_nodes = arena_dup(w->a, outs, sizeof *outs * (size_t)n);
	if (!l->prog.outs || !l->out_nodes || !key_reserve(w, 2 + 2 * (size_t)n))
		return false;
	*w->key++ = (uint32_t)n;
	*w->key++ = (uint32_t)ninputs;
	for (int i = 0; i < n; i++) {
		struct pout *o = &l->prog.outs[l->prog.nouts++];

		o->node = outs[i]->slot;
		o->assign = -1;
		if (assign && assign[i]) {
			o->assign = home_leaf(w, assign[i]);
			if (o->assign < 0)
				return false;
		}
		*w->key++ = (uint32_t)o->node;
		*w->key++ = (uint32_t)(o->assign + 1);
	}
	return true;
}

bool linear_build(struct tgc_context *c, struct linear *l, struct arena *a, int nouts, struct node *const *outs,
                  struct variable *const *assign, int ninputs, struct node *const *inputs)
{
	struct walk w = {.c = c, .l = l, .a = a, .epoch = ++c->epoch};
	bool ok;

	*l = (struct linear){.prog.arena = a};
	ok = add_inputs(&w, ninputs, inputs);
	for (int i = 0; ok && i < nouts; i++)
		ok = visit(&w, outs[i]);
	ok = ok && add_outs(&w, nouts, outs, assign, ninputs);
	l->key_words = (size_t)(w.key - l->key);
	if (ok)
		l->hash = XXH3_64bits(l->key, l->key_words * sizeof *l->key);
	ok = ok && (!c->origins || linear_origins(c, l));
	if (a->failed)
		context_fail(c, TGC_ERROR_MEMORY, "realize",
		             "out of host memory for a program of %d operations", l->prog.n);
	return ok;
}

bool linear_promote(struct linear *l, const uint8_t *mask)
{
	struct arena *a = l->prog.arena;
	struct prog *p = &l->prog;
	int more = 0, kept = 0;
	size_t n = (size_t)p->nleaves;
	struct pleaf *leaves;
	struct node **nodes;
	union number *values;

	for (int i = 0; i < l->nconsts; i++)
		more += mask[i] != 0;
	leaves = ARENA_ARRAY(a, struct pleaf, p->nleaves + more);
	nodes = ARENA_ARRAY(a, struct node *, p->nleaves + more);
	values = ARENA_ARRAY(a, union number, p->nleaves + more);
	if (!leaves || !nodes || !values)
		return false;
	if (n) {
		memcpy(leaves, p->leaves, n * sizeof *leaves);
		memcpy(nodes, l->leaf_nodes, n * sizeof *nodes);
		memcpy(values, l->leaf_values, n * sizeof *values);
	}
	p->leaves = leaves;
	l->leaf_nodes = nodes;
	l->leaf_values = values;
	for (int i = 0; i < l->nconsts; i++) {
		struct pnode *x = &p->nodes[l->const_nodes[i]];

		if (!mask[i]) {
			l->const_nodes[kept] = l->const_nodes[i];
			l->consts[kept++] = l->consts[i];
			continue;
		}
		x->op = OP_SCALAR;
		x->nattr = 0;
		x->attr = NULL;
		x->leaf = p->nleaves;
		values[p->nleaves] = l->consts[i];
		leaves[p->nleaves++] =
		    (struct pleaf){.cls = LEAF_SCALAR, .type = x->type, .node = l->const_nodes[i], .elems = 1};
	}
	l->nconsts = kept;
	return true;
}
