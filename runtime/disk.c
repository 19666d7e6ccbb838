// Compiled objects in files: one file an object, named by the hash of its key.
// In:  a key, which is everything that an object depends on. Out: the object as it was stored, or nothing:
// whatever is wrong with a file, it is a miss. A file is read into private memory, its checksum and its whole
// key are compared, and only then is it used. A file: struct head, the key, the object. Not here: the folder
// (disk_folder.c), when it is written (disk_write.c).
#include "runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

static const char MAGIC[8] = "tgcache1", SUFFIX[] = ".tgc", TEMPORARY[] = ".new-";
enum { NAME_BYTES = 48, MAX_FILE = 64 << 20, DAY = 86400, LOST_SECONDS = 600 };

struct head {
	char magic[8];
	uint64_t key_bytes, object_bytes;
	uint64_t sum[2]; // of everything, this taken as zero
	uint64_t reserved;
};

static void checksum(const struct disk_file *f, uint64_t sum[2])
{
	struct head h;
	XXH3_state_t *s = XXH3_createState();
	sum[0] = sum[1] = 0;
	if (!s)
		return;
	memcpy(&h, f->data, sizeof h);
	h.sum[0] = h.sum[1] = 0;
	XXH3_128bits_reset(s);
	XXH3_128bits_update(s, &h, sizeof h);
	XXH3_128bits_update(s, f->data + sizeof h, f->bytes - sizeof h);
	XXH128_hash_t x = XXH3_128bits_digest(s);
	XXH3_freeState(s);
	sum[0] = x.low64;
	sum[1] = x.high64;
}

struct disk_name disk_name(const char *key)
{
	XXH128_hash_t x = XXH3_128bits(key, strlen(key));
	struct disk_name n;
	snprintf(n.s, sizeof n.s, "%016llx%016llx", (unsigned long long)x.high64, (unsigned long long)x.low64);
	return n;
}

// ---- one file in memory -------------------------------------------------------------------------

bool disk_pack(struct disk_file *f, const char *key, const void *object, size_t bytes)
{
	size_t n = strlen(key);
	struct head h = {.key_bytes = n, .object_bytes = bytes};
	*f = (struct disk_file){.bytes = sizeof h + n + bytes};
	f->data = f->bytes <= MAX_FILE ? malloc(f->bytes) : NULL;
	if (!f->data)
		return false;
	memcpy(h.magic, MAGIC, sizeof h.magic);
	memcpy(f->data, &h, sizeof h);
	memcpy(f->data + sizeof h, key, n);
	memcpy(f->data + sizeof h + n, object, bytes);
	checksum(f, h.sum);
	memcpy(f->data, &h, sizeof h);
	return true;
}

static const char *check(struct disk_file *f)
{
	struct head h;
	uint64_t sum[2];
	if (f->bytes < sizeof h)
		return "is too short";
	memcpy(&h, f->data, sizeof h);
	if (memcmp(h.magic, MAGIC, sizeof h.magic) != 0)
		return "was not written by this version of tgc";
	size_t room = f->bytes - sizeof h;
	if (h.key_bytes > room || h.object_bytes != room - h.key_bytes)
		return "has not the length that it says";
	checksum(f, sum);
	if (memcmp(sum, h.sum, sizeof sum) != 0)
		return "has another checksum than it says";
	f->key = f->data + sizeof h;
	f->key_bytes = (size_t)h.key_bytes;
	f->object = f->key + f->key_bytes;
	f->object_bytes = (size_t)h.object_bytes;
	return NULL;
}

