// Private header of floor 1, behind the graph: programs, their keys, groups of operations, plans.
// Sectioned by .c file. Not here: the graph (lib.h), kernels (codegen/).
#ifndef TG_PLAN_H
#define TG_PLAN_H

#include "lib.h"

// ---- prog.c: the linearised program: what is looked up, scheduled and saved ---------------------------------
enum leaf_class {
	LEAF_VARIABLE, // memory with a home
	LEAF_DATA,     // a realized or uploaded value
	LEAF_INPUT,    // bound at each run of a tgc_program
	LEAF_SCALAR,   // one slot of the parameter block
};
struct pnode {
	union {
		uint64_t head; // as a node's
		struct {
			uint8_t op, type, rank, pad;
			uint16_t nsrc, nattr;
		};
	};
	int32_t leaf; // index into leaves for VARIABLE, DATA, SCALAR and promoted CONST; else -1
	int32_t origin; // 1 + the node of the linearised program that it stands for; 0: not known. Not in the text
	int32_t *src; // smaller numbers than its own: the array is in topological order
	const struct dim *dims;
	int64_t *attr; // CONST: the number's bits; VARIABLE, DATA, SCALAR: none here
};
struct pleaf {
	uint8_t cls, type;
	int32_t node;     // the pnode
	int64_t elems;    // 1 for scalars
};
struct pout {
	int32_t node;   // the pnode
	int32_t assign; // leaf (LEAF_VARIABLE) that it is stored to, or -1: a buffer of its own
};
struct prog {
	struct arena *arena;
	struct pnode *nodes;
	int n, cap;
	struct pleaf *leaves;
	int nleaves;
	struct pout *outs;
	int nouts;
};
// A leaf whose node is -1 is read by nothing: a variable that is only assigned, an input that is not used.
int prog_add(struct prog *p, int op, tgc_type type, int rank, const struct dim *dims, int nsrc,
             const int32_t *src, int nattr, const int64_t *attr); // returns the number; -1 out of memory
int prog_add1(struct prog *p, int op, tgc_type type, int x); // the shape is x's; x < 0 gives -1
int prog_add2(struct prog *p, int op, tgc_type type, int x, int y);
int prog_add_full(struct prog *p, tgc_type type, int rank, const struct dim *dims, union number v);
int prog_keep(struct prog *p, const struct pnode *n, const int32_t *src); // copies a node of an older program
int64_t prog_elems(const struct prog *p, int node);
bool prog_const(const struct prog *p, int node, union number *v); // every element the same literal
int32_t *prog_uses(const struct prog *p); // users of each node, outputs included; in the arena, NULL: no memory
bool prog_reserve(struct prog *p, int n);
bool prog_copy(struct prog *to, struct arena *a, const struct prog *from); // deep
// prog_text.c. The text parses back; prog_parse starts at `*text`, leaves it behind the closing brace.
void prog_print(const struct prog *p, struct text *t);
bool prog_parse(struct prog *p, struct arena *a, const char **text, char **error); // *error: malloc'ed
char *prog_verify(const struct prog *p); // prog_verify.c. NULL if sound, else what is wrong (malloc'ed)
// Passes: each a file pass_*.c, program to program, in place. prog_rewrite hands every node to `visit`, which
// returns the number of what stands for it in the new program, then compacts. prog_compact drops what no
// output needs and restores topological order. Out of memory: arena->failed, the program is as it was.
typedef int prog_visit(void *user, struct prog *to, const struct prog *from, int node, const int32_t *src);
void prog_rewrite(struct prog *p, prog_visit *visit, void *user);
void prog_compact(struct prog *p);
void pass_argmax(struct prog *p); // argmax as max, compare, iota, min
void pass_widen(struct prog *p);  // 16-bit chains in f32, one rounding at their end
void pass_permute(struct prog *p); // a permuted contraction is a contraction
void pass_fma(struct prog *p);    // mul + add as fma where the product has one use; after widening

