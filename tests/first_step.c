// From process start to the first loss of a training step: what a user waits for.
// In:  a workload (mlp, cnn, resnet20, gpt_small) and, where the caller knows it, when the process was started, in
// milliseconds of the boot clock. Out: one line: milliseconds to the loss, of which until main, for the graph, for
// planning, compiling and running; a second step; the loss; kernels compiled and loaded. The cache is the one that
// TGC_CACHE names. Not here: the networks (first_nets.c), repeating it.
#include "first_nets.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

// The module only holds parameters.
static tgc_tensor *same(tgc_module *m, tgc_tensor *x, void *user)
{
	(void)m, (void)user;
	return x;
}

int main(int argc, char **argv)
{
	double at_main = now_ms(), begun = argc > 2 ? atof(argv[2]) : at_main;
	const char *name = argc > 1 ? argv[1] : "mlp";
	net_fn *fn = net_find(name);
	if (!fn) {
		fprintf(stderr, "usage: first_step mlp|cnn|resnet20|gpt_small [START_MS]\n");
		return 2;
	}
	tgc_context *c = tgc_context_new(NULL);
	struct net n = {.c = c, .params = tgc_module_new(c, name, same, NULL)};
	tgc_tensor *loss = fn(&n);
	bool momentum = strcmp(name, "resnet20") == 0;
	tgc_optim *o = momentum ? tgc_sgd(n.params, .lr = 0.1, .momentum = 0.9, .weight_decay = 1e-4)
	                        : tgc_adamw(n.params, .lr = 1e-3);
	double built = now_ms();
	tgc_step(o, loss);
	double value = tgc_item(loss), end = now_ms();
	tgc_stats s = tgc_get_stats(c);
	n.at = 0;
	tgc_step(o, fn(&n));
	double again = now_ms() - end;
	printf("%s first_ms %.1f start %.1f graph %.1f step %.1f second %.1f loss %.9g compiled %" PRIu64 " loaded %" PRIu64
	       "\n",
	       name, end - begun, at_main - begun, built - at_main, end - built, again, value, s.kernels_compiled,
	       s.kernels_loaded);
	int status = tgc_error_status(c) != TGC_OK;
	tgc_print_error(c);
	tgc_optim_free(&o);
	tgc_module_free(&n.params);
	tgc_context_free(&c);
	return status;
}
