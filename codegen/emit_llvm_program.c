// A whole program as one object: every kernel's phases and a function that calls them in order.
// In:  kernels after the passes, and where each argument lies: inputs, outputs, workspace, constants.
// Out: an object that needs nothing but memcpy and the like, with one visible symbol.
// Not here: what the program is (runtime/export.c). Blocks run in order on the caller's thread.
#include "emit_llvm.h"

#include <llvm-c/Linker.h>
#include <stdlib.h>

struct driver {
	const struct aot *p;
	LLVMContextRef c;
	LLVMModuleRef m;
	LLVMBuilderRef b;
	LLVMValueRef fn;
	LLVMTypeRef i8, i32, i64, ptr, phase;
	LLVMValueRef *constants;
};

static LLVMValueRef int64(const struct driver *d, int64_t v)
{
	return LLVMConstInt(d->i64, (uint64_t)v, 1);
}

static LLVMValueRef at(struct driver *d, LLVMValueRef base, int64_t bytes)
{
	LLVMValueRef i = int64(d, bytes);
	return LLVMBuildGEP2(d->b, d->i8, base, &i, 1, "");
}

static LLVMValueRef workspace(struct driver *d, int64_t offset)
{
	return at(d, LLVMGetParam(d->fn, (unsigned)(d->p->ninputs + d->p->noutputs)), offset);
}

static LLVMValueRef address(struct driver *d, const struct aot_arg *a)
{
	switch (a->place) {
	case AOT_INPUT:
		return LLVMGetParam(d->fn, (unsigned)a->index);
	case AOT_OUTPUT:
		return LLVMGetParam(d->fn, (unsigned)(d->p->ninputs + a->index));
	case AOT_CONSTANT:
		return d->constants[a->index];
	default:
		return workspace(d, a->offset_bytes);
	}
}

// ---- modules -------------------------------------------------------------------------------------------------------

static void hide_functions(LLVMModuleRef m)
{
	for (LLVMValueRef f = LLVMGetFirstFunction(m); f; f = LLVMGetNextFunction(f))
		if (!LLVMIsDeclaration(f))
			LLVMSetLinkage(f, LLVMInternalLinkage);
}

static char *add_kernel(struct driver *d, int i)
{
	char name[32];
	void *module = NULL;
	snprintf(name, sizeof name, "k%d", i);
	char *error = emit_llvm(d->p->kernels[i], d->p->target, name, d->c, &module);
	if (!error && LLVMLinkModules2(d->m, module))
		error = strdup("the kernels' modules do not link");
	return error;
}

static bool add_constants(struct driver *d)
{
	d->constants = calloc((size_t)d->p->nconstants + 1, sizeof *d->constants);
	for (int i = 0; i < d->p->nconstants && d->constants; i++) {
		const struct aot_constant *c = &d->p->constants[i];
		LLVMValueRef data = LLVMConstStringInContext2(d->c, c->data, (size_t)c->bytes, 1);
		LLVMValueRef g = LLVMAddGlobal(d->m, LLVMTypeOf(data), "constant");
		LLVMSetInitializer(g, data);
		LLVMSetGlobalConstant(g, 1);
		LLVMSetLinkage(g, LLVMPrivateLinkage);
		LLVMSetAlignment(g, 64);
		d->constants[i] = g;
	}
	return d->constants;
}

// ---- the driver ----------------------------------------------------------------------------------------------------

static int count_slots(const struct aot_step *s)
{
	int n = s->nparams;
	for (int i = 0; i < s->nparams; i++)
		n += s->params[i].table ? s->params[i].n : 0;
	return n;
}

static void put(struct driver *d, LLVMValueRef slots, int i, LLVMValueRef x)
{
	LLVMBuildStore(d->b, x, at(d, slots, 8 * (int64_t)i));
}

// Fills args[], with tables of pointers behind it.
static void fill(struct driver *d, const struct aot_step *s, LLVMValueRef slots)
{
	int next = s->nparams;
	for (int i = 0; i < s->nparams; i++) {
		const struct aot_param *q = &s->params[i];
		if (!q->table) {
			put(d, slots, i, address(d, &q->args[0]));
			continue;
		}
		put(d, slots, i, at(d, slots, 8 * (int64_t)next));
		for (int k = 0; k < q->n; k++)
			put(d, slots, next++, address(d, &q->args[k]));
	}
}