// ---- linear.c: graph to program, with its key -----------------------------------------------------------------
// Literals' values are kept apart from the skeleton, so that a literal seen with a third value at one place
// can become a late scalar.
struct linear {
	struct prog prog;
	struct node **leaf_nodes; // by leaf number (borrowed); NULL for promoted literals
	union number *leaf_values; // of LEAF_SCALAR leaves
	struct node **out_nodes;
	uint32_t *key; // the skeleton: 32-bit words, no pointers, ids, names or scalar values
	size_t key_words;
	int nconsts;
	int32_t *const_nodes; // pnode of each literal, in order of appearance
	union number *consts;
	uint64_t hash; // of the skeleton
	struct origin *origins; // by pnode; NULL: no listing is wanted
};
// Walks the graph from the outputs back to variables, realized values, inputs and scalars. assign[i], if there,
// is the variable that output i is stored to. The inputs are leaves 0 .. ninputs - 1, read or not. The program
// borrows shapes and attributes of the nodes: prog_copy it where it must outlive them.
// Errors: HANDLE for a variable overwritten since it was read and for an input without a value; MEMORY.
bool linear_build(struct tgc_context *c, struct linear *l, struct arena *a, int nouts, struct node *const *outs,
                  struct variable *const *assign, int ninputs, struct node *const *inputs);
// origin.c, called by linear_build while its marks stand: fills origins. false: out of memory.
bool linear_origins(struct tgc_context *c, struct linear *l);
// Turns the literals i with mask[i] into LEAF_SCALAR leaves and takes them out of consts; const_nodes and
// consts close up. The key stays: the caller knows the mask. false: out of memory.
bool linear_promote(struct linear *l, const uint8_t *mask);

// ---- schedule.c, group.c, layout.c, memory.c: program to plan -------------------------------------------------
enum target_family { FAMILY_CPU, FAMILY_CUDA };
struct target { // checked-in record; runtime chooses one, tests may name one
	enum target_family family;
	const char *name;       // "x86-64-v4", "x86-64-v3", "x86-64"; CUDA: "sm_90"
	const char *features;   // LLVM feature string; NULL: the host's own (jit only)
	int vector_bytes;       // 64, 32, 16
	int vector_regs;        // 32 or 16
	int fma_ports;
	int64_t l1_bytes, l2_bytes, l3_bytes;
	double bandwidth;       // bytes/ns, one thread; CUDA: the whole device
	double flops;           // f32 flop/ns, the same
	double launch_ns;       // cost of one kernel
	// CUDA. vector_bytes is the widest access of a thread, vector_regs the registers a thread has for a tile.
	int sm;                 // 90
	int processors;         // multiprocessors
	int64_t shared_bytes;   // of a block, so that several fit a multiprocessor; what any kernel may declare
	int64_t block_shared_bytes; // at most
	bool products;          // a library computes plain products of matrices
	bool tf32;              // tensor cores may multiply f32, rounded: a context's matmul_precision
	bool halves;            // 16-bit floats stay so in memory: to widen them is nothing beside reading them
	int again_ops;          // operations of a value that may be computed again rather than stored
	// What is reduced to few results is so in chunks, each by a block.
	int sum_columns;        // of a sum, results that a block has side by side
	int sum_blocks;         // as many are enough
	int64_t sum_elems;      // at least so many in a chunk
	int64_t product_results; // of a product, results of a block
	int product_blocks;
	double product_terms;   // multiplications of a chunk, about
};
// Of a processor's threads.
#define TARGET_CHUNKS                                                                                          \
	.again_ops = 1, .sum_columns = 16, .sum_blocks = 128, .sum_elems = 4096, .product_results = 384,       \
	.product_blocks = 32, .product_terms = 1e6

