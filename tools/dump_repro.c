// One kernel as a C file that stands alone: its assembly, arguments filled as a seed says, a clock around it.
// In:  a kernel of a trace. Out: the file; `cc -O2 FILE && ./a.out` runs it on a processor like the one that made it.
#include "dump.h"

#include <stdio.h>
#include <string.h>

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

static void quote(FILE *f, const char *text)
{
	fprintf(f, "__asm__(\n\"");
	for (; *text; text++) {
		if (*text == '\n')
			fprintf(f, "\\n\"\n\"");
		else if (*text == '\t')
			fprintf(f, "\\t");
		else if (*text == '"' || *text == '\\')
			fprintf(f, "\\%c", *text);
		else
			fputc(*text, f);
	}
	fprintf(f, "\\t.text\\n\");\n\n"); // where the compiler believes to be
}

static void print_fill(FILE *f)
{
	fprintf(f, "static uint64_t state = 1;\n"
	           "static uint64_t draw(void) // splitmix64\n{\n"
	           "\tuint64_t z = state += 0x9e3779b97f4a7c15u;\n"
	           "\tz = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;\n"
	           "\tz = (z ^ z >> 27) * 0x94d049bb133111ebu;\n"
	           "\treturn z ^ z >> 31;\n}\n\n"
	           "// Floats in [0.25, 1.25), integers and bool 0 or 1: valid for logarithms, divisions and indices.\n"
	           "static void *filled(const char *type, size_t bytes)\n{\n"
	           "\tvoid *p = aligned_alloc(64, (bytes + 127) / 64 * 64);\n"
	           "\tif (!p)\n\t\texit(1);\n"
	           "\tmemset(p, 0, bytes);\n"
	           "\tif (!strcmp(type, \"f32\"))\n"
	           "\t\tfor (size_t i = 0; i < bytes / 4; i++)\n"
	           "\t\t\t((float *)p)[i] = 0.25f + (float)(draw() >> 40) * 0x1p-24f;\n"
	           "\telse if (!strcmp(type, \"f64\"))\n"
	           "\t\tfor (size_t i = 0; i < bytes / 8; i++)\n"
	           "\t\t\t((double *)p)[i] = 0.25 + (double)(draw() >> 11) * 0x1p-53;\n"
	           "\telse if (!strcmp(type, \"bf16\") || !strcmp(type, \"f16\"))\n"
	           "\t\tfor (size_t i = 0; i < bytes / 2; i++)\n"
	           "\t\t\t((uint16_t *)p)[i] = !strcmp(type, \"bf16\") ? 0x3f00 : 0x3800; // 0.5\n"
	           "\telse if (!strcmp(type, \"i32\") || !strcmp(type, \"u32\"))\n"
	           "\t\tfor (size_t i = 0; i < bytes / 4; i++)\n"
	           "\t\t\t((uint32_t *)p)[i] = draw() & 1;\n"
	           "\telse if (!strcmp(type, \"bool\"))\n"
	           "\t\tfor (size_t i = 0; i < bytes; i++)\n"
	           "\t\t\t((uint8_t *)p)[i] = draw() & 1;\n"
	           "\treturn p;\n}\n\n");
}

static void print_declarations(FILE *f, const struct dump_step *s, size_t phases)
{
	fprintf(f, "#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <time.h>\n\n");
	quote(f, text_of(s->json, "asm"));
	for (size_t i = 0; i < phases; i++)
		fprintf(f, "void kernel_p%zu(void *const *args, int64_t begin, int64_t end, void *scratch);\n", i);
	fprintf(f, "\n");
	print_fill(f);
}

static void print_buffers(FILE *f, const struct dump_step *s)
{
	size_t i;
	json_t *a;
	fprintf(f, "\tstatic void *b[%d];\n", s->plan->nbuffers + 1);
	json_array_foreach(s->arguments, i, a) {
		int at = (int)json_integer_value(json_object_get(a, "buffer"));
		const struct dump_buffer *x = &s->plan->buffers[at];
		fprintf(f, "\tif (!b[%d])\n\t\tb[%d] = filled(\"%s\", %.0f); // %s %s\n", at, at, x->type, x->bytes, x->class,
		        x->holds);
	}
}

