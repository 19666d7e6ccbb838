// From process start to the first loss: what a user waits for.
// In:  a workload, mlp or cnn. Out: one line: milliseconds from the start of the process (or of main, where the
// system does not say) to the loss, of which loading the program, building the graph, planning and running;
// what was compiled and what came from the disk. The cache is the one that TGC_CACHE names. Not here: repeating
// it (first_step.sh).
#include <tgc/tgc.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static tgc_module *mlp(tgc_context *c, tgc_tensor **x)
{
	*x = tgc_randn(c, TGC_F32, TGC_SHAPE(128, 784));
	return tgc_mlp(c, 4, (int64_t[]){784, 512, 512, 10});
}

static tgc_tensor *pool(tgc_module *m, tgc_tensor *x, void *user)
{
	(void)m, (void)user;
	return tgc_max_pool2d(x, 2, 2, 0);
}

static tgc_module *cnn(tgc_context *c, tgc_tensor **x)
{
	*x = tgc_randn(c, TGC_F32, TGC_SHAPE(128, 1, 28, 28));
	tgc_module *layers[] = {
	    tgc_conv2d_layer(c, 1, 32, 3, 1, 1),
	    tgc_relu_layer(c),
	    tgc_module_new(c, "pool", pool, NULL),
	    tgc_conv2d_layer(c, 32, 64, 3, 1, 1),
	    tgc_relu_layer(c),
	    tgc_module_new(c, "pool", pool, NULL),
	    tgc_flatten_layer(c),
	    tgc_linear(c, 3136, 128),
	    tgc_relu_layer(c),
	    tgc_linear(c, 128, 10),
	};
	return tgc_sequential(c, sizeof layers / sizeof *layers, layers);
}

int main(int argc, char **argv)
{
	double begun = argc > 2 ? atof(argv[2]) : now_ms(), at_main = now_ms();
	const char *name = argc > 1 ? argv[1] : "mlp";
	tgc_tensor *x = NULL;
	tgc_context *c = tgc_context_new(NULL);
	tgc_module *m = !strcmp(name, "cnn") ? cnn(c, &x) : mlp(c, &x);
	tgc_tensor *y = tgc_cast(tgc_mod(tgc_iota(c, TGC_I32, TGC_SHAPE(128), 0), 10), TGC_I32);
	tgc_optim *o = tgc_adamw(m, .lr = 1e-3);
	double built = now_ms();
	tgc_tensor *loss = tgc_cross_entropy(tgc_forward(m, x), y);
	tgc_step(o, loss);
	double value = tgc_item(loss), end = now_ms();
	tgc_stats s = tgc_get_stats(c);
	printf("%s first_ms %.1f start %.1f context %.1f step %.1f loss %.9g compiled %" PRIu64
	       " loaded %" PRIu64 "\n",
	       name, end - begun, at_main - begun, built - at_main, end - built, value, s.kernels_compiled,
	       s.kernels_loaded);
	int status = tgc_error_status(c) != TGC_OK;
	tgc_print_error(c);
	tgc_optim_free(&o);
	tgc_module_free(&m);
	tgc_context_free(&c);
	return status;
}
