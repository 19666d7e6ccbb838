// A sketch as the oracle's program, with broadcasts, matmul, einsum and convolution spelled out here.
// In: a sketch. Out: every node's value with its bound. Not here: anything of lib/ but the struct prog.
#include "sketch.h"

#include <stdlib.h>

enum { PROG_CAP = SK_NODES * 12 };

static int emit(struct oracle *o, int op, tgc_type t, int rank, const int64_t *dims, int nsrc, const int *src,
                int nattr, const int64_t *attr)
{
	struct prog *p = &o->prog;
	struct pnode *n = &p->nodes[p->n];

	assert(p->n < PROG_CAP);
	*n = (struct pnode){.op = (uint8_t)op,
	                    .type = (uint8_t)t,
	                    .rank = (uint8_t)rank,
	                    .nsrc = (uint16_t)nsrc,
	                    .nattr = (uint16_t)nattr,
	                    .leaf = -1};
	struct dim *d = calloc((size_t)rank + 1, sizeof *d);

	n->dims = d;
	n->src = calloc((size_t)nsrc + 1, sizeof *n->src);
	n->attr = calloc((size_t)nattr + 1, sizeof *n->attr);
	for (int a = 0; a < rank; a++)
		d[a].n = dims[a];
	for (int k = 0; k < nsrc; k++)
		n->src[k] = src[k];
	for (int k = 0; k < nattr; k++)
		n->attr[k] = attr[k];
	return p->n++;
}

static int emit_reshape(struct oracle *o, int x, int rank, const int64_t *dims)
{
	return emit(o, OP_RESHAPE, (tgc_type)o->prog.nodes[x].type, rank, dims, 1, &x, 0, NULL);
}

// x stretched to dims, aligned at the last axis.
static int emit_broadcast(struct oracle *o, int x, int rank, const int64_t *dims)
{
	int64_t ones[TGC_MAX_RANK];
	int own = o->prog.nodes[x].rank;

	for (int a = 0; a < rank; a++)
		ones[a] = a < rank - own ? 1 : o->prog.nodes[x].dims[a - (rank - own)].n;
	x = emit_reshape(o, x, rank, ones);
	return emit(o, OP_EXPAND, (tgc_type)o->prog.nodes[x].type, rank, dims, 1, &x, 0, NULL);
}

static int emit_const(struct oracle *o, tgc_type t, double v)
{
	union number bits = {.f = v};

	if (!interp_is_float(t))
		bits.i = interp_float_to_int(t, v);
	return emit(o, OP_CONST, t, 0, NULL, 0, NULL, 1, &bits.i);
}

static int emit_leaf(struct oracle *o, const struct snode *n)
{
	int at = emit(o, OP_DATA, n->type, n->rank, n->dims, 0, NULL, 0, NULL);

	o->leaf_data[o->prog.nleaves] = sk_data(n);
	o->prog.nodes[at].leaf = o->prog.nleaves++;
	return at;
}

static int emit_elementwise(struct oracle *o, const struct snode *n)
{
	int src[SK_SRC];

	for (int k = 0; k < n->nsrc; k++)
		src[k] = emit_broadcast(o, o->at[n->src[k]], n->rank, n->dims);
	return emit(o, n->op, n->type, n->rank, n->dims, n->nsrc, src, 0, NULL);
}

static int emit_move(struct oracle *o, const struct snode *n)
{
	int src[SK_SRC], nattr = 0;
	int64_t attr[3 * TGC_MAX_RANK];

	for (int k = 0; k < n->nsrc; k++)
		src[k] = o->at[n->src[k]];
	memcpy(attr, n->attr, sizeof attr);
	switch (n->op) {
	case OP_EXPAND:
		return emit_broadcast(o, src[0], n->rank, n->dims);
	case OP_PERMUTE:
	case OP_FLIP:
		nattr = n->rank;
		break;
	case OP_PAD:
		src[1] = emit_const(o, n->type, n->num);
		return emit(o, OP_PAD, n->type, n->rank, n->dims, 2, src, 3 * n->rank, attr);
	case OP_SLICE:
		for (int a = 0; a < n->rank; a++) {
			attr[2 * a] = n->attr[3 * a];
			attr[2 * a + 1] = n->attr[3 * a + 1];
		}
		nattr = 2 * n->rank;
		break;
	case OP_CONCAT:
		nattr = 1;
		break;
	case OP_WINDOW:
	case OP_FOLD:
		nattr = 4;
		break;
	default:
		break;
	}
	return emit(o, n->op, n->type, n->rank, n->dims, n->nsrc, src, nattr, attr);
}

static int emit_reduce(struct oracle *o, const struct sketch *s, const struct snode *n)
{
	const struct snode *x = &s->nodes[n->src[0]];
	int64_t kept[TGC_MAX_RANK];
	int at = o->at[n->src[0]];

	for (int a = 0; a < x->rank; a++)
		kept[a] = n->attr[0] >> a & 1 ? 1 : x->dims[a];
	at = emit(o, n->op, n->type, x->rank, kept, 1, &at, 1, n->attr);
	return n->attr[1] ? at : emit_reshape(o, at, n->rank, n->dims);
}

