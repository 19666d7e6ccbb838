// Data sets and batches.
// In:  files on disk. Out: batches as tensors of the current scope.
// Not here: weights (io.h).
#ifndef TGC_DATA_H
#define TGC_DATA_H

#include <tgc/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

// Labelled images in host memory: images[count, channels, height, width] u8, labels[count] < classes.
typedef struct tgc_dataset {
	int64_t count, channels, height, width, classes;
	uint8_t *images;
	uint8_t *labels;
} tgc_dataset;

// Reads an IDX pair (gzipped or not): images of 3 dimensions u8, labels of 1 dimension u8.
// Errors: IO, TRUNCATED, FORMAT, LIMIT, each naming the file; NULL. Regular files only.
// Owner:  the caller; tgc_dataset_free.
// Source: the format as described with MNIST (LeCun, Cortes, Burges).
TGC_API tgc_dataset *tgc_dataset_idx(tgc_context *ctx, const char *images, const char *labels, int64_t classes);
// MNIST or Fashion-MNIST in a folder, {train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]. dir NULL: the folder
// of Debian's package dataset-fashion-mnist. Errors: as above; the message says how to get the data.
TGC_API tgc_dataset *tgc_dataset_mnist(tgc_context *ctx, const char *dir, bool train);
TGC_API void tgc_dataset_free(tgc_dataset **d);

// A field left 0 takes its default.
typedef struct tgc_loader_options {
	size_t struct_size TGC_ZERO;
	int64_t batch TGC_ZERO;    // 128
	bool shuffle TGC_ZERO;     // a new order every epoch, from seed
	bool drop_last TGC_ZERO;   // leave out a smaller last batch
	uint64_t seed TGC_ZERO;
	double mean TGC_ZERO, std TGC_ZERO; // pixels become (v / 255 - mean) / std; std 0 means 1
} tgc_loader_options;

typedef struct tgc_loader tgc_loader;
typedef struct tgc_batch {
	tgc_tensor *x; // f32 [count, channels, height, width], normalised in the graph
	tgc_tensor *y; // i32 [count]
	int64_t count;
	int64_t index; // of the batch in its epoch
} tgc_batch;

// Owner: the caller, tgc_loader_free; the data set must outlive it. NULL on error.
TGC_API tgc_loader *tgc_loader_new_with(tgc_context *ctx, const tgc_dataset *d, tgc_loader_options o);
#define tgc_loader_new(ctx, d, ...) tgc_loader_new_with(ctx, d, TGC_OPTIONS(tgc_loader_options, __VA_ARGS__))
TGC_API void tgc_loader_free(tgc_loader **l);
// The next batch; false at the end of an epoch, the call after that begins the next one.
TGC_API bool tgc_loader_next(tgc_loader *l, tgc_batch *batch);
TGC_API int64_t tgc_loader_batches(const tgc_loader *l); // in one epoch

#ifdef __cplusplus
}
#endif
#endif
