// Chains: groups whose rows never leave a thread become stages of one kernel.
// In:  a plan's groups in order, before outputs have memory. Out: fewer groups, still in order.
// Stages share their leading axes (attention: batch, head, query row). For a block of those the stages run one
// after another; what only later stages read lies in the thread's scratch. So scores = q k, their softmax, and
// its product with v are one kernel and no matrix of scores reaches memory; a contraction and the norm of its
// rows likewise. Whether a stage asks an earlier one for its own block only is read off the graph: the shared
// indices are followed from its roots back through every operation. A group moves down to its reader's place if
// nothing in between needs it. A join is refused where the rows do not fit the cache, where an operand that
// every block reads again does not, or where too few blocks are left. On a GPU rows have to fit the shared memory of
// a block, and a product in a chain has few blocks, none of them a library's: what that costs is weighed against
// the bytes that stay.
// Not here: loops (codegen/lower_chain.c), the order of members (group.c), where an index goes (group_shared.c).
#include "plan.h"

#include <stdlib.h>

enum { MAX_STAGES = 12, MAX_ROOTS = 20, MIN_BLOCKS = 8, MIN_ELEMS = 4096 };
enum { TILE_ROWS = 32, SLICE_BYTES = 40 << 10 }; // GPU: of tiles of products; for their slices, and for reductions

struct link {
	struct source *reads; // malloc'ed
	int nreads;
	int needed; // the first group outside that needs one of its values
	int into;   // moved into this chain, -1
	int next;   // the member before it in the chain, -1
	bool fits;  // may be a stage
	bool narrow;  // a product of 16-bit floats
	double flops; // of contractions
};
struct trial { // one join that is considered
	int shared;
	int64_t size[MAX_SHARED]; // of the shared axes
	int64_t rows;
	bool tiled;      // the last shared axis is a row or column axis of a contraction
	double scratch;  // bytes an index of it
	double resident; // bytes that all its indices read
	double flops;    // of products
	bool narrow;     // all of them of 16-bit floats
	const char *why; // it is refused, for listings
};
struct chaining {
	struct plan *p;
	const struct target *t;
	struct arena *scratch;
	struct link *links;          // by group
	int32_t *root_of;            // by pnode: its group (once moved: the chain it is in), -1
	int32_t *member_of;          // by pnode: the group whose root it was, -1
	int32_t *readers;            // by pnode: groups that read it
	int32_t *reader_at, *reader; // by pnode: the first of them in the list of readers
	bool *must;                  // by pnode: an output
	int32_t *seen;               // by pnode: the walk that met it
	struct shared_axes *axes;           // by pnode: of that walk
	int32_t *stack;
	int32_t *counted; // by pnode: the trial that counted its bytes
	int32_t walk, trial;
};

// ---- facts --------------------------------------------------------------------------------------------------
static bool has_window(const struct pnode *n)
{
	for (int i = 0; n->op == OP_CONTRACT && i < n->nattr; i += 8)
		if (n->attr[i] == ROLE_WINDOW)
			return true;
	return false;
}

static bool is_narrow(const struct prog *p, int node)
{
	const struct pnode *n = &p->nodes[node];
	const struct pnode *x = n->op == OP_CAST ? &p->nodes[n->src[0]] : n;

	return x->type == TGC_F16 || x->type == TGC_BF16;
}

static bool is_gpu(const struct chaining *g)
{
	return g->t->family == FAMILY_CUDA;
}

// Readers of each value, in order.
static bool list_readers(struct chaining *g)
{
	const struct plan *p = g->p;
	int total = 0;

	for (int v = 0; v < p->prog.n; v++) {
		g->reader_at[v] = total;
		total += g->readers[v];
	}
	g->reader = ARENA_ARRAY(g->scratch, int32_t, total + 1);
	if (!g->reader)
		return false;
	for (int i = 0; i < p->ngroups; i++)
		for (int k = 0; k < g->links[i].nreads; k++)
			g->reader[g->reader_at[g->links[i].reads[k].node]++] = i;
	for (int v = 0; v < p->prog.n; v++)
		g->reader_at[v] -= g->readers[v];
	return true;
}

