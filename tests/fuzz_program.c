// Saved programs, damaged at random: a program is refused or it runs; nothing crashes, hangs or leaks.
// In:  random graphs, saved and loaded (the same bits), then their text with numbers, names and lines changed,
// past the checksums. Out: how many were taken; exit status 1 if a round trip fails. The text under test lies
// in --keep FILE when something crashes; --text FILE runs one again. Not here: damaged files (test_saved.c).
#include "fuzz.h"

#include <ctype.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_MAX = 1 << 18, SECONDS = 60 };

struct options {
	uint64_t seed;
	int64_t programs, mutants;
	const char *device, *keep, *text;
};
struct saved {
	char *text, *data;
	size_t data_bytes;
};
struct counts {
	int64_t programs, mutants, taken, ran, failed;
};

static uint64_t rng;

static int64_t below(int64_t n)
{
	return (int64_t)(sk_random(&rng) % (uint64_t)n);
}

// ---- damage -------------------------------------------------------------------------------------

// Replaces text[at .. at + n) by `by`.
static void replace(char *text, size_t at, size_t n, const char *by)
{
	size_t length = strlen(text), more = strlen(by);
	if (length - n + more >= TEXT_MAX)
		return;
	memmove(text + at + more, text + at + n, length - at - n + 1);
	memcpy(text + at, by, more);
}

// Somewhere in the text, a word of digits (or of letters); false: none was met.
static bool find_word(const char *text, bool digits, size_t *at, size_t *n)
{
	size_t length = strlen(text);
	for (int tries = 0; tries < 200 && length; tries++) {
		size_t i = (size_t)below((int64_t)length);
		bool is = digits ? isdigit((unsigned char)text[i]) : isalpha((unsigned char)text[i]);
		if (!is)
			continue;
		while (i &&
		       (digits ? isdigit((unsigned char)text[i - 1]) : isalnum((unsigned char)text[i - 1])))
			i--;
		*at = i;
		for (*n = 0;
		     isalnum((unsigned char)text[i + *n]) && (!digits || isdigit((unsigned char)text[i + *n]));)
			++*n;
		return true;
	}
	return false;
}

static void change_number(char *text)
{
	static const char *const values[] = {"0",
	                                     "1",
	                                     "2",
	                                     "3",
	                                     "4",
	                                     "7",
	                                     "8",
	                                     "16",
	                                     "17",
	                                     "31",
	                                     "64",
	                                     "255",
	                                     "1000",
	                                     "4096",
	                                     "65536",
	                                     "2147483647",
	                                     "4294967296",
	                                     "1099511627776",
	                                     "9223372036854775807",
	                                     "-1",
	                                     "-2",
	                                     "-9223372036854775808"};
	size_t at, n;
	if (find_word(text, true, &at, &n))
		replace(text, at, n, values[below(TG_COUNT(values))]);
}

// Another word of the same text, or any operation or type.
static void change_word(char *text)
{
	size_t at, n, from, m;
	char word[32];
	if (!find_word(text, false, &at, &n))
		return;
	int kind = (int)below(3);
	if (kind == 0)
		snprintf(word, sizeof word, "%s", op_info[below(OP_COUNT)].name);
	else if (kind == 1)
		snprintf(word, sizeof word, "%s", tgc_type_name((tgc_type)below(TGC_TYPE_COUNT)));
	else if (find_word(text, false, &from, &m))
		snprintf(word, sizeof word, "%.*s", (int)m, text + from);
	else
		return;
	replace(text, at, n, word);
}

static void change_byte(char *text)
{
	static const char bytes[] = "0123456789%@{}[],:;- \nabf\xff";
	size_t length = strlen(text);
	if (length)
		text[below((int64_t)length)] = bytes[below((int64_t)sizeof bytes - 1)];
}

static size_t line_at(const char *text, size_t *n)
{
	size_t at = (size_t)below((int64_t)strlen(text) + 1);
	while (at && text[at - 1] != '\n')
		at--;
	*n = strcspn(text + at, "\n");
	*n += text[at + *n] == '\n';
	return at;
}

static void change_line(char *text)
{
	size_t n, at = line_at(text, &n);
	char line[512];
	snprintf(line, sizeof line, "%.*s", (int)n, text + at);
	if (below(2))
		replace(text, at, n, "");
	else
		replace(text, line_at(text, &n), 0, line);
}

// Every place of one number that stands for a size becomes another number: such programs are often sound.
static void change_size(char *text)
{
	size_t at, n;
	char was[24], by[24];
	if (!find_word(text, true, &at, &n) || n >= sizeof was)
		return;
	snprintf(was, sizeof was, "%.*s", (int)n, text + at);
	snprintf(by, sizeof by, "%lld", (long long)below(below(2) ? 70 : 5000));
	for (char *p = text; (p = strstr(p, was)); p++) {
		bool whole = !isdigit((unsigned char)p[n]) && p > text && !isdigit((unsigned char)p[-1]);
		if (whole && (p[-1] == '[' || p[-1] == ',' || (p[-1] == ' ' && p[n] == '\n')))
			replace(text, (size_t)(p - text), n, by);
	}
}

