// Private header of the pass tile (tile*.c).
#ifndef TG_TILE_H
#define TG_TILE_H

#include "codegen.h"

enum { TILE_AXES = 16, TILE_CARRIES = 16, TILE_TERMS = 512 };

struct tile {
	const struct kernel *k; // as it was
	const struct target *t;
	bool *whole;     // by loop: its iterations share scratch memory, so that it stays a plain loop
	bool *lane;      // by loop: its iterations become lanes
	int32_t *width;  // by loop: lanes, where lane
	int32_t *preset; // by loop: its index in the new kernel, where its nest was opened as a whole; K_NONE
	bool *varies;    // by instruction: differs between the iterations of the loop that is masked
	bool *scratch;   // by instruction, for whoever asks
	double *best;    // by loop: estimated instructions, with the best choice of lanes inside
	bool small;      // the phase is not worth a second thread
	bool in_lane;    // the copy stands inside a LANE loop
	int lane_loop, lane_index; // RED lanes: the old loop, the new index
	int packed; // RED lanes: so many neighbours of the reduction are one lane's; 0: neighbouring lanes have neighbours
	int mask;   // of loads and stores that vary; K_NONE
	int accumulators;          // replicas around the copy
};
struct tile_axis { // one loop of a perfect nest, or a loop around panels of one that follows
	int loop;
	int64_t n;     // iterations; -1: not constant
	int64_t panel; // not 0: the axis that follows with the same loop is taken so many indices at a time
	int unroll, width;
	bool peel; // its first and last tile get code of their own
	// The copy being made:
	int base;  // first index of the panel; K_NONE: 0
	int start, replicas;
	bool masked;
};

// ---- tile_choose.c: analysis of the old kernel
bool tile_lanes(struct tile *s);                      // fills lane, width, best; false: out of memory
int64_t tile_trip(const struct kernel *k, int loop);  // iterations at most, as far as can be seen
int tile_chained(const struct kernel *k, int loop);   // the RED loop inside that goes on with its carry, -1
int64_t tile_terms(const struct kernel *k, int loop); // steps of the chain it begins
void tile_whole(struct tile *s);                      // fills whole; uses scratch
double tile_phase_cost(const struct tile *s, int region);
// Unrolling of a perfect nest axis[0..n), outermost first; may reorder it, and put panels around it. Returns how
// many there are then; there is room for one more.
int tile_axes(struct tile *s, struct tile_axis *axis, int n);
int tile_red_unroll(const struct tile *s, int loop);
// Steps of the longest straight line inside the reductions.
int tile_heaviest(const struct kernel *k, int region, bool in_red);
bool tile_is_tap(struct tile *s, int loop); // a short loop whose conditions fold when it is unrolled

// ---- tile_dot.c
// Lanes along the reductions of the nest's body: replicas of its loops. vector: what varies with the lanes.
void tile_dot(struct tile *s, struct tile_axis *axis, int n, const bool *vector);

// ---- tile_red.c
bool tile_red(struct kcopy *cp, int loop);

// ---- tile.c
void tile_mask(struct kcopy *cp, int loop, int index,
               int end); // from here on index < end is asked; else K_NONE
void tile_unmask(struct kcopy *cp);
// The only thing in the loop's body that is no plain code, if it is a PAR loop; -1.
int tile_inner(const struct kcopy *cp, int loop);

#endif
