// Private header of floor 2: the kernel IR, lowering, kernel passes, the emitters. Sectioned by .c file.
// It runs nothing and allocates no device memory.
#ifndef TG_CODEGEN_H
#define TG_CODEGEN_H

#include "plan.h"

// ---- kernel.c: the kernel IR ----------------------------------------------------------------------------------
// A kernel is a list of phases; a phase is a region (list of instructions) run for every block of its block
// axis, with a barrier between phases. Instructions are numbered; operands are instruction numbers; a value
// may be used in its own region after it and in regions nested below. Scalars only: vectors and register tiles
// come from the *kind* of the loops around an instruction.
//
// Loop kinds. Free level: PAR (iterations independent, any order) and RED (a reduction: each carry has a
// combining operation, so that the range may be split). Machine level, after the passes: BLOCK (the phase's
// outermost axis; the ABI hands out ranges of it), SERIAL, UNROLL and LANE.
// UNROLL and LANE are *replicating*: everything inside happens for each of their indices side by side, also
// across serial loops nested inside them. A value that depends on an unroll axis is several registers, one
// that depends on the lane axis is a vector; one that depends on neither is a single scalar. So
//    unroll i<6 { unroll j<2 { lane l<16 { acc = serial k<K (a[i,k] * b[k, j*16+l] + acc) ; store } } }
// is a 6x32 register tile. On CUDA lanes are threads.
//
// Carries. A loop has n carries: init[] (outside values), arg (visible in the body), next (yielded),
// res (the loop's results, visible after it). SERIAL and RED: ordinary loop-carried values. RED: combine[i]
// names the operation (OP_ADD, OP_MUL, OP_MAX, OP_MIN), and `next` is built as combine(arg, term) or as
// fma(a, b, arg). LANE and UNROLL with carries: the body must not use arg; the result is
// combine(init, tree of next over the axis), the tree pairing i with i + n/2 (odd n:
// with i + (n+1)/2, the middle one waits). PAR and BLOCK have no carries. RED in RED: the inner init is the outer
// arg and the outer next the inner result.
//
// At the machine level a phase region holds one BLOCK loop, last, from 0 to blocks[i]. Before it stands what does
// not depend on the block (scalars, uniform loads and sums): it runs once a call, before the first block.
// What needs no barrier shares one BLOCK loop, each taking its share of the blocks.
//
// Index arithmetic is i64 and canonical: K_AFFINE is imm + sum of coefficient * operand, operands sorted, not
// themselves K_AFFINE, coefficients not 0.

enum { // instruction codes after the operation table's; elementwise instructions use OP_* directly
	K_CONST = OP_COUNT, // imm: union number bits; any type
	K_SCALAR,           // late scalar `aux`
	K_INDEX,            // index of loop `aux`; i64; first in its body region
	K_ARG,              // carry `imm` of loop `aux`, inside it
	K_RES,              // result `imm` of loop `aux`, after it
	K_FOR,              // loop `aux`
	K_AFFINE,           // imm + sum coef[i] * src[i]; i64
	K_IDIV,             // src[0] / imm, floor, imm > 0; i64
	K_IMOD,             // src[0] mod imm, >= 0, imm > 0; i64
	K_LOAD,             // buffer `aux` at src[0]; optional src[1] guard (bool): false reads 0, touches no memory;
	                    // optional src[2] segment
	K_STORE,            // buffer `aux` at src[0] := src[1]; optional src[2] guard; optional src[3] segment
	K_TABLE,            // constant table `aux` at src[0]; i64
	K_MMA,              // all lanes of a block together: sums in LOCAL buffer `aux` += products of slices in shared
	                    // memory that begin at src[0] and src[1] of their buffers; imm: struct kmma
	K_COPY,             // asynchronous: SHARED buffer `aux` at src[0] := GLOBAL buffer at src[1], some neighbours: struct
	                    // kcopied; optional src[2] guard (bool): false copies zeros and touches no global memory
	K_COMMIT,           // all lanes of a block together: the copies before it that no other has are a group
	K_WAIT,             // all together: all groups but the last imm are there, for every lane
	K_END
};
#define K_NONE (-1)

enum axis_kind { AXIS_PAR, AXIS_RED, AXIS_BLOCK, AXIS_SERIAL, AXIS_UNROLL, AXIS_LANE };
enum space { SPACE_GLOBAL, SPACE_SHARED, SPACE_LOCAL }; // SHARED and LOCAL on a CPU: per-thread scratch

