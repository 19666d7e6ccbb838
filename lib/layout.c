// Physical order of intermediates.
// In:  a program before grouping; a plan before memory is placed. Out: copies of operands in another order, as
// reshapes to their own shape; strides of arena buffers.
// Not here: leaves and outputs, which are row-major always.
#include "lib.h"

bool layout_is_copy(const struct prog *p, int node)
{
	const struct pnode *n = &p->nodes[node], *s;

	if (n->op != OP_RESHAPE)
		return false;
	s = &p->nodes[n->src[0]];
	if (s->rank != n->rank)
		return false;
	for (int i = 0; i < n->rank; i++)
		if (n->dims[i].n != s->dims[i].n)
			return false;
	return true;
}
