// What makes a program sound.
// In:  a program. Out: NULL, or what is wrong with the first bad place.
// Checks order, counts of operands and attributes, types and shapes of every operation, leaves and outputs; so
// whoever reads a verified program may trust it. Not here: whether it computes the right thing.
#include "plan.h"

__extension__ typedef __int128 wide; // so that no sum or product of attributes wraps

struct check {
	const struct prog *p;
	const struct pnode *n;
	const struct pnode *s[3]; // the first sources
	const char *what;
};

static bool wrong(struct check *k, const char *what)
{
	k->what = what;
	return false;
}

static bool need(struct check *k, bool ok, const char *what)
{
	return ok || wrong(k, what);
}

static bool same_dims(int rank, const struct dim *x, const struct dim *y)
{
	for (int i = 0; i < rank; i++)
		if (x[i].n != y[i].n)
			return false;
	return true;
}

static bool same_shape(const struct pnode *x, const struct pnode *y)
{
	return x->rank == y->rank && same_dims(x->rank, x->dims, y->dims);
}

static bool counts(struct check *k, int nsrc, int nattr)
{
	return need(k, k->n->nsrc == nsrc, "number of operands") &&
	       need(k, k->n->nattr == nattr, "number of attributes");
}

static bool check_source(struct check *k)
{
	const struct pnode *n = k->n;

	switch (n->op) {
	case OP_CONST:
		return counts(k, 0, 1) && need(k, n->rank == 0, "a constant has rank 0");
	case OP_IOTA:
		return counts(k, 0, 1) && need(k, n->attr[0] >= 0 && n->attr[0] < n->rank, "axis");
	case OP_RANDOM:
		return counts(k, 2, 0) && need(k, n->type == TGC_U32, "random bits are u32") &&
		       need(k, k->s[0]->rank == 0 && k->s[1]->rank == 0, "seed and counter have rank 0");
	default:
		return counts(k, 0, 0) && need(k, n->leaf >= 0, "a leaf operation without a leaf");
	}
}

static bool check_elementwise(struct check *k)
{
	const struct pnode *n = k->n;
	enum op_class cls = op_info[n->op].cls;
	int arity = cls == CLASS_UNARY ? 1 : cls == CLASS_TERNARY ? 3 : 2;

	if (!counts(k, arity, 0))
		return false;
	for (int i = 0; i < arity; i++) {
		if (!same_shape(n, k->s[i]))
			return wrong(k, "operands of one shape");
		if (n->op == OP_CAST || n->op == OP_BITCAST)
			continue;
		if (n->op == OP_SELECT && i == 0) {
			if (k->s[0]->type != TGC_BOOL)
				return wrong(k, "a bool condition");
		} else if (cls == CLASS_COMPARE ? k->s[i]->type != k->s[0]->type : k->s[i]->type != n->type) {
			return wrong(k, "operands of one type");
		}
	}
	if (cls == CLASS_COMPARE)
		return need(k, n->type == TGC_BOOL, "a bool result");
	if (n->op == OP_BITCAST)
		return need(k, tgc_type_bytes((tgc_type)n->type) == tgc_type_bytes((tgc_type)k->s[0]->type),
		            "types of one width");
	return need(k, n->op == OP_CAST || op_allows(n->op, (tgc_type)n->type), "a type the operation allows");
}

static bool check_permute(struct check *k)
{
	uint32_t seen = 0;

	if (!counts(k, 1, k->s[0]->rank) || !need(k, k->n->rank == k->s[0]->rank, "rank"))
		return false;
	for (int i = 0; i < k->n->rank; i++) {
		int64_t from = k->n->attr[i];

		if (from < 0 || from >= k->n->rank || seen >> from & 1)
			return wrong(k, "a permutation");
		seen |= 1u << from;
		if (k->n->dims[i].n != k->s[0]->dims[from].n)
			return wrong(k, "size of a permuted axis");
	}
	return true;
}

static bool check_expand(struct check *k)
{
	if (!counts(k, 1, 0) || !need(k, k->n->rank == k->s[0]->rank, "rank"))
		return false;
	for (int i = 0; i < k->n->rank; i++)
		if (k->s[0]->dims[i].n != k->n->dims[i].n && k->s[0]->dims[i].n != 1)
			return wrong(k, "only axes of size 1 expand");
	return true;
}

