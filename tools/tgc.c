// The program `tgc`.
// In:  a command line. Out: text on standard output; exit status 0, 1 on failure, 2 on a wrong call.
#include <tgc/tgc.h>

#include <stdio.h>
#include <string.h>

static const char USAGE[] = "usage: tgc COMMAND\n"
                            "\n"
                            "  doctor    what this machine offers: devices, and why one is chosen or missing\n"
                            "  version   the version of tgc\n"
                            "  help      this text\n";

static int doctor(void)
{
	static const char *const devices[] = {"cpu", "interp"};
	int status = 0;
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
		tgc_context_options o = {.struct_size = sizeof o, .device = devices[i]};
		tgc_context *ctx = tgc_context_new(&o);
		bool ok = tgc_error_status(ctx) == TGC_OK;
		printf("%-8s %-4s %s\n", devices[i], ok ? "ok" : "no",
		       ok ? tgc_device_reason(ctx) : tgc_error_message(ctx));
		tgc_context_free(&ctx);
	}
	tgc_context *ctx = tgc_context_new(NULL);
	if (tgc_error_status(ctx) == TGC_OK)
		printf("default  %s (%s)\n", tgc_device_name(ctx), tgc_device_reason(ctx));
	else
		status = 1;
	tgc_print_error(ctx);
	tgc_context_free(&ctx);
	return status;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "help";
	if (argc > 2) {
		fprintf(stderr, "tgc %s takes no argument \"%s\"\n%s", command, argv[2], USAGE);
		return 2;
	}
	if (!strcmp(command, "doctor"))
		return doctor();
	if (!strcmp(command, "version") || !strcmp(command, "--version")) {
		printf("tgc %d.%d\n", TGC_VERSION_MAJOR, TGC_VERSION_MINOR);
		return 0;
	}
	if (!strcmp(command, "help") || !strcmp(command, "--help") || !strcmp(command, "-h")) {
		fputs(USAGE, stdout);
		return argc > 1 ? 0 : 2;
	}
	fprintf(stderr, "tgc: there is no command \"%s\"\n%s", command, USAGE);
	return 2;
}