static int emit_contract(struct oracle *o, const struct snode *n, int a, int b, int naxes,
                         const struct tg_caxis *ax, int rank, const int64_t *dims)
{
	const int src[2] = {a, b};

	return emit(o, OP_CONTRACT, n->type, rank, dims, 2, src, 8 * naxes, (const int64_t *)(const void *)ax);
}

static struct tg_caxis axis(int role, int a, int b, int out)
{
	return (struct tg_caxis){role, a, b, out, 1, 0, 1, 1};
}

static int emit_matmul(struct oracle *o, const struct sketch *s, const struct snode *n)
{
	const struct snode *x = &s->nodes[n->src[0]], *w = &s->nodes[n->src[1]];
	int r = n->rank, a, b, naxes = 0;
	int64_t xd[TGC_MAX_RANK], wd[TGC_MAX_RANK];
	struct tg_caxis ax[TGC_MAX_RANK + 3];

	memcpy(xd, n->dims, sizeof xd);
	memcpy(wd, n->dims, sizeof wd);
	xd[r - 1] = x->dims[x->rank - 1];
	wd[r - 2] = w->dims[w->rank - 2];
	a = emit_broadcast(o, o->at[n->src[0]], r, xd);
	b = emit_broadcast(o, o->at[n->src[1]], r, wd);
	for (int i = 0; i < r - 2; i++)
		ax[naxes++] = axis(ROLE_BATCH, i, i, i);
	ax[naxes++] = axis(ROLE_LEFT, r - 2, -1, r - 2);
	ax[naxes++] = axis(ROLE_RIGHT, -1, r - 1, r - 1);
	ax[naxes++] = axis(ROLE_CONTRACTED, r - 1, r - 2, -1);
	return emit_contract(o, n, a, b, naxes, ax, r, n->dims);
}

static int place(const char *begin, const char *end, char c)
{
	for (const char *p = begin; p < end; p++)
		if (*p == c)
			return (int)(p - begin);
	return -1;
}

// Axes that neither the other operand nor the result has are summed first.
static int emit_lone_sums(struct oracle *o, const struct snode *n, int k, const char *begin, const char *end)
{
	int x = o->at[n->src[k]], rank = (int)(end - begin);
	int64_t dims[TGC_MAX_RANK], mask = 0;

	for (int a = 0; a < rank; a++) {
		bool lone = strchr(n->spec, begin[a]) == strrchr(n->spec, begin[a]);

		dims[a] = lone ? 1 : o->prog.nodes[x].dims[a].n;
		mask |= (int64_t)lone << a;
	}
	return mask ? emit(o, OP_SUM, n->type, rank, dims, 1, &x, 1, &mask) : x;
}

static int emit_einsum(struct oracle *o, const struct snode *n)
{
	const char *x = n->spec, *comma = strchr(x, ','), *arrow = strchr(x, '-'), *end = x + strlen(x);
	struct tg_caxis ax[26];
	int naxes = 0;

	for (char c = 'a'; c <= 'z'; c++) {
		int a = place(x, comma, c), b = place(comma + 1, arrow, c), out = place(arrow + 2, end, c);
		int role = out < 0            ? ROLE_CONTRACTED
		           : a >= 0 && b >= 0 ? ROLE_BATCH
		           : a >= 0           ? ROLE_LEFT
		                              : ROLE_RIGHT;

		if (a >= 0 || b >= 0)
			ax[naxes++] = axis(role, a, b, out);
	}
	return emit_contract(o, n, emit_lone_sums(o, n, 0, x, comma), emit_lone_sums(o, n, 1, comma + 1, arrow),
	                     naxes, ax, n->rank, n->dims);
}

static int emit_conv(struct oracle *o, const struct sketch *s, const struct snode *n)
{
	const int64_t *x = s->nodes[n->src[0]].dims, *w = s->nodes[n->src[1]].dims, *at = n->attr, g = at[8];
	const int64_t xd[] = {x[0], g, x[1] / g, x[2], x[3]}, wd[] = {g, w[0] / g, w[1], w[2], w[3]};
	const int64_t od[] = {n->dims[0], g, w[0] / g, n->dims[2], n->dims[3]};
	int a = emit_reshape(o, o->at[n->src[0]], 5, xd), b = emit_reshape(o, o->at[n->src[1]], 5, wd);
	const struct tg_caxis ax[] = {axis(ROLE_LEFT, 0, -1, 0),
	                              axis(ROLE_BATCH, 1, 0, 1),
	                              axis(ROLE_RIGHT, -1, 1, 2),
	                              axis(ROLE_CONTRACTED, 2, 2, -1),
	                              {ROLE_WINDOW, 3, 3, 3, at[0], at[2], 1, at[6]},
	                              {ROLE_WINDOW, 4, 4, 4, at[1], at[4], 1, at[7]}};
	int c = emit_contract(o, n, a, b, TG_COUNT(ax), ax, 5, od);

	return emit_reshape(o, c, 4, n->dims);
}