static void damage(char *text)
{
	for (int64_t i = 1 + below(3); i > 0; i--)
		switch (below(8)) {
		case 0:
			change_byte(text);
			break;
		case 1:
			change_line(text);
			break;
		case 2:
		case 3:
			change_word(text);
			break;
		case 4:
		case 5:
			change_size(text);
			break;
		default:
			change_number(text);
		}
}

// ---- one text -----------------------------------------------------------------------------------

static int64_t product(const struct pnode *n)
{
	int64_t e = 1;
	for (int i = 0; i < n->rank; i++)
		if (__builtin_mul_overflow(e, n->dims[i].n > 1 ? n->dims[i].n : 1, &e))
			return INT64_MAX;
	return e;
}

// Whether running it takes little time and memory.
static bool is_small(const struct prog *g)
{
	double work = 0;
	for (int i = 0; i < g->n; i++) {
		double all = 1;
		for (int s = 0; s < g->nodes[i].nsrc; s++)
			all *=
			    g->nodes[i].op == OP_CONTRACT ? (double)product(&g->nodes[g->nodes[i].src[s]]) : 1;
		work += all + (double)product(&g->nodes[i]);
	}
	return work < 1e7;
}

static tgc_status run(tgc_program *p, void **out)
{
	const struct prog *g = &p->linear.prog;
	const void **in = calloc((size_t)p->ninputs + 1, sizeof *in);
	for (int i = 0; i < p->ninputs; i++)
		in[i] = calloc((size_t)product(&g->nodes[g->leaves[i].node]) + 1, 8);
	for (int i = 0; i < p->nouts; i++)
		out[i] = calloc((size_t)product(&g->nodes[g->outs[i].node]) + 1, 8);
	tgc_status s = tgc_program_run(p, in, out);
	for (int i = 0; i < p->ninputs; i++)
		free((void *)(uintptr_t)in[i]);
	free(in);
	return s;
}

static void try(tgc_context *c, const char *text, const struct saved *s, struct counts *n)
{
	n->mutants++;
	alarm(SECONDS);
	tgc_program *p = program_parse(c, text, s->data, s->data_bytes);
	if (p && is_small(&p->linear.prog)) {
		void **out = calloc((size_t)p->nouts + 1, sizeof *out);
		run(p, out);
		for (int i = 0; i < p->nouts; i++)
			free(out[i]);
		free(out);
		n->ran++;
	}
	alarm(0);
	n->taken += p != NULL;
	tgc_program_free(&p);
	tgc_clear_error(c);
}

// As many values as the leaves of the text ask for, so that it is not refused for that alone.
static void feed(const char *text, struct saved *s)
{
	size_t bytes = 0;
	for (const char *p = text; (p = strstr(p, "leaf ")); p += 5) {
		char cls[16], type[16];
		long long n = 0;
		if (sscanf(p, "leaf %*d %15s %15s %lld", cls, type, &n) != 3 || n < 0 || n > 1 << 16 ||
		    (strcmp(cls, "data") != 0 && strcmp(cls, "variable") != 0))
			continue;
		for (int t = 0; t < TGC_TYPE_COUNT; t++)
			bytes += strcmp(type, tgc_type_name((tgc_type)t))
			             ? 0
			             : (size_t)n * tgc_type_bytes((tgc_type)t);
	}
	if (bytes > s->data_bytes) {
		s->data = realloc(s->data, bytes + 1);
		memset(s->data + s->data_bytes, 0, bytes - s->data_bytes);
	}
	s->data_bytes = bytes;
}

static void keep(const struct options *o, const char *text)
{
	FILE *f = o->keep ? fopen(o->keep, "wb") : NULL;
	if (!f)
		return;
	fputs(text, f);
	fclose(f);
}

// ---- one program --------------------------------------------------------------------------------

static char *slurp(const char *path, size_t *n)
{
	FILE *f = fopen(path, "rb");
	char *p = calloc(1, TEXT_MAX * 2);
	*n = f && p ? fread(p, 1, TEXT_MAX * 2 - 1, f) : 0;
	if (f)
		fclose(f);
	return p;
}

static bool load_saved(const char *path, struct saved *s)
{
	struct program_head h;
	size_t n;
	char *all = slurp(path, &n);
	if (!all || n < sizeof h)
		return free(all), false;
	memcpy(&h, all, sizeof h);
	s->data_bytes = n - sizeof h - (size_t)h.text_bytes;
	s->text = strndup(all + sizeof h, (size_t)h.text_bytes);
	s->data = malloc(s->data_bytes + 1);
	memcpy(s->data, all + sizeof h + h.text_bytes, s->data_bytes);
	free(all);
	return true;
}

static bool same_bits(tgc_program *p, tgc_program *q)
{
	void *a[SK_OUTS] = {0}, *b[SK_OUTS] = {0};
	tgc_seed(p->ctx, 5);
	tgc_status s = run(p, a);
	tgc_seed(q->ctx, 5);
	bool ok = run(q, b) == s;
	for (int i = 0; i < p->nouts; i++) {
		const struct pnode *n = &p->linear.prog.nodes[p->linear.prog.outs[i].node];
		size_t bytes = (size_t)prog_elems(&p->linear.prog, p->linear.prog.outs[i].node) *
		               tgc_type_bytes((tgc_type)n->type);
		ok = ok && (s || memcmp(a[i], b[i], bytes) == 0);
		free(a[i]);
		free(b[i]);
	}
	return ok;
}

