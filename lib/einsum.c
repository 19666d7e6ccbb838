// Einstein summation: a spec is parsed into labels, operands are brought to one axis a label, and what is left
// is one CONTRACT (two operands) or a sum and a permutation (one operand).
// In:  "ij,jk->ik", "...ii->...i"; without "->" the labels that appear once, in alphabetical order.
// Out: a tensor, or one in error.
#include "lib.h"

enum { LABELS = 52, ALL = LABELS + TGC_MAX_RANK }; // letters, then the axes of an ellipsis from its end

struct term { // labels of the axes of one operand or of the result
	int n;
	int label[TGC_MAX_RANK];
	int dots_at; // position of "...", -1: none
};
struct spec {
	struct door *d;
	const char *text;
	int nin;
	struct term in[2], out;
	bool explicit_out;
	struct dim size[ALL]; // of each label; n 0: not seen yet
	bool seen[ALL];
};

static int letter(char ch)
{
	return ch >= 'a' && ch <= 'z' ? ch - 'a' : ch >= 'A' && ch <= 'Z' ? 26 + ch - 'A' : -1;
}

static const char *parse_term(struct spec *s, const char *p, struct term *t)
{
	t->dots_at = -1;
	for (;; p++) {
		if (*p == ' ')
			continue;
		if (strncmp(p, "...", 3) == 0 && t->dots_at < 0) {
			t->dots_at = t->n;
			p += 2;
		} else if (letter(*p) >= 0 && t->n < TGC_MAX_RANK) {
			t->label[t->n++] = letter(*p);
		} else if (letter(*p) >= 0) {
			door_fail(s->d, TGC_ERROR_RANK, "\"%s\": more than %d labels", s->text, TGC_MAX_RANK);
			return NULL;
		} else {
			return p;
		}
	}
}

static bool parse(struct spec *s)
{
	const char *p = s->text;
	for (int i = 0; p && i < s->nin; i++) {
		p = parse_term(s, p, &s->in[i]);
		if (p && i + 1 < s->nin && *p++ != ',')
			return door_fail(s->d, TGC_ERROR_ARG,
			                 "\"%s\": %d operands are given, a comma is missing", s->text, s->nin);
	}
	s->explicit_out = p && strncmp(p, "->", 2) == 0;
	if (s->explicit_out)
		p = parse_term(s, p + 2, &s->out);
	if (p && *p)
		return door_fail(s->d, TGC_ERROR_ARG, "\"%s\": cannot read \"%s\"", s->text, p);
	return p != NULL;
}

// Puts the axes that an ellipsis stands for into the term.
static bool spell_out(struct spec *s, struct term *t, int dots)
{
	if (t->dots_at < 0)
		return true;
	if (dots < 0 || t->n + dots > TGC_MAX_RANK)
		return door_fail(s->d, TGC_ERROR_RANK, "\"%s\": the ellipsis stands for %d axes beside %d",
		                 s->text, dots, t->n);
	memmove(t->label + t->dots_at + dots, t->label + t->dots_at,
	        sizeof *t->label * (size_t)(t->n - t->dots_at));
	for (int i = 0; i < dots; i++)
		t->label[t->dots_at + i] = ALL - dots + i;
	t->n += dots;
	return true;
}

static bool bind(struct spec *s, int i, const struct node *x)
{
	struct term *t = &s->in[i];
	if (!spell_out(s, t, x->rank - t->n))
		return false;
	if (t->n != x->rank)
		return door_fail(s->d, TGC_ERROR_RANK, "\"%s\": operand %d is %s, the spec has %d axes",
		                 s->text, i + 1, NODE_TEXT(x), t->n);
	for (int a = 0; a < t->n; a++) {
		struct dim *size = &s->size[t->label[a]], n = x->dims[a];
		for (int b = 0; b < a; b++)
			if (t->label[b] == t->label[a] && x->dims[b].n != n.n)
				return door_fail(
				    s->d, TGC_ERROR_SHAPE,
				    "\"%s\": axes %d and %d of operand %d share a label: %lld, %lld", s->text,
				    b, a, i + 1, (long long)x->dims[b].n, (long long)n.n);
		if (!s->seen[t->label[a]] || size->n == 1)
			*size = n;
		else if (n.n != size->n && n.n != 1)
			return door_fail(s->d, TGC_ERROR_SHAPE,
			                 "\"%s\": axis %d of operand %d has %lld elements, its label %lld",
			                 s->text, a, i + 1, (long long)n.n, (long long)size->n);
		s->seen[t->label[a]] = true;
	}
	return true;
}

