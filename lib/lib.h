// Private header of floor 1, the graph: arenas, the operation table, nodes, contexts, gradients.
// Sectioned by .c file, so that it is the index of the folder.
// Not here: programs and plans (plan.h), devices, files, threads (runtime/), kernels (codegen/).
#ifndef TG_LIB_H
#define TG_LIB_H

#include <tgc/ops.h>
#include <tgc/run.h>

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TG_COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

// ---- arena.c: memory freed at once ------------------------------------------------------------------------
// Out of memory is an ordinary error: arena_alloc returns NULL and sets `failed`, which stays set; code that
// builds much in an arena checks `failed` once at its end. Memory is zeroed, 16-byte aligned.
struct arena {
	struct arena_block *head;
	const struct host_alloc *host;
	bool failed;
};
struct host_alloc { // NULL pointers mean malloc
	tgc_alloc_fn *fn;
	void *user;
};
void *host_realloc(const struct host_alloc *h, void *p, size_t old_bytes, size_t new_bytes);
void arena_init(struct arena *a, const struct host_alloc *h);
void *arena_alloc(struct arena *a, size_t bytes);
void *arena_dup(struct arena *a, const void *p, size_t bytes);
void *arena_grow(struct arena *a, const void *p, size_t used_bytes, size_t bytes); // the rest is not zeroed
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void arena_free(struct arena *a); // leaves it empty and usable
void arena_reset(struct arena *a); // empties it, keeps the memory in one block: no page faults next time
#define ARENA_NEW(a, type) ((type *)arena_alloc(a, sizeof(type)))
#define ARENA_ARRAY(a, type, n) ((type *)arena_alloc(a, sizeof(type) * (size_t)(n)))

// A growing text, in malloc'ed memory. text_take hands the string to the caller.
struct text {
	char *p;
	size_t n, cap;
	bool failed;
};
void text_add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *text_take(struct text *t);

// ---- optable.c: the operation table -----------------------------------------------------------------------
enum op {
#define TG_UNARY(ID, ...) OP_##ID,
#define TG_BINARY(ID, ...) OP_##ID,
#define TG_COMPARE(ID, ...) OP_##ID,
#define TG_OTHER(ID, ...) OP_##ID,
#include "ops.def"
	OP_COUNT
};
enum op_class {
	CLASS_SOURCE,
	CLASS_UNARY,
	CLASS_BINARY,
	CLASS_COMPARE,
	CLASS_TERNARY,
	CLASS_MOVE,
	CLASS_REDUCE,
	CLASS_CONTRACT,
	CLASS_INDEX,
	CLASS_KERNEL,
};
struct op_info {
	const char *name;
	enum op_class cls;
	char types;                             // 'F', 'N', 'I', 'A'; 'A' where the table says nothing
	const char *llvm_f, *llvm_i, *llvm_u, *c; // "" where the table says nothing
	double lo, hi;                          // sample interval
	bool differentiable;
};
extern const struct op_info op_info[OP_COUNT];
int op_find(const char *name); // -1 if there is none
static inline bool op_is_elementwise(int op) // unary, cast, binary, compare, fma, select: together in ops.def
{
	return op >= OP_NEG && op <= OP_SELECT;
}
static inline bool type_is_float(tgc_type t)
{
	return t <= TGC_BF16;
}
bool type_is_int(tgc_type t);    // integers; bool is none
bool type_is_signed(tgc_type t); // signed integers and floats
bool op_allows(int op, tgc_type t);

// Numbers as 64 bits: floats as the f64 of their value, integers and bool as int64_t (u64: its bits).
union number {
	double f;
	int64_t i;
};
union number number_round(tgc_type t, union number v); // to the nearest value of t / wrapped to t
union number number_from_double(tgc_type t, double v); // saturating, NaN -> 0, for integer types
union number number_cast(tgc_type from, tgc_type to, union number v);
bool number_equal(union number a, union number b); // bit for bit
// Meaning of `op` on operands of type t (select: of its second and third). false: not foldable, because the
// device may round differently. Not for casts: number_cast.
bool op_fold(int op, tgc_type t, const union number *src, union number *out);

// ---- node.c: interned values ------------------------------------------------------------------------------
struct dim {
	int64_t n;
	int64_t sym; // 0: none; equal symbols are equal sizes. In keys.
};
static inline bool dims_equal(const struct dim *a, const struct dim *b, int rank)
{
	int64_t differ = 0;
	if (a != b)
		for (int i = 0; i < rank; i++)
			differ |= (a[i].n ^ b[i].n) | (a[i].sym ^ b[i].sym);
	return differ == 0;
}

