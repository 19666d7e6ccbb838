// The benchmark's private header, sectioned by file.
// Drawn once: bench.c takes the command line; for each workload of the table bench_first.c times a fresh process,
// bench_time.c times ours, the ceiling and the peers (bench_peer.c) round by round, bench_report.c prints.
#ifndef TG_BENCH_H
#define TG_BENCH_H

#include <stdio.h>
#include <sys/types.h>
#include <tgc/tgc.h>

enum { BENCH_IN = 3, BENCH_OUT = 4, BENCH_RATES = 2, BENCH_STEPS = 5 };
enum { BENCH_PEERS = 8, BENCH_ROUNDS = 1000, BENCH_WORKLOADS = 64 };

// ---- bench_workloads.c -------------------------------------------------------------------------------------
struct bench_in {
	tgc_shape shape;
	int64_t below; // 0: f32, normal; else i32 in [0, below)
	bool bf16;     // instead of f32
};
struct bench_run;
struct bench_workload {
	const char *name;
	// Records one step: fills `out`, returns how many.
	int (*record)(struct bench_run *r, tgc_tensor **out);
	struct bench_in in[BENCH_IN];
	int inputs;
	double flops, bytes; // of a step; the one that is not 0 names the ceiling
	int64_t n[4];        // what record needs to know besides
	bool gpu;            // of a size for a GPU: left out elsewhere, unless it is named
	double rough;        // the error that 16-bit floats explain; 0: bench.c's bound
	bool bf16;           // products and convolutions in it, sums and norms in f32
	bool params;         // it has parameters, made where they are first met
	bool assigns;        // it has no outputs
	tgc_optim *(*optim)(tgc_module *m); // NULL: outputs are realized; else out[0] is a loss, and a step is tgc_step
};
extern const struct bench_workload bench_workloads[];
extern const int bench_workloads_count;

// ---- bench_run.c ---------------------------------------------------------------------------------------------
// A workload in a context.
struct bench_run {
	const struct bench_workload *w;
	tgc_context *c;
	tgc_tensor *in[BENCH_IN]; // variables
	tgc_module *params;
	tgc_module *state; // what a step assigns and no gradient is taken of
	tgc_optim *optim;
	int at, state_at; // next of params, of state
	tgc_tensor *rates[BENCH_RATES]; // late scalars, if the workload has some
	int64_t steps;                  // as the workload counts them
	bool wide; // record in f64: the reference
	bool dry;  // record only to make the parameters
};
// The i-th input or a parameter, in f64 if the run is wide.
tgc_tensor *bench_input(struct bench_run *r, int i);
tgc_tensor *bench_param(struct bench_run *r, tgc_shape s, double std, double mean); // std 0: all are `mean`
tgc_tensor *bench_state(struct bench_run *r, tgc_shape s, double first); // in f32 always
// Makes inputs, parameters and state; nothing runs. False: the context holds the error.
bool bench_open(struct bench_run *r, const struct bench_workload *w, int threads);
// The same with a memory budget for intermediate values; 0: none.
bool bench_open_within(struct bench_run *r, const struct bench_workload *w, int threads, int64_t budget_bytes);
void bench_close(struct bench_run *r);
// Records and runs one step in a scope of its own, which the caller ends. `out` as record's.
tgc_status bench_step(struct bench_run *r, tgc_tensor **out, int *count);
bool bench_is_far(const tgc_context *c); // its memory is not the host's, which does not wait for its kernels
// Largest difference of any output from the same graph in f64, relative to that output's largest value; infinite if
// one is not finite. -1: there are no outputs to compare.
double bench_check(struct bench_run *r);

// ---- bench_models.c: losses of whole networks ----------------------------------------------------------------
int bench_mlp(struct bench_run *r, tgc_tensor **out);
int bench_cnn(struct bench_run *r, tgc_tensor **out);
int bench_resnet20(struct bench_run *r, tgc_tensor **out);
int bench_gpt_small(struct bench_run *r, tgc_tensor **out);
int bench_gpt2_124m(struct bench_run *r, tgc_tensor **out);