static int count_label(const struct term *t, int label)
{
	int n = 0;
	for (int a = 0; a < t->n; a++)
		n += t->label[a] == label;
	return n;
}

static bool bind_result(struct spec *s)
{
	int dots = 0;
	for (int l = LABELS; l < ALL; l++)
		dots += s->seen[l];
	if (!s->explicit_out) {
		s->out.dots_at = dots ? 0 : -1;
		for (int i = 0; i < LABELS; i++) { // A..Z sort before a..z
			int l = (i + 26) % LABELS, n = count_label(&s->in[0], l) + count_label(&s->in[1], l);
			if (n == 1 && s->out.n == TGC_MAX_RANK)
				return door_fail(s->d, TGC_ERROR_RANK, "\"%s\": the result has too many axes",
				                 s->text);
			if (n == 1)
				s->out.label[s->out.n++] = l;
		}
	}
	if (!spell_out(s, &s->out, dots))
		return false;
	for (int a = 0; a < s->out.n; a++) {
		int l = s->out.label[a];
		if (!s->seen[l] || count_label(&s->out, l) > 1)
			return door_fail(s->d, TGC_ERROR_ARG, "\"%s\": a label of the result is %s", s->text,
			                 s->seen[l] ? "there twice" : "in no operand");
	}
	return true;
}

// The diagonal of axes a < b, left on axis a: both are joined, and every (n + 1)-th element is taken.
static struct node *diagonal(struct calc *k, struct node *x, int a, int b)
{
	int order[TGC_MAX_RANK], at = 0;
	struct dim joined[TGC_MAX_RANK];
	int64_t start[TGC_MAX_RANK] = {0}, step[TGC_MAX_RANK];
	if (!x)
		return NULL;
	int rank = x->rank;
	for (int i = 0; i < rank; i++) {
		if (i == b)
			continue;
		order[at++] = i;
		if (i == a)
			order[at++] = b;
	}
	struct dim n = x->dims[a];
	x = calc_hold(k, build_permute(k->c, x, order));
	if (!x)
		return NULL;
	for (int i = 0; i < rank - 1; i++) {
		joined[i] = i < a ? x->dims[i] : i == a ? (struct dim){n.n * n.n, 0} : x->dims[i + 1];
		step[i] = i == a ? n.n + 1 : 1;
	}
	x = calc_hold(k, build_reshape(k->c, x, rank - 1, joined));
	joined[a] = n;
	return calc_hold(k, build_slice(k->c, x, start, step, joined));
}

// One axis a label: diagonals of labels named twice; sums over labels that nobody else has; and axes of one
// element dropped where the label has more (they broadcast).
static struct node *tidy(struct calc *k, struct spec *s, int i, struct node *x)
{
	struct term *t = &s->in[i];
	for (int a = 0; a < t->n; a++)
		for (int b = a + 1; b < t->n; b++)
			if (t->label[a] == t->label[b]) {
				x = diagonal(k, x, a, b);
				memmove(t->label + b, t->label + b + 1,
				        sizeof *t->label * (size_t)(t->n - b - 1));
				t->n--;
				b--;
			}
	uint32_t sums = 0, drop = 0;
	for (int a = 0; x && a < t->n; a++) {
		int l = t->label[a];
		bool alone =
		    count_label(&s->out, l) == 0 && (s->nin == 1 || count_label(&s->in[1 - i], l) == 0);
		sums |= alone ? 1u << a : 0;
		drop |= alone || (x->dims[a].n == 1 && s->size[l].n != 1) ? 1u << a : 0;
	}
	if (sums)
		x = calc_reduce(k, OP_SUM, x, sums);
	if (drop)
		x = calc_drop(k, x, drop);
	int n = 0;
	for (int a = 0; a < t->n; a++)
		if (!(drop >> a & 1))
			t->label[n++] = t->label[a];
	t->n = n;
	return x;
}

