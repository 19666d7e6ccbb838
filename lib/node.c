// Interned values: equal expressions are one node, found in a weak table.
// In:  an operation, its type, shape, sources and attributes. Out: the one node for them, referenced.
// Not here: simplification (build.c), checks (ops.c). Building or freeing a node takes a few tens of ns, so
// storage comes from free lists by size and hashes are made of the sources' hashes.
#include "lib.h"

static const uint64_t MIX = 0x9e3779b97f4a7c15u;

// Sources, dimensions and attributes lie behind the node as words. An elementwise operation has the shape of its first
// source, and no dimensions of its own.
typedef uint64_t __attribute__((may_alias)) word;

static inline int rank_kept(int op, int rank) // how many dimensions the node itself holds
{
	return op_is_elementwise(op) ? 0 : rank;
}

static int words_of(const struct node *n)
{
	return n->nsrc + 2 * rank_kept(n->op, n->rank) + n->nattr;
}

// Copies words and adds them to the hash h, each times its constant: the first k, then every odd multiple of MIX.
static inline uint64_t put(word *to, const void *from, int n, uint64_t k, uint64_t h)
{
	const word *w = from;
	for (int i = 0; i < n; i++, k += 2 * MIX) {
		to[i] = w[i];
		h += w[i] * k;
	}
	return h;
}

// The same for the node's own dimensions, whose symbols are mostly 0.
static inline uint64_t put_dims(struct dim *to, const struct dim *from, int n, uint64_t k, uint64_t h, bool *empty)
{
	for (int i = 0; i < n; i++, k += 2 * MIX) {
		to[i] = from[i];
		*empty |= from[i].n == 0;
		h += ((uint64_t)from[i].n ^ (uint64_t)from[i].sym << 32) * k;
	}
	return h;
}

// The same for sources, which are referenced.
static inline uint64_t put_sources(struct node **to, struct node *const *from, int n, uint64_t h)
{
	for (int i = 0; i < n; i++) {
		to[i] = from[i];
		from[i]->refs++;
		h = (h ^ (uintptr_t)from[i]) * MIX;
	}
	return h;
}

static bool same(const word *a, const word *b, int words)
{
	for (int i = 0; i < words; i++)
		if (a[i] != b[i])
			return false;
	return true;
}

static bool equal(const struct node *a, const struct node *b)
{
	return a->head == b->head && same((const word *)(a + 1), (const word *)(b + 1), words_of(a));
}

static struct node **bucket(const struct tgc_context *c, uint64_t hash)
{
	return &c->table[hash & (c->table_cap - 1)];
}

// Doubles the table. Without memory it stays as it is and merely gets slower.
static void grow(struct tgc_context *c)
{
	size_t cap = c->table_cap * 2, old_cap = c->table_cap;
	struct node **table = host_realloc(&c->host, NULL, 0, sizeof *table * cap), **old = c->table;
	if (!table)
		return;
	memset(table, 0, sizeof *table * cap);
	c->table = table;
	c->table_cap = cap;
	for (size_t i = 0; i < old_cap; i++)
		while (old[i]) {
			struct node *n = old[i];
			old[i] = n->next;
			struct node **b = bucket(c, n->hash);
			n->next = *b;
			*b = n;
		}
	host_realloc(&c->host, old, sizeof *old * old_cap, 0);
}

static size_t bytes_of(int words)
{
	return sizeof(struct node) + sizeof(word) * (size_t)words;
}

static struct node *storage(struct tgc_context *c, int words)
{
	size_t class = (bytes_of(words) - 1) / NODE_CLASS_BYTES;
	struct node *n;
	if (class >= NODE_CLASSES) {
		class = NODE_CLASSES;
		n = host_realloc(&c->host, NULL, 0, bytes_of(words));
	} else if (c->free_nodes[class]) {
		n = c->free_nodes[class];
		c->free_nodes[class] = n->next;
	} else {
		n = arena_alloc(&c->slabs, (class + 1) * NODE_CLASS_BYTES);
	}
	if (n)
		n->size = (uint16_t)class;
	return n;
}

static void recycle(struct tgc_context *c, struct node *n)
{
	if (n->size == NODE_CLASSES) {
		host_realloc(&c->host, n, bytes_of(words_of(n)), 0);
		return;
	}
	n->next = c->free_nodes[n->size];
	c->free_nodes[n->size] = n;
}

