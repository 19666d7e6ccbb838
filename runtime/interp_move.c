// Movement and indexing for the oracle: one output element at a time, each finding its source.
// Not here: fold, which adds (interp_reduce.c).
#include "interp.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_AXES = 32 };

struct view { // the node being computed and its first source
	const struct pnode *n, *s;
	const struct interp_value *from;
	struct interp_value *to;
};

static struct view view_of(struct interp *it, int32_t node)
{
	const struct pnode *n = &it->p->nodes[node];

	return (struct view){n, &it->p->nodes[n->src[0]], &it->v[n->src[0]], &it->v[node]};
}

// Where output position o of a pad comes from; false: from the fill.
static bool pad_source(const struct view *w, const int64_t *o, int64_t *idx)
{
	for (int a = 0; a < w->n->rank; a++) {
		const int64_t *amount = w->n->attr + 3 * a; // lo, hi, interior
		int64_t at = o[a] - amount[0], pitch = amount[2] + 1;

		if (at < 0 || at % pitch != 0 || at / pitch >= w->s->dims[a].n)
			return false;
		idx[a] = at / pitch;
	}
	return true;
}

static void source_index(const struct view *w, const int64_t *o, int64_t *idx)
{
	const int64_t *attr = w->n->attr;

	for (int a = 0; a < w->s->rank; a++) {
		switch (w->n->op) {
		case OP_PERMUTE:
			idx[attr[a]] = o[a];
			break;
		case OP_EXPAND:
			idx[a] = w->s->dims[a].n == 1 ? 0 : o[a];
			break;
		case OP_SLICE:
			idx[a] = attr[2 * a] + o[a] * attr[2 * a + 1];
			break;
		case OP_FLIP:
			idx[a] = attr[a] ? w->s->dims[a].n - 1 - o[a] : o[a];
			break;
		case OP_WINDOW:
			idx[a] = a == attr[0] ? o[a] * attr[2] + o[w->n->rank - 1] * attr[3] : o[a];
			break;
		default:
			assert(!"a movement");
		}
	}
}

static void move_concat(struct interp *it, const struct view *w)
{
	int64_t o[MAX_AXES], axis = w->n->attr[0];

	for (int64_t i = 0; i < w->to->elems; i++) {
		int k = 0;

		interp_unravel(w->n->rank, w->n->dims, i, o);
		while (o[axis] >= it->p->nodes[w->n->src[k]].dims[axis].n)
			o[axis] -= it->p->nodes[w->n->src[k++]].dims[axis].n;
		interp_copy(w->to, i, &it->v[w->n->src[k]],
		            interp_ravel(w->n->rank, it->p->nodes[w->n->src[k]].dims, o));
	}
}

bool interp_move(struct interp *it, int32_t node)
{
	struct view w = view_of(it, node);
	int64_t o[MAX_AXES], idx[MAX_AXES];

	if (w.n->op == OP_CONCAT) {
		move_concat(it, &w);
		return true;
	}
	for (int64_t i = 0; i < w.to->elems; i++) {
		if (w.n->op == OP_RESHAPE) {
			interp_copy(w.to, i, w.from, i);
			continue;
		}
		interp_unravel(w.n->rank, w.n->dims, i, o);
		if (w.n->op != OP_PAD)
			source_index(&w, o, idx);
		else if (!pad_source(&w, o, idx)) {
			interp_copy(w.to, i, &it->v[w.n->src[1]], 0);
			continue;
		}
		interp_copy(w.to, i, w.from, interp_ravel(w.s->rank, w.s->dims, idx));
	}
	return true;
}

static void raise_flag(struct interp *it, int32_t node)
{
	if (it->flag < 0)
		it->flag = node;
}

bool interp_gather(struct interp *it, int32_t node)
{
	struct view w = view_of(it, node);
	const struct pnode *in = &it->p->nodes[w.n->src[1]];
	const struct interp_value *index = &it->v[w.n->src[1]];
	int64_t o[MAX_AXES], idx[MAX_AXES], axis = w.n->attr[0], size = w.s->dims[axis].n;

	for (int64_t i = 0; i < w.to->elems; i++) {
		int64_t at, pick;

		interp_unravel(w.n->rank, w.n->dims, i, o);
		at = interp_ravel(in->rank, in->dims, o + axis);
		pick = index->i[at];
		if (pick < 0 || pick >= size) {
			if (!index->unsure[at])
				raise_flag(it, node);
			pick = pick < 0 ? 0 : size - 1;
		}
		if (size == 0)
			continue;
		for (int a = 0; a < w.s->rank; a++)
			idx[a] = a < axis ? o[a] : a == axis ? pick : o[a + in->rank - 1];
		interp_copy(w.to, i, w.from, interp_ravel(w.s->rank, w.s->dims, idx));
		w.to->unsure[i] |= index->unsure[at];
	}
	return true;
}

