// Where nodes come from, for listings: the user's call, the name scope, whether it is part of a gradient.
// In:  handles, and what autograd appends. Out: by pnode of a linearised program, who asked for it.
// A side table that exists only where a listing is wanted (context.origins); it never enters a key, a plan or
// kernel text, and changes nothing that is computed.
// Not here: call sites as text (the runtime's site.c).
#include "plan.h"

struct entry {
	const struct node *node; // NULL: free
	struct origin origin;
};
struct origins {
	struct entry *at; // open addressing
	size_t cap, used;
};
enum { ORIGINS_MIN = 1024 };

static size_t home(const struct origins *o, const struct node *n) { return (size_t)n->hash & (o->cap - 1); }

static struct entry *look(const struct origins *o, const struct node *n)
{
	size_t i = home(o, n);
	while (o->at[i].node && o->at[i].node != n)
		i = (i + 1) & (o->cap - 1);
	return &o->at[i];
}

static bool grow(struct tgc_context *c, struct origins *o)
{
	struct origins wide = {.cap = o->cap ? 2 * o->cap : ORIGINS_MIN, .used = o->used};
	wide.at = host_realloc(&c->host, NULL, 0, sizeof *wide.at * wide.cap);
	if (!wide.at)
		return false;
	memset(wide.at, 0, sizeof *wide.at * wide.cap);
	for (size_t i = 0; i < o->cap; i++)
		if (o->at[i].node)
			*look(&wide, o->at[i].node) = o->at[i];
	host_realloc(&c->host, o->at, sizeof *o->at * o->cap, 0);
	*o = wide;
	return true;
}

// The first one stays. Without memory the listing knows less.
static void put(struct tgc_context *c, struct node *n, struct origin from)
{
	struct origins *o = c->origins;
	if (o->used >= o->cap / 2 && !grow(c, o))
		return;
	struct entry *e = look(o, n);
	if (e->node)
		return;
	*e = (struct entry){n, from};
	o->used++;
	n->flags |= NODE_NAMED;
}

bool origins_open(struct tgc_context *c)
{
	c->origins = host_realloc(&c->host, NULL, 0, sizeof *c->origins);
	if (c->origins)
		*c->origins = (struct origins){0};
	return c->origins != NULL;
}

void origins_close(struct tgc_context *c)
{
	if (!c->origins)
		return;
	host_realloc(&c->host, c->origins->at, sizeof *c->origins->at * c->origins->cap, 0);
	host_realloc(&c->host, c->origins, sizeof *c->origins, 0);
	c->origins = NULL;
}

void origin_forget(struct tgc_context *c, const struct node *n)
{
	struct origins *o = c->origins;
	if (!o || !o->cap)
		return;
	struct entry *e = look(o, n);
	if (!e->node)
		return;
	size_t hole = (size_t)(e - o->at), i = hole;
	o->used--;
	for (;;) { // whoever stands behind and may stand here moves up
		o->at[hole].node = NULL;
		do {
			i = (i + 1) & (o->cap - 1);
			if (!o->at[i].node)
				return;
		} while (((i - home(o, o->at[i].node)) & (o->cap - 1)) < ((i - hole) & (o->cap - 1)));
		o->at[hole] = o->at[i];
		hole = i;
	}
}

struct origin origin_of(const struct tgc_context *c, const struct node *n)
{
	const struct entry *e = c->origins && c->origins->cap && n->flags & NODE_NAMED ? look(c->origins, n) : NULL;
	return e && e->node ? e->origin : (struct origin){.scope = ""};
}

bool origin_known(const struct origin *o) { return o->site || o->scope[0]; }

// A variable's handle stands for what it was assigned, which has a place of its own.
static void of_handle(tgc_tensor *t, void *user)
{
	if (t->node && (!t->var || t->node == t->var->home))
		put(user, t->node, (struct origin){.scope = t->scope_name, .site = t->site});
}

void origins_of_handles(struct tgc_context *c)
{
	if (c->origins)
		handle_each(c, of_handle, c);
}

// What composed operations are made of has no handle: it belongs to whoever uses it.
void origins_inherit(struct tgc_context *c, int n, struct node *const *order)
{
	for (int i = c->origins ? n - 1 : -1; i >= 0; i--) {
		struct origin from = origin_of(c, order[i]);
		for (int s = 0; s < order[i]->nsrc && origin_known(&from); s++)
			put(c, order[i]->src[s], from);
	}
}

void origins_of_gradient(struct tgc_context *c, const struct node *of, int n, struct node *const *made)
{
	struct origin from = origin_of(c, of);
	from.gradient = true;
	for (int i = 0; i < n; i++)
		if (made[i]->op != OP_CONST) // shared by everybody
			put(c, made[i], from);
}

// ---- by pnode --------------------------------------------------------------------------------------------------------

bool linear_origins(struct tgc_context *c, struct linear *l)
{
	struct prog *p = &l->prog;
	l->origins = ARENA_ARRAY(p->arena, struct origin, p->n + 1);
	if (!l->origins)
		return false;
	for (int i = 0; i < p->n; i++)
		l->origins[i].scope = "";
	origins_of_handles(c);
	for (size_t b = 0; b < c->table_cap; b++)
		for (const struct node *n = c->table[b]; n; n = n->next)
			if (n->mark == c->epoch && n->op != OP_DETACH && n->slot >= 0 && n->slot < p->n)
				l->origins[n->slot] = origin_of(c, n);
	for (int i = p->n - 1; i >= 0; i--)
		for (int s = 0; s < p->nodes[i].nsrc; s++)
			if (!origin_known(&l->origins[p->nodes[i].src[s]]))
				l->origins[p->nodes[i].src[s]] = l->origins[i];
	return true;
}
