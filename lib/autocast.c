// Autocast: the types that operations compute in between tgc_autocast_begin and tgc_autocast_end.
// In:  operands as the user gave them, nodes. Out: casts of them, recorded like any other: the same weight is cast once
// (interning), gradients come back in its type (the cast's own gradient). Outside of a scope nothing is cast.
// Not here: which operation follows which rule; their doors call it.
#include "lib.h"

enum { LEVEL_BITS = 4, LEVELS = 64 / LEVEL_BITS }; // of the stack of types; the innermost one lowest

static_assert(TGC_TYPE_COUNT <= 1 << LEVEL_BITS && TGC_F32 == 0, "a level holds a type, and none is f32");

void tgc_autocast_begin(tgc_context *ctx, tgc_type type)
{
	if (!context_usable(ctx))
		return;
	ENTER(ctx);
	if (type != TGC_F32 && type != TGC_F16 && type != TGC_BF16)
		context_fail(ctx, TGC_ERROR_TYPE, "autocast_begin", "type is %s, it must be f16, bf16 or f32",
		             (unsigned)type < TGC_TYPE_COUNT ? tgc_type_name(type) : "no element type");
	else if (ctx->autocasts == LEVELS)
		context_fail(ctx, TGC_ERROR_ARG, "autocast_begin", "%d scopes are open, one in another", LEVELS);
	else {
		ctx->autocast = ctx->autocast << LEVEL_BITS | (uint64_t)type;
		ctx->autocasts++;
	}
	LEAVE(ctx);
}

void tgc_autocast_end(tgc_context *ctx)
{
	if (!context_usable(ctx))
		return;
	ENTER(ctx);
	if (ctx->autocasts == 0)
		context_fail(ctx, TGC_ERROR_ARG, "autocast_end", "no scope was begun");
	else {
		ctx->autocast >>= LEVEL_BITS;
		ctx->autocasts--;
	}
	LEAVE(ctx);
}

static tgc_type type_of(const struct tgc_context *c)
{
	return (tgc_type)(c->autocast & ((1 << LEVEL_BITS) - 1));
}

// Those that a scope may change: f64 and integers stay.
static bool changes(const struct node *x)
{
	return x && (x->type == TGC_F32 || x->type == TGC_F16 || x->type == TGC_BF16);
}

tgc_type autocast_wide(const struct tgc_context *c, const struct node *x)
{
	return changes(x) && type_of(c) != TGC_F32 ? TGC_F32 : (tgc_type)x->type;
}

bool autocast_joins(const struct tgc_context *c, const struct node *x, const struct node *y)
{
	return type_of(c) != TGC_F32 && x->type != y->type && changes(x) && changes(y);
}

struct node *calc_narrow(struct calc *k, struct node *x)
{
	return changes(x) && type_of(k->c) != TGC_F32 ? calc_cast(k, x, type_of(k->c)) : x;
}

struct node *calc_wide(struct calc *k, struct node *x)
{
	return x && autocast_wide(k->c, x) != x->type ? calc_cast(k, x, TGC_F32) : x;
}
