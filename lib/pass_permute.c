// A permuted contraction, written in the permuted order at once: the gradient of x @ w^T with respect to w comes
// out in w's own order, so that the optimizer's update can be its epilogue.
// In:  a program. Out: the same values; PERMUTE of a CONTRACT with one user is a CONTRACT.
#include "plan.h"

static int visit(void *user, struct prog *to, const struct prog *from, int node, const int32_t *src)
{
	const int32_t *uses = user;
	const struct pnode *n = &from->nodes[node];
	const struct pnode *inner = n->op == OP_PERMUTE ? &from->nodes[n->src[0]] : NULL;
	int64_t place[TGC_MAX_RANK]; // of each axis of the contraction in the result

	if (!inner || inner->op != OP_CONTRACT || uses[n->src[0]] != 1)
		return prog_keep(to, n, src);
	for (int i = 0; i < n->rank; i++)
		place[n->attr[i]] = i;
	struct tg_caxis *ax = arena_dup(to->arena, inner->attr, sizeof *inner->attr * inner->nattr);
	if (!ax)
		return -1;
	for (int i = 0; i < inner->nattr / 8; i++)
		if (ax[i].o >= 0)
			ax[i].o = place[ax[i].o];
	const int32_t *operands = to->nodes[src[0]].src; // numbers of the new program
	return prog_add(to, OP_CONTRACT, (tgc_type)n->type, n->rank, n->dims, 2, operands, inner->nattr,
	                (const int64_t *)ax);
}

void pass_permute(struct prog *p)
{
	int32_t *uses = prog_uses(p);

	if (uses)
		prog_rewrite(p, visit, uses);
}
