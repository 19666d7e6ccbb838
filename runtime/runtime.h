// Private header of floor 3: devices, memory, threads, compiling, caches, running plans, the interpreter.
// Sectioned by .c file. Not here: what is fused or how a kernel looks (lib/, codegen/).
#ifndef TG_RUNTIME_H
#define TG_RUNTIME_H

#include "codegen.h"

#include <pthread.h>

// ---- process.c: what must be process-wide, reference-counted and locked --------------------------------------
// LLVM's targets, the kernel cache. The first context opens it, the last one closes it.
struct runtime {
	int refs;
	int pid;
	pthread_mutex_t lock; // of jit
	struct jit *jit;      // NULL until the first kernel
	struct disk *disk;    // opened with it; NULL: none
	struct cuda_process *cuda; // NULL until the first device or kernel of it
	pthread_mutex_t sites_lock;
	void *sites; // what libdw knows of this process; NULL until the first error with a call site
};
struct runtime *process_open(void); // NULL: out of memory
void process_close(struct runtime *r);
bool process_forked(const struct runtime *r);

// ---- site.c: call sites as text ------------------------------------------------------------------------------
void site_text(const struct tgc_context *c, const void *site, char *text, size_t bytes);
void sites_close(struct runtime *r);

// ---- parallel.c: jobs on threads with large stacks, for compiling --------------------------------------------
// fn(user, i) for each i < n, on at most `threads` threads; returns when all are done.
void parallel_run(int n, int threads, void (*fn)(void *user, int i), void *user);

struct plan_entry;
struct step_run;
struct code;

// ---- context_open.c: the runtime's part of a context -----------------------------------------------------------
struct device {
	struct runtime *process;
	const struct device_kind *kind; // NULL: none
	void *own;                      // the kind's
	const char *name, *reason;
	char reason_text[1024];
	bool ready;
	char *dead; // malloc'ed: what broke it for good; NULL: nothing
	bool skip_kernels; // host time is being measured
	struct pool *pool;
	struct allocator *memory;
	const struct target *target; // a checked-in one, or record
	struct target record;        // with what libraries can do and the context permits
	struct plans *plans;
	struct buffer *arena;   // of the largest plan so far
	struct buffer *scratch; // one slice a thread
	struct arena requests;  // host memory of the realize under way
	struct tgc_later *later; // waits for the next realize
	struct timeline *timeline; // NULL: none
};
static inline struct device *device_of(const struct tgc_context *c) { return c->rt; }
// TGC_OK, or the recorded reason why nothing can run: no device, or a fork since the context started.
tgc_status device_check(struct tgc_context *c, const char *op);
// Device memory, counted in the context's stats. NULL: MEMORY is recorded.
struct buffer *device_alloc(struct tgc_context *c, const char *op, int64_t bytes);
bool debug_on(const struct tgc_context *c, char letter);
void debug_text(struct tgc_context *c, char letter, const char *text); // line by line

