// What the fuzzer's graphs covered: operations by type, and kinds of fusion.
// In:  sketches. Out: counts, printed. Not here: whether results are right (fuzz_graph.c).
#include "fuzz.h"

#include <stdlib.h>

static const char *const fuse_names[FUSE_KINDS] = {
    [FUSE_MAP] = "elementwise",
    [FUSE_REDUCE] = "reductions",
    [FUSE_ROWS] = "resident rows",
    [FUSE_SPLIT] = "split reductions",
    [FUSE_CONTRACT] = "contractions",
    [FUSE_EPILOGUE] = "with an epilogue",
    [FUSE_SCATTER] = "scatters",
    [FUSE_SEGMENTED] = "segmented",
    [FUSE_CHAIN] = "chains of stages",
    [FUSE_SEVERAL] = "with several outputs",
    [FUSE_INLINE] = "operations computed inside",
};

void cover_nodes(struct coverage *c, const struct sketch *s, bool raw)
{
	int readers[SK_NODES] = {0};

	c->graphs++;
	c->raw += raw;
	for (int i = 0; i < s->n; i++) {
		const struct snode *n = &s->nodes[i];
		tgc_type t = n->nsrc && (n->op < OP_COUNT && op_info[n->op].cls == CLASS_COMPARE)
		                 ? s->nodes[n->src[0]].type
		                 : n->type;

		c->op[n->op][t]++;
		c->nodes++;
		c->views += n->op < OP_COUNT && op_info[n->op].cls == CLASS_MOVE;
		c->casts += n->op == OP_CAST;
		for (int k = 0; k < n->nsrc; k++)
			c->shared += readers[n->src[k]]++ == 1;
	}
}

void cover_print(const struct coverage *c)
{
	printf("%-10s", "op");
	for (int k = 0; k < TGC_TYPE_COUNT; k++)
		printf("%7s", tgc_type_name((tgc_type)k));
	printf("\n");
	for (int op = 0; op < SK_OPS; op++) {
		int64_t total = 0;

		for (int k = 0; k < TGC_TYPE_COUNT; k++)
			total += c->op[op][k];
		if (total == 0)
			continue;
		printf("%-10s", sk_name(op));
		for (int k = 0; k < TGC_TYPE_COUNT; k++)
			printf("%7lld", (long long)c->op[op][k]);
		printf("\n");
	}
	printf("%lld graphs (%lld raw), %lld nodes, %.0f %% views, %.0f %% casts, %.0f %% with several "
	       "consumers\n",
	       (long long)c->graphs, (long long)c->raw, (long long)c->nodes,
	       100.0 * (double)c->views / (double)c->nodes, 100.0 * (double)c->casts / (double)c->nodes,
	       100.0 * (double)c->shared / (double)c->nodes);
	printf("kernels:");
	for (int k = 0; k < FUSE_KINDS; k++)
		printf("%s %lld %s", k ? "," : "", (long long)c->fuse[k], fuse_names[k]);
	printf("\n");
	printf("%lld elements compared, %.3f %% unsure, %.3f %% with a wide bound\n",
	       (long long)c->tally.compared, 100.0 * (double)c->tally.unsure / ((double)c->tally.compared + 1),
	       100.0 * (double)c->tally.vague / ((double)c->tally.compared + 1));
}

static void count_group(struct coverage *c, const struct plan *p, const struct group *g)
{
	static const uint8_t kind[] = {[GROUP_MAP] = FUSE_MAP,
	                               [GROUP_REDUCE] = FUSE_REDUCE,
	                               [GROUP_CONTRACT] = FUSE_CONTRACT,
	                               [GROUP_SCATTER] = FUSE_SCATTER,
	                               [GROUP_SEGMENTED] = FUSE_SEGMENTED,
	                               [GROUP_CHAIN] = FUSE_CHAIN};
	bool other = false; // than the main operation's own result

	c->fuse[kind[g->kind]]++;
	c->fuse[FUSE_SEVERAL] += g->nroots > 1;
	c->fuse[FUSE_SPLIT] += g->split > 1;
	for (int i = 0; i < g->nroots && g->main >= 0; i++)
		other |= g->roots[i] != g->main && prog_elems(&p->prog, g->roots[i]) > 1;
	c->fuse[FUSE_EPILOGUE] += g->kind == GROUP_CONTRACT && other;
	for (int i = 0; i < g->nroots && g->kind == GROUP_REDUCE; i++)
		if (!same_space(&p->prog, g->roots[i], g->main)) {
			c->fuse[FUSE_ROWS]++;
			break;
		}
}

void cover_fusion(struct coverage *c, tgc_context *ctx, const struct sketch *s)
{
	tgc_tensor *t[SK_NODES];
	struct node *outs[SK_OUTS];
	struct linear l;
	struct arena a;
	bool ok = true;

	tgc_scope_begin(ctx);
	arena_init(&a, &ctx->host);
	sk_build(s, ctx, t);
	for (int i = 0; i < s->nouts; i++) {
		ok &= !tgc_is_error(t[s->outs[i]]);
		outs[i] = ok ? t[s->outs[i]]->node : NULL;
	}
	struct plan *p = ok && linear_build(ctx, &l, &a, s->nouts, outs, NULL, 0, NULL)
	                     ? schedule_build(ctx, &l, target_host())
	                     : NULL;
	for (int i = 0; p && i < p->ngroups; i++) {
		struct group_size size = {0};
		struct source *sources = NULL;

		count_group(c, p, &p->groups[i]);
		if (group_walk(p, i, &sources, &size) >= 0)
			c->fuse[FUSE_INLINE] += size.ops > 1 ? size.ops - 1 : 0;
		free(sources);
	}
	if (p)
		plan_free(p);
	arena_free(&a);
	for (int i = 0; i < s->n; i++)
		if (tgc_is_variable(t[i]))
			tgc_release(t[i]);
	tgc_scope_end(ctx);
	tgc_clear_error(ctx);
}
