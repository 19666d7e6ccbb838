// Public doors of index operations: gather, scatter, check.
// In:  tensors and an axis. Out: a tensor, or one in error; indices are looked at when it runs.
// Not here: one_hot and cross entropy, which compare instead of indexing (compose.c).
#include "lib.h"

static bool index_type(struct door *d, const struct node *index)
{
	if (index->type == TGC_I32 || index->type == TGC_I64)
		return true;
	return door_fail(d, TGC_ERROR_TYPE, "index is %s, it must be i32 or i64",
	                 tgc_type_name((tgc_type)index->type));
}

// The shape of x gathered along axis a.
static bool gathered(struct door *d, const struct node *x, const struct node *index, int a, int *rank,
                     struct dim *dims)
{
	*rank = x->rank - 1 + index->rank;
	if (*rank > TGC_MAX_RANK)
		return door_fail(d, TGC_ERROR_RANK, "%s indexed by %s has %d axes; a tensor has at most %d",
		                 NODE_TEXT(x), NODE_TEXT(index), *rank, TGC_MAX_RANK);
	for (int i = 0; i < *rank; i++)
		dims[i] = i < a                 ? x->dims[i]
		          : i < a + index->rank ? index->dims[i - a]
		                                : x->dims[i - index->rank + 1];
	if (!door_dims(d, (tgc_type)x->type, *rank, dims))
		return false;
	if (x->dims[a].n == 0 && node_elems(index) > 0)
		return door_fail(d, TGC_ERROR_SHAPE, "axis %d of %s is empty, nothing can be taken from it", a,
		                 NODE_TEXT(x));
	return true;
}

tgc_tensor *tgc_gather(tgc_tensor *x, tgc_tensor *index, int axis)
{
	tgc_tensor *t[2] = {x, index};
	struct door d = door_open("gather", DOOR_SITE, "x,index", 2, t);
	struct node *r = NULL;
	struct dim dims[TGC_MAX_RANK];
	int a, rank;
	if (d.ok && index_type(&d, index->node) && door_axis(&d, x->node->rank, axis, &a) &&
	    gathered(&d, x->node, index->node, a, &rank, dims))
		r = build_gather(d.c, x->node, index->node, a);
	return door_close(&d, r);
}

tgc_tensor *tgc_scatter(tgc_tensor *base, tgc_tensor *index, tgc_tensor *updates, int axis,
                        tgc_scatter_mode mode)
{
	tgc_tensor *t[3] = {base, index, updates};
	struct door d = door_open("scatter", DOOR_SITE, "base,index,updates", 3, t);
	struct node *r = NULL;
	struct dim dims[TGC_MAX_RANK];
	int a, rank;
	if (d.ok && (unsigned)mode > TGC_SCATTER_MAX)
		door_fail(&d, TGC_ERROR_ARG, "mode %d", (int)mode);
	if (d.ok && mode != TGC_SCATTER_SET)
		door_type(&d, "base", (tgc_type)base->node->type, 'N');
	if (d.ok && index_type(&d, index->node) && door_same_type(&d, base->node, updates->node) &&
	    door_axis(&d, base->node->rank, axis, &a) &&
	    gathered(&d, base->node, index->node, a, &rank, dims)) {
		bool fits = rank == updates->node->rank;
		for (int i = 0; fits && i < rank; i++)
			fits = dims[i].n == updates->node->dims[i].n;
		if (fits)
			r = build_scatter(d.c, base->node, index->node, updates->node, a, (int)mode);
		else
			door_fail(&d, TGC_ERROR_SHAPE, "updates are %s, gathering gives %s",
			          NODE_TEXT(updates->node), shape_text(rank, dims).s);
	}
	return door_close(&d, r);
}

tgc_tensor *tgc_check(tgc_tensor *x, tgc_tensor *cond)
{
	tgc_tensor *t[2] = {x, cond};
	struct door d = door_open("check", DOOR_SITE, "x,cond", 2, t);
	struct node *r = NULL;
	struct dim dims[TGC_MAX_RANK];
	int rank;
	if (d.ok && cond->node->type != TGC_BOOL)
		door_fail(&d, TGC_ERROR_TYPE, "cond is %s, it must be bool",
		          tgc_type_name((tgc_type)cond->node->type));
	if (d.ok && door_broadcast(&d, 2, (struct node *[]){x->node, cond->node}, &rank, dims)) {
		struct node *y = NULL;
		bool fits = rank == x->node->rank;
		for (int i = 0; fits && i < rank; i++)
			fits = dims[i].n == x->node->dims[i].n;
		if (fits)
			y = build_broadcast(d.c, cond->node, rank, x->node->dims);
		else
			door_fail(&d, TGC_ERROR_SHAPE, "cond %s does not broadcast to x %s",
			          NODE_TEXT(cond->node), NODE_TEXT(x->node));
		r = build_check(d.c, x->node, y);
		node_unref(d.c, y);
	}
	return door_close(&d, r);
}
