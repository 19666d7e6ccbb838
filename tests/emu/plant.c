// Bugs planted into the text of kernels.
// In:  a text, a change to it. Out: the changed text; on the device cuda-emu, every kernel that is compiled while a bug
// is planted, so that tests can be asked whether they notice. Not here: which bugs (test_emu_product.c,
// test_emu_attention.c).
#include "plant.h"

#include <string.h>

#include "codegen.h"

static int places(const char *text, const char *from)
{
	int n = 0;
	for (const char *at = strstr(text, from); at; at = strstr(at + strlen(from), from))
		n++;
	return n;
}

char *emu_changed(const char *text, const struct emu_bug *b)
{
	struct text t = {0};
	int n = places(text, b->from), which = b->which == EMU_LAST ? n - 1 : b->which;
	if (!n || which >= n)
		return NULL;
	for (int i = 0; i < n; i++) {
		const char *at = strstr(text, b->from);
		text_add(&t, "%.*s%s", (int)(at - text), text, which == EMU_ALL || i == which ? b->to : b->from);
		text = at + strlen(b->from);
	}
	text_add(&t, "%s", text);
	return text_take(&t);
}
