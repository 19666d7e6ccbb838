// Public doors that make tensors from numbers and host data.
// In:  a type, a shape, numbers or bytes. Out: constants, iotas, uploaded data, inputs of programs.
// Not here: variables and late scalars (variable.c), random numbers (random.c).
#include "lib.h"

static bool open_shape(struct door *d, tgc_type type, tgc_shape shape, struct dim *dims)
{
	if (!d->ok || !door_type(d, "type", type, 'A') || !door_shape(d, type, shape.rank, shape.dims))
		return false;
	for (int i = 0; i < shape.rank; i++)
		dims[i] = (struct dim){shape.dims[i], 0};
	return true;
}

static tgc_tensor *full(tgc_context *c, tgc_type type, tgc_shape shape, tgc_arg value, const void *site)
{
	struct door d = door_open_context("full", site, c);
	struct dim dims[TGC_MAX_RANK];
	struct node *r = NULL;
	if (open_shape(&d, type, shape, dims)) {
		union number v = value.kind == 1
		                     ? number_from_double(type, value.u.number)
		                     : number_cast(TGC_I64, type, (union number){.i = value.u.integer});
		r = build_full(c, type, shape.rank, dims, v);
	}
	return door_close(&d, r);
}

tgc_tensor *tgc_full(tgc_context *ctx, tgc_type type, tgc_shape shape, double value)
{
	return full(ctx, type, shape, tgc_arg_number(value), DOOR_SITE);
}

tgc_tensor *tgc_full_int(tgc_context *ctx, tgc_type type, tgc_shape shape, int64_t value)
{
	return full(ctx, type, shape, tgc_arg_integer(value), DOOR_SITE);
}

tgc_tensor *tgc_zeros(tgc_context *ctx, tgc_type type, tgc_shape shape)
{
	return full(ctx, type, shape, tgc_arg_integer(0), DOOR_SITE);
}

tgc_tensor *tgc_ones(tgc_context *ctx, tgc_type type, tgc_shape shape)
{
	return full(ctx, type, shape, tgc_arg_integer(1), DOOR_SITE);
}

tgc_tensor *tgc_iota(tgc_context *ctx, tgc_type type, tgc_shape shape, int axis)
{
	struct door d = door_open_context("iota", DOOR_SITE, ctx);
	struct dim dims[TGC_MAX_RANK];
	struct node *r = NULL;
	int a;
	if (open_shape(&d, type, shape, dims) && door_type(&d, "type", type, 'N') &&
	    door_axis(&d, shape.rank, axis, &a))
		r = build_iota(ctx, type, shape.rank, dims, a);
	return door_close(&d, r);
}

static struct node *data_node(struct tgc_context *c, tgc_type type, int rank, const struct dim *dims,
                              bool input)
{
	int64_t attr[2] = {node_new_id(c), input};
	return node_new(c, OP_DATA, type, rank, dims, 0, NULL, 2, attr);
}

tgc_tensor *tgc_from_data(tgc_context *ctx, tgc_type type, tgc_shape shape, const void *data)
{
	struct door d = door_open_context("from_data", DOOR_SITE, ctx);
	struct dim dims[TGC_MAX_RANK];
	struct node *r = NULL;
	int64_t bytes = (int64_t)tgc_type_bytes(type);
	if (!open_shape(&d, type, shape, dims))
		return door_close(&d, NULL);
	for (int i = 0; i < shape.rank; i++)
		bytes *= dims[i].n;
	if (bytes == 0)
		r = build_full(ctx, type, shape.rank, dims, (union number){.i = 0});
	else if (!data)
		door_fail(&d, TGC_ERROR_ARG, "data is NULL");
	else if (!ctx->backend.upload)
		door_fail(&d, TGC_ERROR_NODEVICE, "the context did not start");
	else
		r = data_node(ctx, type, shape.rank, dims, false);
	if (r && bytes > 0) {
		r->buf = ctx->backend.upload(ctx, data, (size_t)bytes);
		if (!r->buf) {
			node_unref(ctx, r);
			r = NULL;
		}
	}
	return door_close(&d, r);
}

tgc_tensor *tgc_input(tgc_context *ctx, tgc_type type, tgc_shape shape)
{
	struct door d = door_open_context("input", DOOR_SITE, ctx);
	struct dim dims[TGC_MAX_RANK];
	struct node *r = NULL;
	if (open_shape(&d, type, shape, dims))
		r = data_node(ctx, type, shape.rank, dims, true);
	return door_close(&d, r);
}

tgc_tensor *tgc_name_axis(tgc_tensor *t, int axis, const char *name)
{
	struct door d = door_open("name_axis", DOOR_SITE, "t", 1, &t);
	struct node *r = NULL;
	struct dim dims[TGC_MAX_RANK], named;
	int a;
	if (d.ok && !name)
		door_fail(&d, TGC_ERROR_ARG, "name is NULL");
	if (d.ok && door_axis(&d, t->node->rank, axis, &a)) {
		memcpy(dims, t->node->dims, sizeof *dims * t->node->rank);
		if (!context_symbol(d.c, name, dims[a].n, &named))
			door_fail(&d, TGC_ERROR_MEMORY, "no memory for the symbol %s", name);
		else if (named.n != dims[a].n)
			door_fail(&d, TGC_ERROR_SHAPE, "axis %d has %lld elements, \"%s\" stands for %lld",
			          axis, (long long)dims[a].n, name, (long long)named.n);
		else
			dims[a] = named;
		if (d.ok)
			r = build_reshape(d.c, t->node, t->node->rank, dims);
	}
	return door_close(&d, r);
}
