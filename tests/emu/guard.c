// Memory between pages that nobody may touch.
// In:  a size. Out: poisoned memory, 16-byte aligned because kernels may count on that; what alignment leaves
// free before the page behind it is marked, and looked at afterwards.
#include "emu.h"

#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, POISON = 0xff, MARK = 0xa7 };

bool emu_guard_new(struct emu_guard *g, int64_t bytes)
{
	size_t room = ((size_t)bytes + PAGE - 1) / PAGE * PAGE;
	*g = (struct emu_guard){.bytes = bytes, .map_bytes = room + 2 * PAGE};
	g->map = mmap(NULL, g->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g->map == MAP_FAILED || (room && mprotect(g->map + PAGE, room, PROT_READ | PROT_WRITE) != 0)) {
		emu_guard_free(g);
		return false;
	}
	g->data = g->map + PAGE + (room - (size_t)bytes) / 16 * 16;
	memset(g->data, POISON, (size_t)bytes);
	memset(g->data + bytes, MARK, (size_t)(g->map + PAGE + room - g->data - bytes));
	return true;
}

bool emu_guard_intact(const struct emu_guard *g)
{
	const char *end = g->map + g->map_bytes - PAGE;
	for (const char *p = g->data + g->bytes; p < end; p++)
		if ((unsigned char)*p != MARK)
			return false;
	return true;
}

void emu_guard_free(struct emu_guard *g)
{
	if (g->map && g->map != MAP_FAILED)
		munmap(g->map, g->map_bytes);
	*g = (struct emu_guard){0};
}