enum buffer_class {
	BUF_LEAF,   // memory of leaf `index`
	BUF_OUT,    // memory of output `index`
	BUF_ARENA,  // at `offset_bytes` in the arena
	BUF_FLAGS,  // one i32 an error site
	BUF_SCRATCH, // a block's part of a value that stays in its thread; axes it has one index of have size 1
};
struct pbuf {
	uint8_t cls, type, rank;
	int32_t index;
	int32_t node;         // the pnode it holds, -1 for FLAGS
	int64_t offset_bytes, bytes;
	struct dim *dims;
	int64_t *strides;     // in elements: the physical order. Leaves and outputs are row-major.
	int32_t first, last;  // steps that write it first and read it last
};
enum group_kind { GROUP_MAP, GROUP_REDUCE, GROUP_CONTRACT, GROUP_SCATTER, GROUP_SEGMENTED, GROUP_CHAIN };
enum group_half {
	HALF_NONE,
	HALF_CHUNKS, // the partial results only: its root is main, that root's buffer scratch_buf
	HALF_FINISH, // the rest, in a later step: main is what the partial results add up to
};
// One kernel: computes and stores `roots`; every other node it needs that is not in a buffer is computed
// inside. lower.c pulls values from the roots back to buffers and leaves.
struct group {
	uint8_t kind;
	int nroots;
	int32_t *roots;     // pnodes, each stored to root_bufs[i]
	int32_t *root_bufs; // plan buffers
	int main;           // the reduction, contraction or scatter that shapes the loops; -1 for MAP
	int64_t split;      // > 1: chunks of main's reduced range that are reduced by phases
	int32_t scratch_buf; // split > 1: BUF_ARENA of split * elems(main) partial results, chunk-major; else -1
	int nsegs;          // SEGMENTED: segments; roots are then nsegs groups of equal length, segment-major
	int shared;         // CHAIN, rows > 0: leading axes, sizes of 1 put aside, that all roots have in common
	int64_t rows;       // the same: how many indices of the last of them a block holds; of the others one. Not a
	                    // CHAIN: each block also leaves its part of sums over the shared axes (plan_is_part);
	                    // FINISH: the parts of such a sum are added up
	int32_t *stage;     // CHAIN: by root, rising from 0: what stores it; reads what earlier ones stored
	uint8_t half;       // split > 1: HALF_*
	int npre;           // FINISH groups of the same step whose roots it reads: each thread computes those it
	int32_t *pre;       // needs once more, into its scratch, so that nobody waits for them
	const char *why;    // why nothing more was fused, for listings
};
// Shapes inside a group, sizes of 1 put aside: roots of MAP and CONTRACT have the shape of one another (of main);
// roots of REDUCE have main's own shape (rows), or, if main reduces trailing axes, its operand's shape.
// A part of a sum is none of these: its root is the reduction, its buffer one like scratch_buf, block-major.
// A late scalar or literal that is an output is a root, but node_buf stays -1: others use it directly.
enum step_kind { STEP_KERNEL, STEP_COPY };
struct pstep {
	uint8_t kind;
	bool library;        // KERNEL: a library computes the product (product.c), and there is no code
	int32_t group;       // KERNEL: the first of its groups
	int32_t ngroups;     // KERNEL: they stand one behind the other, and need nothing of each other but group.pre
	                     // and parts of sums, whose FINISH groups run last (plan_is_late)
	int32_t src, dst;    // COPY: plan buffers
	int nargs;           // KERNEL: filled from the lowered kernel's parameters
	int32_t *args;       // plan buffers, kernel parameter order; SEGMENTED: nsegs entries a parameter
	int nscalars;
	int32_t *scalars;    // leaves of class LEAF_SCALAR, kernel order
	int32_t kernel;      // index into plan->kernels
	int nmoved;          // KERNEL that runs again (remat.c): pairs of buffers, the group's own and the one in its place
	int32_t *moved;
};
struct plan {
	struct arena arena; // owns everything here
	struct prog prog;   // after the passes
	struct pbuf *bufs;
	int nbufs;
	struct group *groups;
	int ngroups;
	struct pstep *steps;
	int nsteps;
	int32_t *node_buf;  // plan buffer of each pnode, -1: not materialised
	int32_t nflags;     // error sites (gather, scatter, check)
	int32_t *flag_nodes; // pnode of each error site
	int64_t arena_bytes, peak_bytes, lower_bound_bytes;
	struct kernel **kernels; // set by the runtime after lowering; owned by it
	int nkernels;
};
// Schedules: passes, groups, layouts, memory. `l` is not kept. NULL: out of memory, over the memory budget, or an
// internal error, recorded in c. plan->arena owns the result; plan_free frees it.
struct plan *schedule_build(struct tgc_context *c, const struct linear *l, const struct target *t);
void plan_free(struct plan *p);
void plan_print(const struct plan *p, struct text *t);
char *plan_verify(const struct plan *p); // NULL if sound, else what is wrong (malloc'ed)
struct plan *plan_parse(struct tgc_context *c, const char *text, char **error);
// memory.c: liveness, offsets, peak, lower bound; needs steps, groups and buffers only. Kernel arguments need not
// be known. false: out of memory.
bool plan_place(struct plan *p);
int64_t plan_aligned(int64_t bytes); // what so many take in the arena
// remat.c: steps that repeat earlier ones, so that peak_bytes is within the budget; if it is not then, peak_bytes is
// the least that was found and the plan is of no use. false: out of memory.
bool plan_fit(struct plan *p, const struct target *t, int64_t budget_bytes, struct arena *scratch);
// The buffer that stands in the step for one of its group's.
static inline int plan_step_buf(const struct pstep *s, int buf)
{
	for (int i = 0; i < s->nmoved; i++)
		if (s->moved[2 * i] == buf)
			return s->moved[2 * i + 1];
	return buf;
}
// Root i is part of a sum: each block's, to be added up by another group.
static inline bool plan_is_part(const struct plan *p, const struct group *g, int i)
{
	return g->rows > 0 && g->half == HALF_NONE && p->bufs[g->root_bufs[i]].node < 0;
}
// product.c: out[b][i][j] = sum over l of left[b][i][l] right[b][l][j], plus bias[j]; distances in elements.
struct matmul {
	int32_t left, right, out, bias; // plan buffers; bias: -1 for none
	uint8_t type;                   // of all of them; 16-bit floats are summed in f32
	int64_t m, n, k, batch;
	int64_t left_row, right_row, out_row; // of turned ones: from column to column
	int64_t left_batch, right_batch, out_batch;
	bool left_turned, right_turned;
};
bool plan_product(const struct plan *p, const struct group *g, struct matmul *out); // false: it is something else
bool plan_products(struct plan *p, const struct target *t); // marks steps for a library; false: out of memory
// layout.c: copies of convolution kernels in another order
void layout_weights(struct prog *p, const struct target *t);
bool layout_activations(struct plan *p, struct arena *scratch); // strides; false: out of memory
// group_side.c: steps side by side; false: out of memory
bool plan_beside(struct plan *p, const struct target *t, struct arena *scratch);
// group_halve.c; false: out of memory
bool plan_part(struct plan *p, const struct target *t);
bool plan_halve(struct plan *p, const struct target *t, struct arena *scratch);
bool plan_order(struct plan *p, struct arena *scratch); // order.c: outputs to buffers, in place or copied; steps
int plan_buf(struct plan *p, int cls, int index, int node); // a new buffer shaped like the pnode, row-major
void plan_split(struct plan *p, struct group *g); // its scratch_buf: partial results, chunk-major
// group_partial.c: sums taken along with rows; false: out of memory
bool plan_partial(struct plan *p, const struct target *t, struct arena *scratch);
// group_late.c: they are finished in the step that leaves their parts, where nothing runs beside that
void plan_finish_parts(struct plan *p);
bool plan_is_late(const struct plan *p, const struct pstep *s, int group); // it finishes what the step's others leave
bool plan_compact(struct plan *p, struct arena *scratch); // order.c: drops buffers that nothing uses; false: no memory
struct plan *plan_new(const struct host_alloc *h); // empty; NULL: out of memory
bool plan_flag_sites(struct plan *p); // fills nflags and flag_nodes; false: out of memory
// plan_text.c; by class, kind, half
extern const char *const plan_buffer_names[], *const plan_group_names[], *const plan_half_names[];
// group_inputs.c. Every plan buffer that lowering the group will read, in a fixed order; returns how many there
// are, writes at most cap of them; -1: out of memory.
int group_inputs(const struct plan *p, int group, int32_t *bufs, int cap);
// The same as pnodes: leaves in memory and roots of other groups.
enum {
	READ_EXACT = 1, // at the index of a root of the same shape
	READ_OTHER = 2, // at other indices
};
struct source {
	int32_t node;
	uint8_t how; // READ_*
};
int group_sources(const struct plan *p, int group, struct source **out); // *out: malloc'ed; -1: out of memory
// group_raises.c: by group; repeated: also where a check only repeats another group's. NULL: out of memory.
bool *group_raises(const struct plan *p, struct arena *scratch, bool repeated);
struct group_size {
	int ops, reductions; // moves not counted
	bool flags;          // it may raise an error
	bool draws;          // random numbers
	double flops;        // of contractions
};
int group_walk(const struct plan *p, int group, struct source **out, struct group_size *size);
// Of a group that finishes a split one (HALF_FINISH): which of its roots are among `reads`, and what these are
// computed from beside the partial results. used: by root. *out: malloc'ed; -1: out of memory.
int group_finish(const struct plan *p, const struct group *g, const struct source *reads, int nreads, bool *used,
                 struct source **out);
