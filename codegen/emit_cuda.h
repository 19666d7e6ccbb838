// Private header of the CUDA emitter: kernel IR at the level THREADS to C over tg_* names.
// A value is one C variable for every combination of the UNROLL axes it varies over: v12, or v12_0, v12_1, ...;
// a carry c3_0 is argument and result of its loop. LANE loops are the threads of the block: what stands outside
// of them all threads compute alike, stores there are one thread's.
#ifndef TG_EMIT_CUDA_H
#define TG_EMIT_CUDA_H

#include "codegen.h"

enum { CUDA_AXES = 16, CUDA_WARP = 32, CUDA_MAX_COMBOS = 1024 };

enum cuda_level {    // who runs the statement that is being emitted
	LEVEL_BLOCK, // all threads of the block
	LEVEL_GROUP, // those that share an iteration of the outer of two lane loops
	LEVEL_THREAD,
};
enum { CUDA_OWN = 256 }; // elements of a buffer that a thread may have in registers

struct cvalue {        // by kernel instruction
	uint32_t deps; // UNROLL axes it varies over, by their depth
	int combos;
	bool needed; // not only as an address
	bool narrow; // i64 whose bounds fit an int
};
struct cloop {       // by kernel loop
	int axis;    // UNROLL: depth among those around it; -1: others
	int64_t n;   // LANE, UNROLL: extent
	bool copied; // UNROLL that is a C loop, because loops inside have bounds that differ for each index
	bool again;  // SERIAL, short: another loop of the thread loads the same, which stays in registers if both are straight
};
struct combo {
	int i[CUDA_AXES];
};

struct cuda {
	const struct kernel *k;
	const struct target *t;
	const char *name;
	struct arena arena;
	struct text *out;
	int indent;
	struct cvalue *values;
	struct cloop *loops;
	int64_t extent[CUDA_AXES]; // of the open axes
	int threads;               // of the phase
	enum cuda_level level;
	int width;            // LEVEL_GROUP: threads of a group
	uint8_t *pending[2];  // BLOCK, GROUP: by buffer, accesses since the last barrier
	uint8_t *access;      // by buffer, of one statement
	int *own;             // by buffer: elements of it that are one thread's alone, in registers; 0: others
	bool in_shared;       // scratch is shared memory
	uint8_t *shared;      // by buffer: it is even where scratch is not: slices for tensor cores and copies
	int64_t shared_bytes; // of the phase
	int combined_bytes;   // of them: where values of all threads are combined
	struct text declared; // its shared memory, which stands at the top
	struct text placed;   // the same where it is more than may be declared
	int nshared, ntemps;  // names given so far
	const char *error;    // the first; not malloc'ed
};

// ---- emit_cuda_analyse.c
void cuda_analyse(struct cuda *e);
bool cuda_next(const struct cuda *e, uint32_t deps, struct combo *c); // the next combination, false: done
int cuda_lane_around(const struct cuda *e, int region);               // the innermost LANE loop, -1
bool cuda_has_lanes(const struct kernel *k, int region);
int cuda_lanes_inside(const struct kernel *k, int region);          // of the widest LANE loop there, 1: none
bool cuda_at_most_once(const struct kernel *k, int loop, int *end); // it runs if lo < *end, once

// ---- emit_cuda_value.c: names, types, literals. Strings live in e->arena
void cuda_fail(struct cuda *e, const char *error);
void cuda_line(struct cuda *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *cuda_text(struct cuda *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *cuda_type(tgc_type t);        // of a variable
const char *cuda_memory_type(tgc_type t); // bool is a byte there
const char *cuda_type_of(const struct cuda *e, int v);
const char *cuda_literal(struct cuda *e, tgc_type t, union number n, bool narrow);
const char *cuda_identity(struct cuda *e, int combine, tgc_type t);
const char *cuda_name(struct cuda *e, int v, const struct combo *c);                // to be declared
const char *cuda_ref(struct cuda *e, int v, const struct combo *c);                 // to be read
const char *cuda_affine(struct cuda *e, int v, const struct combo *c, int without); // one of its terms; K_NONE
const char *cuda_divide(struct cuda *e, int v, const struct combo *c);

// ---- emit_cuda_op.c: elementwise instructions as expressions
const char *cuda_op(struct cuda *e, int op, tgc_type type, const char *const *x);
const char *cuda_cast(struct cuda *e, tgc_type from, tgc_type to, const char *x);
const char *cuda_elementwise(struct cuda *e, int inst, const struct combo *c);

// ---- emit_cuda_memory.c
void cuda_load(struct cuda *e, int inst);
void cuda_store(struct cuda *e, int inst);
void cuda_table(struct cuda *e, int inst);
void cuda_copy_async(struct cuda *e, int inst);
void cuda_mma(struct cuda *e, int inst); // emit_cuda_mma.c
void cuda_declare_tables(struct cuda *e);
void cuda_declare_scratch(struct cuda *e, const uint8_t *access); // what the phase uses

// ---- emit_cuda_lane.c: loops over threads
void cuda_lanes(struct cuda *e, int loop);
const char *cuda_mask(struct cuda *e);                     // lanes of the warp that do the same
void cuda_wait(struct cuda *e, int inst);                  // for copies, and a barrier
void cuda_wait_for(struct cuda *e, const uint8_t *access); // a barrier, if what is pending conflicts

// ---- emit_cuda_combine.c: reductions over threads
void cuda_combine(struct cuda *e, int loop, int lanes);

// ---- emit_cuda.c
void cuda_region(struct cuda *e, int region);
void cuda_shared(struct cuda *e, const char *type, const char *name, int64_t n, int bytes); // declares it

#endif
