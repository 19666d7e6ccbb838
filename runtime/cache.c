// The public view of the disk cache.
// In:  the environment. Out: the folder, its files one by one, or nothing left of them.
// Not here: loading and storing (disk.c, disk_write.c).
#include "runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <tgc/cache.h>
#include <unistd.h>

_Static_assert(sizeof((struct disk_place *)0)->folder == sizeof((tgc_cache_info *)0)->folder, "the same texts");
_Static_assert(sizeof((struct disk_place *)0)->reason == sizeof((tgc_cache_info *)0)->reason, "the same texts");

static bool count(void *user, const char *name, int64_t bytes, int64_t used)
{
	tgc_cache_info *info = user;
	(void)name, (void)used;
	info->files++;
	info->bytes += bytes;
	return true;
}

// Missing, but the folder above it, or the one above that, may be written to.
static bool can_be_made(const char *folder)
{
	char part[sizeof((struct disk_place *)0)->folder];
	struct stat st;
	if (lstat(folder, &st) == 0 || errno != ENOENT)
		return false;
	snprintf(part, sizeof part, "%s", folder);
	for (int up = 0; up < 2; up++) {
		char *slash = strrchr(part, '/');
		if (!slash || slash == part)
			return access(slash ? "/" : ".", W_OK | X_OK) == 0;
		*slash = 0;
		if (lstat(part, &st) == 0)
			return access(part, W_OK | X_OK) == 0;
	}
	return false;
}

tgc_cache_info tgc_cache_look(void)
{
	struct disk_place p;
	char build[96];
	tgc_cache_info info = {.limit_bytes = DISK_LIMIT_BYTES};
	bool named = disk_find(&p);
	int fd = named ? disk_folder(&p, false) : -1;
	info.usable = fd >= 0 || (named && can_be_made(p.folder));
	if (named && fd < 0 && info.usable)
		snprintf(p.reason, sizeof p.reason, "not there yet");
	if (info.usable && !disk_build_id(build, sizeof build)) {
		info.usable = false;
		snprintf(p.reason, sizeof p.reason, "this program was linked without a build id (--build-id)");
	}
	if (fd >= 0) {
		disk_each(fd, count, &info);
		close(fd);
	}
	memcpy(info.folder, p.folder, sizeof info.folder);
	memcpy(info.reason, p.reason, sizeof info.reason);
	return info;
}

struct visit {
	int folder;
	tgc_cache_fn *fn;
	void *user;
};

static bool visit(void *user, const char *name, int64_t bytes, int64_t used)
{
	const struct visit *v = user;
	struct disk_file f;
	tgc_cache_entry e = {.name = name, .bytes = bytes, .used = used};
	e.problem = disk_read(v->folder, name, &f, false);
	char *key = e.problem ? NULL : strndup(f.key, f.key_bytes);
	if (!e.problem && !key)
		e.problem = "finds no memory";
	else if (!e.problem && strncmp(name, disk_name(key).s, sizeof disk_name(key).s - 1) != 0)
		e.problem = "has another name than its key asks for";
	e.key = e.problem ? NULL : key;
	bool more = v->fn(v->user, &e);
	free(key);
	free(f.data);
	return more;
}

tgc_status tgc_cache_each(tgc_cache_fn *fn, void *user)
{
	struct disk_place p;
	int fd = fn && disk_find(&p) ? disk_folder(&p, false) : -1;
	struct visit v = {fd, fn, user};
	if (!fn)
		return TGC_ERROR_ARG;
	if (fd < 0)
		return TGC_ERROR_IO;
	bool ok = disk_each(fd, visit, &v);
	close(fd);
	return ok ? TGC_OK : TGC_ERROR_IO;
}

tgc_status tgc_cache_clear(void)
{
	struct disk_place p;
	int fd = disk_find(&p) ? disk_folder(&p, false) : -1;
	if (fd < 0)
		return TGC_ERROR_IO;
	int64_t left = disk_trim(fd, 0);
	close(fd);
	return left == 0 ? TGC_OK : TGC_ERROR_IO;
}
