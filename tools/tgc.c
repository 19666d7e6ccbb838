// The program `tgc`: a table of commands.
// In:  a command line. Out: text on standard output; exit status 0, 1 on failure, 2 on a wrong call.
// Not here: the commands themselves, a file each (commands.h).
#include "commands.h"

#include <stdio.h>
#include <string.h>
#include <tgc/base.h>

static int version(int argc, char **argv)
{
	(void)argc, (void)argv;
	printf("tgc %d.%d\n", TGC_VERSION_MAJOR, TGC_VERSION_MINOR);
	return 0;
}

static int help(int argc, char **argv);

static const struct command {
	const char *name, *what;
	int (*run)(int argc, char **argv);
	bool arguments; // it looks at them itself
} commands[] = {
    {"bench", "times the benchmark's workloads beside the machine's ceilings", command_bench, true},
    {"cache", "the disk cache of compiled kernels: list, verify, clear", command_cache, true},
    {"doctor", "what this machine offers: devices, the cache, and why one is chosen or missing", command_doctor,
     false},
    {"dump-kernels", "every generated kernel of a run, what it fuses, why it ends there, what it costs",
     command_dump_kernels, true},
    {"version", "the version of tgc", version, false},
    {"help", "this text", help, false},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void usage(FILE *to)
{
	fprintf(to, "usage: tgc COMMAND\n\n");
	for (int i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-12s  %s\n", commands[i].name, commands[i].what);
}

static int help(int argc, char **argv)
{
	(void)argc, (void)argv;
	usage(stdout);
	return 0;
}

static const struct command *find(const char *name)
{
	if (!strcmp(name, "-h") || !strncmp(name, "--", 2))
		name = name[1] == 'h' ? "help" : name + 2;
	for (int i = 0; i < COMMANDS; i++)
		if (strcmp(name, commands[i].name) == 0)
			return &commands[i];
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return 2;
	}
	const struct command *c = find(argv[1]);
	if (!c)
		fprintf(stderr, "tgc: there is no command \"%s\"\n", argv[1]);
	else if (argc > 2 && !c->arguments)
		fprintf(stderr, "tgc %s takes no argument \"%s\"\n", argv[1], argv[2]);
	else
		return c->run(argc - 1, argv + 1);
	usage(stderr);
	return 2;
}