struct kinst {
	uint8_t op, type;
	uint16_t nsrc;
	int32_t region; // where it stands
	int32_t aux;
	int32_t src_at; // into kernel.operands; coefficients of K_AFFINE in kernel.coefs at the same place
	int64_t imm;
	int64_t lo, hi; // bounds of an integer or bool value, from its operands when it was made
};
struct kloop {
	uint8_t kind;
	int32_t nest;   // in a phase's region, not 0: needs no barrier to others of this number, written buffers or not
	int32_t inst;   // its K_FOR
	int32_t body;   // region
	int32_t index;  // its K_INDEX
	int32_t lo, hi; // values (i64): lo <= index < hi, step 1. LANE and UNROLL: constants, lo 0
	int ncarry;
	int32_t *init, *arg, *next, *res;
	uint8_t *combine; // OP_*; 0 (OP_VARIABLE) for opaque carries of SERIAL loops
};
struct kregion {
	int32_t parent; // region of the K_FOR that owns it; -1 for a phase
	int32_t loop;   // that loop; -1 for a phase
	int32_t *insts;
	int n, cap;
};
struct kbuf {
	uint8_t type, space;
	bool segmented;     // the argument is a table of pointers, one a segment
	bool written, read; // filled by kernel_finish
	int64_t elems;      // for bounds; segmented: of the longest segment
	int64_t offset_bytes; // SHARED and LOCAL: place in the thread's scratch, filled by bind
	int32_t node;       // GLOBAL: where it came from in the plan (plan buffer); not in the text
	int32_t *seg_nodes; // segmented: plan buffer of each; not in the text
};
// rows x depth of buffer a, columns x depth of b, 16-bit floats of one type or f32, which is rounded to TF32; `pitch`
// elements from row to row (column to column), or, where terms_first, from term to term. Each warp has a square of
// MMA_WARP rows and columns, each lane MMA_WARP of its sums in a row, as the fragments of mma.m16n8 have them
// (kernel_mma_sum); a block may have more warps. Slices begin at multiples of MMA_BYTES, and pitches are some.
enum { MMA_WARP = 32, MMA_DEPTH = 16, MMA_BYTES = 16, MMA_PITCH_UNIT = 4, MMA_PITCH_MOST = 0x1fff * MMA_PITCH_UNIT };
struct kmma {
	int a, b, rows, columns, depth, pitch[2];
	bool terms_first[2];
};
struct kcopied {
	int from, n; // buffer, elements: 4, 8 or 16 bytes, aligned on both sides
};
struct ktable {
	int64_t *values;
	int n;
};
struct kernel {
	struct arena arena;
	struct kinst *insts;
	int n, cap;
	int32_t *operands;
	int64_t *coefs;
	int noperands, operands_cap;
	struct kregion *regions;
	int nregions, regions_cap;
	struct kloop *loops;
	int nloops, loops_cap;
	struct kbuf *bufs; // kernel parameters first (GLOBAL), in order of args[]; then SHARED and LOCAL
	int nbufs, bufs_cap;
	tgc_type scalar_types[64]; // late scalars, in order, behind the buffers in args[]
	int32_t scalar_leaf[64];   // plan leaf of each; not in the text
	int nscalars;
	struct ktable *tables;
	int ntables, tables_cap;
	int32_t phases[16]; // regions
	int64_t blocks[16]; // blocks of each phase, filled by bind
	bool beside[16];    // needs no barrier to the phase before, whatever both write; bind joins them
	int nphases;
	int nsegs;          // 0: not segmented
	double flops;       // per run, for listings
	double work;        // the same as flops of a product that would take as long: the model's
	int64_t scratch_bytes; // per thread, filled by bind
};
// ABI of a compiled phase. args: one pointer a buffer (segmented: to a table of pointers), then one pointer a
// late scalar (to its value in its own type). scratch: scratch_bytes, 64-byte aligned, per thread.
typedef void kernel_fn(void *const *args, int64_t block_begin, int64_t block_end, void *scratch);

