// Contexts: creation and end, the first error, logging, names, counters.
// In:  options. Out: a context that the runtime completes (tgc_context_new).
// Not here: scopes and handles (handle.c), state (variable.c), devices (runtime/).
#include "lib.h"

#include <stdlib.h>

enum { TABLE_MIN = 2048, NAME_BUCKETS = 64 };

struct name { // one level of a name: interned by its parent and text
	struct name *up, *next;
	const char *part;
	char *full;
};
struct symbol {
	struct symbol *next;
	const char *name;
	struct dim dim;
};
struct names {
	struct arena arena;
	struct name *buckets[NAME_BUCKETS];
	struct name *current;
	int64_t lost; // pushes that found no memory
	struct symbol *symbols;
	int64_t symbols_count;
};

static uint32_t debug_letters(void)
{
	const char *s = getenv("TGC_DEBUG");
	uint32_t mask = 0;
	for (; s && *s; s++)
		if (*s >= 'a' && *s <= 'z')
			mask |= 1u << (*s - 'a');
	return mask;
}

struct tgc_context *context_create(const tgc_context_options *options)
{
	tgc_context_options o = {0};
	if (options)
		memcpy(&o, options, options->struct_size < sizeof o ? options->struct_size : sizeof o);
	struct host_alloc host = {o.alloc, o.alloc_user};
	struct tgc_context *c = host_realloc(&host, NULL, 0, sizeof *c);
	if (!c)
		return NULL;
	memset(c, 0, sizeof *c);
	c->host = host;
	c->log = o.log;
	c->log_user = o.log_user;
	c->debug = debug_letters();
	c->name = "";
	c->message = c->message_short;
	c->error = (struct tgc_tensor){.ctx = c, .scope_name = ""};
	arena_init(&c->slabs, &c->host);
	c->table_cap = TABLE_MIN;
	c->table = host_realloc(&c->host, NULL, 0, sizeof *c->table * c->table_cap);
	c->names = host_realloc(&c->host, NULL, 0, sizeof *c->names);
	if (c->names) {
		memset(c->names, 0, sizeof *c->names);
		arena_init(&c->names->arena, &c->host);
	}
	if (c->table)
		memset(c->table, 0, sizeof *c->table * c->table_cap);
	if (c->table && c->names && scope_push(c)) {
		tgc_seed(c, o.seed);
		if (c->seed_node)
			return c;
	}
	context_destroy(c);
	return NULL;
}

void context_clear(struct tgc_context *c)
{
	while (c->scope)
		scope_pop(c);
	while (c->kept)
		handle_free(c->kept);
	node_unref(c, c->seed_node);
	c->seed_node = NULL;
}

static void free_message(struct tgc_context *c)
{
	if (c->message != c->message_short)
		host_realloc(&c->host, c->message, strlen(c->message) + 1, 0);
	c->message = c->message_short;
	c->message_short[0] = 0;
}

void context_destroy(struct tgc_context *c)
{
	if (!c)
		return;
	context_clear(c);
	free_message(c);
	origins_close(c);
	if (c->names) {
		arena_free(&c->names->arena);
		host_realloc(&c->host, c->names, sizeof *c->names, 0);
	}
	if (c->table)
		host_realloc(&c->host, c->table, sizeof *c->table * c->table_cap, 0);
	arena_free(&c->slabs);
	struct host_alloc host = c->host;
	host_realloc(&host, c, sizeof *c, 0);
}

void context_site_text(const struct tgc_context *c, const void *site, char *text, size_t bytes)
{
	text[0] = 0;
	if (site && c->backend.site_text)
		c->backend.site_text(c, site, text, bytes);
	if (!text[0])
		snprintf(text, bytes, "%p", (void *)(uintptr_t)site);
}

// "op: text (in NAME, called from SITE)"; the tail is left out where nothing is known.
static int compose(const struct tgc_context *c, const char *op, const char *text, char *out, size_t bytes)
{
	char site[256];
	const char *name = c->name[0] ? c->name : NULL;
	if (!c->site && !name)
		return snprintf(out, bytes, "%s: %s", op, text);
	context_site_text(c, c->site, site, sizeof site);
	return snprintf(out, bytes, "%s: %s (%s%s%s%s%s)", op, text, name ? "in " : "", name ? name : "",
	                name && c->site ? ", " : "", c->site ? "called from " : "", c->site ? site : "");
}

static void keep_message(struct tgc_context *c, const char *op, const char *text)
{
	free_message(c);
	int n = compose(c, op, text, c->message_short, sizeof c->message_short);
	if (n < (int)sizeof c->message_short)
		return;
	char *p = host_realloc(&c->host, NULL, 0, (size_t)n + 1);
	if (!p) // the beginning is better than nothing
		return;
	compose(c, op, text, p, (size_t)n + 1);
	c->message = p;
}