// Saved, loaded, run twice. false: it cannot be had.
static bool round_trip(tgc_context *c, uint64_t seed, const char *path, struct saved *s, struct counts *n)
{
	struct sketch g;
	bool raw = false;
	tgc_tensor *t[SK_NODES], *outs[SK_OUTS];
	gen_graph(&g, seed, &raw);
	tgc_scope_begin(c);
	sk_build(&g, c, t);
	for (int i = 0; i < g.nouts; i++)
		outs[i] = t[g.outs[i]];
	tgc_program *p = tgc_compile(c, 0, NULL, g.nouts, outs);
	bool ok = p && tgc_program_save(p, path) == TGC_OK && load_saved(path, s);
	tgc_program *q = ok ? tgc_program_load(c, path) : NULL;
	if (ok && (!q || !same_bits(p, q))) {
		n->failed++;
		printf("FAIL seed %llu: %s\n", (unsigned long long)seed,
		       q ? "other bits" : tgc_error_message(c));
	}
	n->programs += ok;
	tgc_program_free(&p);
	tgc_program_free(&q);
	tgc_scope_end(c);
	tgc_clear_error(c);
	return ok;
}

static void fuzz_one(tgc_context *c, const struct options *o, int64_t index, const char *path, struct counts *n)
{
	static char text[TEXT_MAX];
	struct saved s = {0};
	rng = (o->seed + (uint64_t)index) * 0x9e3779b97f4a7c15u + 1;
	if (!round_trip(c, o->seed + (uint64_t)index, path, &s, n))
		return;
	for (int64_t i = 0; i < o->mutants && strlen(s.text) < TEXT_MAX / 2; i++) {
		strcpy(text, s.text);
		damage(text);
		keep(o, text);
		feed(text, &s);
		try(c, text, &s, n);
	}
	free(s.text);
	free(s.data);
}

static bool parse(int argc, char **argv, struct options *o)
{
	for (int i = 1; i + 1 < argc; i += 2) {
		const char *value = argv[i + 1];
		if (strcmp(argv[i], "--programs") == 0)
			o->programs = strtoll(value, NULL, 10);
		else if (strcmp(argv[i], "--mutants") == 0)
			o->mutants = strtoll(value, NULL, 10);
		else if (strcmp(argv[i], "--seed") == 0)
			o->seed = strcmp(value, "fresh") == 0 ? (uint64_t)time(NULL) * 1000003
			                                      : strtoull(value, NULL, 10);
		else if (strcmp(argv[i], "--device") == 0)
			o->device = value;
		else if (strcmp(argv[i], "--keep") == 0)
			o->keep = value;
		else if (strcmp(argv[i], "--text") == 0)
			o->text = value;
		else
			return false;
	}
	return argc % 2 == 1;
}

static void run_text(tgc_context *c, const char *path)
{
	struct saved s = {0};
	struct counts n = {0};
	size_t bytes;
	char *text = slurp(path, &bytes);
	feed(text, &s);
	tgc_program *p = program_parse(c, text, s.data, s.data_bytes);
	printf("%s\n", p ? "taken" : tgc_error_message(c));
	tgc_program_free(&p);
	tgc_clear_error(c);
	try(c, text, &s, &n);
	free(text);
	free(s.data);
}

int main(int argc, char **argv)
{
	struct options o = {.seed = 1, .programs = 50, .mutants = 200, .device = "cpu"};
	struct counts n = {0};
	char path[] = "/tmp/tgc-fuzz-XXXXXX";
	int fd;
	if (!parse(argc, argv, &o)) {
		fprintf(stderr, "usage: fuzz_program [--programs N] [--mutants N] [--seed S|fresh] [--device D]"
		                " [--keep FILE] [--text FILE]\n");
		return 2;
	}
	tgc_context_options options = {
	    .struct_size = sizeof options, .device = o.device, .threads = 1, .memory_limit_bytes = 256 << 20};
	tgc_context *c = tgc_context_new(&options);
	if (tgc_error_status(c) || (fd = mkstemp(path)) < 0) {
		printf("no device %s\n", o.device);
		return 77;
	}
	close(fd);
	if (o.text)
		run_text(c, o.text);
	printf("seed %llu, device %s\n", (unsigned long long)o.seed, o.device);
	fflush(stdout);
	for (int64_t i = 0; i < o.programs && !o.text; i++)
		fuzz_one(c, &o, i, path, &n);
	printf("%lld programs saved and loaded, %lld failures; %lld mutants, %lld taken, %lld ran\n",
	       (long long)n.programs, (long long)n.failed, (long long)n.mutants, (long long)n.taken,
	       (long long)n.ran);
	unlink(path);
	tgc_context_free(&c);
	return n.failed > 0;
}
