// A traced kernel for the GPU that TGC_TRACE_TARGET names, which need not be there.
// In:  a step of a plan. Out: in its JSON object: cuda (CUDA C, or why there is none), ptx (where NVRTC is
// installed), gpu {target, why, functions [{name, blocks, threads, shared_bytes, registers, stack_bytes, spill_bytes}]}:
// shared_bytes is what the kernel declares, registers and what follows is the assembler's, there if why is "".
// Groups are fused as for the device that is traced. Not here: running any of it.
#include "cuda.h"

#include <jansson.h>
#include <stdlib.h>

void trace_cuda_open(struct trace_cuda *g, bool tf32)
{
	const char *name = getenv("TGC_TRACE_TARGET");
	const struct target *t = name ? target_find(name) : NULL;
	*g = (struct trace_cuda){0};
	g->t = t && t->family == FAMILY_CUDA ? target_rounding(t, tf32, &g->record) : NULL;
}

void trace_cuda_close(struct trace_cuda *g)
{
	if (g->opened)
		nvrtc_close(&g->nvrtc);
	g->opened = false;
}

// NULL, or why not (malloc'ed).
static char *emitted(const struct lowered *j, const struct target *t, struct cuda_source *out)
{
	char *error;
	struct kernel *k = lower_step(j->plan, j->step, t, &error);
	if (k)
		error = kernel_run_passes(k, t, false);
	if (!error)
		error = emit_cuda(k, t, "kernel", out);
	kernel_free(k);
	return error;
}

static char *compiled(struct trace_cuda *g, const struct cuda_source *s, struct nvrtc_code *code)
{
	struct nvrtc_source source = {"kernel", s->text};
	if (!g->opened) {
		nvrtc_open(&g->nvrtc, NULL, "");
		g->opened = true;
	}
	if (!g->nvrtc.library.handle)
		return strdup(g->nvrtc.library.why ? g->nvrtc.library.why : "no NVRTC");
	return nvrtc_compile(&g->nvrtc, g->t->name, emit_cuda_prelude(), 1, &source, true, code);
}

static json_t *function(const struct cuda_phase *p, const struct nvrtc_code *code)
{
	json_t *f = json_pack("{s:s,s:I,s:i,s:I}", "name", p->name, "blocks", (json_int_t)p->blocks, "threads", p->threads,
	                      "shared_bytes", (json_int_t)p->shared_bytes);
	for (int i = 0; i < code->nfunctions; i++) {
		const struct nvrtc_function *n = &code->functions[i];
		if (strcmp(n->name, p->name) != 0)
			continue;
		json_object_set_new(f, "registers", json_integer(n->registers));
		json_object_set_new(f, "stack_bytes", json_integer(n->stack_bytes));
		json_object_set_new(f, "spill_bytes", json_integer(n->spill_bytes));
	}
	return f;
}

static json_t *text(const struct cuda_source *s, const struct target *t)
{
	struct text out = {0};
	for (int i = 0; i < s->nphases; i++)
		text_add(&out, "// %s: %s, %lld blocks of %d threads, %lld bytes of shared memory\n", t->name,
		         s->phases[i].name, (long long)s->phases[i].blocks, s->phases[i].threads,
		         (long long)s->phases[i].shared_bytes);
	text_add(&out, "%s\n", s->text);
	char *all = text_take(&out);
	json_t *j = json_string(all ? all : "");
	free(all);
	return j;
}

void trace_cuda_add(struct trace_cuda *g, void *json, const struct lowered *j)
{
	struct cuda_source s = {0};
	struct nvrtc_code code = {0};
	json_t *functions = json_array();
	if (!g->t) {
		json_decref(functions);
		return;
	}
	char *error = emitted(j, g->t, &s);
	json_object_set_new(json, "cuda", error ? json_string(error) : text(&s, g->t));
	if (!error)
		error = compiled(g, &s, &code);
	if (code.ptx)
		json_object_set_new(json, "ptx", json_string(code.ptx));
	for (int i = 0; s.text && i < s.nphases; i++)
		json_array_append_new(functions, function(&s.phases[i], &code));
	json_object_set_new(json, "gpu", json_pack("{s:s,s:s,s:o}", "target", g->t->name, "why", error ? error : "",
	                                           "functions", functions));
	nvrtc_code_free(&code);
	free(error);
	free(s.text);
}