int group_phases(const struct group *g); // of its kernel, at most
// What the group takes, about; bytes: read and written.
double group_ns(const struct plan *p, const struct target *t, const struct group *g, double bytes,
                const struct group_size *size);

// group.c, group_store.c: what is computed where. Internal to scheduling; lives in a scratch arena.
enum { AT_NONE, AT_ROW, AT_FULL }; // the index a value has in its group: kept axes of main, or all axes
struct gvalue {
	int32_t group;  // the one that computes it; -1: nobody yet, whoever needs it does
	uint8_t at;
	bool flag;      // holds error sites that no group has taken
	bool stored, must; // it gets a buffer; it is an output
	uint8_t need;   // NEED_*
	int32_t level;  // of the lowest group that may use it
	int32_t ops, depth; // operations and their depth, back to buffers
	double flops;   // an element
	double bytes;   // read for all elements
	int32_t base;   // its largest operand in memory, -1
};
struct gbuild { // a group in the making
	uint8_t kind;
	bool resident;  // REDUCE: rows stay, values of the full shape may join
	bool read;      // somebody outside uses it: its level is fixed
	int32_t into;   // merged into this one; -1
	int32_t main, space; // space: pnode whose dims are the full index
	int32_t level, sub; // order of groups: by level, then sub
	int32_t ops, nred, nroots;
	int64_t split;
	const char *why;
};
struct grouping {
	struct plan *plan;
	const struct prog *prog;
	const struct target *target;
	struct arena *arena; // scratch
	struct gvalue *vals; // by pnode
	struct gbuild *groups;
	int ngroups;
	int32_t sub;         // counts down
	int32_t *reduce_of, *map_of; // by pnode: last group that reduces it / maps it, -1
};
bool group_build(struct grouping *g);      // group.c: who computes what
bool group_store(struct grouping *g);      // group_store.c: what is stored, by whom
bool group_merge(struct plan *p, struct arena *scratch); // group_merge.c: siblings, segments; false: no memory
bool group_columns(struct plan *p, const struct target *t); // group_columns.c: sums by rows; false: no memory
// group_shared.c: blocks of leading axes
enum { SHARED_LOST = -1, MAX_SHARED = 4 };
struct shared_axes { // where each shared index is an axis of a value
	int8_t at[MAX_SHARED];
};
int shared_axis(const struct pnode *n, int k); // its k-th axis that is not of size 1, -1
int shared_through(const struct prog *p, int node, int k, int axis); // that of operand k at the same index, SHARED_LOST
struct shared_axes shared_leading(const struct pnode *n, int shared); // its first ones
struct shared_axes shared_all_through(const struct prog *p, int node, int k, struct shared_axes a, int shared);
bool shared_equal(struct shared_axes a, struct shared_axes b, int shared);
// group_chain.c: stages of one kernel; false: no memory
bool group_chain(struct plan *p, const struct target *t, struct arena *scratch);
int group_find(const struct grouping *g, int group);
int group_open(struct grouping *g, int kind, int main, int space, int level, int sub); // -1: no memory
bool group_before(const struct gbuild *a, const struct gbuild *b);
bool same_space(const struct prog *p, int a, int b); // equal dims, sizes of 1 put aside
int prog_stored_as(const struct prog *p, int node);  // reshapes put aside: they share their operand's memory
bool prog_widens(const struct prog *p, int node);    // a cast from 16-bit floats to wider ones, which is exact
double op_flops(int op, tgc_type t);
bool layout_is_copy(const struct prog *p, int node); // layout.c: a reshape to its own shape: a copy in another order

#endif