static bool learn(struct chaining *g)
{
	struct plan *p = g->p;

	for (int v = 0; v < p->prog.n; v++)
		g->root_of[v] = g->member_of[v] = -1;
	for (int i = 0; i < p->prog.nouts; i++)
		g->must[prog_stored_as(&p->prog, p->prog.outs[i].node)] = true;
	for (int i = 0; i < p->ngroups; i++) {
		const struct group *a = &p->groups[i];
		struct link *l = &g->links[i];
		struct group_size size;

		l->into = l->next = -1;
		l->needed = p->ngroups;
		l->nreads = group_walk(p, i, &l->reads, &size);
		if (l->nreads < 0)
			return false;
		l->fits = (a->kind == GROUP_MAP || a->kind == GROUP_REDUCE || a->kind == GROUP_CONTRACT) &&
		          a->split <= 1 && !size.flags && (a->main < 0 || !has_window(&p->prog.nodes[a->main]));
		l->flops = size.flops;
		if (a->kind == GROUP_CONTRACT) {
			const int32_t *src = p->prog.nodes[a->main].src;

			l->narrow = g->t->sm >= 80 && is_narrow(&p->prog, src[0]) && is_narrow(&p->prog, src[1]);
		}
		for (int k = 0; k < a->nroots; k++)
			g->root_of[a->roots[k]] = g->member_of[a->roots[k]] = i;
		for (int k = 0; k < l->nreads; k++)
			g->readers[l->reads[k].node]++;
	}
	for (int i = p->ngroups - 1; i >= 0; i--) {
		for (int k = 0; k < g->links[i].nreads; k++) {
			int from = g->root_of[g->links[i].reads[k].node];

			if (from >= 0)
				g->links[from].needed = i;
		}
	}
	return list_readers(g);
}

// ---- shared indices -----------------------------------------------------------------------------------------
// Notes whether the last shared axis is one that a contraction tiles.
static void note_contraction(const struct pnode *n, struct shared_axes a, struct trial *t)
{
	const struct tg_caxis *x = (const struct tg_caxis *)(const void *)n->attr;

	for (int i = 0; i < n->nattr / 8; i++)
		t->tiled |=
		    x[i].o == a.at[t->shared - 1] && (x[i].role == ROLE_LEFT || x[i].role == ROLE_RIGHT);
}

// Bytes of a value in memory that all indices of the last shared axis read.
static double resident(const struct prog *p, int node, struct shared_axes a, const struct trial *t)
{
	double bytes = (double)prog_elems(p, node) * (double)tgc_type_bytes((tgc_type)p->nodes[node].type);

	if (a.at[t->shared - 1] != SHARED_LOST)
		return 0;
	for (int i = 0; i < t->shared - 1; i++)
		bytes /= a.at[i] != SHARED_LOST ? (double)t->size[i] : 1;
	return bytes;
}

static bool in_chain(const struct chaining *g, int node, int chain, int other)
{
	return g->root_of[node] >= 0 && (g->root_of[node] == chain || g->root_of[node] == other);
}

// Visits a value with its axes; false: it may be asked for outside of the block. A root of the chain is asked for at
// the shared indices only.
static bool visit(struct chaining *g, int node, struct shared_axes a, int *n, const int *chains, int member,
                  struct trial *t)
{
	const struct plan *p = g->p;
	bool chained = in_chain(g, node, chains[0], chains[1]);
	bool loaded = p->node_buf[node] >= 0 && g->member_of[node] != member;

	if (chained && !shared_equal(a, shared_leading(&p->prog.nodes[node], t->shared), t->shared))
		return false;
	if (g->seen[node] == g->walk)
		return shared_equal(g->axes[node], a, t->shared) || (loaded && !chained) ||
		       op_info[p->prog.nodes[node].op].cls == CLASS_SOURCE;
	g->seen[node] = g->walk;
	g->axes[node] = a;
	if (loaded && !chained && g->counted[node] != g->trial) {
		g->counted[node] = g->trial;
		t->resident += resident(&p->prog, node, a, t);
	}
	if (!loaded)
		g->stack[(*n)++] = node;
	return true;
}

static bool walk_member(struct chaining *g, int member, const int *chains, struct trial *t)
{
	const struct prog *p = &g->p->prog;
	const struct group *a = &g->p->groups[member];
	int n = 0;

	g->walk++;
	for (int i = 0; i < a->nroots; i++)
		if (!visit(g, a->roots[i], shared_leading(&p->nodes[a->roots[i]], t->shared), &n, chains, member, t))
			return false;
	while (n > 0) {
		int node = g->stack[--n];
		const struct pnode *x = &p->nodes[node];

		if (x->op == OP_CONTRACT)
			note_contraction(x, g->axes[node], t);
		for (int k = 0; k < x->nsrc; k++)
			if (!visit(g, x->src[k], shared_all_through(p, node, k, g->axes[node], t->shared), &n, chains, member, t))
				return false;
	}
	return true;
}

