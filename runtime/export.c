// A program as an object file and a header.
// In:  a program that assigns nothing. Out: PREFIX.o with one function, PREFIX.h that declares it. Variables,
// data and late scalars are written into it as they are now. Not here: the code in it
// (codegen/emit_llvm_program.c).
#include "runtime.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { ALIGN = 64 };

struct export
{
	struct tgc_program *p;
	const char *symbol;
	const struct plan *plan;
	struct lowered *lowered; // by kernel step
	int nlowered;
	int *unique; // by kernel step: its place in aot.kernels
	struct arena arena;
	struct aot aot;
	int64_t workspace_bytes;
	void **leaf_data;
	int *constant; // by leaf: place in aot.constants, -1
};

static int64_t aligned(int64_t n)
{
	return (n + ALIGN - 1) / ALIGN * ALIGN;
}

// Kernels with equal text are one.
static bool find_unique(struct export *x)
{
	char **texts = calloc((size_t)x->nlowered + 1, sizeof *texts);
	x->unique = ARENA_ARRAY(&x->arena, int, x->nlowered + 1);
	x->aot.kernels = ARENA_ARRAY(&x->arena, struct kernel *, x->nlowered + 1);
	bool ok = texts && !x->arena.failed;
	for (int i = 0; i < x->nlowered && ok; i++) {
		struct text t = {0};
		int k = 0;
		kernel_print(x->lowered[i].kernel, &t);
		char *text = text_take(&t);
		while (text && k < x->aot.nkernels && strcmp(texts[k], text) != 0)
			k++;
		x->unique[i] = k;
		ok = text;
		if (text && k == x->aot.nkernels) {
			x->aot.kernels[x->aot.nkernels] = x->lowered[i].kernel;
			texts[x->aot.nkernels++] = text;
		} else {
			free(text);
		}
	}
	for (int i = 0; i < x->aot.nkernels && texts; i++)
		free(texts[i]);
	free(texts);
	return ok;
}

// ---- places --------------------------------------------------------------------------------------------------------

static int constant_of(struct export *x, int leaf)
{
	const struct pleaf *f = &x->p->linear.prog.leaves[leaf];
	if (x->constant[leaf] < 0) {
		int64_t bytes = f->elems * (int64_t)tgc_type_bytes((tgc_type)f->type);
		x->constant[leaf] = x->aot.nconstants;
		x->aot.constants[x->aot.nconstants++] = (struct aot_constant){x->leaf_data[leaf], bytes};
	}
	return x->constant[leaf];
}

static struct aot_arg leaf_place(struct export *x, int leaf)
{
	if (leaf < x->p->ninputs)
		return (struct aot_arg){.place = AOT_INPUT, .index = leaf};
	return (struct aot_arg){.place = AOT_CONSTANT, .index = constant_of(x, leaf)};
}

static struct aot_arg place(struct export *x, int buf)
{
	const struct pbuf *b = &x->plan->bufs[buf];
	switch (b->cls) {
	case BUF_LEAF:
		return leaf_place(x, b->index);
	case BUF_OUT:
		return (struct aot_arg){.place = AOT_OUTPUT, .index = b->index};
	case BUF_FLAGS:
		return (struct aot_arg){.place = AOT_WORKSPACE, .offset_bytes = x->aot.flags_offset};
	default:
		return (struct aot_arg){.place = AOT_WORKSPACE, .offset_bytes = b->offset_bytes};
	}
}

static void kernel_step(struct export *x, struct aot_step *to, int kernel)
{
	const struct step_run *r = &x->lowered[kernel].run;
	struct aot_arg *args = ARENA_ARRAY(&x->arena, struct aot_arg, r->nargs * r->nsegs + r->nscalars + 1);
	to->kernel = x->unique[kernel];
	to->nparams = r->nargs + r->nscalars;
	to->params = ARENA_ARRAY(&x->arena, struct aot_param, to->nparams + 1);
	if (x->arena.failed)
		return;
	for (int i = 0; i < r->nargs; i++) {
		int n = r->segmented[i] ? r->nsegs : 1;
		to->params[i] = (struct aot_param){.n = n, .table = r->segmented[i], .args = args};
		for (int s = 0; s < n; s++)
			*args++ = place(x, r->bufs[i * r->nsegs + s]);
	}
	for (int i = 0; i < r->nscalars; i++) {
		to->params[r->nargs + i] = (struct aot_param){.n = 1, .args = args};
		*args++ = leaf_place(x, r->scalars[i]);
	}
}

