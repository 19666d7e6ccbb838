// Actions: gradients, realizing values, reading them, programs.
// In:  lazy tensors. Out: bytes on the host, or an error.
// Not here: recording operations (ops.h).
#ifndef TGC_RUN_H
#define TGC_RUN_H

#include <tgc/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

// Gradients of a scalar with respect to `count` tensors, as tensors: a graph transform, nothing runs.
// A tensor the loss does not depend on gets zeros.
// Errors: GRAD if loss is no floating-point scalar, if an operand of it was rebound by tgc_assign since, or
//         if an operation on the way has no gradient. grads[i] is then in error.
// Owner:  the results belong to the current scope.
TGC_API tgc_status tgc_grad(tgc_tensor *loss, int count, tgc_tensor *const *wrt, tgc_tensor **grads);

// Computes the given tensors and every pending assignment of their context, in one plan.
// A value recorded from a variable before it was assigned stays what it was; only one that this run computes
// on its way, without being asked for, is gone with the old value: using it later is a HANDLE error.
// Errors: those of the arguments, INDEX and MEMORY at run time, COMPILE. Nothing is stored on error.
TGC_API tgc_status tgc_realize_n(int count, tgc_tensor *const *tensors);
#ifdef __cplusplus
#define tgc_realize(...) tgc_realize_list({__VA_ARGS__})
#else
#define tgc_realize(...)                                                                                     \
	tgc_realize_n((int)(sizeof((tgc_tensor *[]){__VA_ARGS__}) / sizeof(tgc_tensor *)),                   \
	              (tgc_tensor *[]){__VA_ARGS__})
#endif
// Stores pending assignments; nothing else.
TGC_API tgc_status tgc_flush(tgc_context *ctx);

// Realizes t if need be and copies it to `data`, row-major. Errors: ARG if bytes is not its exact size.
TGC_API tgc_status tgc_read(tgc_tensor *t, void *data, size_t bytes);
// The value of a one-element tensor. NaN on error.
TGC_API double tgc_item(tgc_tensor *t);
// Asks for a one-element tensor's value with the next realize instead of forcing one now; read it with
// tgc_later_get after that. Owner: the current scope.
typedef struct tgc_later tgc_later;
TGC_API tgc_later *tgc_item_later(tgc_tensor *t);
TGC_API double tgc_later_get(tgc_later *l);

// A plan held by hand: reruns without building the graph. `inputs` are tgc_input tensors, `outputs`
// anything computed from them, from variables and late scalars; assignments pending now become part of it.
// Owner: the caller; tgc_program_free.
TGC_API tgc_program *tgc_compile(tgc_context *ctx, int inputs_count, tgc_tensor *const *inputs,
                                 int outputs_count, tgc_tensor *const *outputs);
// Runs with one host buffer per input and output, row-major, exact sizes in bytes; they may overlap. Assignments
// that are pending are stored first. Late scalars have their value of the moment, and draws new random numbers.
TGC_API tgc_status tgc_program_run(tgc_program *p, const void *const *inputs, void *const *outputs);
TGC_API void tgc_program_free(tgc_program **p);
// Saves p whole: its operations, and the values at this moment of the variables, data and late scalars that it reads
// or assigns. Neither the plan nor machine code is in the file: both follow from it, for whatever machine loads it
// (kernels come from the disk cache where they are in it; for code that needs no compiler see tgc_program_export).
// Written beside the target under another name, then renamed: an older file stays whole if anything fails.
// Errors: IO, MEMORY, and those of storing pending assignments.
TGC_API tgc_status tgc_program_save(tgc_program *p, const char *path);
// Loads a saved program. Its variables are new ones with the saved values, its late scalars new ones too, both its own
// (below); random draws come from the generator of ctx. The same device, target and tgc give the same bits.
// The file is not trusted: regular files only, everything in it is checked before it is used.
// Errors: IO; TRUNCATED, LIMIT, FORMAT for a file that is damaged or was not written by tgc_program_save; MEMORY,
//         COMPILE. NULL then.
// Owner:  the caller; tgc_program_free.
TGC_API tgc_program *tgc_program_load(tgc_context *ctx, const char *path);
// The variables that p reads or assigns, in a fixed order that saving and loading keep; and the late scalars that are
// alive, for tgc_set. NULL if there is no i-th, or if it was released.
// Owner: as before; a loaded program's own belong to it and die with it.
TGC_API int tgc_program_variables_count(const tgc_program *p);
TGC_API tgc_tensor *tgc_program_variable(const tgc_program *p, int i);
TGC_API int tgc_program_scalars_count(const tgc_program *p);
TGC_API tgc_tensor *tgc_program_scalar(const tgc_program *p, int i);
// The plan and its kernels as text. Owner: the caller, free().
TGC_API char *tgc_program_text(const tgc_program *p);
// Writes PREFIX.o and PREFIX.h: the program as one object that needs neither tgc nor LLVM. Values of
// variables and late scalars at this moment are written into it as constants. Function: `symbol`; it returns 0,
// or 1 where a run would be an INDEX error.
// Errors: IO; ARG if the program assigns variables; NODEVICE off the cpu.
TGC_API tgc_status tgc_program_export(tgc_program *p, const char *prefix, const char *symbol);

#ifdef __cplusplus
}
static inline tgc_status tgc_realize_list(std::initializer_list<tgc_tensor *> list)
{
	return tgc_realize_n((int)list.size(), list.begin());
}
#endif
#endif