// ---- a join -------------------------------------------------------------------------------------------------
// Leading axes that all roots of the chain and `t` have in common.
static void common(const struct chaining *g, int chain, struct trial *t)
{
	const struct prog *p = &g->p->prog;

	for (int m = chain; m >= 0; m = g->links[m].next) {
		for (int i = 0; i < g->p->groups[m].nroots; i++) {
			const struct pnode *n = &p->nodes[g->p->groups[m].roots[i]];
			int k = 0;

			for (; k < MAX_SHARED && shared_axis(n, k) >= 0; k++) {
				int64_t size = n->dims[shared_axis(n, k)].n;

				if (t->shared < 0)
					t->size[k] = size;
				else if (k < t->shared && t->size[k] != size)
					break;
			}
			t->shared = t->shared < 0 || k < t->shared ? k : t->shared;
		}
	}
}

static int read_by(const struct chaining *g, int node, int chain)
{
	int n = 0;

	for (int m = chain; m >= 0; m = g->links[m].next)
		for (int k = 0; k < g->links[m].nreads; k++)
			n += g->links[m].reads[k].node == node;
	return n;
}

// Nobody outside of the two chains wants it.
static bool stays(const struct chaining *g, int node, const int *chains)
{
	return !g->must[node] &&
	       read_by(g, node, chains[0]) + read_by(g, node, chains[1]) == g->readers[node] &&
	       g->readers[node] > 0;
}

// Bytes of scratch for one index of each shared axis; what the join keeps out of memory is counted in *saved.
static double scratch_of(const struct chaining *g, const int *chains, const struct trial *t, double *saved)
{
	const struct prog *p = &g->p->prog;
	double sum = 0, indices = 1;

	for (int i = 0; i < t->shared; i++)
		indices *= (double)t->size[i];
	for (int c = 0; c < 2; c++) {
		for (int m = chains[c]; m >= 0; m = g->links[m].next) {
			for (int i = 0; i < g->p->groups[m].nroots; i++) {
				int node = g->p->groups[m].roots[i];
				double bytes = (double)prog_elems(p, node) *
				               (double)tgc_type_bytes((tgc_type)p->nodes[node].type);

				bool here = stays(g, node, chains);

				sum += here ? bytes / indices : 0;
				if (here ||
				    bytes > 2 * (double)g->t->l2_bytes) // else its readers find it in the cache
					*saved += read_by(g, node, chains[1 - c]) ? bytes : 0;
			}
		}
	}
	return sum;
}

static double most_elems(const struct chaining *g, const int *chains)
{
	double most = 0;

	for (int c = 0; c < 2; c++)
		for (int m = chains[c]; m >= 0; m = g->links[m].next)
			for (int i = 0; i < g->p->groups[m].nroots; i++) {
				double n = (double)prog_elems(&g->p->prog, g->p->groups[m].roots[i]);

				most = n > most ? n : most;
			}
	return most;
}

// Bytes of scratch that a block may have.
static double budget_of(const struct chaining *g, const struct trial *t)
{
	if (!is_gpu(g))
		return (double)g->t->l2_bytes / 4;
	if (!t->flops) // several blocks should fit a multiprocessor
		return (double)g->t->shared_bytes * 3 / 4;
	return (double)(g->t->block_shared_bytes - SLICE_BYTES);
}

// n indices in blocks of `most`: how many each has.
static int64_t rows_in(const struct chaining *g, const struct trial *t, int64_t n, int64_t most)
{
	int64_t tiles = (n + most - 1) / most, rows = (n + tiles - 1) / tiles;

	if (is_gpu(g) && t->tiled)
		return most < n ? most : n;
	return rows >= 4 && rows < n ? (rows + 3) / 4 * 4 : rows; // whole register tiles
}

// How many indices of the last shared axis a block holds; 0: no number is good.
static int64_t rows_of(const struct chaining *g, const int *chains, struct trial *t)
{
	static const int64_t sizes[] = {64, 48, 32, 24, 16, 8, 4, 2, 1};
	int64_t n = t->size[t->shared - 1], outer = 1, best = 0, least = is_gpu(g) ? TILE_ROWS : 8;
	double elems = most_elems(g, chains), budget = budget_of(g, t);

	for (int i = 0; i < t->shared - 1; i++)
		outer *= t->size[i];
	elems /= (double)(outer * n);
	for (int i = 0; i < TG_COUNT(sizes); i++) {
		int64_t rows = rows_in(g, t, n, sizes[i]), tiles = (n + rows - 1) / rows;

		if (t->tiled && rows < least && rows < n)
			break;
		if (is_gpu(g) && t->tiled && sizes[i] % TILE_ROWS)
			continue;
		if ((double)rows * t->scratch > budget)
			t->why = "rows are too long for what a block keeps";
		if ((double)rows * t->scratch > budget || outer * tiles < MIN_BLOCKS)
			continue;
		if (best && (t->tiled || (double)rows * elems < MIN_ELEMS))
			break;
		best = rows;
	}
	return best;
}

