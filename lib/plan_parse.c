// A plan from its text (plan_text.c).
// In:  text. Out: a plan without kernels, or what is wrong and in which line.
// Not here: soundness (plan_verify.c).
#include "plan.h"

#include <ctype.h>
#include <stdlib.h>

struct cursor {
	struct plan *p;
	const char *s;
	const char *what; // the first mistake
	int bufs_cap, groups_cap, steps_cap;
};

static bool wrong(struct cursor *c, const char *what)
{
	if (!c->what)
		c->what = what;
	return false;
}

static void blanks(struct cursor *c)
{
	for (;;) {
		while (isspace((unsigned char)*c->s))
			c->s++;
		if (*c->s != ';')
			return;
		while (*c->s && *c->s != '\n')
			c->s++;
	}
}

static bool eat(struct cursor *c, const char *word)
{
	size_t n = strlen(word);

	blanks(c);
	if (strncmp(c->s, word, n) != 0 ||
	    (isalnum((unsigned char)word[n - 1]) && isalpha((unsigned char)c->s[n])))
		return false;
	c->s += n;
	return true;
}

static bool need(struct cursor *c, const char *word)
{
	return eat(c, word) || wrong(c, word);
}

static bool number(struct cursor *c, int64_t *v)
{
	char *end;

	blanks(c);
	*v = strtoll(c->s, &end, 10);
	if (end == c->s)
		return wrong(c, "a number");
	c->s = end;
	return true;
}

static bool small(struct cursor *c, int64_t least, int64_t limit, int32_t *v)
{
	int64_t x;

	if (!number(c, &x))
		return false;
	*v = (int32_t)x;
	return (x >= least && x < limit) || wrong(c, "a number in range");
}

// A reference such as b7: the letter, then a number below the limit.
static bool ref(struct cursor *c, const char *letter, int limit, int32_t *v)
{
	return need(c, letter) && small(c, 0, limit, v);
}

static bool one_of(struct cursor *c, const char *const *names, int n, uint8_t *out)
{
	for (int i = 0; i < n; i++) {
		if (eat(c, names[i])) {
			*out = (uint8_t)i;
			return true;
		}
	}
	return wrong(c, names[0]);
}

static bool type(struct cursor *c, uint8_t *out)
{
	for (int i = 0; i < TGC_TYPE_COUNT; i++) {
		if (eat(c, tgc_type_name((tgc_type)i))) {
			*out = (uint8_t)i;
			return true;
		}
	}
	return wrong(c, "an element type");
}

// Makes room for one more in an array of the plan's arena.
static bool room(struct cursor *c, void *array, int n, int *cap, size_t bytes)
{
	void *old, *fresh;

	if (n < *cap)
		return true;
	fresh = arena_alloc(&c->p->arena, bytes * (size_t)(n * 2 + 8));
	if (!fresh)
		return wrong(c, "more memory");
	memcpy(&old, array, sizeof old);
	if (n)
		memcpy(fresh, old, bytes * (size_t)n);
	memcpy(array, &fresh, sizeof fresh);
	*cap = n * 2 + 8;
	return true;
}

static bool parse_dims(struct cursor *c, struct pbuf *b)
{
	struct dim d[TGC_MAX_RANK * 2];
	int64_t strides[TGC_MAX_RANK * 2];
	int rank = 0;

	for (bool more = need(c, "[") && !eat(c, "]"); more; rank++) {
		if (rank == TG_COUNT(d))
			return wrong(c, "fewer axes");
		d[rank].sym = 0;
		if (!number(c, &d[rank].n) || (eat(c, ":") && !number(c, &d[rank].sym)))
			return false;
		more = eat(c, ",");
		if (!more && !need(c, "]"))
			return false;
	}
	if (!need(c, "{"))
		return false;
	for (int i = 0; i < rank; i++)
		if ((i && !need(c, ",")) || !number(c, &strides[i]))
			return false;
	b->rank = (uint8_t)rank;
	b->dims = arena_dup(&c->p->arena, d, sizeof *d * (size_t)rank);
	b->strides = arena_dup(&c->p->arena, strides, sizeof *strides * (size_t)rank);
	return need(c, "}");
}

