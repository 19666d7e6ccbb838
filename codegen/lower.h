// Private header of the lowering files (lower*.c): one group of a plan to one kernel at the free level.
// The principle: lower_value(node, index vector) builds the value of one element, pulled back through
// elementwise and movement operations to buffers and constants; lower_nest.c chooses the loops around it.
// Sectioned by .c file. Not here: tiles, lanes, blocks (pass/tile*.c).
#ifndef TG_LOWER_H
#define TG_LOWER_H

#include "codegen.h"

enum { LOWER_RANK = 16, LOWER_DEPTH = 400 };

struct lower_heavy { // a reduction met by the dry run, and what its place hangs on
	int32_t node;
	int nidx, nloops;
	int idx[LOWER_RANK];
	int loops[LOWER_RANK]; // its RED loops that may be merged, outermost first
};
struct lower_pre { // a split group that is finished at the head of a phase
	const struct group *g;
	bool *used, *wanted; // by root: the group reads it; the next phase does
};
struct lower {
	const struct plan *plan;
	const struct group *group;
	const struct target *target;
	struct kernel *k;
	struct kbuild b;
	struct arena arena;
	int32_t *buf_of;  // kernel buffer of each plan buffer, -1
	bool *own;        // pnode is computed here although it has a buffer
	bool *counted;    // pnode is in kernel.flops already
	uint32_t *merges; // by pnode of a reduction: RED loop i continues loop i - 1 as one loop
	struct lower_memo *memo;
	int nmemo, memo_cap;
	struct lower_heavy *heavy; // dry run only
	int nheavy, heavy_cap;
	bool dry;
	int guard;             // condition under which the current value is wanted; K_NONE: always
	int seg;               // segment, K_NONE
	int home;              // region that loops of reductions are not moved out of
	int chunk;             // phase 0 of a split group: which chunk of main's range; else K_NONE
	int64_t chunk_len;     // iterations of main's outermost loop in a chunk
	int64_t chunks;        // that there are
	int shared;            // blocks: the first axes of every nest, of which the block has
	int block[LOWER_RANK]; // one index each; of the last one `rows`, from this one on
	int64_t rows;
	int part;     // the block's number
	bool combine; // phase 1 of a split group: main comes from the scratch buffer
	bool inside;  // nests are no phases of their own
	struct lower_pre *pre;
	int npre;
	int depth;
	char *error; // malloc'ed; the first one
};

// ---- lower.c ------------------------------------------------------------------------------------------------
bool lower_begin(struct lower *lo, const struct plan *p, const struct group *g, const struct target *t);
void lower_end(struct lower *lo); // frees everything, the kernel too
int lower_fail(struct lower *lo, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));     // a value to go on
int lower_buf(struct lower *lo, int plan_buf); // its kernel buffer
int lower_flags(struct lower *lo);             // the kernel buffer of error flags
#define NODE(lo, n) (&(lo)->plan->prog.nodes[n])

// ---- lower_nest.c, lower_order.c, lower_segment.c: loops around roots
// ----------------------------------------
struct lower_root {
	int node, buf;           // pnode, plan buffer
	int axis_of[LOWER_RANK]; // nest axis of each of its axes; -1: size 1
	bool linear;             // same elements, other axes
	bool partial;            // a chunk of main, to the scratch buffer; axis 0 of the nest is the chunk
	int sum;                 // the reduction to whose part `node`, its operand, is added; -1: it is stored
	int level;               // loops it stands in
};
struct lower_nest {
	int naxes;
	int64_t size[LOWER_RANK];
	int order[LOWER_RANK]; // axes, outermost loop first
	uint32_t merges;       // by position in order: one loop with the position before
	int nroots;            // the first has all the axes
	struct lower_root *roots;
	int loop[LOWER_RANK]; // dry run: by axis
	int64_t chunk_from;   // partial: the first chunk
};
void lower_nests(struct lower *lo);
// Nests of the roots i with !done[i], each a phase (CHAIN, inside: in the current region); sets done and own.
void lower_left(struct lower *lo, bool *done);
// Of a split group: how long chunks are. main comes from the scratch buffer from then on.
void lower_chunks(struct lower *lo);
bool lower_sums(const struct lower_nest *nest); // it adds to parts of sums
void lower_segments(struct lower *lo);
void lower_emit(struct lower *lo, struct lower_nest *nest); // into the current region
// Decides order, merges and levels of a nest by a dry run; roots that do not fit the order are left to
// later nests: their level becomes -1.
void lower_choose(struct lower *lo, struct lower_nest *nest);

