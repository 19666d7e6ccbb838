// Call sites as text: "file.c:12" of a return address, from the debug information in the program itself.
// In:  an address. Out: text; nothing where the program has no debug information or tgc was built without libdw.
// Only called when an error or a listing is written. Nothing is searched for outside the mapped files.
#include "runtime.h"

#ifdef TG_HAVE_LIBDW
#include <elfutils/libdwfl.h>
#include <stdlib.h>
#include <unistd.h>

static int nowhere_else(Dwfl_Module *m, void **user, const char *name, Dwarf_Addr base, const char *file,
                        const char *link, GElf_Word crc, char **found)
{
	(void)m, (void)user, (void)name, (void)base, (void)file, (void)link, (void)crc, (void)found;
	return -1;
}

static const Dwfl_Callbacks callbacks = {.find_elf = dwfl_linux_proc_find_elf, .find_debuginfo = nowhere_else};

static void report(Dwfl *d)
{
	dwfl_report_begin(d);
	dwfl_linux_proc_report(d, getpid());
	dwfl_report_end(d, NULL, NULL);
}

// The module of an address; looks at the process anew where a library was loaded since.
static Dwfl_Module *module_of(struct runtime *r, Dwarf_Addr at)
{
	Dwfl *d = r->sites;
	Dwfl_Module *m = d ? dwfl_addrmodule(d, at) : NULL;

	if (m)
		return m;
	if (!d)
		d = r->sites = dwfl_begin(&callbacks);
	if (d)
		report(d);
	return d ? dwfl_addrmodule(d, at) : NULL;
}

void site_text(const struct tgc_context *c, const void *site, char *text, size_t bytes)
{
	struct runtime *r = c->rt ? device_of(c)->process : NULL;
	Dwarf_Addr at = (Dwarf_Addr)(uintptr_t)site - 1; // in the call, not behind it
	int line = 0;

	if (!r)
		return;
	pthread_mutex_lock(&r->sites_lock);
	Dwfl_Module *m = module_of(r, at);
	Dwfl_Line *l = m ? dwfl_module_getsrc(m, at) : NULL;
	const char *file = l ? dwfl_lineinfo(l, NULL, &line, NULL, NULL, NULL) : NULL;
	if (file)
		snprintf(text, bytes, "%s:%d", strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line);
	pthread_mutex_unlock(&r->sites_lock);
}

void sites_close(struct runtime *r)
{
	if (r->sites)
		dwfl_end(r->sites);
	r->sites = NULL;
}
#else
void site_text(const struct tgc_context *c, const void *site, char *text, size_t bytes)
{
	(void)c, (void)site, (void)text, (void)bytes;
}

void sites_close(struct runtime *r) { (void)r; }
#endif