static bool check_pad(struct check *k)
{
	if (!counts(k, 2, 3 * k->s[0]->rank) || !need(k, k->n->rank == k->s[0]->rank, "rank") ||
	    !need(k, k->s[1]->rank == 0 && k->s[1]->type == k->n->type, "a fill of rank 0 and of the type"))
		return false;
	for (int i = 0; i < k->n->rank; i++) {
		const int64_t *w = k->n->attr + 3 * i;
		wide n = k->s[0]->dims[i].n;

		if (w[2] < 0 || k->n->dims[i].n != (wide)w[0] + w[1] + (n ? n + (n - 1) * w[2] : 0))
			return wrong(k, "size of a padded axis");
	}
	return true;
}

static bool check_slice(struct check *k)
{
	if (!counts(k, 1, 2 * k->s[0]->rank) || !need(k, k->n->rank == k->s[0]->rank, "rank"))
		return false;
	for (int i = 0; i < k->n->rank; i++) {
		int64_t start = k->n->attr[2 * i], step = k->n->attr[2 * i + 1], n = k->n->dims[i].n;

		if (step < 1 || (n && (start < 0 || start + (wide)(n - 1) * step >= k->s[0]->dims[i].n)))
			return wrong(k, "a slice inside its axis");
	}
	return true;
}

static bool check_concat(struct check *k)
{
	int64_t axis = k->n->nattr == 1 ? k->n->attr[0] : -1;
	wide total = 0;

	if (!need(k, axis >= 0 && axis < k->n->rank && k->n->nsrc > 0, "axis"))
		return false;
	for (int i = 0; i < k->n->nsrc; i++) {
		const struct pnode *s = &k->p->nodes[k->n->src[i]];

		if (s->rank != k->n->rank || s->type != k->n->type)
			return wrong(k, "parts of one rank and type");
		for (int d = 0; d < s->rank; d++)
			if (d != axis && s->dims[d].n != k->n->dims[d].n)
				return wrong(k, "parts that differ along the axis only");
		total += s->dims[axis].n;
	}
	return need(k, total == k->n->dims[axis].n, "size of the joined axis");
}

// Window and fold: `x` has the axis whole, `taps` has positions there and the taps as one more axis.
static bool check_window(struct check *k, const struct pnode *x, const struct pnode *taps)
{
	const int64_t *w = k->n->attr; // axis, size, stride, dilation
	wide positions;

	if (!counts(k, 1, 4) || !need(k, taps->rank == x->rank + 1, "rank") ||
	    !need(k, w[0] >= 0 && w[0] < x->rank && w[1] >= 1 && w[2] >= 1 && w[3] >= 1,
	          "window attributes") ||
	    !need(k, taps->dims[x->rank].n == w[1], "number of taps"))
		return false;
	for (int i = 0; i < x->rank; i++)
		if (i != w[0] && x->dims[i].n != taps->dims[i].n)
			return wrong(k, "size of another axis");
	positions = taps->dims[w[0]].n;
	return need(k, positions == 0 || (positions - 1) * w[2] + (wide)(w[1] - 1) * w[3] < x->dims[w[0]].n,
	            "windows inside the axis");
}

static bool check_reshape(struct check *k)
{
	return counts(k, 1, 0) &&
	       need(k, prog_elems(k->p, k->n->src[0]) == prog_elems(k->p, (int)(k->n - k->p->nodes)),
	            "a reshape keeps the number of elements");
}

static bool check_flip(struct check *k)
{
	return counts(k, 1, k->n->rank) && need(k, same_shape(k->n, k->s[0]), "shape");
}

static bool check_move(struct check *k)
{
	if (!need(k, k->n->nsrc >= 1, "number of operands") || !need(k, k->n->type == k->s[0]->type, "type"))
		return false;
	switch (k->n->op) {
	case OP_RESHAPE:
		return check_reshape(k);
	case OP_PERMUTE:
		return check_permute(k);
	case OP_EXPAND:
		return check_expand(k);
	case OP_PAD:
		return k->n->nsrc == 2 ? check_pad(k) : wrong(k, "number of operands");
	case OP_SLICE:
		return check_slice(k);
	case OP_FLIP:
		return check_flip(k);
	case OP_CONCAT:
		return check_concat(k);
	case OP_WINDOW:
		return check_window(k, k->s[0], k->n);
	default:
		return check_window(k, k->n, k->s[0]);
	}
}

static bool check_reduce(struct check *k)
{
	const struct pnode *n = k->n;
	int64_t mask = n->nattr ? n->attr[0] : 0;

	if (!need(k, n->nsrc == 1 && (n->nattr == 1 || (n->op == OP_RMAX && n->nattr == 2)), "operands") ||
	    !need(k, n->rank == k->s[0]->rank && mask > 0 && mask < (int64_t)1 << n->rank, "mask of axes") ||
	    !need(k, n->op == OP_ARGMAX ? n->type == TGC_I64 && !(mask & (mask - 1)) : n->type == k->s[0]->type,
	          "type of a reduction"))
		return false;
	for (int i = 0; i < n->rank; i++)
		if (n->dims[i].n != (mask >> i & 1 ? 1 : k->s[0]->dims[i].n))
			return wrong(k, "size of a reduced axis");
	return true;
}

