// Interned values: equal expressions are one node, found in a weak table.
// In:  an operation, its type, shape, sources and attributes. Out: the one node for them, referenced.
// Not here: simplification (build.c), checks (ops.c). Building or freeing a node takes a few tens of ns, so
// storage comes from free lists by size and hashes are made of the sources' hashes.
#include "lib.h"

static const uint64_t MIX = 0x9e3779b97f4a7c15u;

// Sources, dimensions and attributes lie behind the node as words. Their products with odd constants are
// independent of each other, which a chain of mixing steps would not be.
typedef uint64_t __attribute__((may_alias)) word;

static int words_of(const struct node *n)
{
	return n->nsrc + 2 * n->rank + n->nattr;
}

struct sum { // a hash in the making; k, an odd constant, moves on with every summand
	uint64_t h, k;
};

// Copies words and adds them to the hash.
static inline struct sum put(word *to, const void *from, int n, struct sum s)
{
	const word *w = from;
	for (int i = 0; i < n; i++, s.k += 2 * MIX) {
		to[i] = w[i];
		s.h += (w[i] ^ w[i] >> 32) * s.k;
	}
	return s;
}

// The same for dimensions, whose symbols are mostly 0.
static inline struct sum put_dims(struct dim *to, const struct dim *from, int n, struct sum s)
{
	for (int i = 0; i < n; i++, s.k += 2 * MIX) {
		to[i] = from[i];
		s.h += ((uint64_t)from[i].n ^ (uint64_t)from[i].sym << 32) * s.k;
	}
	return s;
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

// Made by shifts: bytes stored one by one could not be loaded as a word for some ten cycles.
static uint64_t head_of(int op, tgc_type type, int rank, int nsrc, int nattr)
{
	_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "op is the lowest byte of head");
	return (uint64_t)op | (uint64_t)type << 8 | (uint64_t)rank << 16 | (uint64_t)nsrc << 32 | (uint64_t)nattr << 48;
}

// Filled in, but neither interned nor holding references yet.
static struct node *candidate(struct tgc_context *c, uint64_t head, const struct dim *dims,
                              struct node *const *src, const int64_t *attr)
{
	struct node like = {.head = head}, *n = storage(c, words_of(&like));
	if (!n) {
		c->slabs.failed = false;
		context_fail(c, TGC_ERROR_MEMORY, op_info[like.op].name, "no memory for one more value");
		return NULL;
	}
	n->head = head;
	n->refs = 1;
	n->flags = 0;
	n->mark = 0;
	n->slot = -1;
	n->buf = NULL;
	n->src = (struct node **)(n + 1);
	n->dims = (struct dim *)(n->src + like.nsrc);
	n->attr = (int64_t *)(n->dims + like.rank);
	struct sum s = {head, MIX};
	s = put((word *)n->src, src, like.nsrc, s);
	s = put_dims(n->dims, dims, like.rank, s);
	s = put((word *)n->attr, attr, like.nattr, s);
	s.h = (s.h ^ s.h >> 32) * MIX;
	n->hash = s.h ^ s.h >> 29;
	return n;
}

struct node *node_new(struct tgc_context *c, int op, tgc_type type, int rank, const struct dim *dims, int nsrc,
                      struct node *const *src, int nattr, const int64_t *attr)
{
	assert(rank <= TGC_MAX_RANK && (nsrc | nattr) <= UINT16_MAX);
	struct node *n = candidate(c, head_of(op, type, rank, nsrc, nattr), dims, src, attr);
	if (!n)
		return NULL;
	if (c->table_used >= c->table_cap / 2)
		grow(c);
	struct node **b = bucket(c, n->hash);
	for (struct node *old = *b; old; old = old->next)
		if (old->hash == n->hash && equal(old, n)) {
			recycle(c, n);
			return node_ref(old);
		}
	for (int i = 0; i < nsrc; i++)
		n->src[i]->refs++;
	if (op == OP_VARIABLE)
		node_variable(n)->refs++;
	n->next = *b;
	*b = n;
	c->table_used++;
	c->stats.nodes_built++;
	return n;
}

static void forget(struct tgc_context *c, struct node *n)
{
	struct node **b = bucket(c, n->hash);
	while (*b != n)
		b = &(*b)->next;
	*b = n->next;
	c->table_used--;
}

void node_release(struct tgc_context *c, struct node *n)
{
	n->dead = NULL;
	while (n) {
		struct node *rest = n->dead;
		forget(c, n);
		for (int i = 0; i < n->nsrc; i++) {
			struct node *s = n->src[i];
			if (--s->refs == 0) {
				s->dead = rest;
				rest = s;
			}
		}
		if (n->buf)
			c->backend.buffer_unref(n->buf);
		if (n->flags & NODE_NAMED)
			origin_forget(c, n);
		// A variable that dies may let go of its initialiser: one more for the list.
		struct node *initial = n->op == OP_VARIABLE ? variable_unref(c, node_variable(n)) : NULL;
		if (initial && --initial->refs == 0) {
			initial->dead = rest;
			rest = initial;
		}
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
