// Plans found by structure. A literal that is seen with a third value at one place of an otherwise equal
// program becomes a late scalar, so that a changing rate never recompiles.
// In:  a linearised program. Out: a plan ready to run: found, or scheduled and made ready.
// Not here: making it ready (plan_entry.c), running it (exec.c), scheduling (lib/). The least recently used
// plans are dropped when there are many.
#include "runtime.h"

#include <stdlib.h>

enum { TABLE = 1024, MAX_VALUES = 2, MAX_PLANS = 256 };

struct skeleton { // programs that differ in literals only
	struct skeleton *next;
	uint64_t hash;
	uint32_t *key;
	size_t key_words;
	int nconsts;       // before promotion
	uint8_t *promoted; // [nconsts]
	int npromoted;
	uint8_t *nvalues;     // [nconsts]: how many values each was seen with, at most MAX_VALUES
	union number *values; // [nconsts * MAX_VALUES]
	struct plan_entry *plans;
};
struct plans {
	struct skeleton *table[TABLE];
	int count;
	uint64_t tick;
};

static struct skeleton **bucket(struct plans *t, uint64_t hash)
{
	return &t->table[hash % TABLE];
}

static struct skeleton *find(struct plans *t, const struct linear *l)
{
	for (struct skeleton *s = *bucket(t, l->hash); s; s = s->next)
		if (s->hash == l->hash && s->key_words == l->key_words && s->nconsts == l->nconsts &&
		    memcmp(s->key, l->key, sizeof *l->key * l->key_words) == 0)
			return s;
	return NULL;
}

static void skeleton_free(struct skeleton *s)
{
	free(s->key);
	free(s->promoted);
	free(s->nvalues);
	free(s->values);
	free(s);
}

static struct skeleton *add(struct plans *t, const struct linear *l)
{
	struct skeleton *s = calloc(1, sizeof *s);
	size_t n = (size_t)l->nconsts;
	if (!s)
		return NULL;
	s->hash = l->hash;
	s->key_words = l->key_words;
	s->nconsts = l->nconsts;
	s->key = malloc(sizeof *s->key * (l->key_words + 1));
	s->promoted = calloc(n + 1, 1);
	s->nvalues = calloc(n + 1, 1);
	s->values = calloc(n * MAX_VALUES + 1, sizeof *s->values);
	if (!s->key || !s->promoted || !s->nvalues || !s->values) {
		skeleton_free(s);
		return NULL;
	}
	memcpy(s->key, l->key, sizeof *s->key * l->key_words);
	s->next = *bucket(t, l->hash);
	return *bucket(t, l->hash) = s;
}

static void drop_plans(struct plans *t, struct skeleton *s)
{
	while (s->plans) {
		struct plan_entry *e = s->plans;
		s->plans = e->next;
		plan_entry_unref(e);
		t->count--;
	}
}

// ---- literals ------------------------------------------------------------------------------------------------------

// Whether the value is one too many for the place.
static bool is_new_value(struct skeleton *s, int place, union number v)
{
	union number *seen = &s->values[place * MAX_VALUES];
	for (int i = 0; i < s->nvalues[place]; i++)
		if (number_equal(seen[i], v))
			return false;
	if (s->nvalues[place] == MAX_VALUES)
		return true;
	seen[s->nvalues[place]++] = v;
	return false;
}

// Looks at every literal; plans that knew a promoted one by its value are of no more use.
static void watch(struct tgc_context *c, struct plans *t, struct skeleton *s, const struct linear *l)
{
	int before = s->npromoted;
	for (int i = 0; i < s->nconsts; i++)
		if (!s->promoted[i] && is_new_value(s, i, l->consts[i])) {
			s->promoted[i] = 1;
			s->npromoted++;
			context_log(
			    c, 'p',
			    "literal of operation %%%d (%s) seen with a third value: a late scalar from now on",
			    l->const_nodes[i], tgc_type_name((tgc_type)l->prog.nodes[l->const_nodes[i]].type));
		}
	if (s->npromoted == before)
		return;
	c->stats.promoted_literals += (uint64_t)(s->npromoted - before);
	drop_plans(t, s);
}