// ---- device.c: kinds of devices; memory that may not be the host's -----------------------------------------------
enum way { TO_DEVICE, FROM_DEVICE, WITHIN_DEVICE };
struct device_kind {
	const char *name;
	bool interp;       // runs programs, not plans
	bool whole_device; // scratch of a kernel is one piece, not one a thread
	const struct memory_kind *memory; // NULL: the host's
	// Sets target and own; false: why it cannot be used here.
	bool (*open)(struct tgc_context *c, struct device *d, struct text *why);
	void (*drop)(struct device *d);  // device memory that own holds, before the memory goes; NULL: none
	void (*close)(struct device *d); // NULL: nothing to do
	tgc_status (*compile)(struct tgc_context *c, int n, struct kernel *const *kernels, const struct code **codes);
	void (*release)(struct runtime *r, const struct code *code);
	// One kernel, its arguments in e->args; NULL: on the pool.
	tgc_status (*launch)(struct tgc_context *c, struct plan_entry *e, const struct step_run *r);
	// A whole plan, as exec_run does it; NULL: step by step.
	tgc_status (*run)(struct tgc_context *c, struct plan_entry *e, void *const *leaf_data, void *const *out_data);
	void (*forget)(struct plan_entry *e); // what run has kept of a plan; NULL: nothing
	tgc_status (*copy)(struct tgc_context *c, const char *op, void *to, const void *from, size_t bytes, enum way way);
	// At most 8 bytes that the host wants later: they are on their way; -1: not now, read them at once. Each ticket is
	// answered once, to: NULL where it is not wanted any more. Both NULL: copies do not wait for kernels.
	int (*ask)(struct tgc_context *c, const void *from, size_t bytes);
	tgc_status (*answer)(struct tgc_context *c, int ticket, void *to, size_t bytes);
};
// By name, tests' own ones too; NULL: unknown. Without a name the list as text: "cpu, cuda and interp".
const struct device_kind *device_find(const char *name);
const char *device_names(void);
// Tests may bring one more kind: this is NULL but in their programs.
extern const struct device_kind *const device_extra __attribute__((weak));
// One side is host memory; after what runs already. An error is recorded.
tgc_status device_write(struct tgc_context *c, const char *op, void *to, const void *from, size_t bytes);
tgc_status device_read(struct tgc_context *c, const char *op, void *to, const void *from, size_t bytes);
tgc_status device_copy(struct tgc_context *c, const char *op, void *to, const void *from, size_t bytes);
// Where TGC_DEBUG has the letter z: all bits set, NaN in every float type. b: NULL allowed.
tgc_status device_poison(struct tgc_context *c, const char *op, const struct buffer *b);
static inline bool device_is_far(const struct tgc_context *c) { return device_of(c)->kind->memory; }

// ---- target.c: target records ---------------------------------------------------------------------------------
const struct target *target_host(void);            // by the processor's features
const struct target *target_find(const char *name); // NULL if unknown
// The same one, or *record: what it is where products of f32 may round. t and record may be one; t: NULL allowed.
const struct target *target_rounding(const struct target *t, bool tf32, struct target *record);

// ---- pool.c: threads that take ranges of blocks ---------------------------------------------------------------
// Results never depend on the number of threads. Workers spin about 20 us, then sleep.
struct pool *pool_new(int threads); // counts the caller; NULL: out of memory
void pool_free(struct pool *p);
int pool_threads(const struct pool *p);
typedef void pool_fn(void *user, int thread, int64_t begin, int64_t end);
void pool_run(struct pool *p, int64_t n, pool_fn *fn, void *user); // by contiguous ranges; returns when all are done

// ---- memory.c: a caching allocator of 64-byte aligned memory ---------------------------------------------------
// Large blocks come from huge pages and are kept for reuse; free lists by size class.
struct buffer {
	struct buffer *next; // of a free list
	int32_t refs, cls;
	struct allocator *owner;
	void *data;
	int64_t bytes;
};
struct memory_kind { // where blocks come from
	void *(*take)(void *user, int64_t bytes); // NULL: none left
	void (*give)(void *user, void *data, int64_t bytes);
	int64_t (*all)(void *user); // bytes that there are
};
struct allocator *allocator_new(size_t limit_bytes, const struct memory_kind *kind, void *user); // NULL: the host's
void allocator_free(struct allocator *a);
struct buffer *buffer_new(struct allocator *a, int64_t bytes); // one reference; NULL: out of memory
struct buffer *buffer_ref(struct buffer *b);
void buffer_unref(struct buffer *b); // NULL allowed
int64_t allocator_bytes(const struct allocator *a); // in use and kept
int64_t allocator_peak(const struct allocator *a);
int64_t allocator_limit(const struct allocator *a);

// ---- jit.c: kernels to machine code, once per canonical text ---------------------------------------------------
// A compiled kernel lives as long as the process-wide cache; phases in order.
struct code {
	kernel_fn *fn[16];
	int64_t blocks[16];
	int nphases;
	int64_t scratch_bytes;
	double compile_ms; // or to load it
	bool loaded;       // from the disk
};
bool jit_available(void);
// Compiles what the cache does not hold, several threads side by side. codes[i] belongs to the cache and is kept
// there until jit_release. After an error codes[] holds nothing.
tgc_status jit_compile(struct tgc_context *c, struct runtime *r, int threads, int n, struct kernel *const *kernels,
                       const struct target *t, const struct code **codes);
void jit_release(struct runtime *r, const struct code *code); // NULL allowed
void jit_close(struct runtime *r); // the caller holds the last reference

