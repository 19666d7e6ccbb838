// Runs a kernel as its IR says, one scalar at a time: what passes and emitters are compared with.
#ifndef TG_KERNEL_EVAL_H
#define TG_KERNEL_EVAL_H

#include "codegen.h"

// args as the kernel ABI has them: one pointer a GLOBAL buffer (segmented: a table of pointers), then one a late
// scalar. Any level. NULL, or what went wrong (malloc'ed): an access outside a buffer, an unknown operation.
char *kernel_eval(const struct kernel *k, void *const *args);

#endif
