// Handles and the scopes that own them.
// In:  nodes. Out: tgc_tensor handles with provenance, which die with their scope.
// Not here: variables' state (variable.c); the values themselves (node.c).
#include "lib.h"

enum { HANDLES_A_SLAB = 64 };

struct item { // other things that die with a scope
	struct item *next;
	size_t bytes;
	void (*drop)(struct tgc_context *c, void *item);
	max_align_t data[];
};
struct scope {
	struct scope *up;
	struct tgc_tensor *handles;
	struct item *items;
};

bool scope_push(struct tgc_context *c)
{
	struct scope *s = host_realloc(&c->host, NULL, 0, sizeof *s);
	if (!s)
		return false;
	*s = (struct scope){.up = c->scope};
	c->scope = s;
	return true;
}

void scope_pop(struct tgc_context *c)
{
	struct scope *s = c->scope;
	while (s->items) {
		struct item *i = s->items;
		s->items = i->next;
		if (i->drop)
			i->drop(c, i->data);
		host_realloc(&c->host, i, i->bytes, 0);
	}
	while (s->handles)
		handle_free(s->handles);
	c->scope = s->up;
	host_realloc(&c->host, s, sizeof *s, 0);
}

void handle_each(struct tgc_context *c, void (*fn)(tgc_tensor *t, void *user), void *user)
{
	for (tgc_tensor *t = c->kept; t; t = t->next)
		fn(t, user);
	for (struct scope *s = c->scope; s; s = s->up)
		for (tgc_tensor *t = s->handles; t; t = t->next)
			fn(t, user);
}

void *scope_item(struct tgc_context *c, size_t bytes, void (*drop)(struct tgc_context *c, void *item))
{
	size_t all = sizeof(struct item) + bytes;
	struct item *i = host_realloc(&c->host, NULL, 0, all);
	if (!i)
		return NULL;
	memset(i, 0, all);
	i->next = c->scope->items;
	i->bytes = all;
	i->drop = drop;
	c->scope->items = i;
	return i->data;
}

void tgc_scope_begin(tgc_context *ctx)
{
	if (!context_usable(ctx))
		return;
	ENTER(ctx);
	if (ctx->scopes_lost || !scope_push(ctx)) {
		ctx->scopes_lost++; // so that the matching end closes nothing
		context_fail(ctx, TGC_ERROR_MEMORY, "scope_begin", "no memory for a scope");
	}
	LEAVE(ctx);
}

void tgc_scope_end(tgc_context *ctx)
{
	if (!context_usable(ctx))
		return;
	ENTER(ctx);
	if (ctx->scopes_lost)
		ctx->scopes_lost--;
	else if (ctx->scope->up)
		scope_pop(ctx);
	else
		context_fail(ctx, TGC_ERROR_ARG, "scope_end", "no scope was begun");
	LEAVE(ctx);
}

static void link_to(struct tgc_tensor **list, struct tgc_tensor *t)
{
	t->next = *list;
	t->prev = list;
	if (t->next)
		t->next->prev = &t->next;
	*list = t;
}

static void unlink_from(struct tgc_tensor *t)
{
	*t->prev = t->next;
	if (t->next)
		t->next->prev = t->prev;
}

static struct tgc_tensor *storage(struct tgc_context *c)
{
	if (!c->free_handles) {
		struct tgc_tensor *slab = ARENA_ARRAY(&c->slabs, struct tgc_tensor, HANDLES_A_SLAB);
		c->slabs.failed = false;
		for (int i = 0; slab && i < HANDLES_A_SLAB; i++) {
			slab[i].next = c->free_handles;
			c->free_handles = &slab[i];
		}
	}
	struct tgc_tensor *t = c->free_handles;
	if (t)
		c->free_handles = t->next;
	return t;
}

tgc_tensor *handle_error(struct tgc_context *c)
{
	// Never written: everything that changes a handle looks for its node first.
	static const struct tgc_tensor nowhere = {.scope_name = ""};
	return context_usable(c) ? &c->error : (tgc_tensor *)(uintptr_t)&nowhere;
}

tgc_tensor *handle_new(struct tgc_context *c, struct node *n)
{
	if (!n)
		return handle_error(c);
	struct tgc_tensor *t = storage(c);
	if (!t) {
		node_unref(c, n);
		context_fail(c, TGC_ERROR_MEMORY, "tensor", "no memory for one more tensor");
		return handle_error(c);
	}
	*t = (struct tgc_tensor){.ctx = c, .node = n, .site = c->site, .scope_name = c->name};
	link_to(&c->scope->handles, t);
	c->stats.handles_live++;
	return t;
}

void handle_rebind(tgc_tensor *t, struct node *n)
{
	struct node *old = t->node;
	t->node = n;
	node_unref(t->ctx, old);
}

void handle_keep(tgc_tensor *t)
{
	unlink_from(t);
	link_to(&t->ctx->kept, t);
}

void handle_free(tgc_tensor *t)
{
	struct tgc_context *c = t->ctx;
	unlink_from(t);
	if (t->var)
		variable_release(c, t->var);
	node_unref(c, t->node);
	c->stats.handles_live--;
	t->node = NULL;
	t->next = c->free_handles;
	c->free_handles = t;
}

tgc_tensor *tgc_keep(tgc_tensor *t)
{
	if (!t)
		return handle_error(NULL);
	if (t->node)
		handle_keep(t);
	return t;
}

void tgc_release(tgc_tensor *t)
{
	if (t && t->node)
		handle_free(t);
}

tgc_tensor *tgc_error_tensor(tgc_context *ctx)
{
	return handle_error(ctx);
}

tgc_context *tgc_tensor_context(const tgc_tensor *t)
{
	return t ? t->ctx : NULL;
}
bool tgc_is_error(const tgc_tensor *t)
{
	return !t || !t->node;
}
tgc_type tgc_tensor_type(const tgc_tensor *t)
{
	return tgc_is_error(t) ? TGC_F32 : (tgc_type)t->node->type;
}
int64_t tgc_tensor_elems(const tgc_tensor *t)
{
	return tgc_is_error(t) ? 0 : node_elems(t->node);
}

tgc_shape tgc_tensor_shape(const tgc_tensor *t)
{
	tgc_shape s = tgc_shape_scalar();
	if (tgc_is_error(t))
		return s;
	s.rank = t->node->rank;
	for (int i = 0; i < s.rank; i++)
		s.dims[i] = t->node->dims[i].n;
	return s;
}
