// Gradients of contractions, which are contractions again.
// In:  a CONTRACT node y of a and b, and its gradient g. Out: gradients given to a and b.
// Axes only change roles. On a window axis the indices of a, b and y are tied by
//     i * dil_a = o * stride + t * dil_b - pad
// and each gradient reads the same equation from another side:
//     to a:  o * stride = i * dil_a - t * dil_b + pad     g at o, b at t, summed over t
//     to b:  i * dil_a  = t * dil_b + o * stride - pad    a at i, g at o, summed over o
#include "lib.h"

enum { AXES_MAX = 3 * TGC_MAX_RANK };

static const uint8_t role_to_a[] = {[ROLE_BATCH] = ROLE_BATCH,
                                    [ROLE_LEFT] = ROLE_LEFT,
                                    [ROLE_RIGHT] = ROLE_CONTRACTED,
                                    [ROLE_CONTRACTED] = ROLE_RIGHT,
                                    [ROLE_WINDOW] = ROLE_WINDOW};
static const uint8_t role_to_b[] = {[ROLE_BATCH] = ROLE_BATCH,
                                    [ROLE_LEFT] = ROLE_CONTRACTED,
                                    [ROLE_RIGHT] = ROLE_RIGHT,
                                    [ROLE_CONTRACTED] = ROLE_LEFT,
                                    [ROLE_WINDOW] = ROLE_WINDOW};

// Operands g and b, result shaped like a.
static struct node *to_a(struct grad *w, struct node *n, struct node *g)
{
	const struct tg_caxis *ax = (const struct tg_caxis *)(const void *)n->attr;
	struct tg_caxis r[AXES_MAX] = {{0}};
	int naxes = n->nattr / 8;

	for (int i = 0; i < naxes; i++) {
		r[i] = (struct tg_caxis){role_to_a[ax[i].role], ax[i].o, ax[i].b, ax[i].a, 1, 0, 1, 1};
		if (ax[i].role == ROLE_WINDOW) {
			r[i].stride = ax[i].dil_a;
			r[i].pad = -ax[i].pad;
			r[i].dil_a = ax[i].stride;
			r[i].dil_b = -ax[i].dil_b;
		}
	}
	return grad_hold(w, build_contract(w->c, g, n->src[1], naxes, r, n->src[0]->rank, n->src[0]->dims));
}

// Operands a and g, result shaped like b. The tap's factor becomes the stride, which is positive: where it is
// negative, b is seen backwards and the result turned round.
static struct node *to_b(struct grad *w, struct node *n, struct node *g)
{
	const struct tg_caxis *ax = (const struct tg_caxis *)(const void *)n->attr;
	struct tg_caxis r[AXES_MAX] = {{0}};
	struct node *b = n->src[1];
	uint32_t turned = 0;
	int naxes = n->nattr / 8;

	for (int i = 0; i < naxes; i++) {
		bool back = ax[i].role == ROLE_WINDOW && ax[i].dil_b < 0;

		r[i] = (struct tg_caxis){role_to_b[ax[i].role], ax[i].a, ax[i].o, ax[i].b, 1, 0, 1, 1};
		if (ax[i].role == ROLE_WINDOW) {
			r[i].stride = back ? -ax[i].dil_b : ax[i].dil_b;
			r[i].pad = ax[i].pad - (back ? (b->dims[ax[i].b].n - 1) * ax[i].dil_b : 0);
			r[i].dil_a = ax[i].dil_a;
			r[i].dil_b = ax[i].stride;
		}
		if (back)
			turned |= 1u << ax[i].b;
	}
	g = grad_hold(w, build_contract(w->c, n->src[0], g, naxes, r, b->rank, b->dims));
	return turned ? grad_hold(w, build_flip(w->c, g, turned)) : g;
}

void grad_contract(struct grad *w, struct node *n, struct node *g)
{
	assert(n->nattr / 8 <= AXES_MAX);
	if (grad_wants(w, n->src[0]))
		grad_give(w, n->src[0], to_a(w, n, g));
	if (grad_wants(w, n->src[1]))
		grad_give(w, n->src[1], to_b(w, n, g));
}
