// safetensors: eight bytes of header length, a JSON header, then the tensors back to back, little-endian.
// In:  a module and a path. Out: a whole file or none; on reading, every parameter or none.
// Not here: the JSON text itself (jansson).
#include "kit.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const int64_t HEADER_LIMIT = 100 << 20;
static const char *const TYPE_NAMES[TGC_TYPE_COUNT] = {
    [TGC_F32] = "F32", [TGC_F64] = "F64", [TGC_F16] = "F16", [TGC_BF16] = "BF16", [TGC_I8] = "I8",
    [TGC_I16] = "I16", [TGC_I32] = "I32", [TGC_I64] = "I64", [TGC_U8] = "U8",     [TGC_U16] = "U16",
    [TGC_U32] = "U32", [TGC_U64] = "U64", [TGC_BOOL] = "BOOL",
};

static size_t param_bytes(const tgc_tensor *t)
{
	return (size_t)tgc_tensor_elems(t) * tgc_type_bytes(tgc_tensor_type(t));
}

// ---- writing ----------------------------------------------------------------------------------------------

static json_t *describe(const tgc_tensor *t, int64_t begin)
{
	tgc_shape s = tgc_tensor_shape(t);
	json_t *shape = json_array();
	for (int i = 0; i < s.rank; i++)
		json_array_append_new(shape, json_integer(s.dims[i]));
	return json_pack("{s:s,s:o,s:[I,I]}", "dtype", TYPE_NAMES[tgc_tensor_type(t)], "shape", shape,
	                 "data_offsets", (json_int_t)begin, (json_int_t)(begin + (int64_t)param_bytes(t)));
}

// The header, padded with blanks to a multiple of eight. NULL: out of memory.
static char *header_text(const tgc_module *m)
{
	json_t *root = json_object();
	int64_t at = 0;
	for (int i = 0; i < tgc_params_count(m); i++) {
		tgc_tensor *t = tgc_param(m, i);
		if (json_object_set_new(root, tgc_param_name(m, i), describe(t, at)) != 0) {
			json_decref(root);
			return NULL;
		}
		at += (int64_t)param_bytes(t);
	}
	char *text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	size_t n = text ? strlen(text) : 0, padded = (n + 7) / 8 * 8;
	char *out = text ? realloc(text, padded + 1) : NULL;
	if (!out) {
		free(text);
		return NULL;
	}
	memset(out + n, ' ', padded - n);
	out[padded] = 0;
	return out;
}

static bool put(FILE *f, const void *p, size_t n) { return n == 0 || fwrite(p, 1, n, f) == n; }

static tgc_status write_params(tgc_module *m, FILE *f, const char *path)
{
	tgc_context *c = tgc_module_context(m);
	for (int i = 0; i < tgc_params_count(m); i++) {
		tgc_tensor *t = tgc_param(m, i);
		size_t n = param_bytes(t);
		void *data = malloc(n ? n : 1);
		if (!data)
			return report(c, TGC_ERROR_MEMORY, "save", "no memory for %s", tgc_param_name(m, i));
		tgc_status s = tgc_read(t, data, n);
		if (!s && !put(f, data, n))
			s = report(c, TGC_ERROR_IO, "save", "cannot write %s: %s", path, strerror(errno));
		free(data);
		if (s)
			return s;
	}
	return TGC_OK;
}

static tgc_status write_file(tgc_module *m, FILE *f, const char *path)
{
	tgc_context *c = tgc_module_context(m);
	char *header = header_text(m);
	if (!header)
		return report(c, TGC_ERROR_MEMORY, "save", "no memory for the header");
	uint64_t n = strlen(header);
	uint8_t length[8];
	for (int i = 0; i < 8; i++)
		length[i] = (uint8_t)(n >> 8 * i);
	bool ok = put(f, length, 8) && put(f, header, n);
	free(header);
	tgc_status s = ok ? write_params(m, f, path) : TGC_OK;
	if (!s && (!ok || fflush(f) != 0 || fsync(fileno(f)) != 0))
		s = report(c, TGC_ERROR_IO, "save", "cannot write %s: %s", path, strerror(errno));
	return s;
}