// ---- disk_folder.c: the folder of the disk cache -----------------------------------------------------------------
struct disk_place {
	char folder[1024]; // "" if nothing names one
	char reason[256];  // why it is this one, or why there is none
};
bool disk_find(struct disk_place *p); // by the environment; touches no file
// A descriptor of the folder, once it is known to be this user's alone; -1 with the reason. make: with its parents.
int disk_folder(struct disk_place *p, bool make);
bool disk_build_id(char *text, size_t bytes); // of the loaded file that tgc is in; false: it has none

// ---- disk.c: compiled objects in files ----------------------------------------------------------------------------
// Whatever is wrong with a file is a miss. The key holds everything that the object depends on.
struct disk_file { // read and found sound, or packed to be written
	char *data;    // malloc'ed; key and object lie in it
	size_t bytes;
	const char *key, *object;
	size_t key_bytes, object_bytes;
	int64_t used;
};
struct disk_name {
	char s[33];
};
struct disk_name disk_name(const char *key); // its hash as text
void *disk_load(int folder, const char *key, size_t *bytes); // malloc'ed; NULL: a miss
// NULL, or what is wrong with the file. use: it is young again.
const char *disk_read(int folder, const char *name, struct disk_file *f, bool use);
bool disk_pack(struct disk_file *f, const char *key, const void *object, size_t bytes); // fills data and bytes
int disk_publish(int folder, const char *key, const struct disk_file *f); // 0 or errno: then nothing is there
// Drops the oldest until less than `most` bytes are left, and what writers left behind; 0: everything. Returns how
// many are left.
int64_t disk_trim(int folder, int64_t most);
// Files, the last used first, until fn returns false. false: the folder cannot be read.
bool disk_each(int folder, bool (*fn)(void *user, const char *name, int64_t bytes, int64_t used), void *user);

// ---- disk_write.c: the cache of this process, written by a thread of its own -----------------------------------------
#define DISK_LIMIT_BYTES ((int64_t)1 << 30)
struct disk *disk_open(struct disk_place *p, int64_t limit_bytes); // NULL: p says why there is none
void disk_close(struct disk *d); // after the last one is written; NULL allowed
int disk_descriptor(const struct disk *d);
void disk_store(struct disk *d, const char *key, const void *object, size_t bytes); // copies; written by and by
void disk_pause(struct disk *d, int more); // 1 before compiling, -1 after it: writing waits, a second at most
bool disk_wait(struct disk *d, int seconds); // until all is written; false: it takes longer
uint64_t disk_stored(struct disk *d);

// ---- plans.c: plans found by structure, literals promoted --------------------------------------------------------
// The result is borrowed until the next call; plan_entry_ref keeps it. May turn literals of `l` into scalar leaves
// (promotion) before it looks. NULL: error recorded.
struct plan_entry *plans_get(struct tgc_context *c, struct linear *l);
void plans_free(struct tgc_context *c);
struct plan_entry *plans_make(struct tgc_context *c, const struct linear *l); // a new one, kept by the caller only

// ---- plan_entry.c: a plan lowered, compiled and bound --------------------------------------------------------------
struct step_run { // a step, ready to run: what does not change from run to run
	const struct code *code; // NULL: copy, or a library's
	const struct matmul *product; // a library's; NULL: it has code
	int32_t nargs, nscalars, nsegs;
	bool *segmented; // [nargs]
	int32_t *bufs;   // [nargs * nsegs]: plan buffers; segment after segment within a parameter
	int32_t *scalars; // [nscalars]: leaves
	int64_t src, dst, bytes; // copy
	bool parallel;   // worth waking threads for
	bool stores;     // to a variable's memory
};
struct plan_entry { // a plan ready to run
	struct plan_entry *next; // of its skeleton
	int32_t refs;
	uint64_t used;        // when it was last asked for
	union number *consts; // the literals it was built for
	int nconsts;
	struct plan *plan;
	struct step_run *steps;
	void **memory; // [nbufs]: filled at each run
	void **args;   // room for the widest step
	int32_t *flags;
	int64_t scratch_bytes; // a thread
	struct runtime *process;
	const struct device_kind *kind;
	void *own;           // the kind's
	struct trace *trace; // NULL: none
	struct arena arena;
};
// Takes the plan over, also on failure; l is what it was made of. NULL: error recorded.
struct plan_entry *plan_entry_new(struct tgc_context *c, struct plan *p, const struct linear *l);
struct plan_entry *plan_entry_ref(struct plan_entry *e);
void plan_entry_unref(struct plan_entry *e); // NULL allowed
// One kernel step lowered. Kernels are not kept once they are compiled; who needs one again lowers anew.
struct lowered {
	const struct plan *plan;
	const struct target *target;
	const struct pstep *step;
	bool print;
	struct kernel *kernel; // after the passes
	struct step_run run;   // its parameters; arrays malloc'ed
	char *text;            // before the passes, if print
	char *error;
};
// By pstep.kernel; *n of them. NULL: error recorded.
struct lowered *lowered_new(struct tgc_context *c, const struct plan *p, const struct target *t, bool print, int *n);
void lowered_free(struct lowered *x, int n);