// ---- lower_pre.c --------------------------------------------------------------------------------------------
bool lower_pre_begin(struct lower *lo);                        // false: out of memory
void lower_pre_note(struct lower *lo, const struct lower *dry); // what a rehearsed phase reads of it
void lower_pre(struct lower *lo);                              // into the current region
void lower_parameters(struct lower *lo);                       // buffers that the group reads and stores

// ---- lower_chain.c: blocks of the first axes ----------------------------------------------------------------
void lower_chain(struct lower *lo);
void lower_part_clear(struct lower *lo, const struct lower_root *r);
void lower_part_add(struct lower *lo, const struct lower_root *r, const int *idx, int value);
int lower_block_at(struct lower *lo, int node, int at, const struct pbuf *p); // address in the block's part

// ---- lower_value.c ------------------------------------------------------------------------------------------
int lower_value(struct lower *lo, int node, const int *idx);
int lower_cast(struct lower *lo, int v, tgc_type t);
void lower_count(struct lower *lo, double flops, double work); // work: times as long as a product's flops
void lower_count_node(struct lower *lo, int node);             // once
bool lower_loaded(const struct lower *lo, int node);                  // it comes from a buffer
int lower_plan_buf(const struct lower *lo, int node);                 // the plan buffer it lives in, -1
int lower_at(struct lower *lo, const struct pbuf *p, const int *idx); // address of an element
void lower_forget(struct lower *lo);                                  // empties the memo
// lo <= v < hi as a bool value, K_NONE when that is certain.
int lower_inside(struct lower *lo, int v, int64_t from, int64_t to);
int lower_select(struct lower *lo, int cond, int x, int y); // cond K_NONE: x
bool lower_never(const struct lower *lo, int cond);         // certainly false
int lower_with(struct lower *lo, int guard); // adds to the current guard; returns the old one, to be put back

// ---- lower_move.c -------------------------------------------------------------------------------------------
int lower_move(struct lower *lo, int node, const int *idx);
int64_t lower_linear(struct lower *lo, int rank, const struct dim *d, const int *idx, int *value); // elements
void lower_unravel(struct lower *lo, int rank, const struct dim *d, int at, int *idx);

// ---- lower_reduce.c -----------------------------------------------------------------------------------------
// A chain of RED loops with one carry, opened where the values it hangs on stand.
struct lower_red {
	int n, loop[LOWER_RANK], region;
	int axes_at, naxes; // those of lower_red_axes
	int combine;
	tgc_type type;
	int init;
};
// The deepest of `region` and those of the values; all of them enclose the current one.
int lower_deepest(const struct lower *lo, int region, int n, const int *v);
// Values it hangs on: idx[0..n), the guard and the segment.
void lower_red_begin(struct lower *lo, struct lower_red *r, int combine, tgc_type t, int n, const int *idx);
int lower_red_loop(struct lower *lo, struct lower_red *r, int from, int to); // its index
int lower_red_arg(struct lower *lo, const struct lower_red *r);
int lower_red_end(struct lower *lo, struct lower_red *r, int next);
// Loops over axes of sizes size[] (none of them 1), merged as chosen; fills at[].
void lower_red_axes(struct lower *lo, struct lower_red *r, int node, int n, const int64_t *size, int *at);
void lower_note(struct lower *lo, int node, int nidx, const int *idx, const struct lower_red *r);
int lower_combine(int op); // what a reduction combines by
int64_t lower_split_extent(const struct lower *lo); // iterations of the loop of main that is split; 1: none
int lower_reduce(struct lower *lo, int node, const int *idx);
int lower_fold(struct lower *lo, int node, const int *idx);

// ---- lower_contract.c ---------------------------------------------------------------------------------------
int lower_contract(struct lower *lo, int node, const int *idx);

// ---- lower_index.c ------------------------------------------------------------------------------------------
int lower_gather(struct lower *lo, int node, const int *idx);
int lower_check(struct lower *lo, int node, const int *idx);
void lower_scatter(struct lower *lo);

// ---- lower_random.c -----------------------------------------------------------------------------------------
int lower_random(struct lower *lo, int node, const int *idx);

#endif