// GPU: products at the rates that they reach, as parts of the peak; a library's are faster. Blocks that do not fill
// the device take longer. Both against the bytes that need not be written and read.
static bool pays(const struct chaining *g, const struct trial *t, double saved)
{
	double blocks = (double)((t->size[t->shared - 1] + t->rows - 1) / t->rows), own, alone;

	for (int i = 0; i < t->shared - 1; i++)
		blocks *= (double)t->size[i];
	own = t->narrow ? 5 : 0.5;
	alone = !g->t->products ? own : t->narrow ? 10 : 0.8;
	if (blocks < g->t->processors)
		own *= blocks / g->t->processors;
	return t->flops / g->t->flops * (1 / own - 1 / alone) <= 2 * saved / g->t->bandwidth + g->t->launch_ns;
}

static bool consider(struct chaining *g, const int *chains, int shared, struct trial *t)
{
	double saved = 0;

	t->shared = shared;
	t->tiled = false;
	t->resident = 0;
	g->trial++;
	for (int c = 0; c < 2; c++)
		for (int m = chains[c]; m >= 0; m = g->links[m].next)
			if (!walk_member(g, m, chains, t))
				return false;
	t->scratch = scratch_of(g, chains, t, &saved);
	t->rows = rows_of(g, chains, t);
	if (t->rows == 0 || (saved == 0 && t->tiled && t->rows < t->size[t->shared - 1]))
		return false;
	if (is_gpu(g) && t->flops && !pays(g, t, saved)) {
		t->why = "the product is faster on its own";
		return false;
	}
	return t->rows == t->size[t->shared - 1] || t->resident <= (double)g->t->l2_bytes / 2;
}

static int count(const struct chaining *g, int chain, int *roots)
{
	int n = 0;

	for (int m = chain; m >= 0; m = g->links[m].next, n++)
		*roots += g->p->groups[m].nroots;
	return n;
}

static void find_products(const struct chaining *g, const int *chains, struct trial *t)
{
	for (int c = 0; c < 2; c++)
		for (int m = chains[c]; m >= 0; m = g->links[m].next) {
			t->flops += g->links[m].flops;
			t->narrow &= !g->links[m].flops || g->links[m].narrow;
		}
}

static bool try_join(struct chaining *g, int from, int to, struct trial *t)
{
	int chains[2] = {from, to}, roots = 0;

	if (!g->links[from].fits || g->links[from].needed < to ||
	    count(g, from, &roots) + count(g, to, &roots) > MAX_STAGES || roots > MAX_ROOTS)
		return false;
	*t = (struct trial){.shared = -1, .narrow = true};
	common(g, from, t);
	common(g, to, t);
	find_products(g, chains, t);
	for (int shared = t->shared; shared > 0; shared--)
		if (consider(g, chains, shared, t))
			return true;
	return false;
}

// The first group behind `to` that reads a value of `from`, which moves there.
static int needed_after(const struct chaining *g, int from, int to)
{
	int first = g->p->ngroups;

	for (int m = from; m >= 0; m = g->links[m].next) {
		for (int i = 0; i < g->p->groups[m].nroots; i++) {
			int node = g->p->groups[m].roots[i];

			for (int k = 0; k < g->readers[node]; k++) {
				int reader = g->reader[g->reader_at[node] + k];

				if (reader > to && reader < first)
					first = reader;
			}
		}
	}
	return first;
}

// The members of `from` become earlier stages of `to`. Members are kept in falling order of their places.
static void move_down(struct chaining *g, int from, int to)
{
	int tail = to, rest = from, needed = needed_after(g, from, to);

	if (needed < g->links[to].needed)
		g->links[to].needed = needed;
	g->links[from].into = to;
	for (int m = from; m >= 0; m = g->links[m].next)
		for (int i = 0; i < g->p->groups[m].nroots; i++)
			g->root_of[g->p->groups[m].roots[i]] = to;
	while (rest >= 0) {
		int next = g->links[rest].next;

		while (g->links[tail].next > rest)
			tail = g->links[tail].next;
		g->links[rest].next = g->links[tail].next;
		g->links[tail].next = rest;
		rest = next;
	}
}

static void join_all(struct chaining *g, struct trial *best)
{
	for (int j = 0; j < g->p->ngroups; j++) {
		for (int k = 0; g->links[j].fits && k < g->links[j].nreads; k++) {
			int i = g->root_of[g->links[j].reads[k].node];
			struct trial t;

			if (i < 0 || i == j)
				continue;
			t.why = NULL;
			if (!try_join(g, i, j, &t)) {
				if (t.why)
					g->p->groups[i].why = t.why;
				continue;
			}
			move_down(g, i, j);
			best[j] = t;
		}
	}
}

