// Contractions that are plain products of matrices: what a library may compute in a kernel's place.
// In:  a plan with its steps in order and strides. Out: steps marked where the estimates say so; for the runtime, sizes
// and strides of a product. Plain: one result, operands in memory as they are (16-bit floats: widened on the way in,
// rounded once on the way out), no windows, axes of each role so that they run as one; a bias along the columns may be
// added. Anything else, and what is small or narrow, stays a generated kernel. Not here: calling one
// (runtime/cuda_lt.c). Its other epilogues are not used. cublasLt.h of CUDA 13 says of RELU "max(x, 0)", not what
// becomes of a NaN, which relu keeps; of GELU and DGELU neither formula nor error (XLA's gemm rewriter and TensorRT-LLM
// take it for the tanh form, others report erf). DRELU reads the bits that RELU_AUX writes, in an order that is not
// told. BGRADA (of a row-major x'dy the right operand, dy) and BGRADB compute another group's result: they want a
// weight gradient that is a plain product, but mostly an optimizer's update follows in its kernel.
#include "plan.h"

#include <stdlib.h>

enum { NARROW = 16, SMALL = 64 };                        // a side; rows and columns of one of many
static const double LIBRARY_PEAK = 0.8, KERNEL_PEAK = 0.5; // share of the peak that each reaches

struct axis { // several as one
	int64_t n, at, out; // out: stride of the other memory that it is in
};

enum { DEEP = 8 }; // nodes between an operand and its memory

// A view of memory, as the product reads it.
struct view {
	int buf;
	uint8_t type; // in memory
	int64_t strides[TGC_MAX_RANK];
};

static void row_major(struct view *v, const struct pnode *n)
{
	int64_t stride = 1;

	for (int i = n->rank - 1; i >= 0; i--) {
		v->strides[i] = stride;
		stride *= n->dims[i].n;
	}
}

static bool is_row_major(const struct pbuf *b)
{
	int64_t stride = 1;

	for (int i = b->rank - 1; i >= 0; i--) {
		if (b->dims[i].n > 1 && b->strides[i] != stride)
			return false;
		stride *= b->dims[i].n;
	}
	return true;
}

// The operation between a view and the one below it. false: a library cannot read through it.
static bool look_through(struct view *v, const struct pnode *n, bool row_major_below)
{
	int64_t below[TGC_MAX_RANK];

	memcpy(below, v->strides, sizeof below);
	switch (n->op) {
	case OP_PERMUTE:
		for (int i = 0; i < n->rank; i++)
			v->strides[i] = below[n->attr[i]];
		return true;
	case OP_RESHAPE:
		row_major(v, n);
		return row_major_below;
	default: // 16-bit floats, widened
		return n->op == OP_CAST && n->type == TGC_F32 && (v->type == TGC_F16 || v->type == TGC_BF16);
	}
}

// In memory as it is, in another order of axes, or as 16-bit floats that are widened. false: it is computed.
static bool operand(const struct plan *p, int node, struct view *v)
{
	int chain[DEEP], n = 0;
	bool plain;

	for (; p->node_buf[node] < 0; node = p->prog.nodes[node].src[0]) {
		int op = p->prog.nodes[node].op;

		if (n == DEEP || (op != OP_PERMUTE && op != OP_RESHAPE && op != OP_CAST))
			return false;
		chain[n++] = node;
	}
	v->buf = p->node_buf[node];
	v->type = p->prog.nodes[node].type;
	if (p->bufs[v->buf].rank != p->prog.nodes[node].rank)
		return false;
	for (int i = 0; i < p->bufs[v->buf].rank; i++)
		v->strides[i] = p->bufs[v->buf].strides[i];
	plain = is_row_major(&p->bufs[v->buf]);
	while (n-- > 0) {
		const struct pnode *x = &p->prog.nodes[chain[n]];

		if (!look_through(v, x, plain))
			return false;
		plain = plain && x->op != OP_PERMUTE;
	}
	return true;
}

