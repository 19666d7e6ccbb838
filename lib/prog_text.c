// A program as text, and back.
// In:  a program, or text. Out: text, or a program. The round trip gives the same text.
// A line a leaf, an operation, an output:
//     leaf 0 variable f32 4
//     %0 = variable f32[2,2:1] @0
//     %1 = const f32[] {4611686018427387904} ; 2
//     %2 = permute f32[2:1,2] %0 {1,0}
//     out %2 -> 0
// Behind the colon stands a size's symbol, behind @ a leaf. Not here: soundness (prog_verify.c).
#include "plan.h"

#include <ctype.h>
#include <stdlib.h>

static const char *const class_names[] = {
    [LEAF_VARIABLE] = "variable", [LEAF_DATA] = "data", [LEAF_INPUT] = "input", [LEAF_SCALAR] = "scalar"};

static void print_node(const struct prog *p, int i, struct text *t)
{
	const struct pnode *n = &p->nodes[i];
	union number v;

	text_add(t, "  %%%d = %s %s[", i, op_info[n->op].name, tgc_type_name((tgc_type)n->type));
	for (int d = 0; d < n->rank; d++) {
		text_add(t, "%s%lld", d ? "," : "", (long long)n->dims[d].n);
		if (n->dims[d].sym)
			text_add(t, ":%lld", (long long)n->dims[d].sym);
	}
	text_add(t, "]");
	for (int s = 0; s < n->nsrc; s++)
		text_add(t, " %%%d", n->src[s]);
	if (n->leaf >= 0)
		text_add(t, " @%d", n->leaf);
	for (int k = 0; k < n->nattr; k++)
		text_add(t, "%s%lld%s", k ? "," : " {", (long long)n->attr[k], k + 1 == n->nattr ? "}" : "");
	if (n->op == OP_CONST) {
		v.i = n->attr[0];
		if (type_is_float((tgc_type)n->type))
			text_add(t, " ; %.9g", v.f);
	}
	text_add(t, "\n");
}

void prog_print(const struct prog *p, struct text *t)
{
	text_add(t, "program {\n");
	for (int i = 0; i < p->nleaves; i++)
		text_add(t, "  leaf %d %s %s %lld\n", i, class_names[p->leaves[i].cls],
		         tgc_type_name((tgc_type)p->leaves[i].type), (long long)p->leaves[i].elems);
	for (int i = 0; i < p->n; i++)
		print_node(p, i, t);
	for (int i = 0; i < p->nouts; i++) {
		text_add(t, "  out %%%d", p->outs[i].node);
		if (p->outs[i].assign >= 0)
			text_add(t, " -> %d", p->outs[i].assign);
		text_add(t, "\n");
	}
	text_add(t, "}\n");
}

// ---- parsing: a cursor, and functions that eat what they recognise ----
struct cursor {
	struct prog *p;
	const char *s;
	const char *what; // the first mistake
	int leaves_cap, outs_cap;
	int32_t *src; // scratch lists, growing
	int64_t *attr;
	int src_cap, attr_cap;
};

static bool wrong(struct cursor *c, const char *what)
{
	if (!c->what)
		c->what = what;
	return false;
}

static void blanks(struct cursor *c)
{
	for (;;) {
		while (isspace((unsigned char)*c->s))
			c->s++;
		if (*c->s != ';')
			return;
		while (*c->s && *c->s != '\n')
			c->s++;
	}
}

static bool eat(struct cursor *c, const char *word)
{
	size_t n = strlen(word);

	blanks(c);
	if (strncmp(c->s, word, n) != 0 ||
	    (isalnum((unsigned char)word[n - 1]) && isalnum((unsigned char)c->s[n])))
		return false;
	c->s += n;
	return true;
}

static bool need(struct cursor *c, const char *word)
{
	return eat(c, word) || wrong(c, word);
}

static bool number(struct cursor *c, int64_t *v)
{
	char *end;
	long long x;

	blanks(c);
	if (*c->s != '-' && !isdigit((unsigned char)*c->s))
		return wrong(c, "a number");
	x = strtoll(c->s, &end, 10);
	if (end == c->s)
		return wrong(c, "a number");
	c->s = end;
	*v = x;
	return true;
}

static bool small(struct cursor *c, int64_t limit, int64_t *v)
{
	return number(c, v) && ((*v >= 0 && *v < limit) || wrong(c, "a number in range"));
}

static bool name(struct cursor *c, char out[16])
{
	int n = 0;

	blanks(c);
	while (isalnum((unsigned char)c->s[n]) && n < 15) {
		out[n] = c->s[n];
		n++;
	}
	out[n] = 0;
	c->s += n;
	return n > 0 || wrong(c, "a name");
}

static bool type(struct cursor *c, tgc_type *t)
{
	char word[16];

	if (!name(c, word))
		return false;
	for (int i = 0; i < TGC_TYPE_COUNT; i++) {
		if (strcmp(word, tgc_type_name((tgc_type)i)) == 0) {
			*t = (tgc_type)i;
			return true;
		}
	}
	return wrong(c, "an element type");
}