// ---- trace.c, trace_json.c: TGC_TRACE=DIR, a JSON file a plan ---------------------------------------------------------
bool trace_wanted(void);
// DIR/NAME-PID-N.json, N rising; makes DIR. false: it cannot be; a log line says why.
bool trace_path(struct tgc_context *c, const char *name, char *path, size_t bytes);
bool trace_write(void *json, const char *path); // whole or not at all; json: json_t, taken
// jobs by kernel, printed before the passes. NULL: no folder or no memory; the program runs on.
struct trace *trace_new(struct tgc_context *c, const struct plan_entry *e, const struct linear *l,
                        const struct lowered *jobs);
void trace_step(struct tgc_context *c, struct trace *t, int step, uint64_t begun_ns, uint64_t ended_ns); // one run
void trace_close(struct trace *t); // writes the file; NULL allowed
// trace_json.c: what does not change from run to run; json_t of the plan, whose "steps" are in order. NULL: no memory
void *trace_describe(struct tgc_context *c, const struct plan_entry *e, const struct linear *l,
                     const struct lowered *jobs);

// ---- timeline.c: TGC_TRACE=DIR, when everything ran, for chrome://tracing and Perfetto ---------------------------------
struct timeline *timeline_open(void); // NULL: not wanted, or no memory
// Slices of one context nest: one begins and ends inside another, or beside it. what, detail: copied. t: NULL allowed.
void timeline_add(struct timeline *t, const char *what, const char *detail, uint64_t begun_ns, uint64_t ended_ns);
void timeline_close(struct tgc_context *c, struct timeline *t); // writes the file
uint64_t clock_ns(void); // monotonic

// ---- exec.c: runs a plan ------------------------------------------------------------------------------------------
// leaf_data by leaf (scalars: pointers to values in their own type), out_data by output (assigned ones: unused).
// INDEX: a check failed. As far as the order of steps allows, that is known before the first variable is stored
// to, and none is then.
tgc_status exec_run(struct tgc_context *c, struct plan_entry *e, void *const *leaf_data, void *const *out_data);
void exec_skip_kernels(struct tgc_context *c, bool skip); // everything but the kernels: measures the host
tgc_status exec_flag_error(struct tgc_context *c, int op); // records the INDEX error of an operation

// ---- cell.c: one element in memory ---------------------------------------------------------------------------------
void number_store(tgc_type t, union number v, void *to); // v is a value of t
union number number_load(tgc_type t, const void *from);

// ---- realize.c: the seam of floor 1 ------------------------------------------------------------------------------
tgc_status realize_tensors(struct tgc_context *c, int n, tgc_tensor *const *tensors);
tgc_status realize_initial(struct tgc_context *c); // pending first values of variables
// First values of variables that l reads, released ones too. Walks the graph: marks are another's after it.
tgc_status realize_homes(struct tgc_context *c, const struct linear *l);
tgc_status realize_read(struct tgc_context *c, struct node *n, void *data, size_t bytes);
struct buffer *realize_buffer(const struct node *n); // of a value that is stored; NULL: it is not
// Memory of every leaf of l, in arena a; scalars in a block of their own; inputs (first leaves) as given.
tgc_status realize_leaves(struct tgc_context *c, struct arena *a, const struct linear *l, const void *const *inputs,
                          void ***data);
