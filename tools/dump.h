// What the files of `tgc dump-kernels` share. In: files that TGC_TRACE wrote (schema: runtime/trace_json.c, or
// `tgc dump-kernels --schema`). Out: structs, the listing's parts.
#ifndef TG_DUMP_H
#define TG_DUMP_H

#include <jansson.h>
#include <regex.h>
#include <stdbool.h>
#include <stddef.h>

// ---- dump_load.c: trace files as structs; texts belong to the JSON ----
struct dump_buffer {
	const char *class, *type, *holds, *name;
	json_t *shape, *strides;
	double bytes, offset;
	int first, last;
};
struct dump_step {
	const struct dump_plan *plan;
	int at;        // place in the plan
	int kernel;    // -1: a copy
	const char *title, *name, *site, *group, *why, *bound_by;
	double launches, median_us, least_us, total_us, bound_us, model_us, ceiling_us; // ceiling_us: with measured ceilings; 0: none
	double bytes_read, bytes_written, bytes_unfused, flops, compile_ms, scratch_bytes;
	int threads, launches_unfused, spills;
	bool from_disk;
	json_t *json, *operations, *arguments;
};
struct dump_plan {
	json_t *json;
	char file[256];
	const char *target;
	int threads, nbuffers, nsteps;
	double arena_bytes, peak_bytes, lower_bound_bytes, runs, run_us; // of one run
	struct dump_buffer *buffers;
	struct dump_step *steps;
};
struct dump {
	struct dump_plan *plans;
	int nplans;
};
enum { DUMP_SIZES = 4 };
extern const double dump_sizes[DUMP_SIZES]; // working sets: bytes moved
struct dump_ceilings { // measured; 0: not. [0] on one thread, [1] on all
	double copy[2][DUMP_SIZES], fma[2]; // GB/s moved, GFLOP/s
};
// Of a working set of so many bytes, between the measured ones on a straight line over the logarithm of the size.
double dump_copy_rate(const struct dump_ceilings *c, int all, double bytes);
int dump_load(struct dump *d, const char *path); // a folder or a file; 0, or 1 after a message
void dump_free(struct dump *d);
void dump_measure(struct dump *d, struct dump_ceilings *c); // fills ceiling_us of every step

// ---- dump.c: what is asked for ----
enum dump_sort { SORT_TIME, SORT_BYTES, SORT_SPILLS, SORT_ORDER };
struct dump_options {
	enum dump_sort sort;
	int top; // 0: all
	bool json, plan, kernel_set;
	const char *op, *emit, *target, *repro;
	regex_t kernel;
};
bool dump_chosen(const struct dump_options *o, const struct dump_step *s);
struct dump_step **dump_select(const struct dump *d, const struct dump_options *o, int *n); // malloc'ed, sorted

bool dump_make_folder(char *folder, size_t bytes); // of its own, and TGC_TRACE names it; false: after a message
void dump_remove_folder(const char *folder);

// ---- the parts ----
void dump_page(const struct dump *d, const struct dump_options *o, const struct dump_ceilings *c); // dump_page.c
void dump_json(const struct dump *d, const struct dump_options *o);
void dump_arena(const struct dump_plan *p); // dump_arena.c: steps, the arena over time, the peak and who holds it
void dump_peak(const struct dump_plan *p, int number); // the same in half a line
int dump_diff(const char *a, const char *b); // dump_diff.c: by structure; the exit status
int dump_repro(const struct dump_step *s, const char *path); // dump_repro.c: a C file; 0, or 1 after a message
// "1.5 MB"; in a ring of texts, good for one line.
const char *dump_bytes(double bytes);
void dump_shape(json_t *shape, const char *type, char *text, size_t bytes); // "f32[128,10]"

#endif
