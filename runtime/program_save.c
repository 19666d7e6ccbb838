// A program into a file.
// In:  a program. Out: a file that is whole or not there; runtime.h describes it.
// Not here: loading (program_load.c), objects that run without tgc (export.c).
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>
#include <xxhash.h>

const char *const program_scalar_names[] = {
    [PROGRAM_LATE] = "late", [PROGRAM_SEED] = "seed", [PROGRAM_FIXED] = "fixed"};

static char *describe(const struct tgc_program *p)
{
	const struct linear *l = &p->linear;
	struct text t = {0};
	text_add(&t, "inputs %d outputs %d\n", p->ninputs, p->nouts);
	for (int i = 0; i < l->prog.nleaves; i++) {
		if (l->prog.leaves[i].cls != LEAF_SCALAR)
			continue;
		enum program_scalar kind = program_is_seed(p, i) ? PROGRAM_SEED
		                           : program_scalar(p, i) ? PROGRAM_LATE
		                                                 : PROGRAM_FIXED;
		text_add(&t, "scalar %d %s %lld\n", i, program_scalar_names[kind],
		         (long long)l->leaf_values[i].i);
	}
	prog_print(&l->prog, &t);
	return text_take(&t);
}

struct sink {
	int fd;
	int error; // errno of the first failure
	XXH3_state_t *sum;
};

static void put(struct sink *s, const void *data, size_t n)
{
	const char *p = data;
	if (s->sum && n)
		XXH3_128bits_update(s->sum, data, n);
	while (n && !s->error) {
		ssize_t done = write(s->fd, p, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			s->error = done ? errno : ENOSPC;
			return;
		}
		p += done;
		n -= (size_t)done;
	}
}

static void put_leaf(struct sink *s, struct tgc_context *c, const void *data, size_t bytes)
{
	if (!device_is_far(c)) {
		put(s, data, bytes);
		return;
	}
	void *near = malloc(bytes + 1);
	if (!near)
		s->error = ENOMEM;
	else if (device_read(c, "program_save", near, data, bytes))
		s->error = EIO;
	else
		put(s, near, bytes);
	free(near);
}

// Afterwards h->data_bytes and the sums are known.
static void put_data(struct sink *s, const struct tgc_program *p, void *const *leaf_data,
                     struct program_head *h)
{
	XXH3_128bits_reset(s->sum);
	for (int i = 0; i < p->linear.prog.nleaves; i++) {
		const struct pleaf *f = &p->linear.prog.leaves[i];
		size_t bytes = (size_t)f->elems * tgc_type_bytes((tgc_type)f->type);
		if (f->cls != LEAF_VARIABLE && f->cls != LEAF_DATA)
			continue;
		put_leaf(s, p->ctx, leaf_data[i], bytes);
		h->data_bytes += bytes;
	}
	XXH128_hash_t sum = XXH3_128bits_digest(s->sum);
	h->data_sum[0] = sum.low64;
	h->data_sum[1] = sum.high64;
}

static int write_file(int fd, const struct tgc_program *p, const char *text, void *const *leaf_data)
{
	struct program_head h = {.text_bytes = strlen(text)};
	struct sink s = {.fd = fd};
	XXH128_hash_t sum = XXH3_128bits(text, (size_t)h.text_bytes);
	memcpy(h.magic, PROGRAM_MAGIC, sizeof h.magic);
	h.text_sum[0] = sum.low64;
	h.text_sum[1] = sum.high64;
	put(&s, &h, sizeof h);
	put(&s, text, (size_t)h.text_bytes);
	s.sum = XXH3_createState();
	if (!s.sum)
		return ENOMEM;
	put_data(&s, p, leaf_data, &h);
	XXH3_freeState(s.sum);
	s.sum = NULL;
	if (!s.error && lseek(fd, 0, SEEK_SET) != 0)
		s.error = errno;
	put(&s, &h, sizeof h);
	return s.error ? s.error : fsync(fd) ? errno : 0;
}

// errno; 0: path holds the whole of it.
static int write_beside(const char *path, const struct tgc_program *p, const char *text, void *const *leaf_data)
{
	unsigned long long r;
	char *temporary = NULL;
	if (getrandom(&r, sizeof r, 0) != sizeof r)
		return EAGAIN;
	if (asprintf(&temporary, "%s.%016llx", path, r) < 0)
		return ENOMEM;
	int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666), error = errno;
	if (fd >= 0) {
		error = write_file(fd, p, text, leaf_data);
		if (close(fd) != 0 && !error)
			error = errno;
		if (!error && rename(temporary, path) != 0)
			error = errno;
		if (error)
			unlink(temporary);
	}
	free(temporary);
	return error;
}

static tgc_status save(struct tgc_program *p, const char *path)
{
	struct tgc_context *c = p->ctx;
	void **leaf_data = NULL;
	struct arena a;
	arena_init(&a, &c->host);
	const void **inputs = ARENA_ARRAY(&a, const void *, p->ninputs + 1);
	program_scalars(p);
	tgc_status s = inputs ? realize_homes(c, &p->linear) : TGC_ERROR_MEMORY;
	if (!s)
		s = realize_leaves(c, &a, &p->linear, inputs, &leaf_data);
	char *text = s ? NULL : describe(p);
	if (s == TGC_ERROR_MEMORY || (!s && !text))
		s = context_fail(c, TGC_ERROR_MEMORY, "program_save", "no memory");
	int error = s ? 0 : write_beside(path, p, text, leaf_data);
	if (error)
		s = context_fail(c, TGC_ERROR_IO, "program_save", "cannot write %s: %s", path, strerror(error));
	free(text);
	arena_free(&a);
	return s;
}

tgc_status tgc_program_save(tgc_program *p, const char *path)
{
	struct door d = door_open_context("program_save", DOOR_SITE, p ? p->ctx : NULL);
	if (d.ok && !path)
		door_fail(&d, TGC_ERROR_ARG, "path is NULL");
	tgc_status s = d.ok ? d.c->backend.realize(d.c, 0, NULL) : d.status;
	if (d.ok && !s)
		s = save(p, path);
	door_leave(&d);
	return s;
}