struct kernel *kernel_new(void); // NULL: out of memory. Later k->arena.failed says so; nothing crashes on it.
void kernel_free(struct kernel *k);
struct kernel *kernel_clone(const struct kernel *k);
int kernel_buf(struct kernel *k, tgc_type type, enum space space, int64_t elems);
int kernel_scalar(struct kernel *k, tgc_type type);
int kernel_table(struct kernel *k, const int64_t *values, int n);
int kernel_phase(struct kernel *k); // new phase; returns its region
bool kernel_is_const(const struct kernel *k, int v, union number *out);
int64_t kernel_int(const struct kernel *k, int v); // value of an integer K_CONST
int kernel_src(const struct kernel *k, int inst, int i);
// v's region is kernel.insts[v].region; for a K_INDEX or K_ARG that is the loop's body.
int kernel_region_depth(const struct kernel *k, int region); // 0 for a phase
bool kernel_region_within(const struct kernel *k, int region, int outer); // outer itself, or nested in it
bool kernel_trip(const struct kernel *k, int loop, int64_t *n); // constant bounds: number of iterations
bool kernel_apart(const struct kernel *k, int loop, int64_t *n); // the same for bounds that move together
struct kmma kernel_mma(const struct kernel *k, int inst);
int64_t kernel_mma_imm(const struct kmma *m);
struct kcopied kernel_copied(const struct kernel *k, int inst);
bool kernel_multiple(const struct kernel *k, int v, int64_t n); // of n, as far as can be seen
int64_t kernel_mma_sum(const struct kmma *m, int row, int column); // where in the buffer of sums
bool kernel_expands(const struct kinst *in); // the pass expand makes many instructions of it
bool kernel_streams(const struct kernel *k, const struct target *t); // its stores should go past the caches
void kernel_finish(struct kernel *k); // fills bufs[].read and written
// kjoin.c: lowered kernels that need nothing of each other as one, not segmented. NULL: out of memory.
// late: by part, needs what the others leave
struct kernel *kernel_join(struct kernel *const *parts, const bool *late, int n);
// Without folding, placing or sharing; for the builder and the parser. `coef` may be NULL.
int kernel_append(struct kernel *k, int region, int op, tgc_type type, int aux, int64_t imm, int nsrc,
                  const int *src, const int64_t *coef);
int kernel_loop_open(struct kernel *k, enum axis_kind kind, int region, int lo, int hi, int ncarry,
                     const int *init, const uint8_t *combine);
void kernel_loop_close(struct kernel *k, int loop, const int *next); // appends K_FOR and K_RES to the parent

// ---- kbuild.c, kfold.c, kindex.c: the builder -------------------------------------------------------------------
// An instruction is put into the *outermost* region in which its operands are available (so that
// loop-invariant code leaves loops as it is built), is folded and simplified, and is shared with an equal
// instruction that already stands there. Loads of a GLOBAL buffer are placed like arithmetic until the phase
// stores to that buffer; after that, and from scratch buffers always, they stay in the current region and are
// shared only until the next store. So a loop that reads a global element in one iteration and writes it in
// another must store before it loads. Stores stay in the current region.
// One builder a phase: nothing is placed outside the region it was opened with.
struct kbuild {
	struct kernel *k;
	int region;        // current
	struct kcse *cse;  // private
};
void kbuild_init(struct kbuild *b, struct kernel *k, int region);
void kbuild_done(struct kbuild *b);
int kb_const(struct kbuild *b, tgc_type t, union number v);
int kb_int(struct kbuild *b, int64_t v);                        // i64
int kb_bool(struct kbuild *b, bool v);
int kb_scalar(struct kbuild *b, int index);
int kb_op(struct kbuild *b, int op, tgc_type type, int nsrc, const int *src); // OP_* elementwise and KERNEL ops
int kb_op1(struct kbuild *b, int op, tgc_type type, int x);
int kb_op2(struct kbuild *b, int op, tgc_type type, int x, int y);
int kb_select(struct kbuild *b, int c, int x, int y);
int kb_and(struct kbuild *b, int x, int y);                     // bool; K_NONE is true
int kb_affine(struct kbuild *b, int64_t imm, int n, const int64_t *coef, const int *v);
int kb_iadd(struct kbuild *b, int x, int y);
int kb_imul(struct kbuild *b, int x, int64_t c);
int kb_idiv(struct kbuild *b, int x, int64_t c);
int kb_imod(struct kbuild *b, int x, int64_t c);
int kb_load(struct kbuild *b, int buf, int index, int guard, int seg);    // guard, seg: K_NONE
void kb_store(struct kbuild *b, int buf, int index, int value, int guard, int seg);
void kb_mma(struct kbuild *b, int sums, const struct kmma *m, const int *at); // at: where the slices begin
void kb_copy(struct kbuild *b, int to, int at, int from, int index, int64_t n, int guard);
void kb_commit(struct kbuild *b);
void kb_wait(struct kbuild *b, int groups);
int kb_table(struct kbuild *b, int table, int index);
// Opens a loop; the current region becomes its body. Returns the loop. hi exclusive, values.
int kb_for(struct kbuild *b, enum axis_kind kind, int lo, int hi, int ncarry, const int *init,
           const uint8_t *combine);
