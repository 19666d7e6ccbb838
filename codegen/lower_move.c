// Movement operations as functions on indices.
// In:  a movement pnode and an index vector of its result. Out: the value, read at the source's index.
// Guards: where a pad or a concat reads one of several sources, loads of the others are masked.
#include "lower.h"

int64_t lower_linear(struct lower *lo, int rank, const struct dim *d, const int *idx, int *value)
{
	int64_t coef[LOWER_RANK], n = 1;
	for (int a = rank - 1; a >= 0; a--) {
		coef[a] = n;
		n *= d[a].n;
	}
	*value = kb_affine(&lo->b, 0, rank, coef, idx);
	return n;
}

void lower_unravel(struct lower *lo, int rank, const struct dim *d, int at, int *idx)
{
	int first = 0;
	while (first < rank && d[first].n == 1)
		idx[first++] = kb_int(&lo->b, 0);
	for (int a = rank - 1; a >= first; a--) {
		if (a == first || d[a].n == 0) {
			idx[a] = at;
			continue;
		}
		idx[a] = kb_imod(&lo->b, at, d[a].n);
		at = kb_idiv(&lo->b, at, d[a].n);
	}
}

// Axes are matched in runs of equal products, so that an axis that is not touched keeps its index.
static void reshape_index(struct lower *lo, const struct pnode *n, const struct pnode *s, const int *idx,
                          int *out)
{
	int i = 0, j = 0;
	while (i < n->rank || j < s->rank) {
		int i0 = i, j0 = j, at;
		int64_t p = i < n->rank ? n->dims[i++].n : 1, q = j < s->rank ? s->dims[j++].n : 1;
		while (p != q) {
			if (p < q && i < n->rank)
				p *= n->dims[i++].n;
			else if (q < p && j < s->rank)
				q *= s->dims[j++].n;
			else
				break; // only with axes of size 0, where nothing is read
		}
		lower_linear(lo, i - i0, n->dims + i0, idx + i0, &at);
		lower_unravel(lo, j - j0, s->dims + j0, at, out + j0);
	}
}

static int pad(struct lower *lo, const struct pnode *n, const int *idx)
{
	const struct pnode *s = NODE(lo, n->src[0]);
	int at[LOWER_RANK], inside = K_NONE;
	for (int a = 0; a < n->rank; a++) {
		int64_t low = n->attr[3 * a], pitch = n->attr[3 * a + 2] + 1;
		int v = kb_iadd(&lo->b, idx[a], kb_int(&lo->b, -low));
		if (pitch > 1) {
			int rest = lower_inside(lo, kb_imod(&lo->b, v, pitch), 0, 1);
			inside = rest == K_NONE ? inside : kb_and(&lo->b, inside, rest);
			v = kb_idiv(&lo->b, v, pitch);
		}
		int range = lower_inside(lo, v, 0, s->dims[a].n);
		inside = range == K_NONE ? inside : kb_and(&lo->b, inside, range);
		at[a] = v;
	}
	int none[1] = {K_NONE}, old = lower_with(lo, inside), x = K_NONE;
	if (!lower_never(lo, inside))
		x = lower_value(lo, n->src[0], at);
	lo->guard = old;
	if (inside == K_NONE)
		return x;
	int fill = lower_value(lo, n->src[1], none);
	return x == K_NONE ? fill : kb_select(&lo->b, inside, x, fill);
}

static int concat(struct lower *lo, const struct pnode *n, const int *idx)
{
	int64_t axis = n->attr[0], end = n->dims[axis].n;
	int at[LOWER_RANK], value = K_NONE;
	memcpy(at, idx, sizeof *idx * n->rank);
	for (int i = n->nsrc - 1; i >= 0; i--) {
		int64_t start = end - NODE(lo, n->src[i])->dims[axis].n;
		int inside = start == end ? kb_bool(&lo->b, false) : lower_inside(lo, idx[axis], start, end);
		int upto = lower_inside(lo, idx[axis], INT64_MIN, end);
		end = start;
		if (lower_never(lo, inside))
			continue;
		int old = lower_with(lo, inside);
		at[axis] = kb_iadd(&lo->b, idx[axis], kb_int(&lo->b, -start));
		int x = lower_value(lo, n->src[i], at);
		lo->guard = old;
		value = value == K_NONE ? x : lower_select(lo, upto, x, value);
	}
	return value == K_NONE ? kb_const(&lo->b, n->type, (union number){.i = 0}) : value;
}

static int axis_index(struct lower *lo, const struct pnode *n, const struct pnode *s, int a, const int *idx)
{
	struct kbuild *b = &lo->b;
	const int64_t *attr = n->attr;
	switch (n->op) {
	case OP_EXPAND:
		return s->dims[a].n == 1 ? kb_int(b, 0) : idx[a];
	case OP_SLICE:
		return kb_affine(b, attr[2 * a], 1, &attr[2 * a + 1], &idx[a]);
	case OP_FLIP:
		return attr[a] ? kb_affine(b, s->dims[a].n - 1, 1, (int64_t[]){-1}, &idx[a]) : idx[a];
	default: // WINDOW
		if (a != attr[0])
			return idx[a];
		return kb_affine(b, 0, 2, (int64_t[]){attr[2], attr[3]}, (int[]){idx[a], idx[n->rank - 1]});
	}
}

int lower_move(struct lower *lo, int node, const int *idx)
{
	const struct pnode *n = NODE(lo, node), *s = NODE(lo, n->src[0]);
	int at[LOWER_RANK];
	switch (n->op) {
	case OP_PAD:
		return pad(lo, n, idx);
	case OP_CONCAT:
		return concat(lo, n, idx);
	case OP_RESHAPE:
		reshape_index(lo, n, s, idx, at);
		break;
	case OP_PERMUTE:
		for (int a = 0; a < n->rank; a++)
			at[n->attr[a]] = idx[a];
		break;
	default:
		for (int a = 0; a < s->rank; a++)
			at[a] = axis_index(lo, n, s, a, idx);
	}
	return lower_value(lo, n->src[0], at);
}
