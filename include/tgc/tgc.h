// Every public header of tgc.
#ifndef TGC_TGC_H
#define TGC_TGC_H

#include <tgc/base.h>
#include <tgc/cache.h>
#include <tgc/context.h>
#include <tgc/data.h>
#include <tgc/io.h>
#include <tgc/nn.h>
#include <tgc/ops.h>
#include <tgc/optim.h>
#include <tgc/run.h>
#include <tgc/tensor.h>

#endif
