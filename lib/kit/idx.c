// IDX files of bytes: two zero bytes, a type, a rank, big-endian sizes, then the elements.
// In:  a path, gzipped or not. Out: the elements and their sizes, checked against the file before allocating.
#include "kit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { IDX_U8 = 8, IDX_MAX_RANK = 4 };
static const int64_t LIMIT_BYTES = (int64_t)1 << 32;
static const int64_t DEFLATE_RATIO = 1032; // what deflate can expand at most

static tgc_status take(tgc_context *c, const char *path, gzFile f, void *to, size_t n)
{
	size_t done = 0;
	while (done < n) {
		unsigned chunk = n - done > 1u << 30 ? 1u << 30 : (unsigned)(n - done);
		int got = gzread(f, (char *)to + done, chunk);
		if (got < 0) {
			int code;
			const char *why = gzerror(f, &code);
			return report(c, code == Z_BUF_ERROR ? TGC_ERROR_TRUNCATED : TGC_ERROR_FORMAT, "idx",
			              "%s is damaged: %s", path, why);
		}
		if (got == 0)
			return report(c, TGC_ERROR_TRUNCATED, "idx", "%s ends after %zu bytes, %zu were expected",
			              path, done, n);
		done += (size_t)got;
	}
	return TGC_OK;
}

static tgc_status header(tgc_context *c, const char *path, gzFile f, int64_t file_bytes, int rank, int64_t *dims,
                         int64_t *bytes)
{
	uint8_t h[4 + 4 * IDX_MAX_RANK];
	tgc_status s = take(c, path, f, h, 4);
	if (s)
		return s;
	if (h[0] || h[1] || h[2] != IDX_U8)
		return report(c, TGC_ERROR_FORMAT, "idx",
		              "%s begins with %02x %02x %02x; an IDX file of bytes begins with 00 00 08", path, h[0],
		              h[1], h[2]);
	if (h[3] != rank)
		return report(c, TGC_ERROR_FORMAT, "idx", "%s has %d dimensions, %d were expected", path, h[3], rank);
	s = take(c, path, f, h + 4, 4 * (size_t)rank);
	if (s)
		return s;
	int64_t n = 1;
	for (int i = 0; i < rank; i++) {
		const uint8_t *b = h + 4 + 4 * i;
		dims[i] = (int64_t)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
		if (__builtin_mul_overflow(n, dims[i], &n) || n > LIMIT_BYTES)
			return report(c, TGC_ERROR_LIMIT, "idx", "%s claims more than %lld bytes", path,
			              (long long)LIMIT_BYTES);
	}
	if (n / DEFLATE_RATIO > file_bytes)
		return report(c, TGC_ERROR_TRUNCATED, "idx", "%s claims %lld bytes; a file of %lld cannot hold them",
		              path, (long long)n, (long long)file_bytes);
	*bytes = n;
	return TGC_OK;
}

static uint8_t *body(tgc_context *c, const char *path, gzFile f, int64_t bytes)
{
	uint8_t *p = malloc(bytes ? (size_t)bytes : 1);
	if (!p) {
		report(c, TGC_ERROR_MEMORY, "idx", "no memory for the %lld bytes of %s", (long long)bytes, path);
		return NULL;
	}
	char beyond;
	if (take(c, path, f, p, (size_t)bytes) == TGC_OK) {
		if (gzread(f, &beyond, 1) == 0)
			return p;
		report(c, TGC_ERROR_FORMAT, "idx", "%s goes on after the %lld bytes that its header claims", path,
		       (long long)bytes);
	}
	free(p);
	return NULL;
}

uint8_t *idx_read(tgc_context *c, const char *path, int rank, int64_t *dims)
{
	int64_t file_bytes, bytes = 0;
	int fd = file_open(c, "idx", path, &file_bytes);
	if (fd < 0)
		return NULL;
	gzFile f = gzdopen(fd, "rb");
	if (!f) {
		close(fd);
		report(c, TGC_ERROR_MEMORY, "idx", "no memory to read %s", path);
		return NULL;
	}
	uint8_t *p = NULL;
	if (header(c, path, f, file_bytes, rank, dims, &bytes) == TGC_OK)
		p = body(c, path, f, bytes);
	gzclose(f);
	return p;
}
