// Weights on disk, and progress on the terminal.
// In:  modules. Out: safetensors files.
// Not here: data sets (data.h).
#ifndef TGC_IO_H
#define TGC_IO_H

#include <tgc/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

// Writes every parameter of m. Written beside the target under a temporary name, then renamed: an older file
// stays whole if anything fails. Errors: IO, and those of realizing the parameters.
// Source: the safetensors format.
TGC_API tgc_status tgc_save(tgc_module *m, const char *path);
// Reads every parameter of m by name. Nothing is changed unless all fit.
// Errors: IO, TRUNCATED, LIMIT, FORMAT (overlap, hole, trailing bytes, duplicate key, bad JSON),
//         SHAPE and TYPE for a parameter that differs, ARG for one that is missing.
TGC_API tgc_status tgc_load(tgc_module *m, const char *path);

// A progress line on standard error, drawn at most ten times a second and only on a terminal.
typedef struct tgc_progress tgc_progress;
TGC_API tgc_progress *tgc_progress_begin(const char *label, int64_t total); // NULL is fine below
TGC_API void tgc_progress_update(tgc_progress *p, int64_t done, const char *note);
TGC_API void tgc_progress_end(tgc_progress **p); // clears the line

#ifdef __cplusplus
}
#endif
#endif