struct tgc_context;
struct kernel;
struct buffer; // device memory, reference-counted; owned by the runtime

// A value. Never written after it was interned, except refs, buf, mark, slot and the stale bit.
// attr of the sources: VARIABLE {id, version, struct variable *}; DATA {id, 0} or, for a tgc_input, {id, 1};
// SCALAR {id, version, the value's bits (union number)}; CONST {the value's bits}.
struct node {
	struct node *next; // intern chain; list of the dying, of free storage
	uint64_t hash;
	union {
		uint64_t head; // what follows, to be copied and compared at once
		struct {
			uint8_t op, type, rank, pad; // pad: 0
			uint16_t nsrc, nattr;
		};
	};
	int32_t refs;
	uint32_t mark; // epoch of the last walk that met it
	int32_t slot;  // its number in that walk
	uint16_t size; // class of its storage
	uint16_t flags;
	struct buffer *buf; // its value, once realized; NULL before. Row-major. One reference, given back at death
	const struct dim *dims; // elementwise: its first source's, else behind src
	int64_t *attr;          // behind them
	struct node *src[];
};
enum {
	NODE_STALE = 1, // a read of a variable whose home was overwritten since
	NODE_NAMED = 2, // origin.c knows it
	NODE_EMPTY = 4, // an axis has no elements; set where dims are its own
	NODE_UNIT = 8, // build.c remembers it, in the unit that the upper byte says
	NODE_UNIT_SHIFT = 8,
};

struct node *node_new(struct tgc_context *c, int op, tgc_type type, int rank, const struct dim *dims, int nsrc,
                      struct node *const *src, int nattr, const int64_t *attr);
// ^ interns; the result carries one reference for the caller, sources are referenced, not taken. dims of an
//   elementwise operation are its sources'.
//   NULL when out of memory (the context then holds MEMORY).
void node_release(struct tgc_context *c, struct node *n); // its last reference is gone; iterative
// NULL is allowed.
static inline struct node *node_ref(struct node *n)
{
	if (n)
		n->refs++;
	return n;
}
static inline void node_unref(struct tgc_context *c, struct node *n)
{
	if (n && --n->refs == 0)
		node_release(c, n);
}
int64_t node_elems(const struct node *n);
static inline bool node_same_shape(const struct node *a, const struct node *b) // sizes and symbols
{
	return a->rank == b->rank && dims_equal(a->dims, b->dims, a->rank);
}
bool node_same_sizes(const struct node *a, const struct node *b);
// Every element the same literal. Any operation but CONST, EXPAND and RESHAPE says no at once.
static inline bool node_is_full(const struct node *n, union number *v)
{
	if (n->op == OP_EXPAND)
		n = n->src[0];
	if (n->op == OP_RESHAPE)
		n = n->src[0];
	if (n->op != OP_CONST)
		return false;
	v->i = n->attr[0];
	return true;
}
int64_t node_new_id(struct tgc_context *c);
// The variable that a VARIABLE node reads; it lives as long as the node.
#define node_variable(n) ((struct variable *)(uintptr_t)(n)->attr[2])
static inline union number node_scalar_value(const struct node *n) // of a SCALAR
{
	return (union number){.i = n->attr[2]};
}

// Axis record of a contraction: CONTRACT's attr is an array of these, 8 words each.
// The element at output index o of a CONTRACT is the sum over all tap and contracted indices of a * b, where
// on a window axis the index into a is p = o * stride + t * dil_b - pad, used as p / dil_a; a tap with p < 0,
// p > (A - 1) * dil_a, or p not divisible by dil_a contributes nothing, or 0 * b, which shows where b is not
// finite. dil_b may be negative.
enum role { ROLE_BATCH, ROLE_LEFT, ROLE_RIGHT, ROLE_CONTRACTED, ROLE_WINDOW };
struct tg_caxis {
	int64_t role;
	int64_t a, b, o; // axis of each operand and of the result; -1: not there
	int64_t stride, pad, dil_a, dil_b; // WINDOW only, else 1, 0, 1, 1
};
_Static_assert(sizeof(struct tg_caxis) == 64, "eight words an axis");