static int emit_index(struct oracle *o, const struct sketch *s, const struct snode *n)
{
	int src[3];

	for (int k = 0; k < n->nsrc; k++)
		src[k] = o->at[n->src[k]];
	if (n->op == OP_CHECK)
		src[1] = emit_broadcast(o, src[1], n->rank, n->dims);
	(void)s;
	return emit(o, n->op, n->type, n->rank, n->dims, n->nsrc, src, 2, n->attr);
}

static int emit_bits(struct oracle *o, tgc_type t, int64_t bits)
{
	return emit(o, OP_CONST, t, 0, NULL, 0, NULL, 1, &bits);
}

// The upper 24 of 32 bits as a fraction.
static int emit_rand(struct oracle *o, const struct snode *n)
{
	int src[2] = {emit_bits(o, TGC_U64, (int64_t)n->seed), emit_bits(o, TGC_U64, 0)};

	src[0] = emit(o, OP_RANDOM, TGC_U32, n->rank, n->dims, 2, src, 0, NULL);
	src[1] = emit_broadcast(o, emit_bits(o, TGC_U32, 8), n->rank, n->dims);
	src[0] = emit(o, OP_SHR, TGC_U32, n->rank, n->dims, 2, src, 0, NULL);
	src[0] = emit(o, OP_CAST, TGC_F32, n->rank, n->dims, 1, src, 0, NULL);
	src[1] = emit_broadcast(o, emit_const(o, TGC_F32, 0x1p-24), n->rank, n->dims);
	return emit(o, OP_MUL, TGC_F32, n->rank, n->dims, 2, src, 0, NULL);
}

static int emit_node(struct oracle *o, const struct sketch *s, const struct snode *n)
{
	int at;

	switch (n->op) {
	case OP_DATA:
		return emit_leaf(o, n);
	case OP_CONST:
		at = emit_const(o, n->type, n->num);
		return emit_broadcast(o, at, n->rank, n->dims);
	case OP_IOTA:
		return emit(o, OP_IOTA, n->type, n->rank, n->dims, 0, NULL, 1, n->attr);
	case SK_RAND:
		return emit_rand(o, n);
	case SK_MATMUL:
		return emit_matmul(o, s, n);
	case SK_EINSUM:
		return emit_einsum(o, n);
	case SK_CONV:
		return emit_conv(o, s, n);
	default:
		break;
	}
	switch (op_info[n->op].cls) {
	case CLASS_MOVE:
		return emit_move(o, n);
	case CLASS_REDUCE:
		return emit_reduce(o, s, n);
	case CLASS_INDEX:
		return emit_index(o, s, n);
	default:
		return emit_elementwise(o, n);
	}
}

// What the outputs need; everything if there are none.
static void mark_live(const struct sketch *s, bool *live)
{
	for (int i = 0; i < s->n; i++)
		live[i] = s->nouts == 0;
	for (int i = 0; i < s->nouts; i++)
		live[s->outs[i]] = true;
	for (int i = s->n - 1; i >= 0; i--)
		for (int k = 0; live[i] && k < s->nodes[i].nsrc; k++)
			live[s->nodes[i].src[k]] = true;
}

bool oracle_run(struct oracle *o, const struct sketch *s, struct tgc_context *c)
{
	bool live[SK_NODES];

	mark_live(s, live);
	*o = (struct oracle){.flag = -1};
	o->prog.nodes = calloc(PROG_CAP, sizeof *o->prog.nodes);
	o->leaf_data = calloc(SK_NODES, sizeof *o->leaf_data);
	for (int i = 0; i < s->n; i++)
		o->at[i] = live[i] ? emit_node(o, s, &s->nodes[i]) : -1;
	o->values = calloc((size_t)o->prog.n + 1, sizeof *o->values);
	return interp_run(c, &o->prog, o->leaf_data, o->values, &o->flag) == TGC_OK;
}

const struct interp_value *oracle_value(const struct oracle *o, int node)
{
	return &o->values[o->at[node]];
}

void oracle_free(struct oracle *o)
{
	interp_values_free(&o->prog, o->values);
	for (int i = 0; i < o->prog.n; i++) {
		free((void *)(uintptr_t)o->prog.nodes[i].dims);
		free(o->prog.nodes[i].src);
		free(o->prog.nodes[i].attr);
	}
	for (int i = 0; i < o->prog.nleaves; i++)
		free((void *)(uintptr_t)o->leaf_data[i]);
	free(o->prog.nodes);
	free(o->leaf_data);
	free(o->values);
}
