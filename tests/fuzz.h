// The random-graph fuzzer: generator, comparison, shrinking, coverage.
#ifndef TG_FUZZ_H
#define TG_FUZZ_H

#include "check.h"

struct fuzz_options {
	uint64_t seed;
	int64_t graphs;
	const char *device;
	int threads; // of the second context; 1: none
	bool raw;    // every graph unguarded
	bool verbose;
	int64_t only; // one graph of the sequence, -1: all
};
enum fuse {
	FUSE_MAP, FUSE_REDUCE, FUSE_ROWS, FUSE_SPLIT, FUSE_CONTRACT, FUSE_EPILOGUE, FUSE_SCATTER, FUSE_SEGMENTED, FUSE_CHAIN,
	FUSE_SEVERAL, FUSE_INLINE, FUSE_KINDS
};
struct coverage {
	int64_t op[SK_OPS][TGC_TYPE_COUNT];
	int64_t fuse[FUSE_KINDS]; // kernels; INLINE: operations
	int64_t nodes, views, casts, shared, graphs, raw;
	struct tally tally;
};

// ---- fuzz_gen.c ------------------------------------------------------------------------------------------------
struct gen {
	struct sketch *s;
	uint64_t rng;
	bool raw; // no guards, special values; then only classes are compared
};
void gen_graph(struct sketch *s, uint64_t seed, bool *raw);
int64_t gen_below(struct gen *g, int64_t n);
int gen_push(struct gen *g, struct snode n); // sk_add, with the magnitude of the result
int gen_leaf(struct gen *g, tgc_type t, int rank, const int64_t *dims);
int gen_const(struct gen *g, tgc_type t, double v);
int gen_pick(struct gen *g); // any node, recent ones more often

// ---- fuzz_move.c, fuzz_contract.c: what makes nodes of these classes; -1: not this time --------------------------
int gen_move(struct gen *g);
int gen_contract(struct gen *g);
int gen_index(struct gen *g);

// ---- fuzz_cover.c ------------------------------------------------------------------------------------------------
void cover_nodes(struct coverage *c, const struct sketch *s, bool raw);
void cover_fusion(struct coverage *c, tgc_context *ctx, const struct sketch *s); // schedules it once more
void cover_print(const struct coverage *c);

// ---- fuzz_shrink.c -----------------------------------------------------------------------------------------------
// Makes s smaller as long as fails(user, s).
void shrink(struct sketch *s, bool (*fails)(void *user, const struct sketch *s), void *user);

#endif
