// The oracle: runs a program node by node, element by element, every float with an error bound.
// In:  a program that went through no pass, its leaves' data. Out: every node's value.
// Not here: the scalars (interp_scalar.c), indices (interp_index.c), the classes (interp_*.c).
#include "interp.h"

#include <stdlib.h>

static tgc_status make_value(const struct pnode *n, struct interp_value *v)
{
	size_t count = 1;

	for (int a = 0; a < n->rank; a++)
		if (__builtin_mul_overflow(count, (size_t)n->dims[a].n, &count) || count > SIZE_MAX / 32)
			return TGC_ERROR_OVERFLOW;
	v->type = (tgc_type)n->type;
	v->elems = (int64_t)count;
	v->unsure = calloc(count + 1, sizeof *v->unsure);
	if (interp_is_float(v->type)) {
		v->f = calloc(count + 1, sizeof *v->f);
		v->bound = calloc(count + 1, sizeof *v->bound);
		return v->unsure && v->f && v->bound ? TGC_OK : TGC_ERROR_MEMORY;
	}
	v->i = calloc(count + 1, sizeof *v->i);
	return v->unsure && v->i ? TGC_OK : TGC_ERROR_MEMORY;
}

static void load_leaf(struct interp_value *v, const void *data)
{
	for (int64_t i = 0; i < v->elems; i++) {
		if (v->f)
			v->f[i] = interp_load_f(v->type, data, i);
		else
			v->i[i] = interp_load_i(v->type, data, i);
	}
}

static void load_const(const struct pnode *n, struct interp_value *v)
{
	union number bits = {.i = n->attr[0]};

	if (v->f)
		v->f[0] = interp_round(v->type, bits.f);
	else
		v->i[0] = interp_wrap(v->type, bits.i);
}

static void run_unary(struct interp *it, const struct pnode *n, struct interp_value *out)
{
	const struct interp_value *x = &it->v[n->src[0]];

	for (int64_t i = 0; i < out->elems; i++) {
		if (out->f) {
			interp_put(out, i, interp_unary_f(n->op, out->type, interp_get(x, i)));
		} else {
			out->i[i] = interp_unary_i(n->op, out->type, x->i[i]);
			out->unsure[i] = x->unsure[i];
		}
	}
}

static void run_binary(struct interp *it, const struct pnode *n, struct interp_value *out)
{
	const struct interp_value *x = &it->v[n->src[0]], *y = &it->v[n->src[1]];

	for (int64_t i = 0; i < out->elems; i++) {
		if (out->f) {
			interp_put(out, i,
			           interp_binary_f(n->op, out->type, interp_get(x, i), interp_get(y, i)));
		} else {
			out->i[i] = interp_binary_i(n->op, out->type, x->i[i], y->i[i]);
			out->unsure[i] = x->unsure[i] | y->unsure[i];
		}
	}
}

static void run_compare(struct interp *it, const struct pnode *n, struct interp_value *out)
{
	const struct interp_value *x = &it->v[n->src[0]], *y = &it->v[n->src[1]];

	for (int64_t i = 0; i < out->elems; i++) {
		if (x->f) {
			bool unsure;

			out->i[i] = interp_compare_f(n->op, interp_get(x, i), interp_get(y, i), &unsure);
			out->unsure[i] = unsure;
		} else {
			out->i[i] = interp_compare_i(n->op, x->type, x->i[i], y->i[i]);
			out->unsure[i] = x->unsure[i] | y->unsure[i];
		}
	}
}

static void run_select(struct interp *it, const struct pnode *n, struct interp_value *out)
{
	const struct interp_value *cond = &it->v[n->src[0]];

	for (int64_t i = 0; i < out->elems; i++) {
		interp_copy(out, i, &it->v[n->src[cond->i[i] ? 1 : 2]], i);
		out->unsure[i] |= cond->unsure[i];
	}
}

static void run_fma(struct interp *it, const struct pnode *n, struct interp_value *out)
{
	for (int64_t i = 0; i < out->elems; i++)
		interp_put(out, i,
		           interp_fma(out->type, interp_get(&it->v[n->src[0]], i),
		                      interp_get(&it->v[n->src[1]], i), interp_get(&it->v[n->src[2]], i)));
}

