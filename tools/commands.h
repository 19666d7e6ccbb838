// The commands of `tgc`, a file each. argv[0] is the command's name; each returns the exit status.
#ifndef TG_COMMANDS_H
#define TG_COMMANDS_H

int command_bench(int argc, char **argv);
int command_cache(int argc, char **argv);
int command_dump_kernels(int argc, char **argv);
int command_doctor(int argc, char **argv);

#endif