// Appends an axis outside the others. false: they do not run as one.
static bool append(struct axis *x, int64_t n, int64_t at, int64_t out)
{
	if (n == 1)
		return true;
	if (x->n > 1 && (at != x->n * x->at || out != x->n * x->out))
		return false;
	if (x->n == 1) {
		x->at = at;
		x->out = out;
	}
	x->n *= n;
	return true;
}

struct shape {
	const struct pnode *na, *nb;
	const int64_t *a, *b, *o; // strides
	struct axis left, right, sum, batch, batch_b; // at, out: left a, o; right b, o; sum a, b; batch a, o; batch_b b, o
};

static int64_t stride_of(const int64_t *strides, int64_t axis) { return axis < 0 ? 0 : strides[axis]; }

static bool add_axis(struct shape *s, const struct tg_caxis *x)
{
	int64_t a = stride_of(s->a, x->a), b = stride_of(s->b, x->b), o = stride_of(s->o, x->o);

	switch (x->role) {
	case ROLE_LEFT:
		return append(&s->left, s->na->dims[x->a].n, a, o);
	case ROLE_RIGHT:
		return append(&s->right, s->nb->dims[x->b].n, b, o);
	case ROLE_CONTRACTED:
		return x->a >= 0 && x->b >= 0 && append(&s->sum, s->na->dims[x->a].n, a, b);
	case ROLE_BATCH:
		return append(&s->batch, s->na->dims[x->a].n, a, o) && append(&s->batch_b, s->nb->dims[x->b].n, b, o);
	default:
		return false;
	}
}

// Inner axes first: by place in the result, sums by place in the left operand.
static bool add_axes(struct shape *s, const struct pnode *n)
{
	const struct tg_caxis *x = (const struct tg_caxis *)(const void *)n->attr;
	int count = n->nattr / 8;

	s->left = s->right = s->sum = s->batch = s->batch_b = (struct axis){1, 0, 0};
	for (int64_t at = TGC_MAX_RANK - 1; at >= 0; at--)
		for (int i = 0; i < count; i++) {
			bool sum = x[i].role == ROLE_CONTRACTED;

			if (x[i].role == ROLE_WINDOW || (sum && x[i].a < 0))
				return false;
			if ((sum ? x[i].a : x[i].o) == at && !add_axis(s, &x[i]))
				return false;
		}
	return true;
}

// A matrix with strides of rows and columns: one of them is 1, the other the distance of rows (turned: of columns). A side
// of 1 has any stride.
static bool matrix(int64_t rows, int64_t row, int64_t columns, int64_t column, int64_t *distance, bool *turned)
{
	bool plain = (columns == 1 || column == 1) && (rows == 1 || row >= columns);

	*turned = !plain;
	*distance = plain ? (rows == 1 ? columns : row) : columns == 1 ? rows : column;
	return plain || ((rows == 1 || row == 1) && (columns == 1 || column >= rows));
}

// main, or its rounding, plus a bias along the columns. false: it is something else.
static bool result(const struct plan *p, const struct group *g, struct matmul *x)
{
	const struct pnode *nodes = p->prog.nodes;
	int at = g->roots[0];

	if (nodes[at].op == OP_CAST && nodes[at].type == x->type && x->type != nodes[g->main].type)
		at = nodes[at].src[0];
	else if (x->type != nodes[at].type)
		return false;
	if (nodes[at].op == OP_ADD && (nodes[at].src[0] == g->main || nodes[at].src[1] == g->main)) {
		int e = nodes[at].src[nodes[at].src[0] == g->main], last = nodes[at].rank - 1;
		const struct pnode *wide = &nodes[e];

		if (wide->op != OP_EXPAND || x->batch != 1 || last < 0 || nodes[at].dims[last].n != x->n)
			return false;
		e = wide->src[0];
		if (prog_elems(&p->prog, e) != x->n || nodes[e].dims[nodes[e].rank - 1].n != x->n)
			return false;
		while (p->node_buf[e] < 0 && nodes[e].op == OP_RESHAPE)
			e = nodes[e].src[0];
		x->bias = p->node_buf[e];
		at = g->main;
		if (x->bias < 0 || nodes[e].type != x->type || x->type == TGC_F64)
			return false;
		for (int i = 0; i < p->bufs[x->bias].rank; i++)
			if (p->bufs[x->bias].dims[i].n > 1 && p->bufs[x->bias].strides[i] != 1)
				return false;
	}
	return at == g->main;
}