// ---- build.c: smart constructors on nodes (fold, simplify); used by ops.c, compose.c and autograd.c -------
// All take borrowed sources and return a new reference; NULL source or out of memory gives NULL. They trust
// their arguments: ops.c checks at the public door.
struct node *build_const(struct tgc_context *c, tgc_type t, union number v);             // rank 0
void build_forget(struct tgc_context *c, const struct node *unit); // it dies
struct node *build_full(struct tgc_context *c, tgc_type t, int rank, const struct dim *d, union number v);
struct node *build_unary(struct tgc_context *c, int op, struct node *x);
struct node *build_cast(struct tgc_context *c, struct node *x, tgc_type t);
struct node *build_bitcast(struct tgc_context *c, struct node *x, tgc_type t);
struct node *build_binary(struct tgc_context *c, int op, struct node *x, struct node *y); // equal shapes
struct node *build_select(struct tgc_context *c, struct node *cond, struct node *x, struct node *y);
struct node *build_fma(struct tgc_context *c, struct node *x, struct node *y, struct node *z);
struct node *build_reshape(struct tgc_context *c, struct node *x, int rank, const struct dim *d);
struct node *build_permute(struct tgc_context *c, struct node *x, const int *order);
struct node *build_expand(struct tgc_context *c, struct node *x, const struct dim *d);    // same rank
struct node *build_pad(struct tgc_context *c, struct node *x, const int64_t *lo, const int64_t *hi,
                       const int64_t *interior, struct node *fill);                   // interior may be NULL
struct node *build_slice(struct tgc_context *c, struct node *x, const int64_t *start, const int64_t *step,
                         const struct dim *d);
struct node *build_flip(struct tgc_context *c, struct node *x, uint32_t axes_mask);
struct node *build_concat(struct tgc_context *c, int n, struct node *const *xs, int axis);
struct node *build_window(struct tgc_context *c, struct node *x, int axis, int64_t size, int64_t stride,
                          int64_t dilation);
struct node *build_fold(struct tgc_context *c, struct node *x, int axis, int64_t n, int64_t stride,
                        int64_t dilation);
struct node *build_reduce(struct tgc_context *c, int op, struct node *x, uint32_t axes_mask); // keeps size-1 axes
struct node *build_contract(struct tgc_context *c, struct node *a, struct node *b, int naxes,
                            const struct tg_caxis *ax, int orank, const struct dim *odims);
struct node *build_gather(struct tgc_context *c, struct node *x, struct node *index, int axis);
struct node *build_scatter(struct tgc_context *c, struct node *base, struct node *index, struct node *upd, int axis,
                           int mode);
struct node *build_check(struct tgc_context *c, struct node *x, struct node *cond);
struct node *build_iota(struct tgc_context *c, tgc_type t, int rank, const struct dim *d, int axis);
struct node *build_random(struct tgc_context *c, int rank, const struct dim *d, struct node *seed,
                          struct node *counter);                                       // u32
// x broadcast to d by reshape and expand.
struct node *build_broadcast(struct tgc_context *c, struct node *x, int rank, const struct dim *d);

// Like node_new, but an empty value is always a broadcast zero, whatever it is computed from.
struct node *build_node(struct tgc_context *c, int op, tgc_type type, int rank, const struct dim *dims, int nsrc,
                        struct node *const *src, int nattr, const int64_t *attr);
// RMAX whose gradient goes to the first maximum instead of being shared (attr: mask, 1).
struct node *build_max_first(struct tgc_context *c, struct node *x, uint32_t axes_mask);

// ---- context.c, handle.c, variable.c: contexts, scopes, handles, state, errors ------------------------------
// State with identity; lives while its handle or any VARIABLE node of it lives.
struct variable {
	int32_t refs; // its VARIABLE nodes, and one for the handle
	int64_t id;
	int64_t version;
	struct node *home;    // leaf VARIABLE node of the current stored version; NULL once the handle is gone
	struct buffer *buf;   // its memory for life; NULL until first stored
	struct node *initial; // pending initialiser; NULL once stored
	tgc_tensor *handle;   // handle->node != home: an assignment is pending; NULL: released
	struct variable *next, **prev; // of the context, while it has a handle
	const void *assign_site;
};

struct tgc_tensor {
	struct tgc_context *ctx;
	struct node *node;      // NULL: in error
	struct variable *var;   // a variable's handle
	int64_t scalar_id;      // a late scalar's handle: its identity, else 0
	const void *site;       // return address of the outermost public call
	const char *scope_name; // interned, "" if none
	tgc_tensor *next, **prev; // list of the scope
};