tgc_status context_fail(struct tgc_context *c, tgc_status status, const char *op, const char *fmt, ...)
{
	char few[1024], *text = few;
	va_list ap, again;
	if (!c || c->status != TGC_OK)
		return status;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(few, sizeof few, fmt, ap);
	if (n >= (int)sizeof few) {
		char *all = host_realloc(&c->host, NULL, 0, (size_t)n + 1);
		if (all) {
			vsnprintf(all, (size_t)n + 1, fmt, again);
			text = all;
		}
	}
	va_end(again);
	va_end(ap);
	c->status = status;
	keep_message(c, op, text);
	if (text != few)
		host_realloc(&c->host, text, (size_t)n + 1, 0);
	context_log(c, 'e', "%s: %s", tgc_status_name(status), c->message);
	return status;
}

tgc_status context_operand_error(struct tgc_context *c, const char *op, const char *argument)
{
	if (c && c->status != TGC_OK)
		return c->status;
	return context_fail(c, TGC_ERROR_ARG, op, "%s is in error", argument);
}

void context_log(struct tgc_context *c, char letter, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	if (!c->log && !(c->debug >> ((letter - 'a') & 31) & 1))
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (c->log)
		c->log(c->log_user, line);
	else
		fprintf(stderr, "tgc: %s\n", line);
}

tgc_status tgc_error_status(const tgc_context *ctx)
{
	return ctx ? ctx->status : TGC_ERROR_ARG;
}

const char *tgc_error_message(const tgc_context *ctx)
{
	return ctx ? ctx->message : "the context is NULL";
}

void tgc_print_error(const tgc_context *ctx)
{
	if (tgc_error_status(ctx) != TGC_OK)
		fprintf(stderr, "tgc: %s: %s\n", tgc_status_name(tgc_error_status(ctx)),
		        tgc_error_message(ctx));
}

tgc_status tgc_fail(tgc_context *ctx, tgc_status status, const char *operation, const char *message)
{
	if (!context_usable(ctx))
		return status;
	ENTER(ctx);
	context_fail(ctx, status, operation ? operation : "?", "%s", message ? message : "");
	LEAVE(ctx);
	return status;
}

void tgc_clear_error(tgc_context *ctx)
{
	if (!context_usable(ctx))
		return;
	ctx->status = TGC_OK;
	free_message(ctx);
}

tgc_stats tgc_get_stats(const tgc_context *ctx)
{
	tgc_stats s = {0};
	if (ctx) {
		s = ctx->stats;
		s.nodes_live = ctx->table_used;
	}
	return s;
}

static uint32_t name_hash(const struct name *up, const char *part)
{
	uint64_t h = (uint64_t)(uintptr_t)up;
	for (; *part; part++)
		h = (h ^ (uint8_t)*part) * 0x100000001b3u;
	return (uint32_t)(h >> 7) % NAME_BUCKETS;
}

static struct name *name_intern(struct names *s, const char *part)
{
	struct name **b = &s->buckets[name_hash(s->current, part)];
	for (struct name *n = *b; n; n = n->next)
		if (n->up == s->current && strcmp(n->part, part) == 0)
			return n;
	struct name *n = ARENA_NEW(&s->arena, struct name);
	char *full = s->current ? arena_printf(&s->arena, "%s.%s", s->current->full, part)
	                        : arena_printf(&s->arena, "%s", part);
	if (!n || !full)
		return NULL;
	*n = (struct name){s->current, *b, full + strlen(full) - strlen(part), full};
	return *b = n;
}

void tgc_name_push(tgc_context *ctx, const char *name)
{
	if (!context_usable(ctx))
		return;
	struct names *s = ctx->names;
	struct name *n = s->lost ? NULL : name_intern(s, name ? name : "?");
	if (!n) {
		s->lost++;
		s->arena.failed = false;
		return;
	}
	s->current = n;
	ctx->name = n->full;
}

void tgc_name_pop(tgc_context *ctx)
{
	if (!context_usable(ctx))
		return;
	struct names *s = ctx->names;
	if (s->lost) {
		s->lost--;
	} else if (s->current) {
		s->current = s->current->up;
		ctx->name = s->current ? s->current->full : "";
	} else {
		ENTER(ctx);
		context_fail(ctx, TGC_ERROR_ARG, "name_pop", "no name was pushed");
		LEAVE(ctx);
	}
}

void tgc_site_begin(tgc_context *ctx, const void *site)
{
	if (context_usable(ctx) && ctx->depth++ == 0)
		ctx->site = site;
}

void tgc_site_end(tgc_context *ctx)
{
	if (!context_usable(ctx))
		return;
	if (ctx->depth == 0)
		context_fail(ctx, TGC_ERROR_ARG, "site_end", "no site was begun");
	else if (--ctx->depth == 0)
		ctx->site = NULL;
}

bool context_symbol(struct tgc_context *c, const char *name, int64_t n, struct dim *out)
{
	struct names *s = c->names;
	for (struct symbol *y = s->symbols; y; y = y->next)
		if (strcmp(y->name, name) == 0) {
			*out = y->dim;
			return true;
		}
	struct symbol *y = ARENA_NEW(&s->arena, struct symbol);
	char *copy = arena_printf(&s->arena, "%s", name);
	s->arena.failed = false;
	if (!y || !copy)
		return false;
	*y = (struct symbol){s->symbols, copy, {n, ++s->symbols_count}};
	s->symbols = y;
	*out = y->dim;
	return true;
}
