// Products that feed a sum, rounded once: x * y + z as fma(x, y, z), x * y - z as fma(x, y, -z),
// z - x * y as fma(-x, y, z). Floats only.
// In:  a program after pass_widen. Out: the same values but for that rounding. The rule looks at the program
// alone (the product has one user; of two products the first), so fusion never changes bits.
#include "plan.h"

struct fuse {
	int32_t *uses;
};

static bool product(const struct fuse *f, const struct prog *p, int node)
{
	return p->nodes[node].op == OP_MUL && f->uses[node] == 1;
}

static int visit(void *user, struct prog *to, const struct prog *from, int node, const int32_t *src)
{
	const struct pnode *n = &from->nodes[node], *mul;
	tgc_type t = (tgc_type)n->type;
	int32_t x[3];
	int at;

	if ((n->op != OP_ADD && n->op != OP_SUB) || !type_is_float(t))
		return prog_keep(to, n, src);
	at = product(user, from, n->src[0]) ? 0 : product(user, from, n->src[1]) ? 1 : -1;
	if (at < 0)
		return prog_keep(to, n, src);
	mul = &to->nodes[src[at]]; // its sources are numbers of the new program
	x[0] = mul->src[0];
	x[1] = mul->src[1];
	x[2] = src[1 - at];
	if (n->op == OP_SUB)
		x[at ? 0 : 2] = prog_add1(to, OP_NEG, t, x[at ? 0 : 2]);
	return prog_add(to, OP_FMA, t, n->rank, n->dims, 3, x, 0, NULL);
}

void pass_fma(struct prog *p)
{
	struct fuse f = {prog_uses(p)};

	if (f.uses)
		prog_rewrite(p, visit, &f);
}