int kb_index(const struct kbuild *b, int loop);
int kb_arg(const struct kbuild *b, int loop, int i);
void kb_end(struct kbuild *b, int loop, const int *next); // closes it, appends its K_FOR; results: kb_res
int kb_res(struct kbuild *b, int loop, int i);
int kb_identity(struct kbuild *b, int combine_op, tgc_type t); // neutral element: 0, 1, -inf/min, +inf/max
// Between the builder's files: an instruction placed and shared, without folding; K_AFFINE under construction.
int kb_place(struct kbuild *b, int op, tgc_type type, int aux, int64_t imm, int nsrc, const int *src,
             const int64_t *coef);
#define KSUM_MAX 64
struct ksum {
	int n; // terms, sorted by value
	int64_t imm, coef[KSUM_MAX];
	int v[KSUM_MAX];
};
void ksum_add(struct kbuild *b, struct ksum *s, int64_t coef, int v);
int ksum_value(struct kbuild *b, struct ksum *s);
bool ksum_bounds(const struct kbuild *b, const struct ksum *s, int64_t *lo, int64_t *hi);

// ---- interval.c -----------------------------------------------------------------------------------------------
// lo and hi bounds of an integer value by interval analysis; false if unknown. Bounds are computed when an
// instruction is made: a pass that edits bounds of a loop in place must not widen them.
bool kernel_interval(const struct kernel *k, int v, int64_t *lo, int64_t *hi);
// Coefficient of loop `loop`'s index in the i64 value v; false if v is not affine in it.
bool kernel_stride(const struct kernel *k, int v, int loop, int64_t *stride);
void kernel_bounds(struct kernel *k, int v); // fills lo and hi of a new instruction
// dep[v] for every instruction: v differs from iteration to iteration of `loop` (through operands, carries and
// the bounds of loops inside it). dep has k->n entries.
void kernel_depends(const struct kernel *k, int loop, bool *dep);
// The same for loops that replicate: axis[loop] is the bit of such a loop, 0 of any other; axes[v] becomes the bits of
// those along which v has several values at a time. axes has k->n entries.
void kernel_axes(const struct kernel *k, const uint32_t *axis, uint32_t *axes);