tgc_status tgc_save(tgc_module *m, const char *path)
{
	tgc_context *c = tgc_module_context(m);
	if (!m || !path)
		return report(c, TGC_ERROR_ARG, "save", "module %s, path %s", m ? "given" : "NULL",
		              path ? path : "NULL");
	char *temporary = malloc(strlen(path) + 8);
	if (!temporary)
		return report(c, TGC_ERROR_MEMORY, "save", "no memory");
	sprintf(temporary, "%s.XXXXXX", path);
	int fd = mkstemp(temporary);
	FILE *f = fd >= 0 ? fdopen(fd, "wb") : NULL;
	tgc_status s = TGC_OK;
	if (!f) {
		s = report(c, TGC_ERROR_IO, "save", "cannot create %s: %s", temporary, strerror(errno));
		if (fd >= 0)
			close(fd);
	} else {
		s = write_file(m, f, path);
		fchmod(fd, 0644);
		if (fclose(f) != 0 && !s)
			s = report(c, TGC_ERROR_IO, "save", "cannot write %s: %s", path, strerror(errno));
		if (!s && rename(temporary, path) != 0)
			s = report(c, TGC_ERROR_IO, "save", "cannot rename to %s: %s", path, strerror(errno));
		if (s)
			unlink(temporary);
	}
	free(temporary);
	return s;
}

// ---- reading ----------------------------------------------------------------------------------------------

struct reader {
	tgc_context *ctx;
	const char *path;
	int fd;
	int64_t bytes; // of the file
	int64_t base;  // where the tensors begin
	json_t *header;
};
struct entry {
	int64_t begin, end;
};

static tgc_status bad(const struct reader *r, const char *name, const char *why)
{
	return report(r->ctx, TGC_ERROR_FORMAT, "load", "%s: %s %s", r->path, name, why);
}

static tgc_status read_header(struct reader *r)
{
	uint8_t b[8];
	tgc_status s = file_read(r->ctx, "load", r->path, r->fd, b, 8, 0);
	if (s)
		return s;
	uint64_t n = 0;
	for (int i = 0; i < 8; i++)
		n |= (uint64_t)b[i] << 8 * i;
	if (n > (uint64_t)HEADER_LIMIT)
		return report(r->ctx, TGC_ERROR_LIMIT, "load", "%s claims a header of %llu bytes, the limit is %lld",
		              r->path, (unsigned long long)n, (long long)HEADER_LIMIT);
	if ((int64_t)n > r->bytes - 8)
		return report(r->ctx, TGC_ERROR_TRUNCATED, "load", "%s claims a header of %llu bytes and has %lld",
		              r->path, (unsigned long long)n, (long long)(r->bytes - 8));
	char *text = malloc(n + 1);
	if (!text)
		return report(r->ctx, TGC_ERROR_MEMORY, "load", "no memory for the header");
	s = file_read(r->ctx, "load", r->path, r->fd, text, n, 8);
	json_error_t e;
	if (!s) {
		r->header = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
		if (!r->header)
			s = bad(r, "header:", e.text);
		else if (!json_is_object(r->header))
			s = bad(r, "header", "is no JSON object");
	}
	free(text);
	r->base = 8 + (int64_t)n;
	return s;
}

static int by_begin(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	return x->begin != y->begin ? (x->begin > y->begin) - (x->begin < y->begin) : (x->end > y->end) - (x->end < y->end);
}

// Offsets, shape and type of one entry agree with each other and with the file.
static tgc_status check_entry(const struct reader *r, const char *name, json_t *v, struct entry *e)
{
	const char *type;
	json_t *shape;
	json_int_t begin, end;
	if (json_unpack(v, "{s:s,s:o,s:[I,I]}", "dtype", &type, "shape", &shape, "data_offsets", &begin, &end) != 0 ||
	    !json_is_array(shape))
		return bad(r, name, "lacks dtype, shape or data_offsets");
	int t = 0;
	while (t < TGC_TYPE_COUNT && strcmp(TYPE_NAMES[t], type) != 0)
		t++;
	if (t == TGC_TYPE_COUNT)
		return bad(r, name, "has an unknown dtype");
	int64_t n = (int64_t)tgc_type_bytes((tgc_type)t);
	for (size_t i = 0; i < json_array_size(shape); i++) {
		json_t *d = json_array_get(shape, i);
		if (!json_is_integer(d) || json_integer_value(d) < 0 ||
		    __builtin_mul_overflow(n, (int64_t)json_integer_value(d), &n))
			return bad(r, name, "has a shape that is none");
	}
	if (begin < 0 || end < begin || end - begin != n)
		return bad(r, name, "has data_offsets that do not fit its shape");
	if (end > r->bytes - r->base)
		return report(r->ctx, TGC_ERROR_TRUNCATED, "load", "%s: %s ends at byte %lld of %lld", r->path, name,
		              (long long)end, (long long)(r->bytes - r->base));
	*e = (struct entry){begin, end};
	return TGC_OK;
}

