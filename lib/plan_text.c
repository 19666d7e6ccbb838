// A plan as text.
// In:  a plan. Out: its program, then a line a buffer, a group, a step:
//     buf b2 arena 0 f32[2,4] {4,1} %7 at 64 bytes 32 live 0..1
//     group g0 reduce main %7 split 1 segs 0 roots %7=b2 %9=b3 why "a contraction reads it"
//     group g1 chain split 1 segs 0 shared 3 rows 16 roots %12=b4 then %15=b5 then %16=b6 why "an output"
//     group g2 reduce main %18 split 64 scratch b7 finish segs 0 roots %19=b8 why "an output"
//     group g3 map split 1 segs 0 pre g2 roots %23=b9 why "an output"
//     step kernel g0 args b1 b2 b3 scalars @4 code 0
//     step kernel g0 with b2=b7 args b1 b7 b3 scalars @4 code 0     (b7 in place of the group's b2)
//     step library g0 args b1 b2 b3 scalars code 0     (a product that a library computes; no code)
//     step copy b3 b4
// The text parses back (plan_parse.c). Not here: kernels.
#include "plan.h"

const char *const plan_buffer_names[] = {
    [BUF_LEAF] = "leaf", [BUF_OUT] = "out", [BUF_ARENA] = "arena", [BUF_FLAGS] = "flags",
    [BUF_SCRATCH] = "scratch"};
const char *const plan_group_names[] = {[GROUP_MAP] = "map",
                                        [GROUP_REDUCE] = "reduce",
                                        [GROUP_CONTRACT] = "contract",
                                        [GROUP_SCATTER] = "scatter",
                                        [GROUP_SEGMENTED] = "segmented",
                                        [GROUP_CHAIN] = "chain"};

const char *const plan_half_names[] = {
    [HALF_NONE] = "whole", [HALF_CHUNKS] = "chunks", [HALF_FINISH] = "finish"};

static void print_buf(const struct plan *p, int at, struct text *t)
{
	const struct pbuf *b = &p->bufs[at];

	text_add(t, "  buf b%d %s %d %s[", at, plan_buffer_names[b->cls], b->index,
	         tgc_type_name((tgc_type)b->type));
	for (int i = 0; i < b->rank; i++) {
		text_add(t, "%s%lld", i ? "," : "", (long long)b->dims[i].n);
		if (b->dims[i].sym)
			text_add(t, ":%lld", (long long)b->dims[i].sym);
	}
	text_add(t, "] {");
	for (int i = 0; i < b->rank; i++)
		text_add(t, "%s%lld", i ? "," : "", (long long)b->strides[i]);
	text_add(t, "}");
	if (b->node >= 0)
		text_add(t, " %%%d", b->node);
	text_add(t, " at %lld bytes %lld live %d..%d\n", (long long)b->offset_bytes, (long long)b->bytes,
	         b->first, b->last);
}

static void print_group(const struct plan *p, int at, struct text *t)
{
	const struct group *g = &p->groups[at];

	text_add(t, "  group g%d %s", at, plan_group_names[g->kind]);
	if (g->main >= 0)
		text_add(t, " main %%%d", g->main);
	text_add(t, " split %lld", (long long)g->split);
	if (g->scratch_buf >= 0)
		text_add(t, " scratch b%d", g->scratch_buf);
	if (g->half)
		text_add(t, " %s", plan_half_names[g->half]);
	text_add(t, " segs %d", g->nsegs);
	if (g->rows > 0)
		text_add(t, " shared %d rows %lld", g->shared, (long long)g->rows);
	for (int i = 0; i < g->npre; i++)
		text_add(t, "%s g%d", i ? "" : " pre", g->pre[i]);
	text_add(t, " roots");
	for (int i = 0; i < g->nroots; i++) {
		bool later = g->kind == GROUP_CHAIN && i && g->stage[i] != g->stage[i - 1];

		text_add(t, "%s %%%d=b%d", later ? " then" : "", g->roots[i], g->root_bufs[i]);
	}
	text_add(t, " why \"%s\"\n", g->why ? g->why : "");
}

static void print_step(const struct pstep *s, struct text *t)
{
	if (s->kind == STEP_COPY) {
		text_add(t, "  step copy b%d b%d\n", s->src, s->dst);
		return;
	}
	text_add(t, "  step %s", s->library ? "library" : "kernel");
	for (int i = 0; i < s->ngroups; i++)
		text_add(t, " g%d", s->group + i);
	for (int i = 0; i < s->nmoved; i++)
		text_add(t, "%s b%d=b%d", i ? "" : " with", s->moved[2 * i], s->moved[2 * i + 1]);
	if (s->kernel >= 0) {
		text_add(t, " args");
		for (int i = 0; i < s->nargs; i++)
			text_add(t, " b%d", s->args[i]);
		text_add(t, " scalars");
		for (int i = 0; i < s->nscalars; i++)
			text_add(t, " @%d", s->scalars[i]);
		text_add(t, " code %d", s->kernel);
	}
	text_add(t, "\n");
}

void plan_print(const struct plan *p, struct text *t)
{
	text_add(t, "plan {\n");
	prog_print(&p->prog, t);
	text_add(t, "  arena %lld peak %lld bound %lld\n", (long long)p->arena_bytes, (long long)p->peak_bytes,
	         (long long)p->lower_bound_bytes);
	for (int i = 0; i < p->nbufs; i++)
		print_buf(p, i, t);
	for (int i = 0; i < p->ngroups; i++)
		print_group(p, i, t);
	for (int i = 0; i < p->nsteps; i++)
		print_step(&p->steps[i], t);
	text_add(t, "}\n");
}