static struct plan_entry *match(const struct skeleton *s, const struct linear *l)
{
	for (struct plan_entry *e = s->plans; e; e = e->next)
		if (e->nconsts == l->nconsts &&
		    (l->nconsts == 0 ||
		     memcmp(e->consts, l->consts, sizeof *l->consts * (size_t)l->nconsts) == 0))
			return e;
	return NULL;
}

// ---- room ----------------------------------------------------------------------------------------------------------

// Drops the plan that nobody asked for the longest, and its skeleton if that is all it had.
static void drop_oldest(struct plans *t)
{
	struct skeleton **from = NULL;
	struct plan_entry **oldest = NULL;
	for (int i = 0; i < TABLE; i++)
		for (struct skeleton **s = &t->table[i]; *s; s = &(*s)->next)
			for (struct plan_entry **e = &(*s)->plans; *e; e = &(*e)->next)
				if (!oldest || (*e)->used < (*oldest)->used) {
					oldest = e;
					from = s;
				}
	if (!oldest)
		return;
	struct plan_entry *e = *oldest;
	*oldest = e->next;
	plan_entry_unref(e);
	t->count--;
	struct skeleton *s = *from;
	if (!s->plans && !s->npromoted) {
		*from = s->next;
		skeleton_free(s);
	}
}

// ---- the door ------------------------------------------------------------------------------------------------------

static void print(struct tgc_context *c, char letter, const struct linear *l, const struct plan *p)
{
	struct text t = {0};
	if (!debug_on(c, letter))
		return;
	if (p)
		plan_print(p, &t);
	else
		prog_print(&l->prog, &t);
	char *s = text_take(&t);
	debug_text(c, letter, s);
	free(s);
}

struct plan_entry *plans_make(struct tgc_context *c, const struct linear *l)
{
	print(c, 'g', l, NULL);
	uint64_t begun = clock_ns();
	struct plan *p = schedule_build(c, l, device_of(c)->target);
	timeline_add(device_of(c)->timeline, "schedule", "", begun, clock_ns());
	if (p)
		print(c, 'p', l, p);
	return p ? plan_entry_new(c, p, l) : NULL;
}

static struct plan_entry *build(struct tgc_context *c, struct plans *t, struct skeleton *s,
                                const struct linear *l)
{
	struct plan_entry *e = plans_make(c, l);
	if (!e)
		return NULL;
	e->nconsts = l->nconsts;
	e->consts = malloc(sizeof *e->consts * ((size_t)l->nconsts + 1));
	if (!e->consts) {
		context_fail(c, TGC_ERROR_MEMORY, "realize", "no memory for a plan");
		plan_entry_unref(e);
		return NULL;
	}
	if (l->nconsts)
		memcpy(e->consts, l->consts, sizeof *e->consts * (size_t)l->nconsts);
	e->next = s->plans;
	s->plans = e;
	t->count++;
	c->stats.plans_built++;
	return e;
}

struct plan_entry *plans_get(struct tgc_context *c, struct linear *l)
{
	struct device *d = device_of(c);
	if (!d->plans)
		d->plans = calloc(1, sizeof *d->plans);
	struct plans *t = d->plans;
	struct skeleton *s = t ? find(t, l) : NULL;
	if (!s && t) {
		if (t->count >= MAX_PLANS)
			drop_oldest(t);
		s = add(t, l);
	}
	if (s)
		watch(c, t, s, l);
	if (!s || (s->npromoted && !linear_promote(l, s->promoted))) {
		context_fail(c, TGC_ERROR_MEMORY, "realize", "no memory for a plan");
		return NULL;
	}
	struct plan_entry *e = match(s, l);
	if (e)
		c->stats.plans_found++;
	else
		e = build(c, t, s, l);
	if (e)
		e->used = ++t->tick;
	return e;
}

void plans_free(struct tgc_context *c)
{
	struct plans *t = device_of(c)->plans;
	for (int i = 0; t && i < TABLE; i++)
		while (t->table[i]) {
			struct skeleton *s = t->table[i];
			t->table[i] = s->next;
			drop_plans(t, s);
			skeleton_free(s);
		}
	free(t);
	device_of(c)->plans = NULL;
}