static const char *read_all(int fd, struct disk_file *f)
{
	struct stat st;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return "is no regular file";
	if (st.st_uid != geteuid())
		return "belongs to another user";
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return "may be written by others";
	if (st.st_size < 0 || st.st_size > MAX_FILE)
		return "is too long";
	f->used = st.st_mtime;
	f->data = malloc((size_t)st.st_size + 1);
	if (!f->data)
		return "finds no memory";
	while (f->bytes < (size_t)st.st_size) {
		ssize_t n = pread(fd, f->data + f->bytes, (size_t)st.st_size - f->bytes, (off_t)f->bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? "cannot be read" : "shrinks";
		f->bytes += (size_t)n;
	}
	return check(f);
}

const char *disk_read(int folder, const char *name, struct disk_file *f, bool use)
{
	*f = (struct disk_file){0};
	int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? "is not there" : "cannot be opened";
	const char *why = read_all(fd, f);
	if (!why && use && time(NULL) - f->used > DAY)
		futimens(fd, NULL); // the oldest by its last use goes first; to a day is enough
	close(fd);
	if (why) {
		free(f->data);
		*f = (struct disk_file){0};
	}
	return why;
}

void *disk_load(int folder, const char *key, size_t *bytes)
{
	struct disk_file f;
	char name[NAME_BYTES];
	snprintf(name, sizeof name, "%s%s", disk_name(key).s, SUFFIX);
	if (disk_read(folder, name, &f, true))
		return NULL;
	size_t n = strlen(key);
	if (f.key_bytes != n || memcmp(f.key, key, n) != 0) {
		free(f.data);
		return NULL;
	}
	*bytes = f.object_bytes;
	memmove(f.data, f.object, f.object_bytes);
	return f.data;
}

// ---- writing one --------------------------------------------------------------------------------

static int write_all(int fd, const struct disk_file *f)
{
	for (size_t done = 0; done < f->bytes;) {
		ssize_t n = write(fd, f->data + done, f->bytes - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? errno : ENOSPC;
		done += (size_t)n;
	}
	return fsync(fd) ? errno : 0;
}

int disk_publish(int folder, const char *key, const struct disk_file *f)
{
	char temporary[NAME_BYTES], name[NAME_BYTES];
	unsigned long long r;
	if (getrandom(&r, sizeof r, 0) != sizeof r)
		return EAGAIN;
	snprintf(temporary, sizeof temporary, "%s%016llx", TEMPORARY, r);
	snprintf(name, sizeof name, "%s%s", disk_name(key).s, SUFFIX);
	int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno;
	int error = write_all(fd, f);
	if (close(fd) != 0 && !error)
		error = errno;
	if (!error && renameat(folder, temporary, folder, name) != 0)
		error = errno;
	if (error)
		unlinkat(folder, temporary, 0);
	return error;
}

// ---- all of them --------------------------------------------------------------------------------

struct listed {
	char name[NAME_BYTES];
	int64_t bytes, used;
};
struct list {
	struct listed *p;
	size_t n, cap;
	int64_t bytes;
};

// A hash and the suffix, or the prefix and random digits: what else lies there is not the cache's.
static bool is_own(const char *name, bool temporary)
{
	size_t n = strspn(name, "0123456789abcdef");
	if (!temporary)
		return n == 32 && strcmp(name + n, SUFFIX) == 0;
	size_t prefix = sizeof TEMPORARY - 1;
	return strncmp(name, TEMPORARY, prefix) == 0 && strspn(name + prefix, "0123456789abcdef") == 16 &&
	       strlen(name) == prefix + 16;
}

static bool keep(struct list *l, const char *name, const struct stat *st)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 256;
		struct listed *wide = realloc(l->p, cap * sizeof *wide);
		if (!wide)
			return false;
		l->p = wide;
		l->cap = cap;
	}
	struct listed *x = &l->p[l->n++];
	snprintf(x->name, sizeof x->name, "%s", name);
	x->bytes = st->st_size;
	x->used = st->st_mtime;
	l->bytes += st->st_size;
	return true;
}

// The cache's own files; temporary ones are old when whoever wrote them must be gone.
static bool list_files(int folder, bool temporary, struct list *l)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	bool ok = d;
	if (!d && fd >= 0)
		close(fd);
	for (struct dirent *e; ok && (e = readdir(d));) {
		struct stat st;
		if (!is_own(e->d_name, temporary))
			continue;
		if (fstatat(folder, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
			ok = keep(l, e->d_name, &st);
	}
	if (d)
		closedir(d);
	return ok;
}

static int oldest_first(const void *x, const void *y)
{
	const struct listed *a = x, *b = y;
	return a->used != b->used ? (a->used > b->used) - (a->used < b->used) : strcmp(a->name, b->name);
}

int64_t disk_trim(int folder, int64_t most)
{
	struct list files = {0}, lost = {0};
	int64_t now = time(NULL);
	list_files(folder, true, &lost);
	for (size_t i = 0; i < lost.n; i++)
		if (now - lost.p[i].used > LOST_SECONDS || most == 0)
			unlinkat(folder, lost.p[i].name, 0);
	list_files(folder, false, &files);
	if (files.bytes > most) { // some more, so that not every process meets the limit
		qsort(files.p, files.n, sizeof *files.p, oldest_first);
		most -= most / 16;
	}
	for (size_t i = 0; i < files.n && (files.bytes > most || most == 0); i++)
		if (unlinkat(folder, files.p[i].name, 0) == 0)
			files.bytes -= files.p[i].bytes;
	free(files.p);
	free(lost.p);
	return files.bytes;
}

bool disk_each(int folder, bool (*fn)(void *user, const char *name, int64_t bytes, int64_t used), void *user)
{
	struct list files = {0};
	bool ok = list_files(folder, false, &files);
	if (ok && files.n)
		qsort(files.p, files.n, sizeof *files.p, oldest_first);
	for (size_t i = files.n; ok && i-- > 0;) // the last used first
		if (!fn(user, files.p[i].name, files.p[i].bytes, files.p[i].used))
			break;
	free(files.p);
	return ok;
}
