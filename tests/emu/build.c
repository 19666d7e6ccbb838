// Kernels' text to functions by the system's C compiler.
// In:  the texts, behind tg_emu.h. Out: a shared library, loaded; or the compiler's messages, in which line
// directives make every line name its kernel. Its files are gone when it is loaded.
// Not here: which texts were compiled before (device.c).
#include "codegen.h"
#include "emu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// No contraction, as on the GPU; this processor's fma, because libm's is slow.
static const char flags[] =
    "-x c -std=gnu11 -O1 -march=native -ffp-contract=off -fno-math-errno -fno-trapping-math "
    "-fno-strict-aliasing -fwrapv -fPIC -shared -fvisibility=hidden -Wall -Wno-unused "
    "-Werror=implicit-function-declaration -Werror=incompatible-pointer-types "
    "-Werror=int-conversion -Werror=discarded-qualifiers";

struct emu_library {
	void *handle;
};

static bool write_text(const char *path, int n, const char *const *names, const char *const *texts)
{
	FILE *f = fopen(path, "w");
	if (!f)
		return false;
	fprintf(f, "#include \"%s/tg_emu.h\"\n#line 1 \"common\"\n%s\n", EMU_FOLDER, emit_cuda_common());
	for (int i = 0; i < n; i++)
		fprintf(f, "#line 1 \"%s\"\n%s\n", names[i], texts[i]);
	return fclose(f) == 0;
}

// Runs a command. NULL, or what it printed (malloc'ed).
static char *run(const char *command)
{
	FILE *p = popen(command, "r");
	size_t n = 0, cap = 64 << 10;
	char *said = p ? malloc(cap + 1) : NULL;
	for (size_t got; said && n < cap && (got = fread(said + n, 1, cap - n, p)) > 0;)
		n += got;
	int status = p ? pclose(p) : -1;
	if (said)
		said[n] = 0;
	if (status == 0) {
		free(said);
		return NULL;
	}
	return said ? said : strdup("the C compiler cannot be run");
}

static char *load(const char *path, struct emu_library **out)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	struct tg_machine **machine = handle ? dlsym(handle, "tg_machine") : NULL;
	struct emu_library *l = machine ? calloc(1, sizeof *l) : NULL;
	if (!l) {
		const char *why = handle ? "out of memory" : dlerror();
		char *error = strdup(why ? why : path);
		if (handle)
			dlclose(handle);
		return error;
	}
	*machine = &emu_machine;
	l->handle = handle;
	*out = l;
	return NULL;
}

char *emu_compile(int n, const char *const *names, const char *const *texts, const char *library)
{
	char source[256], command[1024], *error;
	snprintf(source, sizeof source, "%s.c", library);
	snprintf(command, sizeof command, "%s %s -o %s %s -lm 2>&1", EMU_CC, flags, library, source);
	error =
	    write_text(source, n, names, texts) ? run(command) : strdup("a kernel's text cannot be written");
	unlink(source);
	return error;
}

char *emu_load(const char *path, struct emu_library **out)
{
	char *error = load(path, out);
	unlink(path);
	return error;
}

char *emu_build(int n, const char *const *names, const char *const *texts, struct emu_library **out)
{
	char folder[] = "/tmp/tgc-emu-XXXXXX", library[64];
	if (!mkdtemp(folder))
		return strdup("no temporary folder");
	snprintf(library, sizeof library, "%s/k.so", folder);
	char *error = emu_compile(n, names, texts, library);
	if (!error)
		error = emu_load(library, out);
	rmdir(folder);
	return error;
}

void *emu_function(const struct emu_library *l, const char *name)
{
	return dlsym(l->handle, name);
}

void emu_library_free(struct emu_library *l)
{
	if (!l)
		return;
	dlclose(l->handle);
	free(l);
}
