// `tgc doctor`: what this machine offers, and why something is chosen or missing.
#include "commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <tgc/tgc.h>

static void devices(void)
{
	static const char *const names[] = {"cpu", "cuda", "interp"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		tgc_context_options o = {.struct_size = sizeof o, .device = names[i]};
		tgc_context *ctx = tgc_context_new(&o);
		bool ok = tgc_error_status(ctx) == TGC_OK;
		printf("%-8s %-4s %s\n", names[i], ok ? "ok" : "no",
		       ok ? tgc_device_reason(ctx) : tgc_error_message(ctx));
		tgc_context_free(&ctx);
	}
}

static void cache(void)
{
	tgc_cache_info i = tgc_cache_look();
	printf("%-8s %-4s %s%s%s", "cache", i.usable ? "ok" : "no", i.folder, *i.folder ? ": " : "", i.reason);
	if (i.usable)
		printf("; %" PRId64 " files, %.1f of %" PRId64 " MiB", i.files, (double)i.bytes / (1 << 20),
		       i.limit_bytes >> 20);
	printf("\n");
}

int command_doctor(int argc, char **argv)
{
	(void)argc, (void)argv;
	int status = 0;
	devices();
	tgc_context *ctx = tgc_context_new(NULL);
	if (tgc_error_status(ctx) == TGC_OK)
		printf("default  %s (%s)\n", tgc_device_name(ctx), tgc_device_reason(ctx));
	else
		status = 1;
	tgc_print_error(ctx);
	tgc_context_free(&ctx);
	cache();
	return status;
}
