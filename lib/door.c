// What every public function does first and last, and the checks they share.
// In:  operands as the user gave them. Out: a door that is ok, or the first error recorded.
// Not here: what the operations build (ops*.c, compose*.c).
#include "lib.h"

#include <math.h>

static void enter(struct tgc_context *c, const void *site)
{
	if (c->depth++ == 0)
		c->site = site;
}

bool door_fail(struct door *d, tgc_status s, const char *fmt, ...)
{
	char text[768];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (d->ok)
		d->status = context_fail(d->c, s, d->op, "%s", text);
	d->ok = false;
	return false;
}

// The i-th of "x,index,updates"; beyond the last one the last.
static const char *name_of(const char *names, int i, char *out, size_t bytes)
{
	const char *end;
	for (; i > 0 && (end = strchr(names, ',')); i--)
		names = end + 1;
	end = strchr(names, ',');
	snprintf(out, bytes, "%.*s", end ? (int)(end - names) : (int)strlen(names), names);
	return out;
}

static void check_operand(struct door *d, const char *names, int i, const tgc_tensor *x)
{
	char name[32];
	if (!x)
		door_fail(d, TGC_ERROR_ARG, "argument %d (%s) is NULL", i + 1,
		          name_of(names, i, name, sizeof name));
	else if (x->ctx && x->ctx != d->c)
		door_fail(d, TGC_ERROR_HANDLE, "argument %d (%s) belongs to another context", i + 1,
		          name_of(names, i, name, sizeof name));
	else if (!x->node && d->ok) { // its own error is on record; no second one
		d->status = context_operand_error(d->c, d->op, name_of(names, i, name, sizeof name));
		d->ok = false;
	}
}

// Some operand is not as it should be.
static struct door open_to_errors(const char *op, const void *site, const char *names, int n, tgc_tensor *const *x)
{
	struct door d = {.op = op, .status = TGC_ERROR_ARG};
	for (int i = 0; i < n && !d.c; i++)
		d.c = x[i] ? x[i]->ctx : NULL;
	if (!d.c)
		return d;
	d.ok = true;
	d.status = TGC_OK;
	enter(d.c, site);
	for (int i = 0; i < n; i++)
		check_operand(&d, names, i, x[i]);
	return d;
}

struct door door_open(const char *op, const void *site, const char *names, int n, tgc_tensor *const *x)
{
	const tgc_tensor *first = n > 0 ? x[0] : NULL;
	bool good = first && first->node;
	for (int i = 1; i < n && good; i++)
		good = x[i] && x[i]->node && x[i]->ctx == first->ctx;
	if (!good)
		return open_to_errors(op, site, names, n, x);
	enter(first->ctx, site);
	return (struct door){.c = first->ctx, .op = op, .ok = true};
}

struct door door_open_context(const char *op, const void *site, struct tgc_context *c)
{
	struct door d = {.op = op, .ok = context_usable(c), .status = c ? c->status : TGC_ERROR_ARG};
	if (d.ok) {
		d.c = c;
		d.status = TGC_OK;
		enter(c, site);
	}
	return d;
}

void door_leave(struct door *d)
{
	if (d->c && --d->c->depth == 0)
		d->c->site = NULL;
}

tgc_tensor *door_close(struct door *d, struct node *result)
{
	assert(d->ok || !result);
	tgc_tensor *t = d->c ? handle_new(d->c, result) : handle_error(NULL);
	door_leave(d);
	return t;
}

bool door_type(struct door *d, const char *name, tgc_type t, char set)
{
	static const char *const wanted[] = {"floats", "numbers", "integers or bool"};
	if ((unsigned)t >= TGC_TYPE_COUNT)
		return door_fail(d, TGC_ERROR_TYPE, "%s is %d, which is no element type", name, (int)t);
	bool fits = set == 'F'   ? type_is_float(t)
	            : set == 'N' ? t != TGC_BOOL
	            : set == 'I' ? !type_is_float(t)
	                         : true;
	if (fits)
		return true;
	return door_fail(d, TGC_ERROR_TYPE, "%s is %s, the operation takes %s", name, tgc_type_name(t),
	                 wanted[set == 'F'   ? 0
	                        : set == 'N' ? 1
	                                     : 2]);
}

bool door_same_type(struct door *d, const struct node *x, const struct node *y)
{
	if (x->type == y->type)
		return true;
	return door_fail(d, TGC_ERROR_TYPE, "%s and %s: nothing is promoted silently, cast one of them",
	                 tgc_type_name((tgc_type)x->type), tgc_type_name((tgc_type)y->type));
}

