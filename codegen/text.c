// A kernel as text: canonical, so that equal text means equal code and the text serves as cache key.
// In:  a kernel. Out: one statement a line; values numbered in order; constants written where they are used; no
// names, plan buffers, leaves, estimates. Not here: reading it (parse.c).
#include "codegen.h"

#include <math.h>
#include <stdlib.h>

struct printer {
	const struct kernel *k;
	struct text *t;
	int32_t *number; // by instruction
	int next, depth;
};

static const char *const axis_names[] = {"par", "red", "block", "serial", "unroll", "lane"};
static const char *const space_names[] = {"global", "shared", "local"};

const char *axis_name(int kind)
{
	return axis_names[kind];
}
const char *space_name(int space)
{
	return space_names[space];
}

static void define(struct printer *p, int v)
{
	p->number[v] = p->next++;
	text_add(p->t, "%%%d", p->number[v]);
}

static void literal(struct printer *p, const struct kinst *in)
{
	union number n = {.i = in->imm};
	char digits[40];
	if (in->type == TGC_I64) {
		text_add(p->t, "%lld", (long long)n.i);
	} else if (!type_is_float(in->type)) {
		text_add(p->t, "%s:%lld", tgc_type_name(in->type), (long long)n.i);
	} else if (isnan(n.f)) {
		text_add(p->t, "%s:nan:%016llx", tgc_type_name(in->type), (unsigned long long)n.i);
	} else {
		snprintf(digits, sizeof digits, "%.9g", n.f);
		if (number_round(in->type, (union number){.f = strtod(digits, NULL)}).f != n.f)
			snprintf(digits, sizeof digits, "%.17g", n.f);
		text_add(p->t, "%s:%s", tgc_type_name(in->type), digits);
	}
}

static void use(struct printer *p, int v)
{
	const struct kinst *in = &p->k->insts[v];
	if (in->op == K_CONST)
		literal(p, in);
	else
		text_add(p->t, "%%%d", p->number[v]);
}

// Terms in the order of the numbers printed.
static void affine(struct printer *p, const struct kinst *in)
{
	const int32_t *src = p->k->operands + in->src_at;
	text_add(p->t, "affine %lld", (long long)in->imm);
	for (int done = 0, last = -1; done < in->nsrc; done++) {
		int best = -1;
		for (int i = 0; i < in->nsrc; i++)
			if (p->number[src[i]] > last && (best < 0 || p->number[src[i]] < p->number[src[best]]))
				best = i;
		if (best < 0)
			break;
		last = p->number[src[best]];
		text_add(p->t, " %lld*%%%d", (long long)p->k->coefs[in->src_at + best], last);
	}
}

static void memory_tail(struct printer *p, const struct kinst *in, int at)
{
	const int32_t *src = p->k->operands + in->src_at;
	if (in->nsrc > at && src[at] != K_NONE) {
		text_add(p->t, " if ");
		use(p, src[at]);
	}
	if (in->nsrc > at + 1) {
		text_add(p->t, " segment ");
		use(p, src[at + 1]);
	}
}

static void store(struct printer *p, const struct kinst *in)
{
	const int32_t *src = p->k->operands + in->src_at;
	text_add(p->t, "store b%d [", in->aux);
	use(p, src[0]);
	text_add(p->t, "] ");
	use(p, src[1]);
	memory_tail(p, in, 2);
}

static void mma(struct printer *p, int v)
{
	const struct kinst *in = &p->k->insts[v];
	struct kmma m = kernel_mma(p->k, v);
	text_add(p->t, "mma b%d += b%d [", in->aux, m.a);
	use(p, kernel_src(p->k, v, 0));
	text_add(p->t, "] * b%d [", m.b);
	use(p, kernel_src(p->k, v, 1));
	text_add(p->t, "] %d %d %d pitch %d %d turned %d", m.rows, m.columns, m.depth, m.pitch[0], m.pitch[1],
	         m.terms_first[0] + 2 * m.terms_first[1]);
}

static void copy(struct printer *p, int v)
{
	const struct kinst *in = &p->k->insts[v];
	const int32_t *src = p->k->operands + in->src_at;
	struct kcopied c = kernel_copied(p->k, v);
	text_add(p->t, "copy %d b%d [", c.n, in->aux);
	use(p, src[0]);
	text_add(p->t, "] b%d [", c.from);
	use(p, src[1]);
	text_add(p->t, "]");
	memory_tail(p, in, 2);
}