// Makes room for one more in an array of the program's arena.
static bool room(struct cursor *c, void *array, int n, int *cap, size_t bytes)
{
	void *old, *new;

	if (n < *cap)
		return true;
	new = arena_alloc(c->p->arena, bytes * (size_t)(n * 2 + 8));
	if (!new)
		return wrong(c, "more memory");
	memcpy(&old, array, sizeof old);
	if (n)
		memcpy(new, old, bytes * (size_t)n);
	memcpy(array, &new, sizeof new);
	*cap = n * 2 + 8;
	return true;
}

static bool parse_leaf(struct cursor *c)
{
	struct prog *p = c->p;
	struct pleaf leaf = {.node = -1};
	int64_t at;
	char word[16];
	tgc_type t;
	int cls = 0;

	if (!small(c, INT32_MAX, &at) || !name(c, word) || !type(c, &t) || !number(c, &leaf.elems))
		return false;
	while (cls < TG_COUNT(class_names) && strcmp(word, class_names[cls]) != 0)
		cls++;
	if (cls == TG_COUNT(class_names) || at != p->nleaves)
		return wrong(c, cls == TG_COUNT(class_names) ? "a leaf class" : "leaves in order");
	leaf.cls = (uint8_t)cls;
	leaf.type = (uint8_t)t;
	if (!room(c, &p->leaves, p->nleaves, &c->leaves_cap, sizeof leaf))
		return false;
	p->leaves[p->nleaves++] = leaf;
	return true;
}

static bool parse_dims(struct cursor *c, struct dim *dims, int *rank)
{
	*rank = 0;
	if (!need(c, "["))
		return false;
	while (!eat(c, "]")) {
		if (*rank == TGC_MAX_RANK * 2)
			return wrong(c, "fewer axes");
		dims[*rank] = (struct dim){0, 0};
		if ((*rank && !need(c, ",")) || !number(c, &dims[*rank].n) ||
		    (eat(c, ":") && !number(c, &dims[*rank].sym)))
			return false;
		++*rank;
	}
	return true;
}

// An operand, not the number of the next operation.
static bool at_operand(struct cursor *c)
{
	const char *s;

	blanks(c);
	if (*c->s != '%')
		return false;
	for (s = c->s + 1; isdigit((unsigned char)*s);)
		s++;
	while (isspace((unsigned char)*s))
		s++;
	return *s != '=';
}

static bool parse_operands(struct cursor *c, int *nsrc, int *nattr, int64_t *leaf)
{
	int64_t v;

	*nsrc = *nattr = 0;
	*leaf = -1;
	while (at_operand(c)) {
		if (!need(c, "%") || !small(c, c->p->n, &v) ||
		    !room(c, &c->src, *nsrc, &c->src_cap, sizeof *c->src))
			return false;
		c->src[(*nsrc)++] = (int32_t)v;
	}
	if (eat(c, "@") && !small(c, c->p->nleaves, leaf))
		return false;
	if (!eat(c, "{"))
		return true;
	do {
		if (!number(c, &v) || !room(c, &c->attr, *nattr, &c->attr_cap, sizeof *c->attr))
			return false;
		c->attr[(*nattr)++] = v;
	} while (eat(c, ","));
	return need(c, "}");
}

static bool parse_node(struct cursor *c)
{
	struct prog *p = c->p;
	struct dim dims[TGC_MAX_RANK * 2];
	int64_t at, leaf;
	char word[16];
	int op, rank, nsrc, nattr;
	tgc_type t;

	if (!small(c, INT32_MAX, &at) || !need(c, "=") || !name(c, word))
		return false;
	op = op_find(word);
	if (op < 0 || at != p->n)
		return wrong(c, op < 0 ? "an operation" : "operations in order");
	if (!type(c, &t) || !parse_dims(c, dims, &rank) || !parse_operands(c, &nsrc, &nattr, &leaf))
		return false;
	if (prog_add(p, op, t, rank, dims, nsrc, c->src, nattr, c->attr) < 0)
		return wrong(c, "more memory");
	p->nodes[at].leaf = (int32_t)leaf;
	if (leaf >= 0)
		p->leaves[leaf].node = (int32_t)at;
	return true;
}

static bool parse_out(struct cursor *c)
{
	struct prog *p = c->p;
	int64_t node, assign = -1;

	if (!need(c, "%") || !small(c, p->n, &node) || (eat(c, "->") && !small(c, p->nleaves, &assign)) ||
	    !room(c, &p->outs, p->nouts, &c->outs_cap, sizeof *p->outs))
		return false;
	p->outs[p->nouts++] = (struct pout){(int32_t)node, (int32_t)assign};
	return true;
}

static bool parse_line(struct cursor *c)
{
	if (eat(c, "leaf"))
		return parse_leaf(c);
	if (eat(c, "out"))
		return parse_out(c);
	return need(c, "%") && parse_node(c);
}

bool prog_parse(struct prog *p, struct arena *a, const char **text, char **error)
{
	struct cursor c = {.p = p, .s = *text};
	struct text t = {0};
	int line = 1;
	bool ok;

	*p = (struct prog){.arena = a};
	*error = NULL;
	ok = need(&c, "program") && need(&c, "{");
	while (ok && !eat(&c, "}"))
		ok = parse_line(&c);
	if (!ok) {
		for (const char *s = *text; s < c.s; s++)
			line += *s == '\n';
		text_add(&t, "line %d: expected %s", line, c.what);
		*error = text_take(&t);
	}
	*text = c.s;
	return ok;
}
