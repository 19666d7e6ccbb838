// The build without LLVM: there is no CPU device, nothing ever asks for a kernel, and no program can be
// written.
#include "runtime.h"

bool jit_available(void)
{
	return false;
}

void jit_close(struct runtime *r)
{
	r->jit = NULL;
}

void jit_release(struct runtime *r, const struct code *code)
{
	(void)r, (void)code;
}

tgc_status jit_compile(struct tgc_context *c, struct runtime *r, int threads, int n,
                       struct kernel *const *kernels, const struct target *t, const struct code **codes)
{
	(void)r, (void)threads, (void)n, (void)kernels, (void)t, (void)codes;
	return context_fail(c, TGC_ERROR_NODEVICE, "compile", "this build of tgc has no LLVM");
}

tgc_status tgc_program_export(tgc_program *p, const char *prefix, const char *symbol)
{
	(void)prefix, (void)symbol;
	return context_fail(p ? p->ctx : NULL, TGC_ERROR_NODEVICE, "program_export",
	                    "this build of tgc has no LLVM");
}
