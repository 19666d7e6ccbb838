// One group of a plan to a kernel at the free level: PAR and RED loops around scalar code.
// In:  a plan with its buffers decided. Out: a kernel whose parameters name plan buffers and leaves.
// Not here: tiles, lanes, blocks (pass/); what is fused (lib/group.c).
#include "lower.h"

#include <stdlib.h>

int lower_fail(struct lower *lo, const char *fmt, ...)
{
	if (!lo->error) {
		struct text t = {0};
		char line[200];
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(line, sizeof line, fmt, ap);
		va_end(ap);
		text_add(&t, "lower: %s", line);
		lo->error = text_take(&t);
	}
	return kb_int(&lo->b, 0);
}

int lower_buf(struct lower *lo, int plan_buf)
{
	const struct pbuf *p = &lo->plan->bufs[plan_buf];
	if (lo->buf_of[plan_buf] < 0) {
		int64_t elems = p->bytes / (int64_t)tgc_type_bytes((tgc_type)p->type);
		bool scratch = p->cls == BUF_SCRATCH;
		int buf = kernel_buf(lo->k, (tgc_type)p->type, scratch ? SPACE_LOCAL : SPACE_GLOBAL, elems);
		lo->k->bufs[buf].node = scratch ? -1 : plan_buf;
		lo->k->bufs[buf].segmented = lo->seg != K_NONE && p->cls != BUF_FLAGS;
		lo->buf_of[plan_buf] = buf;
	}
	return lo->buf_of[plan_buf];
}

int lower_flags(struct lower *lo)
{
	for (int i = 0; i < lo->plan->nbufs; i++)
		if (lo->plan->bufs[i].cls == BUF_FLAGS)
			return lower_buf(lo, i);
	lower_fail(lo, "the plan has no buffer of error flags");
	return 0;
}

bool lower_begin(struct lower *lo, const struct plan *p, const struct group *g, const struct target *t)
{
	size_t nodes = (size_t)p->prog.n;
	*lo = (struct lower){.plan = p,
	                     .group = g,
	                     .target = t,
	                     .k = kernel_new(),
	                     .guard = K_NONE,
	                     .seg = K_NONE,
	                     .chunk = K_NONE};
	lo->buf_of = malloc(sizeof *lo->buf_of * (size_t)p->nbufs + 1);
	lo->own = calloc(nodes + 1, sizeof *lo->own);
	lo->counted = calloc(nodes + 1, sizeof *lo->counted);
	lo->merges = calloc(nodes + 1, sizeof *lo->merges);
	if (!lo->k || !lo->buf_of || !lo->own || !lo->counted || !lo->merges)
		return false;
	for (int i = 0; i < p->nbufs; i++)
		lo->buf_of[i] = -1;
	for (int i = 0; i < g->nroots; i++)
		lo->own[g->roots[i]] = true;
	return true;
}

void lower_end(struct lower *lo)
{
	arena_free(&lo->arena);
	free(lo->buf_of);
	free(lo->own);
	free(lo->counted);
	free(lo->merges);
	kernel_free(lo->k);
	free(lo->error);
}

static char *copy_text(const char *s)
{
	struct text t = {0};
	text_add(&t, "%s", s);
	return text_take(&t);
}

struct kernel *lower_group(const struct plan *p, int group, const struct target *t, char **error)
{
	struct lower lo;
	const struct group *g = &p->groups[group];
	struct kernel *k = NULL;
	bool ok = lower_begin(&lo, p, g, t) && lower_pre_begin(&lo);
	*error = NULL;
	if (ok && g->kind == GROUP_SCATTER)
		lower_scatter(&lo);
	else if (ok && g->kind == GROUP_SEGMENTED)
		lower_segments(&lo);
	else if (ok && (g->kind == GROUP_CHAIN || (g->rows > 0 && !g->half)))
		lower_chain(&lo);
	else if (ok)
		lower_nests(&lo);
	if (ok && !lo.error && !lo.k->arena.failed && !lo.arena.failed) {
		kernel_finish(lo.k);
		k = lo.k;
		lo.k = NULL;
	} else {
		*error = copy_text(ok && lo.error ? lo.error : "lower: out of memory");
	}
	lower_end(&lo);
	return k;
}

// Its groups side by side.
struct kernel *lower_step(const struct plan *p, const struct pstep *s, const struct target *t, char **error)
{
	if (s->ngroups == 1)
		return lower_group(p, s->group, t, error);
	struct kernel **parts = calloc((size_t)s->ngroups, sizeof *parts), *k = NULL;
	bool *late = calloc((size_t)s->ngroups, sizeof *late);
	int n = 0;
	*error = NULL;
	for (; parts && late && n < s->ngroups && !*error; n++) {
		parts[n] = lower_group(p, s->group + n, t, error);
		late[n] = plan_is_late(p, s, s->group + n);
	}
	if (parts && late && !*error)
		k = kernel_join(parts, late, n);
	if (!k && !*error)
		*error = copy_text("lower: out of memory");
	while (n--)
		kernel_free(parts[n]);
	free(parts);
	free(late);
	return k;
}
