#include <tgc/tgc.h>
#include <stdio.h>

int main(void)
{
	tgc_context *ctx = tgc_context_new(NULL); // TGC_DEVICE, else the best device found
	tgc_tensor *x = tgc_randn(ctx, TGC_F32, TGC_SHAPE(256, 8));
	tgc_tensor *y = tgc_sum(tgc_mul(x, x), TGC_AXES(1), true); // to be learned
	tgc_tensor *w = tgc_variable(tgc_randn(ctx, TGC_F32, TGC_SHAPE(8, 32), .std = 0.3));
	tgc_tensor *v = tgc_variable(tgc_zeros(ctx, TGC_F32, TGC_SHAPE(32, 1)));
	tgc_tensor *params[] = {w, v}, *grads[2];

	for (int step = 0; step <= 500; step++) {
		tgc_scope_begin(ctx); // temporaries die with the scope
		tgc_tensor *guess = tgc_matmul(tgc_square(tgc_matmul(x, w)), v);
		tgc_tensor *loss = tgc_mean(tgc_square(tgc_sub(guess, y)), TGC_ALL_AXES, false);
		tgc_grad(loss, 2, params, grads); // graph to graph: nothing has run yet
		for (int i = 0; i < 2; i++)
			tgc_assign(params[i], tgc_sub(params[i], tgc_mul(grads[i], 1e-3)));
		if (tgc_realize(loss)) // one plan, compiled once, found again by structure
			return tgc_print_error(ctx), 1;
		if (step % 100 == 0)
			printf("step %3d  loss %g\n", step, tgc_item(loss));
		tgc_scope_end(ctx);
	}
	tgc_context_free(&ctx);
}