struct scatter {
	struct view w;
	const struct interp_value *upd;
	int64_t mode;
	struct fsum *sums; // by output element, for adding floats
};

static void scatter_one(struct scatter *s, int64_t to, int64_t from)
{
	struct interp_value *out = s->w.to;
	tgc_type t = out->type;

	if (s->mode == 0)
		interp_copy(out, to, s->upd, from);
	else if (s->sums)
		interp_sum_add(&s->sums[to], interp_get(s->upd, from));
	else if (out->f)
		interp_put(out, to, interp_binary_f(OP_MAX, t, interp_get(out, to), interp_get(s->upd, from)));
	else {
		out->i[to] = interp_binary_i(s->mode == 1 ? OP_ADD : OP_MAX, t, out->i[to], s->upd->i[from]);
		out->unsure[to] |= s->upd->unsure[from];
	}
}

// An index that hangs on a decision makes everything along the axis unsure.
static void smear(struct scatter *s, int64_t *idx, int64_t axis)
{
	for (idx[axis] = 0; idx[axis] < s->w.n->dims[axis].n; idx[axis]++) {
		int64_t at = interp_ravel(s->w.n->rank, s->w.n->dims, idx);

		if (s->sums)
			s->sums[at].unsure = true;
		s->w.to->unsure[at] = 1;
	}
}

static void scatter_all(struct interp *it, struct scatter *s, int32_t node)
{
	const struct pnode *n = s->w.n, *in = &it->p->nodes[n->src[1]], *un = &it->p->nodes[n->src[2]];
	const struct interp_value *index = &it->v[n->src[1]];
	int64_t u[MAX_AXES], idx[MAX_AXES], axis = n->attr[0];

	for (int64_t i = 0; i < s->upd->elems; i++) {
		int64_t at, pick;

		interp_unravel(un->rank, un->dims, i, u);
		at = interp_ravel(in->rank, in->dims, u + axis);
		pick = index->i[at];
		for (int a = 0; a < n->rank; a++)
			idx[a] = a < axis ? u[a] : a == axis ? pick : u[a + in->rank - 1];
		if (index->unsure[at])
			smear(s, idx, axis);
		else if (pick < 0 || pick >= n->dims[axis].n)
			raise_flag(it, node);
		else
			scatter_one(s, interp_ravel(n->rank, n->dims, idx), i);
	}
}

bool interp_scatter(struct interp *it, int32_t node)
{
	struct scatter s = {.w = view_of(it, node)};

	s.upd = &it->v[s.w.n->src[2]];
	s.mode = s.w.n->attr[1];
	if (s.mode == 1 && s.w.to->f) {
		s.sums = calloc((size_t)s.w.to->elems + 1, sizeof *s.sums);
		if (!s.sums)
			return false;
	}
	for (int64_t i = 0; i < s.w.to->elems; i++) {
		interp_copy(s.w.to, i, s.w.from, i);
		if (s.sums) {
			interp_sum_start(&s.sums[i]);
			interp_sum_add(&s.sums[i], interp_get(s.w.from, i));
		}
	}
	scatter_all(it, &s, node);
	for (int64_t i = 0; s.sums && i < s.w.to->elems; i++)
		if (s.sums[i].n > 1 || s.sums[i].unsure)
			interp_put(s.w.to, i, interp_sum_end(&s.sums[i], s.w.to->type));
	free(s.sums);
	return true;
}

void interp_check(struct interp *it, int32_t node)
{
	struct view w = view_of(it, node);
	const struct interp_value *cond = &it->v[w.n->src[1]];

	for (int64_t i = 0; i < w.to->elems; i++) {
		interp_copy(w.to, i, w.from, i);
		if (!cond->i[i] && !cond->unsure[i])
			raise_flag(it, node);
	}
}
