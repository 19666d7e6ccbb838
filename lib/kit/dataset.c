// Labelled images in host memory.
// In:  IDX pairs. Out: tgc_dataset, with labels checked against the number of classes.
// Not here: batches (loader.c), the file format (idx.c).
#include "kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char DEBIAN_DIR[] = "/usr/share/datasets/fashion-mnist";

static bool labels_fit(tgc_context *c, const char *path, const tgc_dataset *d)
{
	for (int64_t i = 0; i < d->count; i++)
		if (d->labels[i] >= d->classes) {
			report(c, TGC_ERROR_FORMAT, "dataset", "%s: label %d of image %lld is not below %lld", path,
			       d->labels[i], (long long)i, (long long)d->classes);
			return false;
		}
	return true;
}

tgc_dataset *tgc_dataset_idx(tgc_context *c, const char *images, const char *labels, int64_t classes)
{
	if (!c || !images || !labels || classes < 1) {
		report(c, TGC_ERROR_ARG, "dataset", "images %s, labels %s, classes %lld", images ? images : "(null)",
		       labels ? labels : "(null)", (long long)classes);
		return NULL;
	}
	tgc_dataset *d = calloc(1, sizeof *d);
	int64_t dims[3], count;
	if (!d) {
		report(c, TGC_ERROR_MEMORY, "dataset", "no memory");
		return NULL;
	}
	d->classes = classes;
	d->images = idx_read(c, images, 3, dims);
	d->labels = d->images ? idx_read(c, labels, 1, &count) : NULL;
	if (d->labels) {
		d->count = dims[0];
		d->channels = 1;
		d->height = dims[1];
		d->width = dims[2];
		if (count != dims[0])
			report(c, TGC_ERROR_FORMAT, "dataset", "%s holds %lld labels, %s %lld images", labels,
			       (long long)count, images, (long long)dims[0]);
		else if (labels_fit(c, labels, d))
			return d;
	}
	tgc_dataset_free(&d);
	return NULL;
}

void tgc_dataset_free(tgc_dataset **d)
{
	if (!d || !*d)
		return;
	free((*d)->images);
	free((*d)->labels);
	free(*d);
	*d = NULL;
}

// The file with or without .gz; the path of the former if neither is there.
static void locate(char *path, size_t n, const char *dir, const char *part, const char *kind)
{
	snprintf(path, n, "%s/%s-%s-ubyte", dir, part, kind);
	if (access(path, R_OK) != 0)
		snprintf(path, n, "%s/%s-%s-ubyte.gz", dir, part, kind);
}

tgc_dataset *tgc_dataset_mnist(tgc_context *c, const char *dir, bool train)
{
	char images[4096], labels[4096];
	const char *part = train ? "train" : "t10k";
	if (!dir)
		dir = DEBIAN_DIR;
	locate(images, sizeof images, dir, part, "images-idx3");
	locate(labels, sizeof labels, dir, part, "labels-idx1");
	for (int i = 0; i < 2; i++) {
		const char *path = i ? labels : images;
		if (access(path, R_OK) == 0)
			continue;
		report(c, TGC_ERROR_IO, "dataset",
		       "%s is not there. Fashion-MNIST comes with Debian's package dataset-fashion-mnist; for MNIST "
		       "name the folder that holds its four IDX files",
		       path);
		return NULL;
	}
	return tgc_dataset_idx(c, images, labels, 10);
}
