// Memory that is freed at once, and growing texts.
// In:  a host allocator. Out: zeroed, 16-byte aligned memory; strings.
// Not here: device memory (runtime/), node storage (node.c, which sits on an arena).
#include "lib.h"

#include <stdlib.h>

enum { ALIGN = 16, BLOCK_MIN = 4096, BLOCK_MAX = 1 << 20 };

struct arena_block {
	struct arena_block *next;
	size_t used, cap; // header included
};

void *host_realloc(const struct host_alloc *h, void *p, size_t old_bytes, size_t new_bytes)
{
	if (h && h->fn)
		return h->fn(h->user, p, old_bytes, new_bytes);
	if (new_bytes == 0) {
		free(p);
		return NULL;
	}
	return realloc(p, new_bytes);
}

void arena_init(struct arena *a, const struct host_alloc *h)
{
	*a = (struct arena){.host = h};
}

static size_t align_up(size_t n)
{
	return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static struct arena_block *grow(struct arena *a, size_t bytes)
{
	size_t head = align_up(sizeof(struct arena_block));
	size_t cap = a->head ? a->head->cap * 2 : BLOCK_MIN;
	if (cap > BLOCK_MAX)
		cap = BLOCK_MAX;
	if (cap < head + bytes)
		cap = head + bytes;
	struct arena_block *b = host_realloc(a->host, NULL, 0, cap);
	if (!b) {
		a->failed = true;
		return NULL;
	}
	b->used = head;
	b->cap = cap;
	b->next = a->head;
	a->head = b;
	return b;
}

static void *take(struct arena *a, size_t bytes)
{
	if (bytes > SIZE_MAX / 4) {
		a->failed = true;
		return NULL;
	}
	bytes = align_up(bytes ? bytes : 1);
	struct arena_block *b = a->head;
	if (!b || b->cap - b->used < bytes) {
		b = grow(a, bytes);
		if (!b)
			return NULL;
	}
	void *p = (char *)b + b->used;
	b->used += bytes;
	return p;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
	void *p = take(a, bytes);
	return p ? memset(p, 0, bytes) : NULL;
}

void *arena_grow(struct arena *a, const void *p, size_t used_bytes, size_t bytes)
{
	void *q = take(a, bytes);
	if (q && used_bytes)
		memcpy(q, p, used_bytes);
	return q;
}

void *arena_dup(struct arena *a, const void *p, size_t bytes) { return arena_grow(a, p, bytes, bytes); }

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	char *s = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
	if (s)
		vsnprintf(s, (size_t)n + 1, fmt, again);
	va_end(again);
	va_end(ap);
	return s;
}

void arena_free(struct arena *a)
{
	while (a->head) {
		struct arena_block *b = a->head;
		a->head = b->next;
		host_realloc(a->host, b, b->cap, 0);
	}
	a->failed = false;
}

void arena_reset(struct arena *a)
{
	size_t bytes = 0;
	for (struct arena_block *b = a->head; b; b = b->next)
		bytes += b->cap;
	if (a->head && a->head->next) {
		arena_free(a);
		grow(a, bytes);
	}
	if (a->head)
		a->head->used = align_up(sizeof(struct arena_block));
	a->failed = false;
}

static bool reserve(struct text *t, size_t more)
{
	if (t->failed || t->n + more < t->cap)
		return !t->failed;
	size_t cap = (t->cap ? t->cap : 128) * 2 + more;
	char *p = realloc(t->p, cap);
	if (!p) {
		t->failed = true;
		return false;
	}
	t->p = p;
	t->cap = cap;
	return true;
}

void text_add(struct text *t, const char *fmt, ...)
{
	va_list ap, again;
	size_t room = t->cap - t->n;
	if (t->failed)
		return;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(room ? t->p + t->n : NULL, room, fmt, ap);
	if (n >= 0 && (size_t)n < room) {
		t->n += (size_t)n;
	} else if (n >= 0 && reserve(t, (size_t)n + 1)) {
		vsnprintf(t->p + t->n, (size_t)n + 1, fmt, again);
		t->n += (size_t)n;
	}
	va_end(again);
	va_end(ap);
}

char *text_take(struct text *t)
{
	char *p = NULL;
	if (reserve(t, 1)) {
		p = t->p;
		p[t->n] = 0;
	} else {
		free(t->p);
	}
	*t = (struct text){0};
	return p;
}
