// State: variables, their assignments and versions; late scalars; the random generator's seed.
// In:  handles. Out: leaves with identity; an assignment rebinds the handle and waits for the runtime.
// Not here: storing (runtime/), which calls variable_next and variable_stored.
#include "lib.h"

static struct node *home_node(struct tgc_context *c, struct variable *v, const struct node *like,
                              int64_t version)
{
	int64_t attr[3] = {v->id, version, (int64_t)(uintptr_t)v};
	return node_new(c, OP_VARIABLE, (tgc_type)like->type, like->rank, like->dims, 0, NULL, 3, attr);
}

struct node *variable_unref(struct tgc_context *c, struct variable *v)
{
	if (--v->refs > 0)
		return NULL;
	struct node *initial = v->initial;
	if (v->buf)
		c->backend.buffer_unref(v->buf);
	host_realloc(&c->host, v, sizeof *v, 0);
	return initial;
}

static void drop(struct tgc_context *c, struct variable *v)
{
	node_unref(c, variable_unref(c, v));
}

bool variable_is_pending(const struct variable *v)
{
	return v->handle && v->handle->node != v->home;
}

void variable_release(struct tgc_context *c, struct variable *v)
{
	struct node *home = v->home;
	c->assigns_pending -= variable_is_pending(v);
	*v->prev = v->next;
	if (v->next)
		v->next->prev = v->prev;
	v->handle = NULL;
	v->home = NULL;
	node_unref(c, home);
	drop(c, v);
}

struct node *variable_next(struct tgc_context *c, struct variable *v)
{
	return home_node(c, v, v->home, v->version + 1);
}

void variable_stored(struct tgc_context *c, struct variable *v, struct node *next)
{
	struct node *old = v->home;
	old->flags |= NODE_STALE;
	c->assigns_pending -= variable_is_pending(v);
	handle_rebind(v->handle, node_ref(next));
	v->home = next;
	v->version++;
	v->assign_site = NULL;
	node_unref(c, old);
}

static tgc_tensor *create(struct tgc_context *c, struct node *initial)
{
	struct variable *v = host_realloc(&c->host, NULL, 0, sizeof *v);
	if (!v) {
		context_fail(c, TGC_ERROR_MEMORY, "variable", "no memory for a variable");
		return handle_error(c);
	}
	*v = (struct variable){.refs = 1, .id = node_new_id(c), .initial = node_ref(initial)};
	v->home = home_node(c, v, initial, 0);
	tgc_tensor *t = handle_new(c, node_ref(v->home));
	if (!t->node) {
		node_unref(c, v->home);
		drop(c, v);
		return t;
	}
	handle_keep(t);
	t->var = v;
	v->handle = t;
	v->next = c->variables;
	v->prev = &c->variables;
	if (v->next)
		v->next->prev = &v->next;
	c->variables = v;
	return t;
}

tgc_tensor *tgc_variable(tgc_tensor *initial)
{
	struct door d = door_open("variable", DOOR_SITE, "initial", 1, &initial);
	tgc_tensor *t = d.ok ? create(d.c, initial->node) : handle_error(d.c);
	door_leave(&d);
	return t;
}

bool tgc_is_variable(const tgc_tensor *t)
{
	return t && t->var;
}

static tgc_status assign(struct door *d, tgc_tensor *t, struct node *value)
{
	const struct node *was = t->var->home;
	if (was->type != value->type)
		door_fail(d, TGC_ERROR_TYPE, "the variable is %s, value is %s",
		          tgc_type_name((tgc_type)was->type), tgc_type_name((tgc_type)value->type));
	else if (!node_same_sizes(was, value))
		door_fail(d, TGC_ERROR_SHAPE, "the variable is %s, value is %s", NODE_TEXT(was),
		          NODE_TEXT(value));
	if (!d->ok)
		return d->status;
	d->c->assigns_pending -= variable_is_pending(t->var);
	handle_rebind(t, node_ref(value));
	d->c->assigns_pending += variable_is_pending(t->var);
	t->var->assign_site = d->c->site;
	return TGC_OK;
}

tgc_status tgc_assign(tgc_tensor *v, tgc_tensor *value)
{
	tgc_tensor *x[2] = {v, value};
	struct door d = door_open("assign", DOOR_SITE, "v,value", 2, x);
	if (d.ok && !v->var)
		door_fail(&d, TGC_ERROR_ARG, "v is no variable");
	tgc_status s = d.ok ? assign(&d, v, value->node) : d.status;
	door_leave(&d);
	return s;
}

struct node *scalar_node(struct tgc_context *c, tgc_type t, int64_t id, int64_t version, union number v)
{
	int64_t attr[3] = {id ? id : node_new_id(c), version, number_round(t, v).i};
	return node_new(c, OP_SCALAR, t, 0, NULL, 0, NULL, 3, attr);
}

static tgc_tensor *scalar(tgc_context *ctx, tgc_type type, double value, const void *site)
{
	struct door d = door_open_context("scalar", site, ctx);
	struct node *n = NULL;
	if (d.ok && door_type(&d, "type", type, 'A'))
		n = scalar_node(d.c, type, 0, 0, number_from_double(type, value));
	tgc_tensor *t = door_close(&d, n);
	if (t->node)
		t->scalar_id = t->node->attr[0];
	return t;
}

tgc_tensor *tgc_scalar(tgc_context *ctx, double value)
{
	return scalar(ctx, TGC_F32, value, DOOR_SITE);
}

tgc_tensor *tgc_scalar_typed(tgc_context *ctx, tgc_type type, double value)
{
	return scalar(ctx, type, value, DOOR_SITE);
}

tgc_status tgc_set(tgc_tensor *s, double value)
{
	struct door d = door_open("set", DOOR_SITE, "s", 1, &s);
	struct node *n = NULL;
	if (d.ok && !s->scalar_id)
		door_fail(&d, TGC_ERROR_ARG, "s is no late scalar");
	if (d.ok) {
		tgc_type t = (tgc_type)s->node->type;
		n = scalar_node(d.c, t, s->scalar_id, s->node->attr[1] + 1, number_from_double(t, value));
		if (!n)
			d.status = TGC_ERROR_MEMORY;
	}
	if (n)
		handle_rebind(s, n);
	door_leave(&d);
	return d.status;
}

void tgc_seed(tgc_context *ctx, uint64_t seed)
{
	if (!context_usable(ctx))
		return;
	struct node *old = ctx->seed_node;
	struct node *n = scalar_node(ctx, TGC_U64, old ? old->attr[0] : 0, old ? old->attr[1] + 1 : 0,
	                             (union number){.i = (int64_t)seed});
	if (!n)
		return;
	ctx->seed_node = n;
	node_unref(ctx, old);
	ctx->seed = seed;
	ctx->counter = 0;
}
