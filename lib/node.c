// Interned values: equal expressions are one node, found in a weak table.
// In:  an operation, its type, shape, sources and attributes. Out: the one node for them, referenced.
// Not here: simplification (build.c), checks (ops.c). Building or freeing a node takes a few tens of ns, so
// storage comes from free lists by size and hashes are made of the sources' hashes.
#include "lib.h"

static const uint64_t MIX = 0x9e3779b97f4a7c15u;

static uint64_t mix(uint64_t h, uint64_t w)
{
	h = (h ^ w) * MIX;
	return h ^ h >> 32;
}

struct key {
	uint64_t hash;
	uint8_t op, type, rank;
	uint16_t nsrc, nattr;
	const struct dim *dims;
	struct node *const *src;
	const int64_t *attr;
};

static uint64_t hash_of(const struct key *k)
{
	uint64_t h =
	    (uint64_t)k->op | (uint64_t)k->type << 8 | (uint64_t)k->rank << 16 | (uint64_t)k->nsrc << 32;
	uint64_t shape = 0;
	for (int i = 0; i < k->rank; i++) // no chain of multiplications: most shapes follow from the sources
		shape += ((uint64_t)k->dims[i].n + ((uint64_t)k->dims[i].sym << 40)) * (MIX + 2 * (uint64_t)i);
	h = mix(h, shape);
	for (int i = 0; i < k->nsrc; i++)
		h = mix(h, k->src[i]->hash);
	for (int i = 0; i < k->nattr; i++)
		h = mix(h, (uint64_t)k->attr[i]);
	return h;
}

static bool same(const void *a, const void *b, size_t bytes)
{
	return bytes == 0 || memcmp(a, b, bytes) == 0;
}

static bool equal(const struct node *n, const struct key *k)
{
	return n->hash == k->hash && n->op == k->op && n->type == k->type && n->rank == k->rank &&
	       n->nsrc == k->nsrc && n->nattr == k->nattr && same(n->src, k->src, sizeof *k->src * k->nsrc) &&
	       same(n->dims, k->dims, sizeof *k->dims * k->rank) &&
	       same(n->attr, k->attr, sizeof *k->attr * k->nattr);
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

static size_t bytes_of(int rank, int nsrc, int nattr)
{
	return sizeof(struct node) + sizeof(struct node *) * (size_t)nsrc + sizeof(struct dim) * (size_t)rank +
	       sizeof(int64_t) * (size_t)nattr;
}

static struct node *storage(struct tgc_context *c, size_t bytes)
{
	size_t class = (bytes - 1) / NODE_CLASS_BYTES;
	if (class >= NODE_CLASSES)
		return host_realloc(&c->host, NULL, 0, bytes);
	void **list = &c->free_nodes[class];
	if (!*list)
		return arena_alloc(&c->slabs, (class + 1) * NODE_CLASS_BYTES);
	struct node *n = *list;
	*list = n->next;
	return n;
}

static void recycle(struct tgc_context *c, struct node *n)
{
	size_t bytes = bytes_of(n->rank, n->nsrc, n->nattr), class = (bytes - 1) / NODE_CLASS_BYTES;
	if (class >= NODE_CLASSES) {
		host_realloc(&c->host, n, bytes, 0);
		return;
	}
	n->next = c->free_nodes[class];
	c->free_nodes[class] = n;
}

static struct node *create(struct tgc_context *c, const struct key *k)
{
	struct node *n = storage(c, bytes_of(k->rank, k->nsrc, k->nattr));
	if (!n) {
		c->slabs.failed = false;
		context_fail(c, TGC_ERROR_MEMORY, op_info[k->op].name, "no memory for one more value");
		return NULL;
	}
	*n = (struct node){.hash = k->hash,
	                   .refs = 1,
	                   .op = k->op,
	                   .type = k->type,
	                   .rank = k->rank,
	                   .flags = NODE_INTERNED,
	                   .nsrc = k->nsrc,
	                   .nattr = k->nattr,
	                   .slot = -1};
	n->src = (struct node **)(n + 1);
	n->dims = (struct dim *)(n->src + k->nsrc);
	n->attr = (int64_t *)(n->dims + k->rank);
	for (int i = 0; i < k->nsrc; i++)
		n->src[i] = node_ref(k->src[i]);
	for (int i = 0; i < k->rank; i++)
		n->dims[i] = k->dims[i];
	for (int i = 0; i < k->nattr; i++)
		n->attr[i] = k->attr[i];
	if (k->op == OP_VARIABLE)
		node_variable(n)->refs++;
	return n;
}

struct node *node_new(struct tgc_context *c, int op, tgc_type type, int rank, const struct dim *dims, int nsrc,
                      struct node *const *src, int nattr, const int64_t *attr)
{
	assert(rank <= TGC_MAX_RANK && nsrc <= UINT16_MAX && nattr <= UINT16_MAX);
	struct key k = {0,    (uint8_t)op, (uint8_t)type, (uint8_t)rank, (uint16_t)nsrc, (uint16_t)nattr,
	                dims, src,         attr};
	k.hash = hash_of(&k);
	for (struct node *n = *bucket(c, k.hash); n; n = n->next)
		if (equal(n, &k))
			return node_ref(n);
	struct node *n = create(c, &k);
	if (!n)
		return NULL;
	if (c->table_used >= c->table_cap)
		grow(c);
	struct node **b = bucket(c, k.hash);
	n->next = *b;
	*b = n;
	c->table_used++;
	return n;
}

struct node *node_ref(struct node *n)
{
	if (n)
		n->refs++;
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

void node_unref(struct tgc_context *c, struct node *n)
{
	if (!n || --n->refs > 0)
		return;
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

bool node_same_shape(const struct node *a, const struct node *b)
{
	return a->rank == b->rank && same(a->dims, b->dims, sizeof *a->dims * a->rank);
}

bool node_same_sizes(const struct node *a, const struct node *b)
{
	bool equal_sizes = a->rank == b->rank;
	for (int i = 0; equal_sizes && i < a->rank; i++)
		equal_sizes = a->dims[i].n == b->dims[i].n;
	return equal_sizes;
}

bool node_is_full(const struct node *n, union number *v)
{
	if (n->op == OP_EXPAND)
		n = n->src[0];
	if (n->op == OP_RESHAPE)
		n = n->src[0];
	if (n->op != OP_CONST)
		return false;
	v->i = n->attr[0];
	return true;
}

int64_t node_new_id(struct tgc_context *c)
{
	return ++c->next_id;
}
