// Loss scale: keeps small gradients of 16-bit floats above zero, and leaves out steps whose gradients overflowed.
// In:  gradients of scale * loss. Out: those of the loss, whether all are finite, and the next scale: half of it after an
// overflow, twice it after 2000 steps without. All of it is recorded: it lives on the device, and nobody waits for it.
// Source: Micikevicius et al. 2018; factors as torch.amp.GradScaler.
// Not here: the update (optim.c).
#include "kit.h"

static const double GROWS_AFTER = 2000, LEAST = 1, MOST = 16777216; // 2^24: an f16 does not reach that

bool loss_scale_open(struct loss_scale *s, tgc_context *c, double scale)
{
	const double first[LOSS_SCALE_STATE] = {scale, 0, 0};
	for (int i = 0; i < LOSS_SCALE_STATE; i++)
		s->state[i] = tgc_variable(tgc_full(c, TGC_F32, TGC_SCALAR_SHAPE, first[i]));
	return !tgc_is_error(s->state[LOSS_SCALE_STATE - 1]);
}

void loss_scale_close(struct loss_scale *s)
{
	for (int i = 0; i < LOSS_SCALE_STATE; i++)
		tgc_release(s->state[i]);
}

// 0 * x is 0 or NaN, and so is the sum.
static tgc_tensor *all_finite(tgc_tensor *scale, int n, tgc_tensor *const *grads)
{
	tgc_tensor *sum = tgc_mul(scale, 0);
	for (int i = 0; i < n; i++) {
		tgc_tensor *zero = tgc_sum(tgc_mul(grads[i], 0), TGC_ALL_AXES, false);
		sum = tgc_add(sum, tgc_cast(zero, TGC_F32));
	}
	return tgc_eq(sum, 0);
}

tgc_tensor *loss_scale_undo(struct loss_scale *s, int n, tgc_tensor **grads)
{
	tgc_tensor *scale = s->state[0], *good = tgc_add(s->state[1], 1), *ok = all_finite(scale, n, grads);
	tgc_tensor *grows = tgc_ge(good, GROWS_AFTER), *inverse = tgc_div(1, scale);
	tgc_tensor *up = tgc_select(grows, tgc_minimum(tgc_mul(scale, 2), MOST), scale);
	for (int i = 0; i < n; i++)
		grads[i] = tgc_mul(grads[i], tgc_cast(inverse, tgc_tensor_type(grads[i])));
	s->next[0] = tgc_select(ok, up, tgc_maximum(tgc_mul(scale, 0.5), LEAST));
	s->next[1] = tgc_select(tgc_and(ok, tgc_not(grows)), good, 0);
	s->next[2] = tgc_select(ok, tgc_add(s->state[2], 1), s->state[2]);
	return ok;
}

tgc_status loss_scale_assign(struct loss_scale *s)
{
	tgc_status status = TGC_OK;
	for (int i = 0; i < LOSS_SCALE_STATE && !status; i++)
		status = tgc_assign(s->state[i], s->next[i]);
	return status;
}