// The tensors cover the rest of the file exactly once.
static tgc_status check_cover(const struct reader *r, struct entry *list, int n)
{
	qsort(list, (size_t)n, sizeof *list, by_begin);
	int64_t at = 0;
	for (int i = 0; i < n; i++) {
		if (list[i].begin != at)
			return bad(r, "the tensors", list[i].begin < at ? "overlap" : "leave a hole");
		at = list[i].end;
	}
	return at == r->bytes - r->base ? TGC_OK : bad(r, "the file", "goes on after its last tensor");
}

static tgc_status check_all(const struct reader *r)
{
	size_t count = json_object_size(r->header);
	struct entry *list = malloc(sizeof *list * (count ? count : 1));
	if (!list)
		return report(r->ctx, TGC_ERROR_MEMORY, "load", "no memory");
	const char *name;
	json_t *v;
	int n = 0;
	tgc_status s = TGC_OK;
	json_object_foreach(r->header, name, v)
	{
		if (!s && strcmp(name, "__metadata__") != 0)
			s = check_entry(r, name, v, &list[n++]);
	}
	if (!s)
		s = check_cover(r, list, n);
	free(list);
	return s;
}

static tgc_status read_param(const struct reader *r, tgc_tensor *t, const char *name, tgc_tensor **value)
{
	json_t *v = json_object_get(r->header, name);
	if (!v)
		return report(r->ctx, TGC_ERROR_ARG, "load", "%s has no %s", r->path, name);
	const char *type;
	json_t *shape;
	json_int_t begin, end;
	json_unpack(v, "{s:s,s:o,s:[I,I]}", "dtype", &type, "shape", &shape, "data_offsets", &begin, &end);
	tgc_shape want = tgc_tensor_shape(t);
	if (strcmp(type, TYPE_NAMES[tgc_tensor_type(t)]) != 0)
		return report(r->ctx, TGC_ERROR_TYPE, "load", "%s: %s is %s, the module has %s", r->path, name, type,
		              TYPE_NAMES[tgc_tensor_type(t)]);
	bool same = (int)json_array_size(shape) == want.rank;
	for (int i = 0; same && i < want.rank; i++)
		same = json_integer_value(json_array_get(shape, (size_t)i)) == want.dims[i];
	if (!same) {
		char *text = json_dumps(shape, JSON_COMPACT);
		report(r->ctx, TGC_ERROR_SHAPE, "load", "%s: %s is %s; the module's has %d axes and %lld elements",
		       r->path, name, text ? text : "?", want.rank, (long long)tgc_tensor_elems(t));
		free(text);
		return TGC_ERROR_SHAPE;
	}
	size_t n = (size_t)(end - begin);
	void *data = malloc(n ? n : 1);
	if (!data)
		return report(r->ctx, TGC_ERROR_MEMORY, "load", "no memory for %s", name);
	tgc_status s = file_read(r->ctx, "load", r->path, r->fd, data, n, r->base + begin);
	if (!s) {
		*value = tgc_from_data(r->ctx, tgc_tensor_type(t), want, data);
		s = tgc_is_error(*value) ? tgc_error_status(r->ctx) : TGC_OK;
	}
	free(data);
	return s;
}

static tgc_status read_params(const struct reader *r, tgc_module *m)
{
	int n = tgc_params_count(m);
	tgc_tensor **values = calloc((size_t)(n ? n : 1), sizeof(tgc_tensor *));
	if (!values)
		return report(r->ctx, TGC_ERROR_MEMORY, "load", "no memory");
	tgc_scope_begin(r->ctx);
	tgc_status s = TGC_OK;
	for (int i = 0; i < n && !s; i++)
		s = read_param(r, tgc_param(m, i), tgc_param_name(m, i), &values[i]);
	for (int i = 0; i < n && !s; i++)
		s = tgc_assign(tgc_param(m, i), values[i]);
	if (!s)
		s = tgc_flush(r->ctx);
	tgc_scope_end(r->ctx);
	free(values);
	return s;
}

tgc_status tgc_load(tgc_module *m, const char *path)
{
	struct reader r = {.ctx = tgc_module_context(m), .path = path};
	if (!m || !path)
		return report(r.ctx, TGC_ERROR_ARG, "load", "module %s, path %s", m ? "given" : "NULL",
		              path ? path : "NULL");
	r.fd = file_open(r.ctx, "load", path, &r.bytes);
	if (r.fd < 0)
		return tgc_error_status(r.ctx);
	tgc_status s = read_header(&r);
	if (!s)
		s = check_all(&r);
	if (!s)
		s = read_params(&r, m);
	json_decref(r.header);
	close(r.fd);
	return s;
}
