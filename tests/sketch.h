// A test's own description of a graph, from which both sides are made: the graph through the public API,
// and the oracle's program without a line of lib/. So constructors, folding and linearising are judged too.
#ifndef TG_SKETCH_H
#define TG_SKETCH_H

#include "interp.h"

enum { SK_NODES = 64, SK_SRC = 4, SK_OUTS = 6 };
enum sk_op { // beyond the primitives
	SK_MATMUL = OP_COUNT,
	SK_EINSUM, // spec
	SK_CONV,   // attr: stride[2], padding[4], dilation[2], groups
	SK_RAND,   // f32 in [0, 1), drawn after seeding with `seed`
	SK_OPS
};
enum sk_leaf { SK_DATA, SK_VARIABLE, SK_LATE };

// Attributes as in ops.def, but for: PAD (fill in `num`), reductions (attr[1]: keep), CONST (any shape, value
// in `num`), elementwise operands (shapes broadcast).
struct snode {
	int op, rank, nsrc, leaf;
	tgc_type type;
	int64_t dims[TGC_MAX_RANK];
	int src[SK_SRC];
	int64_t attr[3 * TGC_MAX_RANK];
	char spec[24];
	double num, lo, hi; // lo, hi: what a leaf's data is drawn from
	uint64_t seed;      // of a leaf's data
	int special;        // a leaf with NaN, infinities, zeros, extremes; 2: NaN only
	double mag;         // the generator's guess of the largest magnitude
};
struct sketch {
	struct snode nodes[SK_NODES];
	int n;
	int outs[SK_OUTS], nouts;
	int64_t most; // elements of a node; 0: SK_MAX_ELEMS
};

// ---- sketch.c: requires and infer -----------------------------------------------------------------------------
enum { SK_MAX_ELEMS = 4096 };
int64_t sk_elems(const struct snode *n);
int64_t sk_most(const struct sketch *s); // elements that a node of it may have
const char *sk_name(int op);
// Checks what the operation requires and fills in type, rank and dims; false: not allowed.
bool sk_infer(const struct sketch *s, struct snode *n);
int sk_add(struct sketch *s, struct snode n); // infers; -1 if not allowed or full
int sk_leaf(struct sketch *s, tgc_type t, tgc_shape shape, double lo, double hi, uint64_t seed);
int sk_op1(struct sketch *s, int op, int x);
int sk_op2(struct sketch *s, int op, int x, int y);
void sk_out(struct sketch *s, int node);
void *sk_data(const struct snode *n); // a leaf's data, malloc'ed
uint64_t sk_random(uint64_t *state);

// ---- sketch_prog.c: to the oracle's program ----------------------------------------------------------------------
struct oracle {
	struct prog prog;
	const void **leaf_data;
	struct interp_value *values;
	int at[SK_NODES]; // pnode of each sketch node
	int32_t flag;
};
struct tgc_context;
bool oracle_run(struct oracle *o, const struct sketch *s, struct tgc_context *c); // c: NULL allowed; false: out of memory
const struct interp_value *oracle_value(const struct oracle *o, int node);
void oracle_free(struct oracle *o);

// ---- sketch_api.c: through the public API ------------------------------------------------------------------------
void sk_build(const struct sketch *s, tgc_context *ctx, tgc_tensor **t); // t: one a node
tgc_tensor *sk_record1(int op, tgc_tensor *x, tgc_type type); // type: of casts
tgc_tensor *sk_record2(int op, tgc_arg x, tgc_arg y);

// ---- sketch_print.c: as C code -----------------------------------------------------------------------------------
void sk_print(const struct sketch *s, FILE *f);

#endif