static void call_kernel(struct driver *d, const struct aot_step *s, LLVMValueRef slots)
{
	const struct kernel *k = d->p->kernels[s->kernel];
	fill(d, s, slots);
	for (int i = 0; i < k->nphases; i++) {
		char name[48];
		snprintf(name, sizeof name, "k%d_p%d", s->kernel, i);
		LLVMValueRef args[] = {slots, int64(d, 0), int64(d, k->blocks[i]),
		                       workspace(d, d->p->scratch_offset)};
		LLVMBuildCall2(d->b, d->phase, LLVMGetNamedFunction(d->m, name), args, 4, "");
	}
}

static void copy(struct driver *d, const struct aot_step *s)
{
	LLVMBuildMemCpy(d->b, address(d, &s->dst), 1, address(d, &s->src), 1, int64(d, s->bytes));
}

// The or of all flags, as 0 or 1.
static LLVMValueRef raised(struct driver *d)
{
	LLVMValueRef any = LLVMConstInt(d->i32, 0, 0);
	for (int64_t i = 0; i < d->p->nflags; i++) {
		LLVMValueRef f = LLVMBuildLoad2(d->b, d->i32, workspace(d, d->p->flags_offset + 4 * i), "");
		any = LLVMBuildOr(d->b, any, f, "");
	}
	LLVMValueRef is = LLVMBuildICmp(d->b, LLVMIntNE, any, LLVMConstInt(d->i32, 0, 0), "");
	return LLVMBuildZExt(d->b, is, d->i32, "");
}

static char *add_driver(struct driver *d)
{
	const struct aot *p = d->p;
	unsigned n = (unsigned)(p->ninputs + p->noutputs + 1);
	LLVMTypeRef *params = calloc(n, sizeof(LLVMTypeRef));
	int slots = 1;
	if (!params)
		return strdup("out of memory");
	for (unsigned i = 0; i < n; i++)
		params[i] = d->ptr;
	d->fn = LLVMAddFunction(d->m, p->symbol, LLVMFunctionType(d->i32, params, n, 0));
	free(params);
	for (int i = 0; i < p->nsteps; i++)
		slots = count_slots(&p->steps[i]) > slots ? count_slots(&p->steps[i]) : slots;
	LLVMPositionBuilderAtEnd(d->b, LLVMAppendBasicBlockInContext(d->c, d->fn, "entry"));
	LLVMValueRef room =
	    LLVMBuildArrayAlloca(d->b, d->ptr, LLVMConstInt(d->i32, (unsigned)slots, 0), "args");
	if (p->nflags)
		LLVMBuildMemSet(d->b, workspace(d, p->flags_offset), LLVMConstInt(d->i8, 0, 0),
		                int64(d, 4 * p->nflags), 4);
	for (int i = 0; i < p->nsteps; i++) {
		if (p->steps[i].kernel >= 0)
			call_kernel(d, &p->steps[i], room);
		else
			copy(d, &p->steps[i]);
	}
	LLVMBuildRet(d->b, raised(d));
	return NULL;
}

static void open_module(struct driver *d)
{
	d->m = LLVMModuleCreateWithNameInContext(d->p->symbol, d->c);
	d->b = LLVMCreateBuilderInContext(d->c);
	d->i8 = LLVMInt8TypeInContext(d->c);
	d->i32 = LLVMInt32TypeInContext(d->c);
	d->i64 = LLVMInt64TypeInContext(d->c);
	d->ptr = LLVMPointerTypeInContext(d->c, 0);
	LLVMTypeRef params[] = {d->ptr, d->i64, d->i64, d->ptr};
	d->phase = LLVMFunctionType(LLVMVoidTypeInContext(d->c), params, 4, 0);
}

char *emit_llvm_program(const struct aot *p, void **object, size_t *object_bytes)
{
	struct driver d = {.p = p, .c = LLVMContextCreate()};
	char *error = NULL;

	*object = NULL;
	open_module(&d);
	for (int i = 0; i < p->nkernels && !error; i++)
		error = add_kernel(&d, i);
	hide_functions(d.m);
	if (!error && !add_constants(&d))
		error = strdup("out of memory");
	if (!error)
		error = add_driver(&d);
	if (!error)
		error = emit_llvm_module(d.m, p->target, object, object_bytes);
	free(d.constants);
	LLVMDisposeBuilder(d.b);
	LLVMDisposeModule(d.m);
	LLVMContextDispose(d.c);
	return error;
}
