// Emulated kernels through NVRTC.
#ifndef TG_EMU_CHECK_NVRTC_H
#define TG_EMU_CHECK_NVRTC_H

#include "cuda.h"

enum { EMU_NVRTC_MOST = 24 }; // kernels a program
struct emu_totals {
	int kernels, functions, spilling, spilled_bytes, most_registers;
	double ms;
};
const char *emu_nvrtc_missing(void); // NULL: it is there
// One program. NULL, or the compiler's log (malloc'ed).
char *emu_nvrtc(const char *arch, int n, const char *const *names, const char *const *texts, struct emu_totals *totals);
void emu_totals_print(const char *arch, const struct emu_totals *t);
char *emu_nvrtc_own(int n, const char *const *names, const char *const *texts); // if the environment asks for it

#endif
