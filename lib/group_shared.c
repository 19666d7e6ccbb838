// Where an index goes, from a value back through its operands.
// In:  an axis of a value. Out: the axis of an operand that is asked at the very same index; none where it may be asked
// at others. Kernels whose blocks share leading axes (group_chain.c, group_partial.c) are found so.
// Not here: which axes are shared.
#include "plan.h"

int shared_axis(const struct pnode *n, int k)
{
	for (int i = 0; i < n->rank; i++)
		if (n->dims[i].n != 1 && k-- == 0)
			return i;
	return -1;
}

static int through_reshape(const struct pnode *n, const struct pnode *s, int axis)
{
	int64_t before = 1, at = 1;

	for (int i = 0; i < axis; i++)
		before *= n->dims[i].n;
	for (int i = 0; i < s->rank; i++) {
		if (at == before && s->dims[i].n == n->dims[axis].n)
			return i;
		at *= s->dims[i].n;
	}
	return SHARED_LOST;
}

static int through_contract(const struct pnode *n, int k, int axis)
{
	const struct tg_caxis *x = (const struct tg_caxis *)(const void *)n->attr;

	for (int i = 0; i < n->nattr / 8; i++)
		if (x[i].o == axis && x[i].role != ROLE_WINDOW)
			return (int)(k == 0 ? x[i].a : x[i].b);
	return SHARED_LOST;
}

int shared_through(const struct prog *p, int node, int k, int axis)
{
	const struct pnode *n = &p->nodes[node], *s = &p->nodes[n->src[k]];

	if (axis == SHARED_LOST)
		return SHARED_LOST;
	if (op_is_elementwise(n->op) || op_info[n->op].cls == CLASS_REDUCE)
		return axis;
	switch (n->op) {
	case OP_CONTRACT:
		return through_contract(n, k, axis);
	case OP_RESHAPE:
		return through_reshape(n, s, axis);
	case OP_PERMUTE:
		return (int)n->attr[axis];
	case OP_EXPAND:
		return s->dims[axis].n == n->dims[axis].n ? axis : SHARED_LOST;
	case OP_PAD:
		return k == 0 && !n->attr[3 * axis] && !n->attr[3 * axis + 1] && !n->attr[3 * axis + 2] ? axis
		                                                                                        : SHARED_LOST;
	case OP_SLICE:
		return s->dims[axis].n == n->dims[axis].n && n->attr[2 * axis] == 0 &&
		               n->attr[2 * axis + 1] == 1
		           ? axis
		           : SHARED_LOST;
	default:
		return SHARED_LOST;
	}
}

struct shared_axes shared_leading(const struct pnode *n, int shared)
{
	struct shared_axes a = {{0}};

	for (int i = 0; i < shared; i++)
		a.at[i] = (int8_t)shared_axis(n, i);
	return a;
}

struct shared_axes shared_all_through(const struct prog *p, int node, int k, struct shared_axes a, int shared)
{
	for (int i = 0; i < shared; i++)
		a.at[i] = (int8_t)shared_through(p, node, k, a.at[i]);
	return a;
}

bool shared_equal(struct shared_axes a, struct shared_axes b, int shared)
{
	return !memcmp(a.at, b.at, (size_t)shared);
}