// Parameters in order; a segmented one is a table of its segments.
static void print_args(FILE *f, const struct dump_step *s)
{
	size_t i, n = json_array_size(s->arguments), scalars = json_array_size(json_object_get(s->json, "scalars"));
	int last = -1, params = 0;
	json_t *a, *t;
	fprintf(f, "\tvoid *args[%zu];\n", n + scalars + 1);
	json_array_foreach(s->arguments, i, a) {
		int at = (int)json_integer_value(json_object_get(a, "buffer"));
		int param = (int)json_integer_value(json_object_get(a, "parameter"));
		bool table = json_is_true(json_object_get(a, "segmented"));
		if (param != last && table)
			fprintf(f, "\tstatic void *t%d[%zu];\n\tint n%d = 0;\n\targs[%d] = t%d;\n", param, n, param, param, param);
		if (table)
			fprintf(f, "\tt%d[n%d++] = b[%d];\n", param, param, at);
		else
			fprintf(f, "\targs[%d] = b[%d];\n", param, at);
		last = param;
		params = param + 1;
	}
	json_array_foreach(json_object_get(s->json, "scalars"), i, t)
	    fprintf(f, "\targs[%d] = filled(\"%s\", 8); // a late scalar\n", params + (int)i, json_string_value(t));
}

static void print_main(FILE *f, const struct dump_step *s)
{
	json_t *blocks = json_object_get(s->json, "blocks"), *a, *b;
	size_t i;
	fprintf(f, "int main(int argc, char **argv)\n{\n\tint runs = argc > 1 ? atoi(argv[1]) : 100;\n");
	print_buffers(f, s);
	print_args(f, s);
	fprintf(f, "\tvoid *scratch = filled(\"\", %.0f);\n\tstruct timespec x, y;\n\tdouble best = 1e30;\n",
	        s->scratch_bytes + 64);
	fprintf(f, "\tfor (int i = 0; i < runs; i++) {\n\t\tclock_gettime(CLOCK_MONOTONIC, &x);\n");
	json_array_foreach(blocks, i, b)
	    fprintf(f, "\t\tkernel_p%zu(args, 0, %lld, scratch);\n", i, (long long)json_integer_value(b));
	fprintf(f, "\t\tclock_gettime(CLOCK_MONOTONIC, &y);\n"
	           "\t\tdouble us = 1e6 * (double)(y.tv_sec - x.tv_sec) + 1e-3 * (double)(y.tv_nsec - x.tv_nsec);\n"
	           "\t\tbest = us < best ? us : best;\n\t}\n\tuint64_t sum = 0;\n");
	json_array_foreach(s->arguments, i, a) {
		int at = (int)json_integer_value(json_object_get(a, "buffer"));
		if (json_is_true(json_object_get(a, "written")))
			fprintf(f, "\tfor (size_t i = 0; i < %.0f; i++)\n\t\tsum = sum * 31 + ((uint8_t *)b[%d])[i];\n",
			        s->plan->buffers[at].bytes, at);
	}
	fprintf(f, "\tprintf(\"best of %%d: %%.2f us on one thread; sum of the results' bytes %%016llx\\n\", runs, best,\n"
	           "\t       (unsigned long long)sum);\n\treturn 0;\n}\n");
}

int dump_repro(const struct dump_step *s, const char *path)
{
	size_t phases = json_array_size(json_object_get(s->json, "blocks"));
	if (s->kernel < 0 || !text_of(s->json, "asm")[0]) {
		fprintf(stderr, "tgc dump-kernels: --repro: %s has no assembly\n", s->title);
		return 1;
	}
	FILE *f = fopen(path, "w");
	if (!f) {
		perror(path);
		return 1;
	}
	fprintf(f, "// %s %s, as tgc generated it for %s.\n// Build and run: cc -O2 %s && ./a.out [RUNS]\n", s->group, s->title,
	        s->plan->target, strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
	print_declarations(f, s, phases);
	print_main(f, s);
	if (fclose(f)) {
		perror(path);
		return 1;
	}
	fprintf(stderr, "wrote %s: %s\n", path, s->title);
	return 0;
}