static void lay_out(struct export *x)
{
	int64_t scratch = 0;
	for (int i = 0; i < x->nlowered; i++)
		if (x->lowered[i].kernel->scratch_bytes > scratch)
			scratch = x->lowered[i].kernel->scratch_bytes;
	x->aot.nflags = x->plan->nflags;
	x->aot.flags_offset = aligned(x->plan->arena_bytes);
	x->aot.scratch_offset = aligned(x->aot.flags_offset + 4 * x->aot.nflags);
	x->workspace_bytes = aligned(x->aot.scratch_offset + scratch);
}

static bool describe(struct export *x)
{
	int nleaves = x->p->linear.prog.nleaves, kernels = 0;
	x->aot.symbol = x->symbol;
	x->aot.ninputs = x->p->ninputs;
	x->aot.noutputs = x->p->nouts;
	x->aot.steps = ARENA_ARRAY(&x->arena, struct aot_step, x->plan->nsteps + 1);
	x->aot.constants = ARENA_ARRAY(&x->arena, struct aot_constant, nleaves + 1);
	x->constant = ARENA_ARRAY(&x->arena, int, nleaves + 1);
	if (x->arena.failed || !find_unique(x))
		return false;
	for (int i = 0; i < nleaves; i++)
		x->constant[i] = -1;
	lay_out(x);
	for (int i = 0; i < x->plan->nsteps; i++) {
		const struct pstep *s = &x->plan->steps[i];
		struct aot_step *to = &x->aot.steps[x->aot.nsteps++];
		if (s->kind == STEP_KERNEL)
			kernel_step(x, to, kernels++);
		else
			*to = (struct aot_step){.kernel = -1,
			                        .src = place(x, s->src),
			                        .dst = place(x, s->dst),
			                        .bytes = x->plan->bufs[s->dst].bytes};
	}
	return !x->arena.failed;
}

// ---- the header ----------------------------------------------------------------------------------------------------

static const char *c_type(int t)
{
	static const char *const names[TGC_TYPE_COUNT] = {
	    [TGC_F32] = "float",   [TGC_F64] = "double",   [TGC_F16] = "uint16_t", [TGC_BF16] = "uint16_t",
	    [TGC_I8] = "int8_t",   [TGC_I16] = "int16_t",  [TGC_I32] = "int32_t",  [TGC_I64] = "int64_t",
	    [TGC_U8] = "uint8_t",  [TGC_U16] = "uint16_t", [TGC_U32] = "uint32_t", [TGC_U64] = "uint64_t",
	    [TGC_BOOL] = "uint8_t"};
	return names[t];
}

static void describe_value(struct text *t, const struct prog *g, const char *name, int i, int node)
{
	const struct pnode *n = &g->nodes[node];
	text_add(t, "//   %s%d: %s%s\n", name, i, tgc_type_name((tgc_type)n->type),
	         shape_text(n->rank, n->dims).s);
}