// Filled in, but not interned yet.
static struct node *candidate(struct tgc_context *c, int op, tgc_type type, int rank, const struct dim *dims, int nsrc,
                              struct node *const *src, int nattr, const int64_t *attr)
{
	int own = rank_kept(op, rank);
	struct node *n = storage(c, nsrc + 2 * own + nattr);
	if (!n) {
		c->slabs.failed = false;
		context_fail(c, TGC_ERROR_MEMORY, op_info[op].name, "no memory for one more value");
		return NULL;
	}
	n->op = (uint8_t)op; // head is not read here: bytes just stored cannot be loaded as a word for some ten cycles
	n->type = (uint8_t)type;
	n->rank = (uint8_t)rank;
	n->pad = 0;
	n->nsrc = (uint16_t)nsrc;
	n->nattr = (uint16_t)nattr;
	n->refs = 1;
	n->mark = 0;
	n->slot = -1;
	n->buf = NULL;
	struct dim *behind = (struct dim *)(n->src + nsrc);
	n->dims = op_is_elementwise(op) ? src[0]->dims : behind;
	n->attr = (int64_t *)(behind + own);
	uint64_t h = (uint64_t)op | (uint64_t)type << 8 | (uint64_t)rank << 16;
	bool empty = false;
	h = put_sources(n->src, src, nsrc, h);
	h = put_dims(behind, dims, own, MIX, h, &empty);
	h = put((word *)n->attr, attr, nattr, MIX * 65, h);
	n->flags = empty ? NODE_EMPTY : 0;
	h = (h ^ h >> 32) * MIX;
	n->hash = h ^ h >> 29;
	return n;
}

struct node *node_new(struct tgc_context *c, int op, tgc_type type, int rank, const struct dim *dims, int nsrc,
                      struct node *const *src, int nattr, const int64_t *attr)
{
	assert(rank <= TGC_MAX_RANK && (nsrc | nattr) <= UINT16_MAX);
	struct node *n = candidate(c, op, type, rank, dims, nsrc, src, nattr, attr);
	if (!n)
		return NULL;
	if (c->table_used >= c->table_cap / 2)
		grow(c);
	struct node **b = bucket(c, n->hash);
	for (struct node *old = *b; old; old = old->next)
		if (old->hash == n->hash && equal(old, n)) {
			for (int i = 0; i < nsrc; i++)
				src[i]->refs--; // old's own remain
			recycle(c, n);
			return node_ref(old);
		}
	if (op == OP_VARIABLE)
		node_variable(n)->refs++;
	n->next = *b;
	*b = n;
	c->table_used++;
	c->stats.nodes_built++;
	return n;
}

// Takes n out of the table and puts it before the list of the dying.
static struct node *forget(struct tgc_context *c, struct node *n, struct node *dying)
{
	struct node **b = bucket(c, n->hash);
	while (*b != n)
		b = &(*b)->next;
	*b = n->next;
	c->table_used--;
	n->next = dying;
	return n;
}

static void unlist(struct tgc_context *c, const struct node *n)
{
	if (n->flags & NODE_NAMED)
		origin_forget(c, n);
	if (n->flags & NODE_UNIT)
		build_forget(c, n);
}

void node_release(struct tgc_context *c, struct node *n)
{
	n = forget(c, n, NULL);
	while (n) {
		struct node *rest = n->next;
		for (int i = 0; i < n->nsrc; i++)
			if (--n->src[i]->refs == 0)
				rest = forget(c, n->src[i], rest);
		if (n->buf)
			c->backend.buffer_unref(n->buf);
		if (n->flags & (NODE_NAMED | NODE_UNIT))
			unlist(c, n);
		// A variable that dies may let go of its initialiser: one more for the list.
		struct node *initial = n->op == OP_VARIABLE ? variable_unref(c, node_variable(n)) : NULL;
		if (initial && --initial->refs == 0)
			rest = forget(c, initial, rest);
		recycle(c, n);
		n = rest;
	}
}

int64_t node_elems(const struct node *n)
{
	int64_t e = 1;
	for (int i = 0; i < n->rank; i++)
		e *= n->dims[i].n;
	return e;
}

bool node_same_sizes(const struct node *a, const struct node *b)
{
	bool equal_sizes = a->rank == b->rank;
	for (int i = 0; equal_sizes && i < a->rank; i++)
		equal_sizes = a->dims[i].n == b->dims[i].n;
	return equal_sizes;
}

int64_t node_new_id(struct tgc_context *c)
{
	return ++c->next_id;
}
