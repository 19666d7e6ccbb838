// Private header of the pass threads (threads*.c).
#ifndef TG_THREADS_H
#define TG_THREADS_H

#include "pass/tile.h"

enum { WARP = 32, BLOCK_THREADS = 256, MAX_THREADS = 1024 };

// Where the copy stands.
enum place {
	IN_GRID,  // outside of blocks
	IN_BLOCK, // in a block, all threads alike
	IN_ROW,   // in a row that a group of threads of one warp shares
	IN_LANE,  // in one thread
};

struct threads {
	struct tile tile; // first: what tile_red sees
	enum place place;
	int threads;          // of a block in this phase
	int width;            // that share what is copied: all, or a row's
	int done, done_value; // a reduction of the old kernel that was computed ahead; -1
	int64_t slice_bytes;  // of shared memory that products and permutations have so far
	int64_t most_bytes;   // that they may have
	int slices[2], halves[2]; // of f32, of 16-bit floats: what products inside of blocks take in turn; -1: none yet
	struct permute *permute; // whose body is copied
};

struct axes { // a perfect nest of PAR loops, outermost first
	int loop[TILE_AXES];
	int64_t n[TILE_AXES];
	int count;
	int64_t total; // iterations; -1: not constant, then it is one loop
};

// ---- threads.c
// Opens what keeps index *at below `end` (a value); returns the loop, its index in *at. -1: it is not needed.
int threads_guard(struct kbuild *b, int *at, int end, bool needed);

// ---- threads_product.c
enum { THREAD_FOUR = 4 }; // rows or columns next to one another that a thread has
struct moved {            // loops that move together, as one index
	int loop[TILE_AXES];
	int64_t n[TILE_AXES], total;
	int64_t from[TILE_AXES]; // clipped: the least index
	bool clipped[TILE_AXES]; // of terms: which indices count differs from row to row (column to column)
	int count;
};
struct product {
	int first, red, x, y; // loops; instructions
	struct moved rows, columns, batches, terms;
	bool along_terms[2], along_own[2]; // x, y: neighbours in memory are neighbours of the last reduction,
	                                   // or of the last row or column
	tgc_type type;                     // of slices
	bool mma;                          // tensor cores multiply them; f32: as TF32
	// The tile:
	int bounds;                // side that the clipped terms' bounds move with
	int64_t size[2], depth;    // rows, columns; terms
	int each[2];               // of a thread
	// Its slices:
	bool terms_first[2];   // a term's row (column) after another, else a row's terms
	int64_t neighbours[2]; // in memory, that a thread takes at once
	bool direct[2];        // the operand lies in shared memory as it is multiplied: no slices of it
	int64_t pitch[2];      // elements from row to row, or from term to term
	int stages;            // slices of a side; 1: filled, more: copied asynchronously
	int slice[2], sums, parts; // buffers
	// Its tiles; slices are counted through all of them:
	int64_t tiles, slices; // that a block takes one after the other, slices of each
	int tile[2], batch;    // values: first row and column, batch
	int from;              // value: number of the tile's first slice
};
bool threads_moves(const struct kernel *k, int v, int loop, int *budget); // the value, with the loop's index
bool threads_find_product(struct threads *s, const struct axes *a,
                          struct product *p); // false: none, or too small

// ---- threads_slice.c
enum { RESERVED_BYTES = 8 << 10, MOST_STAGES = 3 };
bool threads_slices(struct threads *s, struct product *p); // decides how; false: no room for tensor cores
void threads_slice_bufs(struct threads *s, struct kernel *k, struct product *p); // fills slice
int threads_of_product(const struct product *p);
int64_t threads_slice_elems(const struct product *p, int side);
// Where a slice begins: of its tile, in this stage.
int threads_slice_at(struct kbuild *b, const struct product *p, int side, int slice, int stage);
int threads_place(struct kbuild *b, const struct product *p, int side, int slice_at, int own, int term);
void threads_fill(struct kcopy *cp, const struct product *p, int slice);
void threads_copy(struct kcopy *cp, const struct product *p, int slice, int stage);
// The indices of the group's loops at running index `at`, the last one's that of the first of n neighbours, plus
// lane (K_NONE: plus none): into map if `map`, else into presets.
void threads_indices(struct kcopy *cp, const struct moved *g, int at, int64_t n, int lane, bool map);

// ---- threads_tile.c
bool threads_product(struct kcopy *cp, const struct axes *a); // emits it; false: it is none, or too small

// ---- threads_permute.c
bool threads_permute(struct kcopy *cp, const struct axes *a); // emits it; false: it is none, or too small

// ---- threads_choose.c: the old kernel is only read
enum spread_kind { SPREAD_FLAT, SPREAD_ROWS, SPREAD_BLOCKS };
struct spread {
	enum spread_kind kind;
	int width;  // ROWS: threads a row; BLOCKS at the phase: threads a block
	int vector; // neighbours that are taken together, 1: one
};
void threads_axes(const struct kcopy *cp, int loop, struct axes *a);
struct spread threads_spread(struct threads *s, const struct axes *a);
void threads_lanes_of_red(struct threads *s, int loop); // of the chain that starts there: tile.lane and width
// Threads, if the phase is one block: it reduces more than every block could do again for itself. Else 0.
int threads_one_block(const struct threads *s, int region);
int threads_of_flat(const struct threads *s, int64_t units); // a block's

#endif