bool plan_product(const struct plan *p, const struct group *g, struct matmul *x)
{
	struct view a, b;
	bool turned;

	if (g->kind != GROUP_CONTRACT || g->nroots != 1 || g->main < 0 || g->half || g->npre)
		return false;
	const struct pnode *n = &p->prog.nodes[g->main];
	const struct pbuf *out = &p->bufs[g->root_bufs[0]];
	if (!operand(p, n->src[0], &a) || !operand(p, n->src[1], &b) || a.type != b.type || out->rank != n->rank ||
	    (a.type != TGC_F32 && a.type != TGC_F64 && a.type != TGC_F16 && a.type != TGC_BF16))
		return false;
	struct shape s = {.na = &p->prog.nodes[n->src[0]], .nb = &p->prog.nodes[n->src[1]], .a = a.strides, .b = b.strides,
	                  .o = out->strides};
	if (!add_axes(&s, n) || s.batch.n != s.batch_b.n)
		return false;
	*x = (struct matmul){.left = a.buf, .right = b.buf, .out = g->root_bufs[0], .bias = -1, .type = a.type,
	                     .m = s.left.n, .n = s.right.n, .k = s.sum.n, .batch = s.batch.n,
	                     .left_batch = s.batch.at, .right_batch = s.batch_b.at, .out_batch = s.batch.out};
	return x->m > 0 && x->n > 0 && x->k > 0 && x->batch > 0 &&
	       matrix(x->m, s.left.at, x->k, s.sum.at, &x->left_row, &x->left_turned) &&
	       matrix(x->k, s.sum.out, x->n, s.right.at, &x->right_row, &x->right_turned) &&
	       matrix(x->m, s.left.out, x->n, s.right.out, &x->out_row, &turned) && !turned && result(p, g, x);
}

static bool pays(const struct plan *p, const struct target *t, const struct matmul *x, double *library, double *kernel)
{
	double flops = 2 * (double)x->m * (double)x->n * (double)x->k * (double)x->batch;
	double bytes = (double)p->bufs[x->left].bytes + (double)p->bufs[x->right].bytes + (double)p->bufs[x->out].bytes;

	*library = t->launch_ns + bytes / t->bandwidth + flops / t->flops / LIBRARY_PEAK;
	*kernel = t->launch_ns + bytes / t->bandwidth + flops / t->flops / KERNEL_PEAK;
	return x->m > NARROW && x->n > NARROW && x->k > NARROW && (x->batch == 1 || (x->m >= SMALL && x->n >= SMALL)) &&
	       *kernel - *library > t->launch_ns / 8;
}

bool plan_products(struct plan *p, const struct target *t)
{
	for (int i = 0; i < p->nsteps && t->products; i++) {
		struct pstep *s = &p->steps[i];
		struct matmul x;
		double library, kernel;

		if (s->kind != STEP_KERNEL || s->ngroups != 1 || !plan_product(p, &p->groups[s->group], &x) ||
		    !pays(p, t, &x, &library, &kernel))
			continue;
		struct text why = {0};
		text_add(&why, "%s; a library computes it: %.0f ns, a kernel %.0f ns", p->groups[s->group].why, library, kernel);
		char *text = text_take(&why);
		char *kept = text ? arena_dup(&p->arena, text, strlen(text) + 1) : NULL;
		free(text);
		if (!kept)
			return false;
		p->groups[s->group].why = kept;
		s->library = true;
	}
	return true;
}