static void value(struct printer *p, const struct kinst *in)
{
	const int32_t *src = p->k->operands + in->src_at;
	const char *type = tgc_type_name(in->type);
	switch (in->op) {
	case K_SCALAR:
		text_add(p->t, "scalar s%d", in->aux);
		break;
	case K_AFFINE:
		affine(p, in);
		break;
	case K_IDIV:
	case K_IMOD:
		text_add(p->t, in->op == K_IDIV ? "idiv " : "imod ");
		use(p, src[0]);
		text_add(p->t, " %lld", (long long)in->imm);
		break;
	case K_TABLE:
		text_add(p->t, "table t%d [", in->aux);
		use(p, src[0]);
		text_add(p->t, "]");
		break;
	case K_LOAD:
		text_add(p->t, "load b%d [", in->aux);
		use(p, src[0]);
		text_add(p->t, "]");
		memory_tail(p, in, 1);
		break;
	default:
		text_add(p->t, "%s %s", op_info[in->op].name, type);
		for (int i = 0; i < in->nsrc; i++) {
			text_add(p->t, i ? ", " : " ");
			use(p, src[i]);
		}
	}
}

static void region(struct printer *p, int r);

static void indent(struct printer *p)
{
	text_add(p->t, "%*s", 2 * p->depth, "");
}

static void loop(struct printer *p, const struct kloop *l)
{
	text_add(p->t, "for %s ", axis_names[l->kind]);
	define(p, l->index);
	text_add(p->t, " = ");
	use(p, l->lo);
	text_add(p->t, " .. ");
	use(p, l->hi);
	if (l->nest)
		text_add(p->t, " nest %d", l->nest);
	for (int i = 0; i < l->ncarry; i++) {
		text_add(p->t, i ? ", " : " carry ");
		define(p, l->arg[i]);
		text_add(p->t, " = ");
		use(p, l->init[i]);
		text_add(p->t, " %s", l->combine[i] ? op_info[l->combine[i]].name : "none");
	}
	text_add(p->t, " {\n");
	p->depth++;
	region(p, l->body);
	p->depth--;
	indent(p);
	text_add(p->t, "}");
	for (int i = 0; i < l->ncarry; i++) {
		text_add(p->t, i ? ", " : " yield ");
		use(p, l->next[i]);
	}
	for (int i = 0; i < l->ncarry; i++) {
		text_add(p->t, i ? ", " : " -> ");
		define(p, l->res[i]);
	}
}

static void region(struct printer *p, int r)
{
	const struct kregion *reg = &p->k->regions[r];
	for (int i = 0; i < reg->n; i++) {
		int v = reg->insts[i];
		const struct kinst *in = &p->k->insts[v];
		if (in->op == K_INDEX || in->op == K_ARG || in->op == K_RES || in->op == K_CONST)
			continue;
		indent(p);
		if (in->op == K_FOR) {
			loop(p, &p->k->loops[in->aux]);
		} else if (in->op == K_STORE) {
			store(p, in);
		} else if (in->op == K_MMA) {
			mma(p, v);
		} else if (in->op == K_COPY) {
			copy(p, v);
		} else if (in->op == K_COMMIT) {
			text_add(p->t, "commit");
		} else if (in->op == K_WAIT) {
			text_add(p->t, "wait %lld", (long long)in->imm);
		} else {
			define(p, v);
			text_add(p->t, " = ");
			value(p, in);
		}
		text_add(p->t, "\n");
	}
}

static void frame(struct printer *p)
{
	const struct kernel *k = p->k;
	text_add(p->t, "kernel segments %d scratch %lld\n", k->nsegs, (long long)k->scratch_bytes);
	for (int i = 0; i < k->nbufs; i++) {
		const struct kbuf *b = &k->bufs[i];
		text_add(p->t, "  b%d %s %lld %s", i, tgc_type_name(b->type), (long long)b->elems,
		         space_names[b->space]);
		if (b->space != SPACE_GLOBAL)
			text_add(p->t, " at %lld", (long long)b->offset_bytes);
		text_add(p->t, b->segmented ? " segmented\n" : "\n");
	}
	for (int i = 0; i < k->nscalars; i++)
		text_add(p->t, "  s%d %s\n", i, tgc_type_name(k->scalar_types[i]));
	for (int i = 0; i < k->ntables; i++) {
		text_add(p->t, "  t%d", i);
		for (int j = 0; j < k->tables[i].n; j++)
			text_add(p->t, " %lld", (long long)k->tables[i].values[j]);
		text_add(p->t, "\n");
	}
}

void kernel_print(const struct kernel *k, struct text *t)
{
	struct printer p = {.k = k, .t = t, .depth = 1};
	p.number = malloc(sizeof *p.number * (size_t)(k->n + 1));
	if (!p.number) {
		t->failed = true;
		return;
	}
	memset(p.number, 0xff, sizeof *p.number * (size_t)(k->n + 1));
	frame(&p);
	for (int i = 0; i < k->nphases; i++) {
		text_add(t, k->beside[i] ? "phase %lld beside\n" : "phase %lld\n", (long long)k->blocks[i]);
		region(&p, k->phases[i]);
	}
	free(p.number);
}
