// Public door of gradients.
// In:  a loss and what to differentiate by. Out: tensors of the gradients, or GRAD.
// Not here: the reverse walk (autograd.c). A gradient by a variable that was rebound meanwhile would be zero in
// silence, because the loss reads the value from before: it is refused, and the assignment is named.
#include "lib.h"

static bool not_rebound(struct door *d, int i, const tgc_tensor *w)
{
	char site[256];
	if (!w->var || !variable_is_pending(w->var))
		return true;
	context_site_text(d->c, w->var->assign_site, site, sizeof site);
	return door_fail(
	    d, TGC_ERROR_GRAD,
	    "wrt[%d] was rebound by the assignment at %s: take gradients before assigning, or realize and "
	    "build the loss anew",
	    i, site);
}

static bool fits(struct door *d, const struct node *loss, int count, tgc_tensor *const *wrt)
{
	if (!type_is_float((tgc_type)loss->type) || node_elems(loss) != 1)
		return door_fail(d, TGC_ERROR_GRAD, "the loss is %s %s, it must be one floating-point number",
		                 tgc_type_name((tgc_type)loss->type), NODE_TEXT(loss));
	for (int i = 0; i < count; i++) {
		tgc_type t = (tgc_type)wrt[i]->node->type;
		if (!type_is_float(t))
			return door_fail(d, TGC_ERROR_GRAD, "wrt[%d] is %s, which has no gradient", i,
			                 tgc_type_name(t));
		if (!not_rebound(d, i, wrt[i]))
			return false;
	}
	return true;
}

static bool differentiate(struct door *d, struct node *loss, int count, tgc_tensor *const *wrt,
                          tgc_tensor **grads)
{
	struct tgc_context *c = d->c;
	size_t bytes = sizeof(struct node *) * (size_t)count;
	struct node **nodes = host_realloc(&c->host, NULL, 0, 2 * bytes);
	if (!nodes)
		return door_fail(d, TGC_ERROR_MEMORY, "no memory for %d gradients", count);
	for (int i = 0; i < count; i++)
		nodes[i] = wrt[i]->node;
	d->status = autograd_build(c, loss, count, nodes, nodes + count);
	for (int i = 0; d->status == TGC_OK && i < count; i++) {
		grads[i] = handle_new(c, nodes[count + i]);
		if (!grads[i]->node)
			d->ok = false;
	}
	host_realloc(&c->host, nodes, 2 * bytes, 0);
	if (d->status == TGC_OK && !d->ok)
		d->status = TGC_ERROR_MEMORY;
	return d->status == TGC_OK;
}

static void refuse(struct tgc_context *c, int count, tgc_tensor **grads)
{
	for (int i = 0; i < count; i++) {
		tgc_release(grads[i]);
		grads[i] = handle_error(c);
	}
}

tgc_status tgc_grad(tgc_tensor *loss, int count, tgc_tensor *const *wrt, tgc_tensor **grads)
{
	struct door d = door_open("grad", DOOR_SITE, "loss", 1, &loss);
	if (d.ok && count > 0 && (!wrt || !grads))
		door_fail(&d, TGC_ERROR_ARG, "%s is NULL", wrt ? "grads" : "wrt");
	for (int i = 0; grads && i < count; i++)
		grads[i] = handle_error(d.c);
	if (d.ok && count > 0) {
		struct door w = door_open("grad", DOOR_SITE, "wrt", count, wrt);
		door_leave(&w);
		d.ok = w.ok && w.c == d.c;
		d.status = w.status;
		if (w.ok && w.c != d.c)
			d.status = context_fail(d.c, TGC_ERROR_HANDLE, d.op, "wrt belongs to another context");
	}
	if (d.ok && count > 0 && fits(&d, loss->node, count, wrt) &&
	    !differentiate(&d, loss->node, count, wrt, grads))
		refuse(d.c, count, grads);
	door_leave(&d);
	return d.status;
}