// What floor 1 asks of the runtime; the runtime fills it in tgc_context_new. Every pointer is set.
struct backend {
	tgc_status (*realize)(struct tgc_context *c, int n, tgc_tensor *const *tensors); // and pending assignments
	tgc_status (*read)(struct tgc_context *c, struct node *n, void *data, size_t bytes); // n realized
	struct buffer *(*upload)(struct tgc_context *c, const void *data, size_t bytes); // NULL: MEMORY recorded
	void (*buffer_unref)(struct buffer *b);
	void (*close)(struct tgc_context *c); // everything the runtime holds for this context
	// "file.c:12" of a call site; leaves text alone where it is not known. May be NULL.
	void (*site_text)(const struct tgc_context *c, const void *site, char *text, size_t bytes);
};

enum { NODE_CLASSES = 32, NODE_CLASS_BYTES = 16, UNITS = 32 };

struct tgc_context {
	struct host_alloc host;
	struct backend backend;
	void *rt; // the runtime's part (runtime.h)
	struct node **table; // intern table
	size_t table_cap, table_used;
	uint32_t epoch;
	int64_t next_id; // of variables, data, scalars, symbols
	struct arena slabs;              // of nodes and handles
	void *free_nodes[NODE_CLASSES];  // by size
	struct scope *scope;
	int64_t scopes_lost;             // begun without memory
	struct tgc_tensor *kept;         // handles bound to no scope
	struct tgc_tensor *free_handles;
	struct tgc_tensor error;         // the handle of every tensor in error
	struct variable *variables;
	int64_t assigns_pending;
	uint64_t seed;
	uint64_t counter; // random blocks handed out
	struct node *seed_node;
	struct unit { // values of one element that live: a step spreads the same few again and again
		struct node *node;     // NULL: none; not referenced
		const struct node *of; // of which it is a reshape; NULL: a literal
		int64_t bits;          // the literal's
	} units[UNITS];
	struct names *names; // interned scope names, symbols of axes
	struct origins *origins; // NULL: no listing is wanted
	const char *name;    // current scope name
	int depth;           // of public calls: provenance is the outermost one
	const void *site;
	tgc_status status;
	char *message;       // long; else in message_short
	char message_short[256];
	tgc_log_fn *log;
	void *log_user;
	uint32_t debug; // TGC_DEBUG letters, bit (letter - 'a')
	tgc_stats stats;
	int64_t memory_budget_bytes; // of a plan's arena; 0: none
	bool fast_math;
	bool tf32;         // products of f32 may round their operands: matmul_precision
	uint64_t autocast; // types of the autocast scopes that are open, the innermost one lowest
	int autocasts;
};

// tgc_context_new is context_create, then the runtime; NULL: out of memory. tgc_context_free is context_clear
// (drops every value, so that buffers go back while the runtime is there), backend.close, context_destroy.
struct tgc_context *context_create(const tgc_context_options *options);
void context_clear(struct tgc_context *c);
void context_destroy(struct tgc_context *c);