static bool parse_buf(struct cursor *c)
{
	struct plan *p = c->p;
	struct pbuf b = {.node = -1};
	int32_t at;

	if (!ref(c, "b", INT32_MAX, &at) || (at != p->nbufs && !wrong(c, "buffers in order")) ||
	    !one_of(c, plan_buffer_names, BUF_SCRATCH + 1, &b.cls) || !small(c, 0, INT32_MAX, &b.index) ||
	    !type(c, &b.type) || !parse_dims(c, &b) || (eat(c, "%") && !small(c, 0, p->prog.n, &b.node)) ||
	    !need(c, "at") || !number(c, &b.offset_bytes) || !need(c, "bytes") || !number(c, &b.bytes) ||
	    !need(c, "live") || !small(c, -1, INT32_MAX, &b.first) || !need(c, "..") ||
	    !small(c, -1, INT32_MAX, &b.last) || !room(c, &p->bufs, p->nbufs, &c->bufs_cap, sizeof b))
		return false;
	p->bufs[p->nbufs++] = b;
	return true;
}

static bool parse_roots(struct cursor *c, struct group *g)
{
	struct plan *p = c->p;
	int cap = 0, cap_bufs = 0, cap_stages = 0, stage = 0;

	for (;;) {
		int32_t node, buf;

		stage += g->kind == GROUP_CHAIN && g->nroots && eat(c, "then");
		if (!eat(c, "%"))
			break;
		if (!small(c, 0, p->prog.n, &node) || !need(c, "=") || !ref(c, "b", p->nbufs, &buf) ||
		    !room(c, &g->roots, g->nroots, &cap, sizeof *g->roots) ||
		    !room(c, &g->root_bufs, g->nroots, &cap_bufs, sizeof *g->root_bufs) ||
		    !room(c, &g->stage, g->nroots, &cap_stages, sizeof *g->stage))
			return false;
		g->stage[g->nroots] = stage;
		g->roots[g->nroots] = node;
		g->root_bufs[g->nroots++] = buf;
		if (p->bufs[buf].node >= 0 && // else it holds parts
		    (op_info[p->prog.nodes[node].op].cls != CLASS_SOURCE || p->prog.nodes[node].op == OP_RANDOM))
			p->node_buf[node] = buf;
	}
	return true;
}

static bool quoted(struct cursor *c, const char **out)
{
	const char *end;

	if (!need(c, "\""))
		return false;
	end = strchr(c->s, '"');
	if (!end)
		return wrong(c, "a closing quote");
	*out = arena_printf(&c->p->arena, "%.*s", (int)(end - c->s), c->s);
	c->s = end + 1;
	return *out != NULL;
}

static bool parse_blocks(struct cursor *c, struct group *g)
{
	if (!eat(c, "shared"))
		return g->kind != GROUP_CHAIN || wrong(c, "shared");
	return small(c, 1, INT32_MAX, &g->shared) && need(c, "rows") && number(c, &g->rows);
}

static bool parse_half(struct cursor *c, struct group *g)
{
	g->half = eat(c, plan_half_names[HALF_CHUNKS])   ? HALF_CHUNKS
	          : eat(c, plan_half_names[HALF_FINISH]) ? HALF_FINISH
	                                                 : HALF_NONE;
	return true;
}

// Groups behind it are not known yet.
static bool parse_pre(struct cursor *c, struct group *g)
{
	int cap = 0;

	for (bool more = eat(c, "pre"); more && eat(c, "g"); g->npre++)
		if (!room(c, &g->pre, g->npre, &cap, sizeof *g->pre) || !small(c, 0, INT32_MAX, &g->pre[g->npre]))
			return false;
	return true;
}

static bool parse_group(struct cursor *c)
{
	struct plan *p = c->p;
	struct group g = {.main = -1, .scratch_buf = -1, .why = ""};
	int32_t at, main = -1;

	if (!ref(c, "g", INT32_MAX, &at) || (at != p->ngroups && !wrong(c, "groups in order")) ||
	    !one_of(c, plan_group_names, GROUP_CHAIN + 1, &g.kind) ||
	    (eat(c, "main") && !ref(c, "%", p->prog.n, &main)) || !need(c, "split") || !number(c, &g.split) ||
	    (eat(c, "scratch") && !ref(c, "b", p->nbufs, &g.scratch_buf)) || !parse_half(c, &g) ||
	    !need(c, "segs") || !small(c, 0, INT32_MAX, &g.nsegs) || !parse_blocks(c, &g) || !parse_pre(c, &g) ||
	    !need(c, "roots") ||
	    !parse_roots(c, &g) || !need(c, "why") || !quoted(c, &g.why) ||
	    !room(c, &p->groups, p->ngroups, &c->groups_cap, sizeof g))
		return false;
	g.main = main;
	p->groups[p->ngroups++] = g;
	return true;
}

