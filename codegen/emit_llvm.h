// Private header of the LLVM emitter: machine-level kernel IR to LLVM IR through the LLVM-C API (19 to 22).
// A kernel value becomes one LLVM value for every combination of the unroll axes it varies over, each a vector
// if it varies over the lane axis too, else a scalar. emit_analyse says which; emit_value keeps them.
// Not here: optimisation of any kind, running code.
#ifndef TG_EMIT_LLVM_H
#define TG_EMIT_LLVM_H

#include "codegen.h"

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

enum { EMIT_AXES = 16, EMIT_MAX_LANES = 512 };

struct evalue { // by kernel instruction
	uint32_t deps; // replicating axes it varies over, by their depth
	bool lane;     // one of them is the lane axis
	bool narrow;   // i64, but kept as i32 lanes: its bounds allow it
	bool needed;   // read as a value, not only as a part of addresses
	bool spread;   // read as a vector though it is none
	int combos;    // of the unroll axes in deps
	int64_t ahead; // of a load: so many bytes on lies a row that will be read; 0: not asked for
	int number;    // of a load: one more than the value that numbers its row, `ahead` bytes apart; 0: none
	bool stream;   // of a load: asked for only because it reads on and on
	LLVMValueRef next; // of such a value: what it is in the next iteration
	LLVMValueRef *v;
	LLVMValueRef *splat; // of v, inside the open lane loop
};

struct eloop { // by kernel loop
	int axis;      // replicating: depth among the replicating loops around it; else -1
	int64_t n;     // replicating: extent
	bool copied;   // replicating, but its body is emitted once an index, because a loop inside has other bounds
	               // for each, or a segment differs from lane to lane
	int64_t index; // copied: of the copy being emitted
};

struct escope { // an open loop that is emitted as a loop, or the copy of a copied one
	int body;            // region
	LLVMValueRef before; // the branch into it; NULL for copies
};

struct eterm { // coefficient times value
	int64_t coef;
	int v;
};
struct epointer { // an address that was computed already: parent + terms
	int buf, seg, seg_slot, parent;
	int nterms;
	struct eterm *terms;
	int level; // scopes around it
	LLVMValueRef value;
};

struct ecombo {
	int i[EMIT_AXES];
};

struct emit {
	const struct kernel *k;
	const struct target *t;
	LLVMContextRef c;
	LLVMModuleRef m;
	LLVMBuilderRef b;
	LLVMValueRef fn;
	LLVMTypeRef i1, i8, i32, i64, ptr;
	struct arena arena;
	struct evalue *values;
	struct eloop *loops;
	int64_t extent[EMIT_AXES]; // of the open axes; lane axis: 1, it is not combined
	int lanes;                 // of the open lane loop; 0: none
	bool turned;               // it loaded blocks
	struct escope *scopes;
	int nscopes;
	struct epointer *pointers;
	int npointers, pointers_cap;
	LLVMValueRef *bufs, *scalars, *tables; // tables: of the module
	LLVMValueRef *streams;                 // by buffer: its start is aligned for stores past the caches; NULL: none
	bool streamed;                         // the function has such a store
	LLVMValueRef zeros;                    // what a load whose guard is false reads
	bool has_avx512, has_f16c, has_fma, has_sse41;
	const char *error; // the first; not malloc'ed
};

// ---- emit_llvm.c: an instruction, with the loop that it may be ----
void emit_inst(struct emit *e, int inst);

// ---- emit_llvm_analyse.c: what each value varies over ----
void emit_analyse(struct emit *e);
bool emit_replicates(const struct emit *e, int loop); // LANE or UNROLL, not copied

// ---- emit_llvm_value.c: types, constants, the values of kernel instructions ----
void emit_fail(struct emit *e, const char *error);
LLVMTypeRef emit_type(const struct emit *e, tgc_type t); // 16-bit floats: their bits, i16
LLVMTypeRef emit_memory_type(const struct emit *e, tgc_type t); // bool is a byte there
LLVMTypeRef emit_like(LLVMTypeRef element, LLVMValueRef x); // element, or a vector of it as long as x
LLVMTypeRef emit_vector_of(LLVMTypeRef element, int lanes); // lanes <= 1: the element
int emit_lanes_of(LLVMValueRef x);                          // 1 for scalars
LLVMValueRef emit_int(const struct emit *e, int64_t v);     // i64
LLVMValueRef emit_const(const struct emit *e, tgc_type t, union number v);
LLVMValueRef emit_const_like(LLVMValueRef element, LLVMValueRef x);
LLVMValueRef emit_fconst(LLVMTypeRef t, double v); // scalar or vector
LLVMValueRef emit_iconst(LLVMTypeRef t, int64_t v);
LLVMValueRef emit_iota(LLVMTypeRef element, int n, int64_t step); // 0, step, 2 step, ...
LLVMValueRef emit_splat(struct emit *e, LLVMValueRef x, int lanes);
bool emit_all_true(LLVMValueRef mask);
LLVMValueRef emit_intrinsic(struct emit *e, const char *name, int ntypes, LLVMTypeRef *types, int n,
                            LLVMValueRef *args);