// False for NULL and for the stand-in of a context that found no memory: nothing may be recorded there.
static inline bool context_usable(const struct tgc_context *c) { return c && c->table; }
// Records the first error; formats "op: text (scope name, call site)"; returns `status`.
tgc_status context_fail(struct tgc_context *c, tgc_status status, const char *op, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
// The status of an action whose argument is in error: the recorded one, else ARG.
tgc_status context_operand_error(struct tgc_context *c, const char *op, const char *argument);
// One line, if TGC_DEBUG has the letter or the program gave a log function.
void context_log(struct tgc_context *c, char letter, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void context_site_text(const struct tgc_context *c, const void *site, char *text, size_t bytes);
// A handle in the current scope; takes the reference on n. n NULL: a tensor in error. Never NULL.
tgc_tensor *handle_new(struct tgc_context *c, struct node *n);
tgc_tensor *handle_error(struct tgc_context *c); // c may be NULL: the static one
#define CTX(t) ((t)->ctx)
void handle_rebind(tgc_tensor *t, struct node *n); // takes the reference on n
void handle_keep(tgc_tensor *t); // binds it to no scope
void handle_free(tgc_tensor *t);
void handle_each(struct tgc_context *c, void (*fn)(tgc_tensor *t, void *user), void *user); // every live one
bool scope_push(struct tgc_context *c); // false: out of memory
void scope_pop(struct tgc_context *c);
// Zeroed memory that dies with the current scope; `drop` (may be NULL) is called before. NULL: out of memory.
void *scope_item(struct tgc_context *c, size_t bytes, void (*drop)(struct tgc_context *c, void *item));
// The dimension that a symbol's name stands for; a new name gets size n. false: out of memory.
bool context_symbol(struct tgc_context *c, const char *name, int64_t n, struct dim *out);

// A node of class SCALAR. id 0: a new one. Takes no reference; returns one.
struct node *scalar_node(struct tgc_context *c, tgc_type t, int64_t id, int64_t version, union number v);
// Drops one reference; the last one frees v and hands back its initialiser's reference, if it has one.
struct node *variable_unref(struct tgc_context *c, struct variable *v);
void variable_release(struct tgc_context *c, struct variable *v); // its handle goes
bool variable_is_pending(const struct variable *v); // an assignment waits to be stored
// Storing, for the runtime: make the leaf of the next version first (it may fail: NULL), store, then switch
// over: the old home becomes stale, the handle reads the new one. Takes the reference on `next`.
struct node *variable_next(struct tgc_context *c, struct variable *v);
void variable_stored(struct tgc_context *c, struct variable *v, struct node *next);

// Public entry: remembers the outermost call's return address. Use at the top of each public function that
// records, with LEAVE before each return (or wrap the body: see ops.c).
#define ENTER(c) ((c)->depth++ == 0 ? (void)((c)->site = __builtin_return_address(0)) : (void)0)
#define LEAVE(c) ((void)(c)->depth--)

// ---- door.c: what every public function does first and last ------------------------------------------------
// Public functions are thin: door_open checks the operands (NULL, in error, another context) and remembers the
// call site, the body checks shapes and types and builds, door_close makes the handle or the error.
struct door {
	struct tgc_context *c; // NULL: there is none
	const char *op;
	bool ok;
	tgc_status status; // of what went wrong
};
#define DOOR_SITE __builtin_return_address(0)
// names: of the operands, separated by commas.
struct door door_open(const char *op, const void *site, const char *names, int n, tgc_tensor *const *x); // n > 0
struct door door_open_context(const char *op, const void *site, struct tgc_context *c);
void door_leave(struct door *d);
tgc_tensor *door_close(struct door *d, struct node *result); // leaves; takes the reference; NULL: in error
bool door_fail(struct door *d, tgc_status s, const char *fmt, ...) __attribute__((format(printf, 3, 4))); // false
bool door_type(struct door *d, const char *name, tgc_type t, char set); // set: as op_info.types
bool door_same_type(struct door *d, const struct node *x, const struct node *y);
bool door_shape(struct door *d, tgc_type t, int rank, const int64_t *dims); // rank, sizes, overflow
bool door_dims(struct door *d, tgc_type t, int rank, const struct dim *dims);
bool door_axis(struct door *d, int rank, int axis, int *out); // from the end if negative
bool door_axes(struct door *d, int rank, tgc_axes axes, uint32_t *mask);
// Broadcasts the shapes of n nodes; an error names the first pair that does not fit.
bool door_broadcast(struct door *d, int n, struct node *const *x, int *rank, struct dim *dims);
// A plain number of type t; false if t cannot hold it.
bool door_number(struct door *d, tgc_arg a, tgc_type t, union number *out);
struct shape_text {
	char s[192];
};
struct shape_text shape_text(int rank, const struct dim *d); // "[2,3]"
#define NODE_TEXT(n) (shape_text((n)->rank, (n)->dims).s)

// ---- calc.c: expressions over nodes for composed operations -----------------------------------------------
// Every result is held until calc_done; NULL (out of memory) passes through. Shapes broadcast.
enum { CALC_MAX = 96 };
struct calc {
	struct tgc_context *c;
	int n;
	struct node *held[CALC_MAX];
};
struct node *calc_hold(struct calc *k, struct node *n); // takes the reference
struct node *calc_num(struct calc *k, const struct node *like, double v); // rank 0, of its type
struct node *calc_op1(struct calc *k, int op, struct node *x);
struct node *calc_op2(struct calc *k, int op, struct node *x, struct node *y);
struct node *calc_select(struct calc *k, struct node *cond, struct node *x, struct node *y);
struct node *calc_cast(struct calc *k, struct node *x, tgc_type t);
struct node *calc_reduce(struct calc *k, int op, struct node *x, uint32_t axes_mask);
struct node *calc_mean(struct calc *k, struct node *x, uint32_t axes_mask, double correction);
struct node *calc_drop(struct calc *k, struct node *x, uint32_t axes_mask); // axes of size 1
struct node *calc_iota(struct calc *k, tgc_type t, int rank, int axis, struct dim n); // other axes of size 1
struct node *calc_matmul(struct calc *k, struct node *x, struct node *w);
struct node *calc_softmax(struct calc *k, struct node *x, uint32_t axes_mask);
struct node *calc_uniform(struct calc *k, tgc_type t, int rank, const struct dim *d); // [0, 1)
struct node *calc_bits(struct calc *k, int rank, const struct dim *d);                // u32
struct node *calc_done(struct calc *k, struct node *result); // a new reference; lets go of the rest

// ---- autocast.c: types inside of tgc_autocast_begin and tgc_autocast_end; elsewhere these change nothing ------------------
struct node *calc_narrow(struct calc *k, struct node *x); // an operand of a contraction
struct node *calc_wide(struct calc *k, struct node *x);   // f32: of sums, exponentials, norms, losses
tgc_type autocast_wide(const struct tgc_context *c, const struct node *x); // the type that it makes of x
bool autocast_joins(const struct tgc_context *c, const struct node *x, const struct node *y); // operands: both f32, then

// ---- autograd.c, autograd_move.c, autograd_index.c, autograd_contract.c --------------------------------------
// Appends gradient nodes; out[i] is a new reference. Zeros where loss does not depend on wrt[i].
// Loss is one floating-point number and wrt are floats: the door checked. Errors: GRAD if an operation on the
// way has no derivative or the loss read an overwritten version of the variable wrt[i]; every out[i] is NULL.
tgc_status autograd_build(struct tgc_context *c, struct node *loss, int n, struct node *const *wrt,
                          struct node **out);
struct grad { // one reverse walk
	struct tgc_context *c;
	struct arena arena;
	struct node **order; // what the loss depends on, sources first; node.slot is the place here
	int n, cap;
	bool *active;       // by slot: depends on one of wrt through floats
	struct node **sum;  // by slot: the gradient so far
	struct node **held; // every node made on the way, referenced until the walk ends
	int nheld, held_cap;
	bool failed;            // out of memory
	const struct node *refused; // has no derivative
};
// Rules call these. grad_hold takes the reference; NULL (out of memory) passes through and fails the walk.
struct node *grad_hold(struct grad *w, struct node *n);
bool grad_wants(const struct grad *w, const struct node *x);
void grad_give(struct grad *w, struct node *x, struct node *g); // adds g, shaped like x; NULL: nothing
struct node *grad_unary(struct grad *w, int op, struct node *x);
struct node *grad_binary(struct grad *w, int op, struct node *x, struct node *y);
struct node *grad_select(struct grad *w, struct node *cond, struct node *x, struct node *y);
struct node *grad_num(struct grad *w, const struct node *x, double v); // of x's type and shape
struct node *grad_zero(struct grad *w, tgc_type t);                    // rank 0
// g is the gradient of n; each gives to n's sources.
void grad_move(struct grad *w, struct node *n, struct node *g);
void grad_reduce(struct grad *w, struct node *n, struct node *g);
void grad_index(struct grad *w, struct node *n, struct node *g);
void grad_contract(struct grad *w, struct node *n, struct node *g);

// ---- origin.c: where nodes come from, for listings ------------------------------------------------------------------
struct origin {
	const char *scope; // interned; "": none
	const void *site;  // of the outermost public call
	bool gradient;     // appended by autograd for what stands there
};
bool origins_open(struct tgc_context *c); // from now on they are kept; false: no memory
void origins_close(struct tgc_context *c);
void origin_forget(struct tgc_context *c, const struct node *n); // it dies
struct origin origin_of(const struct tgc_context *c, const struct node *n);
bool origin_known(const struct origin *o);
void origins_of_handles(struct tgc_context *c); // of every live handle
void origins_inherit(struct tgc_context *c, int n, struct node *const *order); // sources first
void origins_of_gradient(struct tgc_context *c, const struct node *of, int n, struct node *const *made);

#endif