// Runs on the device: e, or without one p by the interpreter.
tgc_status realize_run(struct tgc_context *c, const struct prog *p, struct plan_entry *e, void *const *leaf_data,
                       void *const *out_data);

// ---- store.c: variables before and after a run that overwrites them -------------------------------------------------
struct store {
	struct variable *var;
	struct node *next;   // leaf of the next version; NULL: the variable was released
	struct buffer *keep; // the old value, where something alive that the run does not compute still reads it
};
// epoch: of the nodes that the run computes; 0: none of the graph. After an error store_drop what there is.
tgc_status store_prepare(struct tgc_context *c, int n, struct store *s, uint32_t epoch);
void store_commit(struct tgc_context *c, int n, struct store *s);
void store_drop(struct tgc_context *c, int n, struct store *s);

// ---- action.c: the public actions; values asked for later ------------------------------------------------------------
struct tgc_later {
	struct tgc_later *next;
	struct tgc_context *ctx;
	struct node *node; // NULL once read, or asked for
	int ticket;        // -1: none
	tgc_type type;
	double value;
};
void later_serve(struct tgc_context *c); // those whose value is stored

// ---- program.c, export.c: tgc_program ---------------------------------------------------------------------------------
struct tgc_program {
	struct tgc_context *ctx;
	struct arena arena;
	struct linear linear;     // owns its shapes; leaf nodes referenced
	int nheld;                // of them: promotion adds some without
	bool loaded;              // its variables and late scalars are its own
	struct plan_entry *entry; // NULL: the interpreter
	int ninputs, nouts;       // returned ones; outputs behind them are assigned
	int64_t *draws; // by leaf: random blocks that are counted from this late scalar; 0: it is no counter
	bool late;      // it has late scalars
};
void program_scalars(struct tgc_program *p); // late scalars as they are now
void program_refresh(struct tgc_program *p); // the same, with the seed, and draws reserved for one run
bool program_is_seed(const struct tgc_program *p, int leaf); // the context's
bool program_find_draws(struct tgc_program *p); // fills draws; false: out of memory

// ---- program_state.c: the variables and late scalars of a program ---------------------------------------------------
tgc_tensor *program_scalar(const struct tgc_program *p, int leaf); // NULL: no late scalar, or nobody can set it
void program_release_state(struct tgc_program *p);

// ---- program_save.c, program_load.c: programs in files ------------------------------------------------------------------
// struct program_head; text_bytes of text; data_bytes: values of variables and data, by leaf, back to back. The text:
//     inputs 2 outputs 1
//     scalar 5 late 4611686018427387904      a leaf of class scalar: late, seed or fixed, with the value's bits
//     program { ... }                        as prog_print writes it
#define PROGRAM_MAGIC "tgcprog1"
struct program_head {
	char magic[8];
	uint64_t text_bytes, data_bytes;
	uint64_t text_sum[2], data_sum[2]; // XXH3-128
};
enum program_scalar { PROGRAM_LATE, PROGRAM_SEED, PROGRAM_FIXED };
extern const char *const program_scalar_names[];
// From memory, for tests that skip the checksums. NULL: an error is recorded.
struct tgc_program *program_parse(struct tgc_context *c, const char *text, const void *data, size_t data_bytes);

// ---- interp.c: the oracle ------------------------------------------------------------------------------------------
// Naive loops in f64 (64-bit integers for integer types), rounding to each node's type, with an error bound.
// Own scalar, shape and index code, on purpose. Runs a program that went through no pass.
struct interp_value {
	tgc_type type;
	int64_t elems;
	double *f;        // floats; NULL for integers and bool
	int64_t *i;       // integers and bool; NULL for floats
	double *bound;    // absolute error any sound implementation may show (floats)
	uint8_t *unsure;  // 1: hangs on a decision inside the bound; not to be compared
};
// values: p->n entries, filled; interp_values_free. *flag_node: pnode of the first failed check, -1 if none.
tgc_status interp_run(struct tgc_context *c, const struct prog *p, const void *const *leaf_data,
                      struct interp_value *values, int32_t *flag_node);
void interp_values_free(const struct prog *p, struct interp_value *values);
void interp_store(const struct interp_value *v, void *data); // to host memory in v's own type

#endif
