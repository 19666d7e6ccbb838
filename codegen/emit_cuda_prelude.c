// The prelude of generated CUDA C as text: cuda/device.h, cuda/common.h.
// In:  nothing. Out: source for NVRTC. Not here: kernels.
#include "emit_cuda.h"

static const char common[] =
#include "cuda_common.inc"
    ;
static const char all[] =
#include "cuda_device.inc"

#include "cuda_common.inc"
    ;

const char *emit_cuda_prelude(void)
{
	return all;
}

const char *emit_cuda_common(void)
{
	return common;
}
