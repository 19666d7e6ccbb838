// Private header of floor 4, sectioned by file. The kit sees the public headers only, like any user.
#ifndef TG_KIT_H
#define TG_KIT_H

#include <tgc/tgc.h>

// ---- report.c: errors with a formatted text ------------------------------------------------------------------
tgc_status report(tgc_context *c, tgc_status s, const char *op, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

// ---- file.c: regular files only --------------------------------------------------------------------------------
// Opens for reading; refuses what is no regular file. Returns a descriptor and the size, or -1 with the error
// recorded.
int file_open(tgc_context *c, const char *op, const char *path, int64_t *bytes);
// Reads exactly n bytes at offset. TRUNCATED if the file ends before.
tgc_status file_read(tgc_context *c, const char *op, const char *path, int fd, void *to, size_t n,
                     int64_t offset);

// ---- loss_scale.c: of an optimizer, on the device ------------------------------------------------------------------
enum { LOSS_SCALE_STATE = 3 };
struct loss_scale {
	tgc_tensor *state[LOSS_SCALE_STATE]; // f32[]: the scale, good steps since it changed, steps that were taken
	tgc_tensor *next[LOSS_SCALE_STATE];  // of the step that is recorded
};
bool loss_scale_open(struct loss_scale *s, tgc_context *c, double scale);
void loss_scale_close(struct loss_scale *s);
// grads: of the scaled loss, made those of the loss. bool[]: all are finite; else the step is to be left out.
tgc_tensor *loss_scale_undo(struct loss_scale *s, int n, tgc_tensor **grads);
tgc_status loss_scale_assign(struct loss_scale *s);

// ---- idx.c ------------------------------------------------------------------------------------------------------
// An IDX file of u8 with `rank` dimensions, gzipped or not. NULL with the error recorded. Owner: caller, free().
uint8_t *idx_read(tgc_context *c, const char *path, int rank, int64_t *dims);

#endif