bool door_shape(struct door *d, tgc_type t, int rank, const int64_t *dims)
{
	if (rank < 0 || rank > TGC_MAX_RANK)
		return door_fail(d, TGC_ERROR_RANK, "%d axes; a tensor has 0 to %d", rank, TGC_MAX_RANK);
	int64_t bytes = (int64_t)tgc_type_bytes(t);
	for (int i = 0; i < rank; i++) {
		if (dims[i] < 0)
			return door_fail(d, TGC_ERROR_SHAPE, "axis %d has %lld elements", i,
			                 (long long)dims[i]);
		// An empty axis hides nothing: the others must still make sense as strides.
		if (dims[i] > 0 && __builtin_mul_overflow(bytes, dims[i], &bytes)) {
			struct dim all[TGC_MAX_RANK];
			for (int k = 0; k < rank; k++)
				all[k] = (struct dim){dims[k], 0};
			return door_fail(d, TGC_ERROR_OVERFLOW, "%s of %s does not fit in 63 bits of bytes",
			                 shape_text(rank, all).s, tgc_type_name(t));
		}
	}
	return true;
}

bool door_dims(struct door *d, tgc_type t, int rank, const struct dim *dims)
{
	int64_t n[TGC_MAX_RANK];
	for (int i = 0; i < rank && i < TGC_MAX_RANK; i++)
		n[i] = dims[i].n;
	return door_shape(d, t, rank, n);
}

bool door_axis(struct door *d, int rank, int axis, int *out)
{
	if (axis < -rank || axis >= rank)
		return door_fail(d, TGC_ERROR_AXIS, "axis %d of a tensor with %d", axis, rank);
	*out = axis < 0 ? axis + rank : axis;
	return true;
}

bool door_axes(struct door *d, int rank, tgc_axes axes, uint32_t *mask)
{
	*mask = 0;
	if (axes.count < 0) {
		*mask = (1u << rank) - 1;
		return true;
	}
	if (axes.count > TGC_MAX_RANK)
		return door_fail(d, TGC_ERROR_AXIS, "%d axes are named, a tensor has at most %d", axes.count,
		                 TGC_MAX_RANK);
	for (int i = 0; i < axes.count; i++) {
		int a = 0;
		if (!door_axis(d, rank, axes.axes[i], &a))
			return false;
		if (*mask >> a & 1)
			return door_fail(d, TGC_ERROR_AXIS, "axis %d is named twice", axes.axes[i]);
		*mask |= 1u << a;
	}
	return true;
}

bool door_broadcast(struct door *d, int n, struct node *const *x, int *rank, struct dim *dims)
{
	*rank = 0;
	for (int k = 0; k < n; k++)
		*rank = x[k]->rank > *rank ? x[k]->rank : *rank;
	for (int i = 0; i < *rank; i++)
		dims[i] = (struct dim){1, 0};
	for (int k = 0; k < n; k++)
		for (int i = 0; i < x[k]->rank; i++) {
			struct dim *to = &dims[*rank - x[k]->rank + i], from = x[k]->dims[i];
			if (to->n == 1 || (to->n == from.n && !to->sym))
				*to = to->n == 1 && from.n == 1 && to->sym ? *to : from;
			else if (from.n != 1 && from.n != to->n)
				return door_fail(d, TGC_ERROR_SHAPE,
				                 "%s and %s do not broadcast: %lld against %lld on axis %d",
				                 NODE_TEXT(x[0]), NODE_TEXT(x[k]), (long long)to->n,
				                 (long long)from.n, i - x[k]->rank);
		}
	return door_dims(d, (tgc_type)x[0]->type, *rank, dims);
}

static bool fits(tgc_type t, tgc_arg a, union number *out)
{
	if (type_is_float(t)) {
		double v = a.kind == 1 ? a.u.number : 0;
		*out = a.kind == 1 ? number_from_double(t, v)
		                   : number_cast(TGC_I64, t, (union number){.i = a.u.integer});
		return true;
	}
	union number whole = {.i = a.u.integer};
	if (a.kind == 1) {
		if (!(a.u.number == floor(a.u.number) && fabs(a.u.number) < 0x1p63))
			return false;
		whole.i = (int64_t)a.u.number;
	}
	*out = number_round(t, whole);
	return out->i == whole.i && !(t == TGC_U64 && whole.i < 0);
}

bool door_number(struct door *d, tgc_arg a, tgc_type t, union number *out)
{
	if (fits(t, a, out))
		return true;
	if (a.kind == 1)
		return door_fail(d, TGC_ERROR_TYPE, "the number %g is no %s", a.u.number, tgc_type_name(t));
	return door_fail(d, TGC_ERROR_TYPE, "the number %lld is no %s", (long long)a.u.integer,
	                 tgc_type_name(t));
}

struct shape_text shape_text(int rank, const struct dim *d)
{
	struct shape_text t;
	size_t n = 0;
	t.s[n++] = '[';
	for (int i = 0; i < rank; i++)
		n += (size_t)snprintf(t.s + n, sizeof t.s - n, "%s%lld", i ? "," : "", (long long)d[i].n);
	t.s[n++] = ']';
	t.s[n] = 0;
	return t;
}