// Whether axis i of x is `axis`'s part for the role; marks it in *seen.
static bool role_axis(const struct pnode *x, int64_t axis, bool there, uint32_t *seen)
{
	if (!there)
		return axis == -1;
	if (axis < 0 || axis >= x->rank || *seen >> axis & 1)
		return false;
	*seen |= 1u << axis;
	return true;
}

// Every index that a window computes fits in 62 bits.
static bool window_fits(const struct pnode *a, const struct pnode *b, const struct pnode *o,
                        const struct tg_caxis *x)
{
	wide tap = x->dil_b < 0 ? -(wide)x->dil_b : x->dil_b, pad = x->pad < 0 ? -(wide)x->pad : x->pad;
	wide at = (wide)o->dims[x->o].n * x->stride + b->dims[x->b].n * tap + pad;

	return at < (wide)1 << 62 && (wide)a->dims[x->a].n * x->dil_a < (wide)1 << 62;
}

static bool check_axis(struct check *k, const struct tg_caxis *x, uint32_t seen[3])
{
	int r = (int)x->role;
	const struct pnode *a = k->s[0], *b = k->s[1], *o = k->n;

	if (!need(k, x->role >= ROLE_BATCH && x->role <= ROLE_WINDOW, "role") ||
	    !need(k,
	          role_axis(a, x->a, r != ROLE_RIGHT, &seen[0]) &&
	              role_axis(b, x->b, r != ROLE_LEFT, &seen[1]) &&
	              role_axis(o, x->o, r != ROLE_CONTRACTED, &seen[2]),
	          "axes of a role"))
		return false;
	if (r == ROLE_WINDOW)
		return need(k, x->stride > 0 && x->dil_a > 0 && x->dil_b != 0 && window_fits(a, b, o, x),
		            "stride and dilation");
	return need(k, x->a < 0 || x->b < 0 || a->dims[x->a].n == b->dims[x->b].n, "sizes of paired axes") &&
	       need(k, x->a < 0 || x->o < 0 || a->dims[x->a].n == o->dims[x->o].n, "size of a result axis") &&
	       need(k, x->b < 0 || x->o < 0 || b->dims[x->b].n == o->dims[x->o].n, "size of a result axis") &&
	       need(k, x->stride == 1 && x->pad == 0 && x->dil_a == 1 && x->dil_b == 1,
	            "a role without a window");
}

static bool check_contract(struct check *k)
{
	const struct tg_caxis *x = (const struct tg_caxis *)(const void *)k->n->attr;
	uint32_t seen[3] = {0};

	if (!need(k, k->n->nsrc == 2 && k->n->nattr % 8 == 0, "operands") ||
	    !need(k, k->s[0]->type == k->n->type && k->s[1]->type == k->n->type, "types of a contraction"))
		return false;
	for (int i = 0; i < k->n->nattr / 8; i++)
		if (!check_axis(k, &x[i], seen))
			return false;
	return need(k,
	            seen[0] == (1u << k->s[0]->rank) - 1 && seen[1] == (1u << k->s[1]->rank) - 1 &&
	                seen[2] == (1u << k->n->rank) - 1,
	            "every axis in one role");
}

// x with its axis replaced by the index's shape.
static bool check_gathered(struct check *k, const struct pnode *x, const struct pnode *index,
                           const struct pnode *picked)
{
	int64_t axis = k->n->attr[0];

	return need(k, axis >= 0 && axis < x->rank, "axis") &&
	       need(k, index->type == TGC_I32 || index->type == TGC_I64, "an i32 or i64 index") &&
	       need(k, picked->rank == x->rank - 1 + index->rank && picked->type == x->type, "rank and type") &&
	       need(k,
	            same_dims((int)axis, picked->dims, x->dims) &&
	                same_dims(index->rank, picked->dims + axis, index->dims) &&
	                same_dims(x->rank - 1 - (int)axis, picked->dims + axis + index->rank,
	                          x->dims + axis + 1),
	            "shape of what is gathered");
}