// ---- chains as groups ---------------------------------------------------------------------------------------
// From row to row, in elements: apart so that they do not meet in one set of the cache; on a GPU so that eight rows'
// pieces of 16 bytes lie in different banks.
static int64_t pitch_of(const struct chaining *g, int64_t n, int64_t elem)
{
	if (is_gpu(g))
		return n > 1 ? ((n * elem + 15) / 16 | 1) * 16 / elem : n;
	return n * elem % 4096 ? n : n + 64 / elem;
}

// The buffer of a value that stays: the block's part of it.
static void to_scratch(const struct chaining *g, int buf, const struct trial *t)
{
	struct plan *p = g->p;
	struct pbuf *b = &p->bufs[buf];
	const struct pnode *n = &p->prog.nodes[b->node];
	int64_t elem = (int64_t)tgc_type_bytes((tgc_type)b->type), stride = 1;

	b->cls = BUF_SCRATCH;
	for (int i = 0; i < t->shared; i++)
		b->dims[shared_axis(n, i)].n = i < t->shared - 1 ? 1 : t->rows;
	for (int i = b->rank - 1; i >= 0; i--) {
		b->strides[i] = b->dims[i].n == n->dims[i].n || i == shared_axis(n, t->shared - 1) ? stride : 0;
		stride *= b->dims[i].n;
		if (i == b->rank - 1)
			stride = pitch_of(g, stride, elem);
	}
	if (is_gpu(g) && t->tiled) // whole tiles are read
		stride = stride / t->rows * ((t->rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS);
	b->bytes = stride * elem;
}

static bool build(struct chaining *g, int last, const struct trial *t)
{
	struct plan *p = g->p;
	struct group *to = &p->groups[last], chain = *to;
	int n = 0, stages = count(g, last, &n), at = n, chains[2] = {last, -1};

	chain.kind = GROUP_CHAIN;
	chain.main = -1;
	chain.nroots = n;
	chain.shared = t->shared;
	chain.rows = t->rows;
	chain.roots = ARENA_ARRAY(&p->arena, int32_t, n);
	chain.root_bufs = ARENA_ARRAY(&p->arena, int32_t, n);
	chain.stage = ARENA_ARRAY(&p->arena, int32_t, n);
	if (p->arena.failed)
		return false;
	for (int m = last; m >= 0; m = g->links[m].next) {
		const struct group *a = &p->groups[m];

		at -= a->nroots;
		stages--;
		for (int i = 0; i < a->nroots; i++) {
			chain.roots[at + i] = a->roots[i];
			chain.root_bufs[at + i] = a->root_bufs[i];
			chain.stage[at + i] = stages;
			if (stays(g, a->roots[i], chains))
				to_scratch(g, a->root_bufs[i], t);
		}
	}
	*to = chain;
	return true;
}

static bool close_up(struct chaining *g, const struct trial *best)
{
	struct plan *p = g->p;
	int n = 0;

	for (int i = 0; i < p->ngroups; i++)
		if (g->links[i].into < 0 && g->links[i].next >= 0 && !build(g, i, &best[i]))
			return false;
	for (int i = 0; i < p->ngroups; i++)
		if (g->links[i].into < 0)
			p->groups[n++] = p->groups[i];
	p->ngroups = n;
	return true;
}

bool group_chain(struct plan *p, const struct target *t, struct arena *scratch)
{
	struct chaining g = {.p = p, .t = t, .scratch = scratch};
	struct trial *best = ARENA_ARRAY(scratch, struct trial, p->ngroups + 1);
	int n = p->ngroups;
	bool ok;

	g.links = ARENA_ARRAY(scratch, struct link, p->ngroups + 1);
	g.root_of = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	g.member_of = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	g.readers = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	g.reader_at = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	g.must = ARENA_ARRAY(scratch, bool, p->prog.n);
	g.seen = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	g.counted = ARENA_ARRAY(scratch, int32_t, p->prog.n);
	g.axes = ARENA_ARRAY(scratch, struct shared_axes, p->prog.n);
	g.stack = ARENA_ARRAY(scratch, int32_t, p->prog.n + 1);
	ok = !scratch->failed && learn(&g);
	if (ok) {
		join_all(&g, best);
		ok = close_up(&g, best);
	}
	for (int i = 0; g.links && i < n; i++)
		free(g.links[i].reads);
	return ok;
}
