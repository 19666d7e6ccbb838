// Trains an MLP 784-512-10 on Fashion-MNIST (or MNIST) and saves its weights.
// In:  four IDX files. Out: a line an epoch that ends in the test accuracy, and a safetensors file.
#include <tgc/tgc.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct settings {
	const char *data, *out;
	long epochs, seed, batch;
	double lr;
	tgc_type type; // of products
};

static const char USAGE[] =
    "usage: fashion_mnist [--data DIR] [--epochs N] [--seed N] [--batch N] [--lr X]\n"
    "                     [--bf16 | --f16] [--out FILE.safetensors]\n"
    "\n"
    "Trains an MLP 784-512-10 with Adam and a linearly falling rate, and prints the test accuracy of each epoch.\n"
    "  --data DIR   folder with the four IDX files, gzipped or not\n"
    "               (default: where Debian's package dataset-fashion-mnist puts them)\n"
    "  --epochs N   default 5\n"
    "  --seed N     of weights and shuffling, default 0\n"
    "  --batch N    images a step, default 128\n"
    "  --lr X       first learning rate, default 0.001\n"
    "  --bf16       products in bf16, the rest in f32\n"
    "  --f16        the same in f16, with a loss scale\n"
    "  --out FILE   where the weights go; default: nowhere\n"
    "\n"
    "TGC_DEVICE=cpu|interp, TGC_THREADS=N, TGC_CACHE=DIR|0 and TGC_DEBUG are read as by any tgc program.\n";

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static long integer(const char *name, const char *text, long least)
{
	char *end;
	errno = 0;
	long v = strtol(text, &end, 10);
	if (errno || end == text || *end || v < least) {
		fprintf(stderr, "fashion_mnist: --%s wants an integer of at least %ld, not \"%s\"\n", name, least, text);
		exit(2);
	}
	return v;
}

static struct settings parse(int argc, char **argv)
{
	static const struct option options[] = {
	    {"data", 1, 0, 'd'}, {"epochs", 1, 0, 'e'}, {"seed", 1, 0, 's'}, {"batch", 1, 0, 'b'},
	    {"lr", 1, 0, 'l'},   {"out", 1, 0, 'o'},    {"help", 0, 0, 'h'},
	    {"bf16", 0, 0, 'w'}, {"f16", 0, 0, 'f'}, {0, 0, 0, 0},
	};
	struct settings s = {.epochs = 5, .batch = 128, .lr = 1e-3, .type = TGC_F32};
	for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;)
		switch (c) {
		case 'd': s.data = optarg; break;
		case 'e': s.epochs = integer("epochs", optarg, 0); break;
		case 's': s.seed = integer("seed", optarg, 0); break;
		case 'b': s.batch = integer("batch", optarg, 1); break;
		case 'l': s.lr = strtod(optarg, NULL); break;
		case 'o': s.out = optarg; break;
		case 'w': s.type = TGC_BF16; break;
		case 'f': s.type = TGC_F16; break;
		case 'h': fputs(USAGE, stdout); exit(0);
		default: fputs(USAGE, stderr); exit(2);
		}
	if (optind < argc) {
		fprintf(stderr, "fashion_mnist: unexpected argument \"%s\"\n%s", argv[optind], USAGE);
		exit(2);
	}
	return s;
}

// Percent of the data set that the model gets right.
static double accuracy(tgc_context *ctx, tgc_module *model, tgc_loader *loader)
{
	double right = 0, seen = 0;
	tgc_set_training(model, false);
	tgc_batch b;
	for (;;) {
		tgc_scope_begin(ctx);
		if (!tgc_loader_next(loader, &b))
			break;
		tgc_tensor *guess = tgc_argmax(tgc_forward(model, tgc_flatten(b.x, 1)), 1, false);
		tgc_tensor *hit = tgc_eq(tgc_cast(guess, TGC_I32), b.y);
		right += tgc_item(tgc_sum(tgc_cast(hit, TGC_F32), TGC_ALL_AXES, false));
		seen += (double)b.count;
		tgc_scope_end(ctx);
	}
	tgc_scope_end(ctx);
	tgc_set_training(model, true);
	return 100 * right / seen;
}