// ---- kcopy.c: copying through the builder: what passes are made of ----------------------------------------------
// A pass is mostly kernel_rebuild with a hook: the kernel is copied instruction by instruction into a fresh one
// (so everything folds, hoists and shares anew, dead instructions and loops without effect are left out), and
// the hook may take over any loop of the old kernel. Example, splitting a loop in chunks:
//	static bool chunk(struct kcopy *cp, int loop)
//	{
//		struct kbuild *b = cp->b;
//		... decide by cp->from; return false to have the loop copied as it is ...
//		int outer = kb_for(b, AXIS_PAR, kb_int(b, 0), kb_int(b, n / 8), 0, NULL, NULL);
//		int inner = kb_for(b, AXIS_SERIAL, kb_int(b, 0), kb_int(b, 8), 0, NULL, NULL);
//		int64_t coef[] = {8, 1};
//		int v[] = {kb_index(b, outer), kb_index(b, inner)};
//		kcopy_body(cp, loop, kb_affine(b, 0, 2, coef, v), NULL, NULL);
//		kb_end(b, inner, NULL);
//		kb_end(b, outer, NULL);
//		return true;
//	}
//	kernel_rebuild(k, chunk, NULL);
// A hook that takes a loop with carries gives kcopy_body their values on entry (args, new values), receives
// their next values and names the results with kcopy_result. Loops nested in a copied body meet the hook too. A
// body may be copied several times; values of `from` are those of the last copy.
struct kcopy {
	const struct kernel *from;
	struct kbuild *b;
	int32_t *map;     // by instruction of from: its value in b->k, K_NONE if there is none (yet)
	bool *live;       // by instruction of from: an effect needs it
	bool (*loop)(struct kcopy *cp, int loop); // the hook; NULL: none
	bool (*inst)(struct kcopy *cp, int inst); // may take over an instruction and fill map; set by hooks; NULL: none
	void *user;
};
typedef bool kcopy_hook(struct kcopy *cp, int loop);
void kernel_rebuild(struct kernel *k, kcopy_hook *hook, void *user);
// The same, where a phase of the old kernel may become none or several: `phase` is called for each, and copies
// what it wants between begin and end.
typedef void kcopy_phase_hook(struct kcopy *cp, int phase);
void kernel_rebuild_phases(struct kernel *k, kcopy_phase_hook *phase, kcopy_hook *hook, void *user);
void kcopy_phase_begin(struct kcopy *cp);
void kcopy_phase_end(struct kcopy *cp);
int kcopy_value(const struct kcopy *cp, int v); // K_NONE stays K_NONE
void kcopy_region(struct kcopy *cp, int region); // its instructions, in order, into the current region
void kcopy_inst(struct kcopy *cp, int inst);     // one, unless it is mapped already; loops by hook or kcopy_loop
void kcopy_loop(struct kcopy *cp, int loop);     // the loop as it is (0 and 1 iterations are resolved)
void kcopy_loop_as(struct kcopy *cp, int loop, enum axis_kind kind); // the same under another kind
// A value and what it is computed from, wherever they stand, as far as they are not mapped; only the latter.
void kcopy_expression(struct kcopy *cp, int v);
void kcopy_operands(struct kcopy *cp, int v);
// The body of `loop` with its index and carries replaced; next (may be NULL) receives ncarry new values.
void kcopy_body(struct kcopy *cp, int loop, int index, const int *args, int *next);
void kcopy_forget(struct kcopy *cp, int loop); // nothing in its body is mapped then: to copy values one by one
void kcopy_result(struct kcopy *cp, int loop, int i, int value); // result i of the old loop is this new value
// What an instruction, with the loop it may head, does to each buffer: bits set in access[buffer].
// COPY, beside WRITE: asynchronously, so that a K_WAIT stands before whoever reads it.
enum { ACCESS_READ = 1, ACCESS_WRITE = 2, ACCESS_COPY = 4 };
void kernel_access(const struct kernel *k, int inst, uint8_t *access);
double kernel_region_work(const struct kernel *k, int region); // instructions it executes, roughly
int kernel_region_stores(const struct kernel *k, int region); // bit (1 << space): stores there, nested ones too
// malloc'ed, by instruction; NULL: out of memory. all_carries: those of live loops are live too; else only those
// whose result is. A hook sees loops with all their carries.
bool *kernel_live(const struct kernel *k, bool all_carries);

// ---- text.c, parse.c, verify.c ------------------------------------------------------------------------------
void kernel_print(const struct kernel *k, struct text *t); // canonical: renumbered in order; the cache key
struct kernel *kernel_parse(const char *text, char **error); // as written; NULL: *error (malloc'ed) names the line
const char *axis_name(int kind);
const char *space_name(int space);
// THREADS: the machine level of a GPU, where lanes are the threads of a block. There a LANE loop may hold others:
// their lanes are then a power of two, at most 32, and with the outer ones at most 1024.
enum kernel_level { LEVEL_FREE, LEVEL_MACHINE, LEVEL_THREADS };
char *kernel_verify(const struct kernel *k, enum kernel_level level); // NULL if sound

// ---- lower.c, lower_value.c, lower_contract.c ...: one group to a kernel at the free level ------------------
// kbuf.node of its parameters: the plan buffer; for SEGMENTED groups that of segment 0, and lower_segment_buf says
// which one stands in for it in another segment (-1: out of memory). Buffers of flags are not segmented.
struct kernel *lower_group(const struct plan *p, int group, const struct target *t, char **error);
struct kernel *lower_step(const struct plan *p, const struct pstep *s, const struct target *t, char **error);
int lower_segment_buf(const struct plan *p, int group, int plan_buf, int seg);