bool emit_next(const struct emit *e, uint32_t deps, struct ecombo *c);
int emit_slot(const struct emit *e, uint32_t deps, const struct ecombo *c);
// Value v at c: as a vector if `lane`, in i32 if `narrow` (only of i64).
LLVMValueRef emit_fetch(struct emit *e, int v, const struct ecombo *c, bool lane, bool narrow);
LLVMValueRef emit_fetch_for(struct emit *e, int v, const struct ecombo *c, int user); // as user holds itself
void emit_define(struct emit *e, int v, const struct ecombo *c, LLVMValueRef x);
void emit_spread(struct emit *e, int v); // vectors of it, ahead of their use
void emit_affine(struct emit *e, int inst);
LLVMValueRef emit_tree(struct emit *e, int op, tgc_type t, int n, LLVMValueRef *x);
LLVMValueRef emit_part(struct emit *e, LLVMValueRef x, int from, int n); // n of its elements; 1: a scalar
LLVMValueRef emit_lane_tree(struct emit *e, int op, tgc_type t, LLVMValueRef x, int n);

// ---- emit_llvm_op.c, emit_llvm_cast.c: elementwise instructions on scalars or vectors ----
// type: of the operands (select: of its second and third). A compare gives i1.
LLVMValueRef emit_op(struct emit *e, int op, tgc_type type, LLVMValueRef *x);
LLVMValueRef emit_cast(struct emit *e, tgc_type from, tgc_type to, LLVMValueRef x);
LLVMValueRef emit_widened(struct emit *e, tgc_type from, LLVMValueRef x); // 16-bit floats, held as i16, to f32

// ---- emit_llvm_soft.c: what a target without the instruction must be told in many ----
LLVMValueRef emit_soft_fma(struct emit *e, tgc_type t, LLVMValueRef *x);
LLVMValueRef emit_soft_round(struct emit *e, tgc_type t, LLVMValueRef x, bool down); // down: floor, else to even
LLVMValueRef emit_half_to_float(struct emit *e, LLVMValueRef bits); // i16 to f32
LLVMValueRef emit_float_to_half(struct emit *e, LLVMValueRef x);    // f32 to i16
LLVMValueRef emit_float_to_bfloat(struct emit *e, LLVMValueRef x);  // f32 to i16
LLVMValueRef emit_round_to_odd(struct emit *e, LLVMValueRef x);     // f64 to f32, so that a second rounding is right

// ---- emit_llvm_turn.c: blocks transposed in registers ----
// n rows, n a power of two, as long as a multiple of n: every n x n block of columns is transposed in place.
void emit_turn(struct emit *e, LLVMValueRef *v, int n);
LLVMValueRef emit_join(struct emit *e, int n, LLVMValueRef *x); // one after the other; x is overwritten

// ---- emit_llvm_address.c ----
struct address { // in bytes, but for the lanes' part, which is in elements
	int64_t imm;
	int64_t axis_step[EMIT_AXES]; // per unroll index
	int64_t lane_step;            // per lane
	int nfixed, nunroll, nlane;   // other terms: the same everywhere; by unroll index; by lane
	struct eterm *fixed, *unroll, *lane;
};
struct address emit_address(struct emit *e, int index, int64_t bytes); // of elements of so many bytes
LLVMValueRef emit_pointer(struct emit *e, const struct address *a, int buf, int seg, const struct ecombo *c); // of a copy
// Pointers of the lanes: p plus their own part of the index.
LLVMValueRef emit_lane_pointers(struct emit *e, const struct address *a, LLVMTypeRef element, LLVMValueRef p,
                                const struct ecombo *c);
LLVMValueRef emit_at_offset(struct emit *e, LLVMValueRef p, int64_t bytes);
// Loops around what is emitted next, and the instruction ahead of each.
void emit_scope_open(struct emit *e, int body, LLVMValueRef before);
void emit_scope_close(struct emit *e);

// ---- emit_llvm_stream.c: stores past the caches ----
void emit_streams(struct emit *e); // at the start of a function: fills streams
// What says whether vectors stored there may go past the caches; NULL: they never may.
LLVMValueRef emit_streams_to(const struct emit *e, int buf, const struct address *a, int64_t bytes);
void emit_stream_store(struct emit *e, LLVMValueRef aligned, LLVMValueRef x, LLVMValueRef p, unsigned bytes);
void emit_streams_end(struct emit *e); // before it returns

// ---- emit_llvm_ahead.c: what is loaded behind a loop ----
void emit_ahead(struct emit *e, int loop);

// ---- emit_llvm_rows.c: rows fetched ahead ----
void emit_rows(struct emit *e); // fills ahead and number of every load
// At the start of a loop's body: the numbers of the next iteration's rows, below `hi`.
void emit_next_rows(struct emit *e, int loop, LLVMValueRef index, LLVMValueRef hi);
enum cache_level { CACHE_SECOND = 2, CACHE_FIRST = 3 }; // the nearest that takes it, as llvm.prefetch counts
// What lies so far behind p.
void emit_prefetch(struct emit *e, LLVMValueRef p, int64_t bytes, bool to_write, enum cache_level nearest);
void emit_prefetch_row(struct emit *e, int load, const struct address *a, const struct ecombo *c, LLVMValueRef p);

// ---- emit_llvm_memory.c: loads, stores, tables ----
void emit_load(struct emit *e, int inst);
void emit_store(struct emit *e, int inst);
void emit_table(struct emit *e, int inst);

// ---- emit_llvm_object.c ----
char *emit_cpu(const struct target *t);      // malloc'ed
char *emit_features(const struct target *t); // malloc'ed

#endif