static char *header(const struct export *x)
{
	const struct prog *g = &x->p->linear.prog;
	struct text t = {0}, guard = {0};
	for (const char *s = x->symbol; *s; s++)
		text_add(&guard, "%c", isalnum((unsigned char)*s) ? toupper((unsigned char)*s) : '_');
	char *name = text_take(&guard);
	text_add(
	    &t, "// Written by tgc_program_export. Row-major, for %s. Link with the object of the same name.\n",
	    x->aot.target->name);
	for (int i = 0; i < x->p->ninputs; i++)
		describe_value(&t, g, "in", i, g->leaves[i].node);
	for (int i = 0; i < x->p->nouts; i++)
		describe_value(&t, g, "out", i, g->outs[i].node);
	text_add(&t, "#ifndef %s_H\n#define %s_H\n\n#include <stdint.h>\n\n", name, name);
	text_add(&t, "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
	text_add(&t,
	         "// workspace: %s_WORKSPACE_BYTES of memory, aligned to %d bytes; one a thread. Buffers do "
	         "not overlap.\n",
	         name, ALIGN);
	text_add(&t, "// Returns 0, or 1 if an index was out of range or a check failed.\n");
	text_add(&t, "#define %s_WORKSPACE_BYTES %lld\nint %s(", name, (long long)x->workspace_bytes,
	         x->symbol);
	for (int i = 0; i < x->p->ninputs; i++)
		text_add(&t, "const %s *in%d, ", c_type(g->leaves[i].type), i);
	for (int i = 0; i < x->p->nouts; i++)
		text_add(&t, "%s *out%d, ", c_type(g->nodes[g->outs[i].node].type), i);
	text_add(&t, "void *workspace);\n\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
	free(name);
	return text_take(&t);
}

// ---- files ---------------------------------------------------------------------------------------------------------

static tgc_status write_file(struct tgc_context *c, const char *prefix, const char *ending, const void *data,
                             size_t bytes)
{
	struct text name = {0};
	text_add(&name, "%s%s", prefix, ending);
	char *path = text_take(&name);
	FILE *f = path ? fopen(path, "wb") : NULL;
	bool ok = f && fwrite(data, 1, bytes, f) == bytes;
	int why = errno;
	if (f && fclose(f) != 0 && ok) {
		why = errno;
		ok = false;
	}
	tgc_status s = ok ? TGC_OK
	                  : context_fail(c, TGC_ERROR_IO, "program_export", "cannot write %s: %s",
	                                 path ? path : prefix, strerror(why));
	free(path);
	return s;
}

static const struct target *chosen_target(void)
{
	// What runs on most machines, and on this one.
	const char *host = target_host()->name;
	return target_find(strcmp(host, "x86-64-v4") == 0 ? "x86-64-v3" : host);
}

static tgc_status write_all(struct export *x, const char *prefix)
{
	struct tgc_context *c = x->p->ctx;
	void *object = NULL;
	size_t bytes;
	char *error = emit_llvm_program(&x->aot, &object, &bytes), *text = error ? NULL : header(x);
	tgc_status s = TGC_OK;
	if (error || !text)
		s = context_fail(c, TGC_ERROR_COMPILE, "program_export", "%s", error ? error : "out of memory");
	if (!s)
		s = write_file(c, prefix, ".o", object, bytes);
	if (!s)
		s = write_file(c, prefix, ".h", text, strlen(text));
	free(error);
	free(text);
	free(object);
	return s;
}

static tgc_status export(struct tgc_program *p, const char *prefix, const char *symbol)
{
	struct tgc_context *c = p->ctx;
	struct export x = {.p = p, .symbol = symbol, .plan = p->entry->plan, .aot.target = chosen_target()};
	const void **inputs;
	arena_init(&x.arena, &c->host);
	inputs = ARENA_ARRAY(&x.arena, const void *, p->ninputs + 1);
	program_refresh(p);
	tgc_status s = inputs ? realize_homes(c, &p->linear) : TGC_ERROR_MEMORY;
	if (!s)
		s = realize_leaves(c, &x.arena, &p->linear, inputs, &x.leaf_data);
	if (!s) {
		x.lowered = lowered_new(c, x.plan, x.aot.target, false, &x.nlowered);
		s = !x.lowered ? c->status : describe(&x) ? write_all(&x, prefix) : TGC_ERROR_MEMORY;
	}
	if (s == TGC_ERROR_MEMORY)
		context_fail(c, s, "program_export", "no memory");
	if (x.lowered)
		lowered_free(x.lowered, x.nlowered);
	arena_free(&x.arena);
	return s;
}

static bool is_identifier(const char *s)
{
	if (!isalpha((unsigned char)*s) && *s != '_')
		return false;
	while (isalnum((unsigned char)*s) || *s == '_')
		s++;
	return !*s;
}

tgc_status tgc_program_export(tgc_program *p, const char *prefix, const char *symbol)
{
	struct door d = door_open_context("program_export", DOOR_SITE, p ? p->ctx : NULL);
	tgc_status s = d.status;
	if (d.ok && (!prefix || !symbol || !is_identifier(symbol)))
		door_fail(&d, TGC_ERROR_ARG, !prefix ? "prefix is NULL" : "symbol is no C identifier");
	else if (d.ok && p->linear.prog.nouts > p->nouts)
		door_fail(&d, TGC_ERROR_ARG, "the program assigns %d variables",
		          p->linear.prog.nouts - p->nouts);
	else if (d.ok && (!p->entry || device_is_far(d.c)))
		door_fail(&d, TGC_ERROR_NODEVICE, "only a program of the device cpu can be written, not of %s",
		          device_of(d.c)->name);
	s = d.ok ? d.c->backend.realize(d.c, 0, NULL) : d.status;
	if (d.ok && !s)
		s = export(p, prefix, symbol);
	door_leave(&d);
	return s;
}
