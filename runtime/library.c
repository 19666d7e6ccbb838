// Shared libraries that are opened at run time, because a machine may do without them.
// In:  file names, the wanted one first. Out: the library and where it was, or a text that says what was looked
// for, where, and what was wrong with what was found.
// Places, in this order: TGC_CUDA_LIBDIR, the loader's path, CUDA_HOME and CUDA_PATH, conda, pip's
// nvidia/*/lib, /usr/local/cuda*, the distribution's. Not here: what the libraries do.
#include "cuda.h"

#include <dlfcn.h>
#include <glob.h>
#include <link.h>
#include <stdlib.h>
#include <unistd.h>

// A pattern of folders, below what the variable says; no variable: below the root.
static const struct place {
	const char *variable, *below;
} places[] = {
    {"TGC_CUDA_LIBDIR", ""},
    {NULL, NULL}, // the loader's path
    {"CUDA_HOME", "/lib64"},
    {"CUDA_HOME", "/lib"},
    {"CUDA_PATH", "/lib64"},
    {"CUDA_PATH", "/lib"},
    {"CONDA_PREFIX", "/lib"},
    {"CONDA_PREFIX", "/targets/*-linux/lib"},
    {"CONDA_PREFIX", "/lib/python3*/site-packages/nvidia/*/lib"},
    {"VIRTUAL_ENV", "/lib/python3*/site-packages/nvidia/*/lib"},
    {"HOME", "/.local/lib/python3*/site-packages/nvidia/*/lib"},
    {NULL, "/usr/local/lib/python3*/*-packages/nvidia/*/lib"},
    {NULL, "/usr/lib/python3*/*-packages/nvidia/*/lib"},
    {NULL, "/usr/local/cuda*/lib64"},
    {NULL, "/usr/local/cuda*/lib"},
    {NULL, "/usr/lib/*-linux-gnu"},
    {NULL, "/usr/lib64"},
    {NULL, "/usr/lib/wsl/lib"},
    {NULL, "/opt/cuda/lib64"},
};

struct hunt {
	struct library *to;
	const char *const *names;
	struct text seen;  // where
	struct text wrong; // with what was there
};

static void take(struct library *to, void *handle, const char *path)
{
	to->handle = handle;
	snprintf(to->path, sizeof to->path, "%s", path);
}

static void *load(struct hunt *h, const char *path)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const char *why = handle ? NULL : dlerror();
	if (!handle)
		text_add(&h->wrong, "; %s", why ? why : path);
	return handle;
}

static bool in_folder(struct hunt *h, const char *folder)
{
	char path[sizeof h->to->path];
	for (int i = 0; h->names[i]; i++) {
		int n = snprintf(path, sizeof path, "%s/%s", folder, h->names[i]);
		void *handle = n < (int)sizeof path && access(path, F_OK) == 0 ? load(h, path) : NULL;
		if (handle) {
			take(h->to, handle, path);
			return true;
		}
	}
	return false;
}

static bool by_loader(struct hunt *h)
{
	text_add(&h->seen, "%sthe loader's path", h->seen.n ? ", " : "");
	for (int i = 0; h->names[i]; i++) {
		struct link_map *map = NULL;
		void *handle = dlopen(h->names[i], RTLD_NOW | RTLD_LOCAL);
		if (handle) {
			bool known = dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map && *map->l_name;
			take(h->to, handle, known ? map->l_name : h->names[i]);
			return true;
		}
		const char *why = dlerror();
		if (why && !strstr(why, "No such file")) // it is there, then
			text_add(&h->wrong, "; %s", why);
	}
	return false;
}

// The newest toolkit comes last in the alphabet, so folders are tried from the end.
static bool in_place(struct hunt *h, const struct place *p, const char *root)
{
	char pattern[sizeof h->to->path];
	const char *base = p->variable ? secure_getenv(p->variable) : root;
	glob_t g;
	bool found = false;
	if (!base || (p->variable && !*base))
		return false;
	int n = snprintf(pattern, sizeof pattern, "%s%s", base, p->below);
	if (n >= (int)sizeof pattern)
		return false;
	text_add(&h->seen, "%s", h->seen.n ? ", " : "");
	if (p->variable)
		text_add(&h->seen, "%s (%s)", pattern, p->variable);
	else
		text_add(&h->seen, "%s", pattern);
	if (glob(pattern, 0, NULL, &g) != 0)
		return false;
	for (size_t i = g.gl_pathc; i-- > 0 && !found;)
		found = in_folder(h, g.gl_pathv[i]);
	globfree(&g);
	return found;
}

bool library_open(struct library *l, const char *const *names, const char *root)
{
	struct hunt h = {.to = l, .names = names};
	struct text why = {0};
	bool found = false;
	*l = (struct library){0};
	for (int i = 0; i < TG_COUNT(places) && !found; i++)
		found = places[i].below ? in_place(&h, &places[i], root) : by_loader(&h);
	char *seen = text_take(&h.seen), *wrong = text_take(&h.wrong);
	if (!found) {
		for (int i = 0; names[i]; i++)
			text_add(&why, "%s%s", i ? ", " : "looked for ", names[i]);
		text_add(&why, " in %s%s", seen ? seen : "?", wrong ? wrong : "");
		l->why = text_take(&why);
	}
	free(seen);
	free(wrong);
	return found;
}

bool library_symbols(struct library *l, int n, const struct library_symbol *symbols)
{
	for (int i = 0; i < n; i++) {
		void *at = dlsym(l->handle, symbols[i].name);
		memcpy(symbols[i].to, &at, sizeof at);
		if (at)
			continue;
		struct text why = {0};
		text_add(&why, "%s is too old: it has no %s", l->path, symbols[i].name);
		library_close(l);
		l->why = text_take(&why);
		return false;
	}
	return true;
}

void library_close(struct library *l)
{
	if (l->handle)
		dlclose(l->handle);
	free(l->why);
	*l = (struct library){0};
}
