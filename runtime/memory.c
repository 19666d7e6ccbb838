// A caching allocator of 64-byte aligned memory.
// In:  sizes in bytes. Out: reference-counted buffers; freed ones wait in lists by size class for the next use,
// because a fresh page costs more than most kernels. Blocks of 2 MiB and more of the host come from huge pages.
// Not here: threads. An allocator belongs to one context.
#include "runtime.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SMALLEST = 64, CLASSES = 4 * 42 };
#define HUGE_BYTES ((int64_t)2 << 20)

struct allocator {
	const struct memory_kind *kind;
	void *user; // of kind
	struct buffer *free[CLASSES];
	int64_t limit, held, peak;
};

// Powers of two from SMALLEST, with four steps between one and the next.
static int64_t class_bytes(int cls)
{
	return (int64_t)SMALLEST / 4 * (4 + cls % 4) << cls / 4;
}

static int class_of(int64_t bytes)
{
	if (bytes <= SMALLEST)
		return 0;
	int log = 63 - __builtin_clzll((uint64_t)(bytes - 1) / SMALLEST | 1);
	int cls = 4 * log;

	while (class_bytes(cls) < bytes)
		cls++;
	return cls;
}

static int64_t block_bytes(int cls)
{
	int64_t n = class_bytes(cls);

	if (n < HUGE_BYTES)
		return (n + 63) & ~(int64_t)63;
	return (n + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1);
}

// Address space is taken with room to align, then cut.
static void *map_huge(int64_t bytes)
{
	size_t all = (size_t)(bytes + HUGE_BYTES);
	char *p = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	size_t head = (size_t)(-(uintptr_t)p & (uintptr_t)(HUGE_BYTES - 1));
	if (head)
		munmap(p, head);
	if (all - head > (size_t)bytes)
		munmap(p + head + bytes, all - head - (size_t)bytes);
	madvise(p + head, (size_t)bytes, MADV_HUGEPAGE);
	return p + head;
}

static void *host_take(void *user, int64_t bytes)
{
	(void)user;
	return bytes >= HUGE_BYTES ? map_huge(bytes) : aligned_alloc(64, (size_t)bytes);
}

static void host_give(void *user, void *data, int64_t bytes)
{
	(void)user;
	if (bytes >= HUGE_BYTES)
		munmap(data, (size_t)bytes);
	else
		free(data);
}

static int64_t host_all(void *user)
{
	(void)user;
	return (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

static const struct memory_kind host = {host_take, host_give, host_all};

static void release(struct allocator *a, struct buffer *b)
{
	int64_t bytes = block_bytes(b->cls);

	a->kind->give(a->user, b->data, bytes);
	a->held -= bytes;
	free(b);
}

static void trim(struct allocator *a)
{
	for (int i = 0; i < CLASSES; i++)
		while (a->free[i]) {
			struct buffer *b = a->free[i];

			a->free[i] = b->next;
			release(a, b);
		}
}

static struct buffer *grow(struct allocator *a, int cls)
{
	int64_t bytes = block_bytes(cls);

	if (bytes > a->limit - a->held)
		return NULL;
	struct buffer *b = malloc(sizeof *b);
	void *data = b ? a->kind->take(a->user, bytes) : NULL;
	if (!data) {
		free(b);
		return NULL;
	}
	*b = (struct buffer){.cls = cls, .owner = a, .data = data};
	a->held += bytes;
	a->peak = a->held > a->peak ? a->held : a->peak;
	return b;
}

struct allocator *allocator_new(size_t limit_bytes, const struct memory_kind *kind, void *user)
{
	struct allocator *a = calloc(1, sizeof *a);

	if (!a)
		return NULL;
	a->kind = kind ? kind : &host;
	a->user = user;
	a->limit = a->kind->all(user);
	if (limit_bytes && limit_bytes < (uint64_t)a->limit)
		a->limit = (int64_t)limit_bytes;
	return a;
}

void allocator_free(struct allocator *a)
{
	if (!a)
		return;
	trim(a);
	free(a);
}

struct buffer *buffer_new(struct allocator *a, int64_t bytes)
{
	if (bytes > a->limit)
		return NULL;
	int cls = class_of(bytes);
	struct buffer *b = a->free[cls];

	if (b) {
		a->free[cls] = b->next;
	} else if (!(b = grow(a, cls))) {
		trim(a);
		b = grow(a, cls);
	}
	if (b) {
		b->next = NULL;
		b->refs = 1;
		b->bytes = bytes;
	}
	return b;
}

struct buffer *buffer_ref(struct buffer *b)
{
	b->refs++;
	return b;
}

void buffer_unref(struct buffer *b)
{
	if (!b || --b->refs > 0)
		return;
	b->next = b->owner->free[b->cls];
	b->owner->free[b->cls] = b;
}

int64_t allocator_bytes(const struct allocator *a)
{
	return a->held;
}

int64_t allocator_peak(const struct allocator *a)
{
	return a->peak;
}

int64_t allocator_limit(const struct allocator *a)
{
	return a->limit;
}
