// The public actions: realize, flush, read, item, and values asked for later.
// In:  handles. Out: bytes and numbers on the host.
// Not here: how (realize.c); programs (program.c).
#include "runtime.h"

#include <math.h>

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
	size_t want = d.ok ? (size_t)node_elems(t->node) * tgc_type_bytes((tgc_type)t->node->type) : 0;
	if (d.ok && !data && want)
		door_fail(&d, TGC_ERROR_ARG, "data is NULL");
	else if (d.ok && bytes != want)
		door_fail(&d, TGC_ERROR_ARG, "bytes is %zu, the tensor has %zu", bytes, want);
	tgc_status s = d.ok ? d.c->backend.realize(d.c, 1, &t) : d.status;
	if (!s)
		s = d.c->backend.read(d.c, t->node, data, bytes);
	door_leave(&d);
	return s;
}

static bool one_element(struct door *d, const tgc_tensor *t)
{
	if (d->ok && node_elems(t->node) != 1)
		door_fail(d, TGC_ERROR_SHAPE, "the tensor is %s, not one element", NODE_TEXT(t->node));
	return d->ok;
}

static double as_double(tgc_type t, const int64_t *bits)
{
	union number v = number_load(t, bits);
	if (type_is_float(t))
		return v.f;
	return t == TGC_U64 ? (double)(uint64_t)v.i : (double)v.i;
}

static double item_of(struct tgc_context *c, const struct node *n)
{
	const struct buffer *b = realize_buffer(n);
	int64_t bits = 0;
	if (!b || device_read(c, "item", &bits, b->data, tgc_type_bytes((tgc_type)n->type)))
		return NAN;
	return as_double((tgc_type)n->type, &bits);
}

double tgc_item(tgc_tensor *t)
{
	struct door d = door_open("item", DOOR_SITE, "t", 1, &t);
	double v = one_element(&d, t) && !d.c->backend.realize(d.c, 1, &t) ? item_of(d.c, t->node) : NAN;
	door_leave(&d);
	return v;
}

// ---- later ---------------------------------------------------------------------------------------------------------

static void unlink_later(struct tgc_later *l)
{
	struct tgc_later **p = &device_of(l->ctx)->later;
	while (*p && *p != l)
		p = &(*p)->next;
	if (*p)
		*p = l->next;
}

static void drop_later(struct tgc_context *c, void *item)
{
	struct tgc_later *l = item;
	unlink_later(l);
	node_unref(c, l->node);
	if (l->ticket >= 0)
		device_of(c)->kind->answer(c, l->ticket, NULL, 0);
}

void later_serve(struct tgc_context *c)
{
	for (struct tgc_later **p = &device_of(c)->later; *p;) {
		struct tgc_later *l = *p;
		if (!realize_buffer(l->node)) {
			p = &l->next;
			continue;
		}
		*p = l->next;
		l->type = (tgc_type)l->node->type;
		const struct device_kind *kind = device_of(c)->kind;
		if (kind->ask)
			l->ticket = kind->ask(c, realize_buffer(l->node)->data, tgc_type_bytes(l->type));
		if (l->ticket < 0)
			l->value = item_of(c, l->node);
		node_unref(c, l->node);
		l->node = NULL;
	}
}

tgc_later *tgc_item_later(tgc_tensor *t)
{
	struct door d = door_open("item_later", DOOR_SITE, "t", 1, &t);
	bool ok = one_element(&d, t) && !device_check(d.c, d.op);
	struct tgc_later *l = ok ? scope_item(d.c, sizeof *l, drop_later) : NULL;
	if (l) {
		struct device *dev = device_of(d.c);
		*l =
		    (struct tgc_later){.next = dev->later, .ctx = d.c, .node = node_ref(t->node), .ticket = -1, .value = NAN};
		dev->later = l;
	} else if (ok) {
		door_fail(&d, TGC_ERROR_MEMORY, "no memory");
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
	int64_t bits = 0;
	if (l->ticket >= 0 && !device_of(l->ctx)->kind->answer(l->ctx, l->ticket, &bits, tgc_type_bytes(l->type)))
		l->value = as_double(l->type, &bits);
	l->ticket = -1;
	return l->value;
}