static bool refs(struct cursor *c, const char *letter, int limit, int32_t **list, int *n)
{
	int cap = 0;

	for (*n = 0; eat(c, letter); ++*n)
		if (!room(c, list, *n, &cap, sizeof **list) || !small(c, 0, limit, &(*list)[*n]))
			return false;
	return true;
}

static bool parse_moved(struct cursor *c, struct pstep *s)
{
	int cap = 0;

	while (eat(c, "b")) {
		int n = 2 * s->nmoved;

		if (!room(c, &s->moved, n, &cap, sizeof *s->moved) || // cap stays even
		    !small(c, 0, c->p->nbufs, &s->moved[n]) || !need(c, "=") ||
		    !ref(c, "b", c->p->nbufs, &s->moved[n + 1]))
			return false;
		s->nmoved++;
	}
	return s->nmoved > 0 || wrong(c, "buffers");
}

static bool parse_step(struct cursor *c)
{
	struct plan *p = c->p;
	struct pstep s = {.kind = STEP_COPY, .group = -1, .src = -1, .dst = -1, .kernel = -1};

	if (eat(c, "copy")) {
		if (!ref(c, "b", p->nbufs, &s.src) || !ref(c, "b", p->nbufs, &s.dst))
			return false;
	} else {
		s.kind = STEP_KERNEL;
		s.library = eat(c, "library");
		if ((!s.library && !need(c, "kernel")) || !ref(c, "g", p->ngroups, &s.group))
			return false;
		for (s.ngroups = 1; eat(c, "g"); s.ngroups++) {
			int32_t next;

			if (!small(c, 0, p->ngroups, &next) ||
			    (next != s.group + s.ngroups && !wrong(c, "groups one behind the other")))
				return false;
		}
		if (eat(c, "with") && !parse_moved(c, &s))
			return false;
		if (eat(c, "args") && (!refs(c, "b", p->nbufs, &s.args, &s.nargs) || !need(c, "scalars") ||
		                       !refs(c, "@", p->prog.nleaves, &s.scalars, &s.nscalars) ||
		                       !need(c, "code") || !small(c, 0, INT32_MAX, &s.kernel)))
			return false;
	}
	if (!room(c, &p->steps, p->nsteps, &c->steps_cap, sizeof s))
		return false;
	p->steps[p->nsteps++] = s;
	return true;
}

static bool parse_sizes(struct cursor *c)
{
	struct plan *p = c->p;

	return need(c, "arena") && number(c, &p->arena_bytes) && need(c, "peak") && number(c, &p->peak_bytes) &&
	       need(c, "bound") && number(c, &p->lower_bound_bytes);
}

// Buffers of leaves, and error sites, follow from the program.
static bool derive(struct cursor *c)
{
	struct plan *p = c->p;

	for (int i = 0; i < p->nbufs; i++) {
		int node = p->bufs[i].node;

		if (p->bufs[i].cls == BUF_LEAF && node >= 0 && p->prog.nodes[node].leaf == p->bufs[i].index &&
		    op_info[p->prog.nodes[node].op].cls == CLASS_SOURCE)
			p->node_buf[node] = i;
	}
	return plan_flag_sites(p);
}

static bool parse(struct cursor *c, char **error)
{
	struct plan *p = c->p;

	if (!need(c, "plan") || !need(c, "{") || !prog_parse(&p->prog, &p->arena, &c->s, error))
		return false;
	p->node_buf = ARENA_ARRAY(&p->arena, int32_t, p->prog.n);
	if (!p->node_buf)
		return wrong(c, "more memory");
	for (int i = 0; i < p->prog.n; i++)
		p->node_buf[i] = -1;
	if (!parse_sizes(c))
		return false;
	while (!eat(c, "}")) {
		bool ok = eat(c, "buf")     ? parse_buf(c)
		          : eat(c, "group") ? parse_group(c)
		                            : need(c, "step") && parse_step(c);

		if (!ok)
			return false;
	}
	return derive(c) || wrong(c, "more memory");
}

struct plan *plan_parse(struct tgc_context *c, const char *text, char **error)
{
	struct cursor at = {.p = plan_new(&c->host), .s = text};
	struct text t = {0};
	int line = 1;

	*error = NULL;
	if (at.p && parse(&at, error))
		return at.p;
	if (!*error) {
		for (const char *s = text; s < at.s; s++)
			line += *s == '\n';
		text_add(&t, "line %d: expected %s", line, at.what ? at.what : "more memory");
		*error = text_take(&t);
	}
	plan_free(at.p);
	return NULL;
}