// ---- bench_device.c ------------------------------------------------------------------------------------------
void bench_wait(tgc_context *c);         // until all that was asked of its device is done
// Of one step of many that are queued one behind the other, in steady state. Negative: a step was false.
double bench_far_seconds(tgc_context *c, bool (*step)(void *user), void *user);
struct bench_device {
	tgc_context *c;
	tgc_tensor *from, *to, *by, *plus;
	int64_t bytes, elems;
};
// moved: bytes read and written by the copy; 0: multiply and add instead. False: the context holds the error.
bool bench_device_open(struct bench_device *d, tgc_context *c, double moved);
void bench_device_close(struct bench_device *d);
double bench_device_copy(struct bench_device *d); // GB/s
double bench_device_fma(struct bench_device *d);  // GFLOP/s

// ---- bench_first.c -------------------------------------------------------------------------------------------
struct bench_first {
	double first_ms, second_ms, value;
	unsigned long long compiled, loaded;
};
// What the fresh process does: one step, a second one, and one line that tells of them.
int bench_first_main(const struct bench_workload *w, int threads, double begun_ms);
// Starts a fresh process and reads its line. False: it failed.
bool bench_first_run(const char *name, int threads, struct bench_first *out);
// A process with pipes; argv ends with NULL. -1: it could not be started.
pid_t bench_spawn(char *const *argv, FILE **to, FILE **from);

// ---- bench_model.c -------------------------------------------------------------------------------------------
// The scheduler's prediction beside the median of each kernel of the wanted workloads; the exit status.
int bench_model(const bool *wanted, int threads, bool json);

// ---- bench_memory.c ------------------------------------------------------------------------------------------
// Steps of the wanted networks within memory budgets; the exit status, 1 too where a parameter's bits differ.
int bench_memory(const bool *wanted, int threads, int rounds, bool json);

// ---- bench_time.c --------------------------------------------------------------------------------------------
struct bench_peer_result {
	char kind[32];
	double ms, ratio; // medians; ratio: of the pairs peer / ours, so more than 1 says that ours is faster
	double error; // of its results against ours, as bench_check (of networks: the losses of the first steps); -1: not
	              // compared
	double first_ms; // of its first step, loading its framework not counted
};
struct bench_result {
	const struct bench_workload *w;
	struct bench_first cold, warm;
	char device[16];
	double ms, rate, ceiling, percent, error; // medians; percent: of the pairs
	double host_us;              // of a step, in finding its plan and binding; -1: not told (a step of no network)
	unsigned long long launches; // of a step
	struct bench_peer_result peers[BENCH_PEERS];
	int peers_count;
};
// Milliseconds, recording it included; negative: an error. Not waited for on a device that works by itself.
double bench_timed_step(struct bench_run *r);
double bench_median(double *v, int n);        // sorts v
struct bench_peer;
// False: the context reported an error, already printed.
bool bench_measure(const struct bench_workload *w, int threads, int rounds, struct bench_peer *peer,
                   struct bench_result *out);

// ---- bench_folder.c -------------------------------------------------------------------------------------------
// From here on SIGINT and SIGTERM remove this process's folders before they end it. To be called before there are
// other threads. Removes what dead processes left.
void bench_folder_guard(void);
bool bench_folder_new(const char *what, char *path, size_t bytes); // "bench" or "peer"; false: said why
bool bench_folder_remove(const char *path);                        // with all that is in it

// ---- bench_peer.c ---------------------------------------------------------------------------------------------
// Other frameworks, in a process of their own. NULL: said why.
struct bench_peer *bench_peer_start(const char *python, int threads, bool gpu);
bool bench_peer_stop(struct bench_peer *p); // false: it had ended before
// Hands the inputs over and, of a network, takes the first BENCH_STEPS steps on both sides; fills in kinds, errors and
// first_ms; returns how many kinds know the workload. r: just opened.
int bench_peer_open(struct bench_peer *p, struct bench_run *r, struct bench_peer_result *out);
// Milliseconds of a turn of the i-th kind; 0: the process is gone.
double bench_peer_turn(struct bench_peer *p, int i);

// ---- bench_report.c ------------------------------------------------------------------------------------------
struct bench_old;
struct bench_old *bench_old_load(const char *path); // NULL: said why
void bench_old_free(struct bench_old *old);
void bench_print_head(int threads, int rounds, const struct bench_old *old);
void bench_print_row(const struct bench_result *r, const struct bench_old *old);
void bench_print_json(const struct bench_result *r, int threads, int rounds, bool tf32);

#endif
