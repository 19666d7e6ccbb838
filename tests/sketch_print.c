// A sketch as C code for a test: rows to paste, one call a node.
// In: a sketch. Out: text. Not here: the data itself; it follows from seed and interval.
#include "sketch.h"

static const char *const op_ids[OP_COUNT] = {
#define TG_UNARY(ID, ...) [OP_##ID] = "OP_" #ID,
#define TG_BINARY(ID, ...) [OP_##ID] = "OP_" #ID,
#define TG_COMPARE(ID, ...) [OP_##ID] = "OP_" #ID,
#define TG_OTHER(ID, ...) [OP_##ID] = "OP_" #ID,
#include "ops.def"
};
static const char *const type_ids[TGC_TYPE_COUNT] = {"TGC_F32", "TGC_F64", "TGC_F16", "TGC_BF16", "TGC_I8",
                                                     "TGC_I16", "TGC_I32", "TGC_I64", "TGC_U8",   "TGC_U16",
                                                     "TGC_U32", "TGC_U64", "TGC_BOOL"};

static const char *id_of(int op)
{
	static const char *const more[] = {"SK_MATMUL", "SK_EINSUM", "SK_CONV", "SK_RAND"};

	return op < OP_COUNT ? op_ids[op] : more[op - OP_COUNT];
}

static void print_list(FILE *f, const char *name, int n, const int64_t *v)
{
	if (n == 0)
		return;
	fprintf(f, ", .%s = {", name);
	for (int i = 0; i < n; i++)
		fprintf(f, "%s%lld", i ? ", " : "", (long long)v[i]);
	fputc('}', f);
}

static void print_node(FILE *f, int i, const struct snode *n)
{
	int nattr = TG_COUNT(n->attr);

	while (nattr > 0 && n->attr[nattr - 1] == 0)
		nattr--;
	fprintf(f, "\tsk_add(&s, (struct snode){.op = %s, .type = %s, .rank = %d", id_of(n->op),
	        type_ids[n->type], n->rank);
	print_list(f, "dims", n->rank, n->dims);
	if (n->nsrc) {
		fprintf(f, ", .nsrc = %d, .src = {", n->nsrc);
		for (int k = 0; k < n->nsrc; k++)
			fprintf(f, "%s%d", k ? ", " : "", n->src[k]);
		fputc('}', f);
	}
	print_list(f, "attr", nattr, n->attr);
	if (n->spec[0])
		fprintf(f, ", .spec = \"%s\"", n->spec);
	if (n->num != 0)
		fprintf(f, ", .num = %.17g", n->num);
	if (n->op == SK_RAND)
		fprintf(f, ", .seed = %llu", (unsigned long long)n->seed);
	if (n->op == OP_DATA)
		fprintf(f, ", .lo = %.17g, .hi = %.17g, .seed = %llu, .special = %d, .leaf = %d", n->lo, n->hi,
		        (unsigned long long)n->seed, n->special, n->leaf);
	fprintf(f, "}); // %d\n", i);
}

void sk_print(const struct sketch *s, FILE *f)
{
	fprintf(f, "\tstruct sketch s = {.most = %lld};\n", (long long)s->most);
	for (int i = 0; i < s->n; i++)
		print_node(f, i, &s->nodes[i]);
	for (int i = 0; i < s->nouts; i++)
		fprintf(f, "\tsk_out(&s, %d);\n", s->outs[i]);
}