// ---- pass/*.c: kernel to kernel, in place ---------------------------------------------------------------------
struct kpass {
	const char *name;
	void (*run)(struct kernel *k, const struct target *t);
};
void kpass_gather(struct kernel *k, const struct target *t);    // phases side by side with loops alike: one
void kpass_merge(struct kernel *k, const struct target *t);     // neighbouring reductions over one range: one loop
void kpass_keep(struct kernel *k, const struct target *t);      // costly values that the next loop of a row needs again
void kpass_columns(struct kernel *k, const struct target *t); // sums down long columns by rows
void kpass_stage(struct kernel *k, const struct target *t);     // operands of products copied into scratch, in blocks
void kpass_tile(struct kernel *k, const struct target *t);      // chooses and splits: register tiles, lanes, chunks of 512
void kpass_threads(struct kernel *k, const struct target *t);   // the GPU's tile: blocks and threads
void kpass_unroll(struct kernel *k, const struct target *t);    // short serial loops with constant bounds
void kpass_expand(struct kernel *k, const struct target *t);    // rows marked "*" into simpler instructions
void kpass_simplify(struct kernel *k, const struct target *t);  // rebuilds: folds, shares, drops the dead
void kpass_bind(struct kernel *k, const struct target *t);      // outermost PAR to BLOCK, others SERIAL; blocks, scratch
const struct kpass *kernel_passes(const struct target *t); // of its family, in order; name NULL ends it
enum kernel_level kernel_machine_level(const struct target *t); // what they end in
char *kernel_run_passes(struct kernel *k, const struct target *t, bool verify); // NULL if fine

// ---- emit_cuda*.c -------------------------------------------------------------------------------------------------
// A kernel at the level THREADS as CUDA C over the names of a prelude, all of them tg_* and TG_*; the same text
// compiles as C11 with another prelude. A phase is a function NAME_pN of `threads` threads a block; its
// parameters are args[] of the CPU's ABI (each buffer, then each late scalar), typed, and last `char *scratch` where
// the kernel has scratch that does not fit the shared memory.
struct cuda_phase {
	char name[64];
	int threads;
	int64_t blocks, shared_bytes;
	int64_t dynamic_bytes; // all of shared_bytes if that is more than a kernel may declare, else 0
};
struct cuda_source {
	char *text; // malloc'ed, without the prelude
	int nphases;
	struct cuda_phase phases[16];
	int64_t scratch_bytes; // of all blocks; 0: no such parameter
};
char *emit_cuda(const struct kernel *k, const struct target *t, const char *name, struct cuda_source *out);
const char *emit_cuda_prelude(void); // for NVRTC: no #include; what the device does, then emit_cuda_common
const char *emit_cuda_common(void);  // what is plain C over that: any prelude ends with it

// ---- emit_llvm.c ------------------------------------------------------------------------------------------------
// One module with a function NAME_pN a phase. `module` receives an LLVMModuleRef in `llvm_context` (an
// LLVMContextRef). Returns NULL or an error text.
char *emit_llvm(const struct kernel *k, const struct target *t, const char *name, void *llvm_context,
                void **module);
// Object code in malloc'ed memory; *asm_text, if asked for, the assembly. jit: for this host, else for t.
char *emit_llvm_object(const struct kernel *k, const struct target *t, const char *name, void **object,
                       size_t *object_bytes, char **llvm_text, char **asm_text);
// Everything besides the kernel's text and name that objects depend on: compiler, processor, options. malloc'ed.
char *emit_llvm_stamp(const struct target *t);
char *emit_llvm_module(void *module, const struct target *t, void **object, size_t *object_bytes); // as it is

// ---- emit_llvm_program.c: a whole program as one object, with a function that calls its kernels ------------------
enum aot_place { AOT_INPUT, AOT_OUTPUT, AOT_WORKSPACE, AOT_CONSTANT };
struct aot_arg {
	uint8_t place;
	int32_t index;        // INPUT, OUTPUT, CONSTANT
	int64_t offset_bytes; // WORKSPACE
};
struct aot_param { // one entry of args[]
	int n;             // > 1 or table: a table of so many pointers
	bool table;
	struct aot_arg *args;
};
struct aot_step {
	int kernel; // -1: a copy of `bytes` from src to dst
	int nparams;
	struct aot_param *params;
	struct aot_arg src, dst;
	int64_t bytes;
};
struct aot_constant {
	const void *data;
	int64_t bytes;
};
struct aot {
	const char *symbol;
	const struct target *target;
	int ninputs, noutputs;
	struct kernel **kernels; // after the passes
	int nkernels;
	struct aot_step *steps;
	int nsteps;
	struct aot_constant *constants;
	int nconstants;
	int64_t scratch_offset;           // of kernels, in the workspace
	int64_t flags_offset, nflags;     // zeroed first, looked at last
};
// int SYMBOL(in..., out..., void *workspace), 64-byte aligned workspace: 0, or 1 if a flag was raised. Nothing else
// is visible in the object. Returns NULL or an error text.
char *emit_llvm_program(const struct aot *p, void **object, size_t *object_bytes);

#endif