static bool check_index(struct check *k)
{
	switch (k->n->op) {
	case OP_GATHER:
		return counts(k, 2, 1) && check_gathered(k, k->s[0], k->s[1], k->n);
	case OP_SCATTER:
		return counts(k, 3, 2) && check_gathered(k, k->s[0], k->s[1], k->s[2]) &&
		       need(k, same_shape(k->n, k->s[0]) && k->n->type == k->s[0]->type, "shape of the base") &&
		       need(k, k->n->attr[1] >= 0 && k->n->attr[1] <= 2, "mode");
	default:
		return counts(k, 2, 0) &&
		       need(k, same_shape(k->n, k->s[0]) && same_shape(k->n, k->s[1]), "shape") &&
		       need(k, k->n->type == k->s[0]->type && k->s[1]->type == TGC_BOOL, "types of a check");
	}
}

static bool check_node(struct check *k)
{
	const struct pnode *n = k->n;
	bool is_leaf = n->op == OP_VARIABLE || n->op == OP_DATA || n->op == OP_SCALAR;
	int at = (int)(n - k->p->nodes);
	int64_t bytes = n->type < TGC_TYPE_COUNT ? (int64_t)tgc_type_bytes((tgc_type)n->type) : 1;

	if (!need(k, n->op < OP_COUNT && n->type < TGC_TYPE_COUNT && n->rank <= 2 * TGC_MAX_RANK, "header") ||
	    !need(k, is_leaf ? n->leaf >= 0 && n->leaf < k->p->nleaves : n->leaf == -1, "leaf"))
		return false;
	for (int i = 0; i < n->nsrc; i++)
		if (n->src[i] < 0 || n->src[i] >= at)
			return wrong(k, "operands come before their users");
	for (int i = 0; i < n->rank; i++)
		if (n->dims[i].n < 0 ||
		    (n->dims[i].n && __builtin_mul_overflow(bytes, n->dims[i].n, &bytes)))
			return wrong(k, "a size is not negative, and all of them fit in 63 bits");
	if (!is_leaf)
		return true;
	return need(k, k->p->leaves[n->leaf].node == at, "a leaf belongs to one operation") &&
	       need(k, k->p->leaves[n->leaf].type == n->type, "type of a leaf") &&
	       need(k, k->p->leaves[n->leaf].elems == prog_elems(k->p, at), "size of a leaf");
}

static bool check_op(struct check *k)
{
	for (int i = 0; i < TG_COUNT(k->s); i++)
		k->s[i] = i < k->n->nsrc ? &k->p->nodes[k->n->src[i]] : k->n;
	switch (op_info[k->n->op].cls) {
	case CLASS_SOURCE:
		return check_source(k);
	case CLASS_UNARY:
	case CLASS_BINARY:
	case CLASS_COMPARE:
	case CLASS_TERNARY:
		return check_elementwise(k);
	case CLASS_MOVE:
		return check_move(k);
	case CLASS_REDUCE:
		return check_reduce(k);
	case CLASS_CONTRACT:
		return check_contract(k);
	case CLASS_INDEX:
		return check_index(k);
	default:
		return wrong(k, "an operation of kernels");
	}
}

static char *report(const char *where, int i, const char *name, const char *what)
{
	struct text t = {0};

	text_add(&t, "%s %d%s%s: expected %s", where, i, *name ? " " : "", name, what);
	return text_take(&t);
}

static char *check_ends(const struct prog *p)
{
	for (int i = 0; i < p->nleaves; i++) {
		const struct pleaf *l = &p->leaves[i];

		if (l->cls > LEAF_SCALAR || l->type >= TGC_TYPE_COUNT || l->node < -1 || l->node >= p->n)
			return report("leaf", i, "", "a class, a type and a node");
		if (l->node >= 0 && p->nodes[l->node].leaf != i)
			return report("leaf", i, "", "its node to name it");
		if (l->cls == LEAF_SCALAR && l->elems != 1)
			return report("leaf", i, "", "one element in a scalar");
	}
	for (int i = 0; i < p->nouts; i++) {
		const struct pout *o = &p->outs[i];

		if (o->node < 0 || o->node >= p->n || o->assign < -1 || o->assign >= p->nleaves)
			return report("output", i, "", "a node and a leaf");
		if (o->assign < 0)
			continue;
		if (p->leaves[o->assign].cls != LEAF_VARIABLE ||
		    p->leaves[o->assign].type != p->nodes[o->node].type ||
		    p->leaves[o->assign].elems != prog_elems(p, o->node))
			return report("output", i, "", "a variable of its type and size");
	}
	return NULL;
}

char *prog_verify(const struct prog *p)
{
	for (int i = 0; i < p->n; i++) {
		struct check k = {.p = p, .n = &p->nodes[i]};

		if (!check_node(&k) || !check_op(&k))
			return report("operation", i,
			              p->nodes[i].op < OP_COUNT ? op_info[p->nodes[i].op].name : "", k.what);
	}
	return check_ends(p);
}