// Elementwise operations; false: another class.
static bool run_elementwise(struct interp *it, const struct pnode *n, struct interp_value *out)
{
	switch (n->op) {
	case OP_CAST:
		interp_cast(it, n, out);
		return true;
	case OP_BITCAST:
		interp_bitcast(it, n, out);
		return true;
	case OP_FMA:
		run_fma(it, n, out);
		return true;
	case OP_SELECT:
		run_select(it, n, out);
		return true;
	default:
		break;
	}
	switch (op_info[n->op].cls) {
	case CLASS_COMPARE:
		run_compare(it, n, out);
		return true;
	case CLASS_UNARY:
		run_unary(it, n, out);
		return true;
	case CLASS_BINARY:
		run_binary(it, n, out);
		return true;
	default:
		return false;
	}
}

// TGC_ERROR_INTERNAL: an operation the oracle does not know.
static tgc_status run_node(struct interp *it, int32_t node, const void *const *leaf_data)
{
	const struct pnode *n = &it->p->nodes[node];
	struct interp_value *out = &it->v[node];
	bool memory = true;

	if (n->leaf >= 0) {
		load_leaf(out, leaf_data[n->leaf]);
		return TGC_OK;
	}
	if (run_elementwise(it, n, out))
		return TGC_OK;
	switch (n->op) {
	case OP_CONST:
		load_const(n, out);
		break;
	case OP_IOTA:
		interp_iota(it, node);
		break;
	case OP_RANDOM:
		interp_random(it, node);
		break;
	case OP_RESHAPE:
	case OP_PERMUTE:
	case OP_EXPAND:
	case OP_PAD:
	case OP_SLICE:
	case OP_FLIP:
	case OP_CONCAT:
	case OP_WINDOW:
		memory = interp_move(it, node);
		break;
	case OP_FOLD:
		memory = interp_fold(it, node);
		break;
	case OP_SUM:
	case OP_RMAX:
	case OP_RMIN:
	case OP_ARGMAX:
		memory = interp_reduce(it, node);
		break;
	case OP_CONTRACT:
		memory = interp_contract(it, node);
		break;
	case OP_GATHER:
		memory = interp_gather(it, node);
		break;
	case OP_SCATTER:
		memory = interp_scatter(it, node);
		break;
	case OP_CHECK:
		interp_check(it, node);
		break;
	default:
		return TGC_ERROR_INTERNAL;
	}
	return memory ? TGC_OK : TGC_ERROR_MEMORY;
}

static tgc_status fail(struct tgc_context *c, tgc_status status, const struct pnode *n)
{
	if (!c)
		return status;
	return context_fail(c, status, op_info[n->op].name,
	                    status == TGC_ERROR_MEMORY ? "no memory for its value"
	                                               : "the interpreter cannot run it");
}

tgc_status interp_run(struct tgc_context *c, const struct prog *p, const void *const *leaf_data,
                      struct interp_value *values, int32_t *flag_node)
{
	struct interp it = {p, values, -1, c && c->tf32};
	tgc_status status = TGC_OK;

	memset(values, 0, sizeof *values * (size_t)p->n);
	for (int32_t i = 0; i < p->n && !status; i++) {
		status = make_value(&p->nodes[i], &values[i]);
		if (!status)
			status = run_node(&it, i, leaf_data);
		if (status)
			fail(c, status, &p->nodes[i]);
	}
	*flag_node = it.flag;
	if (status)
		interp_values_free(p, values);
	return status;
}

void interp_values_free(const struct prog *p, struct interp_value *values)
{
	for (int i = 0; i < p->n; i++) {
		free(values[i].f);
		free(values[i].i);
		free(values[i].bound);
		free(values[i].unsure);
		values[i] = (struct interp_value){0};
	}
}

void interp_store(const struct interp_value *v, void *data)
{
	for (int64_t i = 0; i < v->elems; i++) {
		if (v->f)
			interp_store_f(v->type, data, i, v->f[i]);
		else
			interp_store_i(v->type, data, i, v->i[i]);
	}
}