// One pass over the training images. Returns the mean loss; NaN on error.
static double train_epoch(tgc_context *ctx, tgc_module *model, tgc_optim *opt, tgc_loader *loader, const char *label)
{
	double sum = 0;
	int64_t steps = 0;
	tgc_progress *bar = tgc_progress_begin(label, tgc_loader_batches(loader));
	tgc_batch b;
	for (;;) {
		tgc_scope_begin(ctx);
		if (!tgc_loader_next(loader, &b))
			break;
		tgc_tensor *loss = tgc_cross_entropy(tgc_forward(model, tgc_flatten(b.x, 1)), b.y);
		if (tgc_step(opt, loss) != TGC_OK)
			break;
		sum += tgc_item(loss);
		steps++;
		char note[32];
		snprintf(note, sizeof note, "loss %.4f", sum / (double)steps);
		tgc_progress_update(bar, steps, note);
		tgc_scope_end(ctx);
	}
	tgc_scope_end(ctx);
	tgc_progress_end(&bar);
	return sum / (double)steps;
}

static int train(tgc_context *ctx, const struct settings *s, const tgc_dataset *train_set, const tgc_dataset *test_set)
{
	// Mean and standard deviation of Fashion-MNIST's training pixels.
	tgc_loader *train_loader = tgc_loader_new(ctx, train_set, .batch = s->batch, .shuffle = true,
	                                          .seed = (uint64_t)s->seed, .mean = 0.2860, .std = 0.3530);
	tgc_loader *test_loader = tgc_loader_new(ctx, test_set, .batch = 1000, .mean = 0.2860, .std = 0.3530);
	int64_t sizes[] = {784, 512, 10};
	tgc_module *model = tgc_mlp(ctx, 3, sizes);
	int64_t total = train_loader && s->epochs ? s->epochs * tgc_loader_batches(train_loader) : 1;
	tgc_optim *opt = tgc_adamw(model, .lr = s->lr, .schedule = TGC_LINEAR, .total_steps = total,
	                           .loss_scale = s->type == TGC_F16 ? 65536 : 0);
	tgc_autocast_begin(ctx, s->type);

	for (long e = 1; e <= s->epochs && tgc_error_status(ctx) == TGC_OK; e++) {
		char label[64];
		snprintf(label, sizeof label, "epoch %ld/%ld", e, s->epochs);
		double t = now();
		double loss = train_epoch(ctx, model, opt, train_loader, label);
		double trained = now() - t;
		double percent = accuracy(ctx, model, test_loader);
		if (tgc_error_status(ctx) == TGC_OK)
			printf("%s  loss %.4f  %.2f s  test accuracy %.2f %%\n", label, loss, trained, percent);
		fflush(stdout);
	}
	tgc_autocast_end(ctx);
	if (s->out && tgc_error_status(ctx) == TGC_OK && tgc_save(model, s->out) == TGC_OK)
		printf("weights written to %s\n", s->out);
	tgc_optim_free(&opt);
	tgc_module_free(&model);
	tgc_loader_free(&train_loader);
	tgc_loader_free(&test_loader);
	return tgc_error_status(ctx) == TGC_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct settings s = parse(argc, argv);
	tgc_context_options options = {.struct_size = sizeof options, .seed = (uint64_t)s.seed};
	tgc_context *ctx = tgc_context_new(&options);
	int status = 1;
	tgc_dataset *train_set = NULL, *test_set = NULL;
	if (tgc_error_status(ctx) == TGC_OK)
		train_set = tgc_dataset_mnist(ctx, s.data, true);
	if (train_set)
		test_set = tgc_dataset_mnist(ctx, s.data, false);
	if (test_set) {
		printf("%" PRId64 " training and %" PRId64 " test images, device %s (%s)\n", train_set->count,
		       test_set->count, tgc_device_name(ctx), tgc_device_reason(ctx));
		fflush(stdout);
		status = train(ctx, &s, train_set, test_set);
	}
	tgc_print_error(ctx);
	tgc_dataset_free(&train_set);
	tgc_dataset_free(&test_set);
	tgc_context_free(&ctx);
	return status;
}
