// Variables before and after a run that overwrites them.
// In:  the variables. Out: leaves of their next versions, memory for homes, and copies of old values that live
// handles still read; after the run the handles read the new versions.
// A live handle counts as a reader if its value hangs on a variable but is not part of the run, or if it stands
// for the variable's old value itself. Values inside the run are not kept, because training would then keep
// every parameter: who uses one later gets an error that says so (linear.c).
#include "runtime.h"

struct readers {
	struct tgc_context *c;
	struct store *s;
	int n;
	uint32_t run, epoch; // of the run's nodes, of this walk
	struct node **stack;
	size_t depth, cap;
	tgc_status status;
};

static tgc_status no_memory(struct tgc_context *c)
{
	return context_fail(c, TGC_ERROR_MEMORY, "realize",
	                    "no memory to look for readers of a variable's old value");
}

static void push(struct readers *w, struct node *n)
{
	if (n->mark == w->epoch || n->buf)
		return;
	if (w->depth == w->cap) {
		size_t cap = w->cap ? 2 * w->cap : 64;
		struct node **wide =
		    host_realloc(&w->c->host, w->stack, sizeof *wide * w->cap, sizeof *wide * cap);
		if (!wide) {
			w->status = no_memory(w->c);
			return;
		}
		w->stack = wide;
		w->cap = cap;
	}
	n->mark = w->epoch;
	w->stack[w->depth++] = n;
}

static void keep_old(struct readers *w, const struct node *home)
{
	for (int i = 0; i < w->n; i++) {
		struct store *s = &w->s[i];
		if (s->var->home != home || s->keep)
			continue;
		s->keep = device_alloc(w->c, "realize", s->var->buf->bytes);
		if (!s->keep) {
			w->status = w->c->status;
			return;
		}
		w->status = device_copy(w->c, "realize", s->keep->data, s->var->buf->data, (size_t)s->keep->bytes);
		context_log(w->c, 'p',
		            "the old value of a variable is kept for a tensor that reads it (%lld bytes)",
		            (long long)s->keep->bytes);
	}
}

static void look(tgc_tensor *t, void *user)
{
	struct readers *w = user;
	struct node *n = t->node;
	if (!n || n->buf || t->var || w->status)
		return;
	if (n->op == OP_VARIABLE)
		keep_old(w, n);
	else if (n->mark != w->run)
		push(w, n);
	while (w->depth > 0 && !w->status) {
		n = w->stack[--w->depth];
		if (n->op == OP_VARIABLE)
			keep_old(w, n);
		for (int i = 0; i < n->nsrc; i++)
			push(w, n->src[i]);
	}
}

tgc_status store_prepare(struct tgc_context *c, int n, struct store *s, uint32_t epoch)
{
	for (int i = 0; i < n; i++) {
		struct variable *v = s[i].var;
		if (!v->home) // only a program still knows it
			continue;
		if (!v->buf)
			v->buf = device_alloc(c, "realize",
			                      node_elems(v->home) *
			                          (int64_t)tgc_type_bytes((tgc_type)v->home->type));
		s[i].next = v->buf ? variable_next(c, v) : NULL;
		if (!s[i].next)
			return c->status ? c->status : TGC_ERROR_MEMORY;
	}
	if (n == 0)
		return TGC_OK;
	struct readers w = {.c = c, .s = s, .n = n, .run = epoch};
	w.epoch = ++c->epoch;
	handle_each(c, look, &w);
	host_realloc(&c->host, w.stack, sizeof *w.stack * w.cap, 0);
	return w.status;
}

void store_commit(struct tgc_context *c, int n, struct store *s)
{
	for (int i = 0; i < n; i++) {
		if (!s[i].next)
			continue;
		s[i].var->home->buf = s[i].keep;
		variable_stored(c, s[i].var, s[i].next);
	}
}

void store_drop(struct tgc_context *c, int n, struct store *s)
{
	for (int i = 0; i < n; i++) {
		buffer_unref(s[i].keep);
		node_unref(c, s[i].next);
	}
}
