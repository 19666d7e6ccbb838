// The cache's folder: where it is, and whether it may be trusted.
// In:  TGC_CACHE, XDG_CACHE_HOME, HOME. Out: a descriptor of a folder that belongs to this user and that nobody
// else may write to, or the reason why there is none. Everything in it is opened through that descriptor, so
// that nothing can be swapped on the way. Not here: what lies in it (disk.c).
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

static bool off(struct disk_place *p, const char *what, const char *why)
{
	snprintf(p->reason, sizeof p->reason, "%s%s", what, why);
	return false;
}

static bool put_path(struct disk_place *p, const char *a, const char *b)
{
	int n = snprintf(p->folder, sizeof p->folder, "%s%s", a, b);
	if (n < 0 || (size_t)n >= sizeof p->folder)
		return off(p, "the folder's name is too long", "");
	while (n > 1 && p->folder[n - 1] == '/') // or a link would be followed
		p->folder[--n] = 0;
	return true;
}

bool disk_find(struct disk_place *p)
{
	const char *own = getenv("TGC_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	*p = (struct disk_place){.reason = "TGC_CACHE names it"};
	if (getauxval(AT_SECURE))
		return off(p, "this program runs with more rights than its user", "");
	if (own && strcmp(own, "0") == 0)
		return off(p, "TGC_CACHE=0", "");
	if (own && *own)
		return put_path(p, own, "");
	if (xdg && *xdg == '/') { // others are to be ignored
		snprintf(p->reason, sizeof p->reason, "below XDG_CACHE_HOME");
		return put_path(p, xdg, "/tgc");
	}
	snprintf(p->reason, sizeof p->reason, "below the home folder");
	if (home && *home == '/')
		return put_path(p, home, "/.cache/tgc");
	return off(p, "neither TGC_CACHE, XDG_CACHE_HOME nor HOME names a folder", "");
}

// The folder and the one above it (~/.cache), for this user only; a home that is not there is not made. What
// cannot be made is noticed when it is opened.
static void make_folders(const char *path)
{
	char above[sizeof((struct disk_place *)0)->folder];
	const char *slash = strrchr(path, '/');
	snprintf(above, sizeof above, "%.*s", slash ? (int)(slash - path) : 0, path);
	if (*above)
		mkdir(above, 0700);
	mkdir(path, 0700);
}

int disk_folder(struct disk_place *p, bool make)
{
	struct stat st;
	if (make)
		make_folders(p->folder);
	int fd = open(p->folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		off(p, "cannot be opened: ", strerror(errno));
		return -1;
	}
	if (fstat(fd, &st) != 0)
		off(p, "cannot be looked at: ", strerror(errno));
	else if (st.st_uid != geteuid())
		off(p, "belongs to another user", "");
	else if (st.st_mode & (S_IWGRP | S_IWOTH))
		off(p, "others may write to it", "");
	else
		return fd;
	close(fd);
	return -1;
}

// ---- which build of tgc this is -----------------------------------------------------------------

struct build {
	char *text; // of it
	size_t bytes;
};

static bool holds(const struct dl_phdr_info *o, uintptr_t at)
{
	for (int i = 0; i < o->dlpi_phnum; i++) {
		uintptr_t begin = o->dlpi_addr + o->dlpi_phdr[i].p_vaddr;
		if (o->dlpi_phdr[i].p_type == PT_LOAD && at >= begin && at - begin < o->dlpi_phdr[i].p_memsz)
			return true;
	}
	return false;
}

static void put_hex(struct build *b, const uint8_t *id, size_t n)
{
	size_t at = 0;
	b->text[0] = 0;
	for (size_t i = 0; i < n && at + 3 <= b->bytes; i++)
		at += (size_t)snprintf(b->text + at, b->bytes - at, "%02x", id[i]);
}

static bool read_notes(struct build *b, const char *p, size_t n)
{
	const ElfW(Nhdr) * h;
	for (size_t at = 0; at + sizeof *h <= n;) {
		h = (const ElfW(Nhdr) *)(const void *)(p + at);
		size_t name = at + sizeof *h, id = name + ((h->n_namesz + 3u) & ~3u);
		if (h->n_type == NT_GNU_BUILD_ID && h->n_namesz == 4 && id + h->n_descsz <= n &&
		    memcmp(p + name, "GNU", 4) == 0) {
			put_hex(b, (const uint8_t *)p + id, h->n_descsz);
			return h->n_descsz > 0;
		}
		at = id + ((h->n_descsz + 3u) & ~3u);
	}
	return false;
}

// Of the loaded file that holds this function.
static int look(struct dl_phdr_info *o, size_t size, void *user)
{
	struct build *b = user;
	(void)size;
	if (!holds(o, (uintptr_t)look))
		return 0;
	for (int i = 0; i < o->dlpi_phnum; i++)
		if (o->dlpi_phdr[i].p_type == PT_NOTE &&
		    read_notes(b, (const char *)(uintptr_t)(o->dlpi_addr + o->dlpi_phdr[i].p_vaddr),
		               o->dlpi_phdr[i].p_memsz))
			return 1;
	return -1;
}

bool disk_build_id(char *text, size_t bytes)
{
	struct build b = {text, bytes};
	return dl_iterate_phdr(look, &b) == 1;
}
