// The device "cuda-emu" as its tests see it.
#ifndef TG_EMU_DEVICE_H
#define TG_EMU_DEVICE_H

#include "runtime.h"

// Every kernel that was compiled, in no order.
void emu_each_source(void (*fn)(void *user, const char *name, const char *text), void *user);

#endif