static int axis_of(const struct term *t, int label)
{
	for (int a = 0; a < t->n; a++)
		if (t->label[a] == label)
			return a;
	return -1;
}

static struct node *one_operand(struct calc *k, struct spec *s, struct node *x)
{
	int order[TGC_MAX_RANK];
	x = tidy(k, s, 0, x);
	if (!x)
		return NULL;
	for (int a = 0; a < s->out.n; a++)
		order[a] = axis_of(&s->in[0], s->out.label[a]);
	return calc_hold(k, build_permute(k->c, x, order));
}

static struct node *two_operands(struct calc *k, struct spec *s, struct node *x, struct node *y)
{
	struct tg_caxis ax[2 * TGC_MAX_RANK];
	struct dim dims[TGC_MAX_RANK];
	int n = 0;
	x = tidy(k, s, 0, x);
	y = tidy(k, s, 1, y);
	for (int o = 0; o < s->out.n; o++) {
		int a = axis_of(&s->in[0], s->out.label[o]), b = axis_of(&s->in[1], s->out.label[o]);
		enum role role = a >= 0 && b >= 0 ? ROLE_BATCH : a >= 0 ? ROLE_LEFT : ROLE_RIGHT;
		ax[n++] = (struct tg_caxis){role, a, b, o, 1, 0, 1, 1};
		dims[o] = s->size[s->out.label[o]];
	}
	for (int a = 0; a < s->in[0].n; a++) {
		int l = s->in[0].label[a];
		if (count_label(&s->out, l) == 0)
			ax[n++] = (struct tg_caxis){ROLE_CONTRACTED, a, axis_of(&s->in[1], l), -1, 1, 0, 1, 1};
	}
	return calc_hold(k, build_contract(k->c, x, y, n, ax, s->out.n, dims));
}

static struct node *einsum(struct door *d, struct calc *k, const char *text, int n, struct node *const *x)
{
	struct spec s = {.d = d, .text = text, .nin = n, .out.dots_at = -1};
	struct dim dims[TGC_MAX_RANK];
	bool ok = door_type(d, "x", (tgc_type)x[0]->type, 'N') && (n < 2 || door_same_type(d, x[0], x[1])) && parse(&s);
	for (int i = 0; ok && i < n; i++)
		ok = bind(&s, i, x[i]);
	ok = ok && bind_result(&s);
	for (int a = 0; ok && a < s.out.n; a++)
		dims[a] = s.size[s.out.label[a]];
	if (!ok || !door_dims(d, (tgc_type)x[0]->type, s.out.n, dims))
		return NULL;
	return n == 1 ? one_operand(k, &s, x[0]) : two_operands(k, &s, x[0], x[1]);
}

tgc_tensor *tgc_einsum(const char *spec, tgc_tensor *x, tgc_tensor *y)
{
	tgc_tensor *t[2] = {x, y};
	int n = y ? 2 : 1;
	struct door d = door_open("einsum", DOOR_SITE, "x,y", n, t);
	struct calc k = {.c = d.c};
	struct node *o[2], *r = NULL;
	if (d.ok && !spec)
		door_fail(&d, TGC_ERROR_ARG, "spec is NULL");
	if (d.ok && n == 1 && strchr(spec, ','))
		door_fail(&d, TGC_ERROR_ARG, "argument 3 (y) is NULL, \"%s\" has two operands", spec);
	for (int i = 0; i < n && d.ok; i++)
		o[i] = n == 2 ? calc_narrow(&k, t[i]->node) : t[i]->node;
	if (d.ok && o[0] && (n == 1 || o[1]))
		r = einsum(&d, &k, spec, n, o);
	return door_close(&d, calc_done(&k, r));
}
