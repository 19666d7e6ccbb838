// Reads the text form of a kernel.
// In:  any text. Out: the kernel as written, nothing folded or moved; or an error that names the line.
// Checked here: syntax, numbers in range, values in scope, enough for the other passes to be safe on it.
// Not here: types, bounds and levels (verify.c).
#include "codegen.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum { MAX_NESTING = 64, MAX_VALUES = 1 << 22, MAX_LIST = 1024 };

struct parser {
	const char *p;
	int line;
	struct kernel *k;
	char *error;
	int32_t *values; // instruction by printed number, -1: none
	int nvalues;
	int region, phase; // current; -1: none yet
	int open[MAX_NESTING];
	int nopen;
	int32_t *consts; // of this phase
	int nconsts, consts_cap;
};

static bool fail(struct parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool fail(struct parser *p, const char *fmt, ...)
{
	if (p->error)
		return false;
	struct text t = {0};
	char what[160];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	text_add(&t, "line %d: %s", p->line, what);
	p->error = text_take(&t);
	return false;
}

// ---- tokens

static void blanks(struct parser *p)
{
	while (*p->p == ' ' || *p->p == '\t' || *p->p == '\r')
		p->p++;
}

// Takes `word` if it stands here; a word of letters must end here.
static bool take(struct parser *p, const char *word)
{
	size_t n = strlen(word);
	blanks(p);
	if (strncmp(p->p, word, n) != 0)
		return false;
	char last = word[n - 1], next = p->p[n];
	bool letters = n > 1 && last >= 'a' && last <= 'z'; // b0 is a letter and a number
	if (letters && ((next >= 'a' && next <= 'z') || (next >= '0' && next <= '9')))
		return false;
	p->p += n;
	return true;
}

static bool expect(struct parser *p, const char *word)
{
	return take(p, word) || fail(p, "expected '%s'", word);
}

static bool name(struct parser *p, char *out, size_t cap)
{
	size_t n = 0;
	blanks(p);
	while ((*p->p >= 'a' && *p->p <= 'z') || (*p->p >= '0' && *p->p <= '9') || *p->p == '_') {
		if (n + 1 < cap)
			out[n++] = *p->p;
		p->p++;
	}
	out[n] = 0;
	return n > 0 || fail(p, "expected a name");
}

static bool integer(struct parser *p, int64_t lo, int64_t hi, int64_t *out)
{
	char *end;
	blanks(p);
	bool digit = (*p->p >= '0' && *p->p <= '9') || (*p->p == '-' && p->p[1] >= '0' && p->p[1] <= '9');
	errno = 0;
	long long v = digit ? strtoll(p->p, &end, 10) : 0;
	if (!digit || errno)
		return fail(p, "expected a number");
	if (v < lo || v > hi)
		return fail(p, "%lld is not in %lld..%lld", v, (long long)lo, (long long)hi);
	p->p = end;
	*out = v;
	return true;
}

static bool small(struct parser *p, const char *prefix, int n, int *out)
{
	int64_t v;
	if (!expect(p, prefix))
		return false;
	if (n <= 0)
		return fail(p, "there is no %s0", prefix);
	if (!integer(p, 0, n - 1, &v))
		return false;
	*out = (int)v;
	return true;
}

static int find_name(const char *word, const char *(*of)(int), int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(word, of(i)) == 0)
			return i;
	return -1;
}

static const char *type_name(int t)
{
	return tgc_type_name((tgc_type)t);
}

static bool type(struct parser *p, tgc_type *out)
{
	char word[16];
	if (!name(p, word, sizeof word))
		return false;
	int t = find_name(word, type_name, TGC_TYPE_COUNT);
	*out = (tgc_type)t;
	return t >= 0 || fail(p, "unknown type '%s'", word);
}

static void next_line(struct parser *p)
{
	while (*p->p == '\n' || *p->p == ' ' || *p->p == '\t') {
		p->line += *p->p == '\n';
		p->p++;
	}
}

static bool end_of_line(struct parser *p)
{
	blanks(p);
	if (*p->p && *p->p != '\n')
		return fail(p, "unexpected '%.*s'", (int)strcspn(p->p, " \n"), p->p);
	next_line(p);
	return true;
}

// ---- values

static bool memory(struct parser *p)
{
	return fail(p, "out of memory");
}

static int make_const(struct parser *p, tgc_type t, union number n)
{
	struct kernel *k = p->k;
	n = number_round(t, n);
	for (int i = 0; i < p->nconsts; i++) {
		const struct kinst *in = &k->insts[p->consts[i]];
		if (in->type == t && in->imm == n.i)
			return p->consts[i];
	}
	if (p->nconsts == p->consts_cap) {
		int cap = p->consts_cap * 2 + 32;
		int32_t *more = realloc(p->consts, sizeof *more * (size_t)cap);
		if (!more) {
			memory(p);
			return 0;
		}
		p->consts = more;
		p->consts_cap = cap;
	}
	int v = kernel_append(k, p->phase, K_CONST, t, 0, n.i, 0, NULL, NULL);
	p->consts[p->nconsts++] = v;
	return v;
}

static bool literal(struct parser *p, int *out)
{
	tgc_type t = TGC_I64;
	union number n = {.i = 0};
	char *end;
	blanks(p);
	bool plain = *p->p == '-' || (*p->p >= '0' && *p->p <= '9');
	if (!plain && (!type(p, &t) || !expect(p, ":")))
		return false;
	if (!type_is_float(t)) {
		if (!integer(p, INT64_MIN, INT64_MAX, &n.i))
			return false;
	} else if (take(p, "nan:")) {
		n.i = (int64_t)strtoull(p->p, &end, 16);
		if (end == p->p || !isnan(n.f))
			return fail(p, "expected the bits of a NaN");
		p->p = end;
	} else {
		n.f = strtod(p->p, &end);
		if (end == p->p)
			return fail(p, "expected a number");
		p->p = end;
	}
	*out = make_const(p, t, n);
	return !p->error;
}

static bool use(struct parser *p, int *out)
{
	int64_t n;
	if (!take(p, "%"))
		return literal(p, out);
	if (!integer(p, 0, MAX_VALUES, &n))
		return false;
	int v = n < p->nvalues ? p->values[n] : -1;
	if (v < 0)
		return fail(p, "unknown value %%%lld", (long long)n);
	if (!kernel_region_within(p->k, p->region, p->k->insts[v].region))
		return fail(p, "%%%lld is out of scope", (long long)n);
	*out = v;
	return true;
}

// Reads the %number of a definition; bind gives it its instruction.
static bool define(struct parser *p, int *number)
{
	int64_t n;
	if (!expect(p, "%") || !integer(p, 0, MAX_VALUES, &n))
		return false;
	if (n >= p->nvalues) {
		int cap = (int)n * 2 + 64;
		int32_t *more = realloc(p->values, sizeof *more * (size_t)cap);
		if (!more)
			return memory(p);
		memset(more + p->nvalues, 0xff, sizeof *more * (size_t)(cap - p->nvalues));
		p->values = more;
		p->nvalues = cap;
	}
	*number = (int)n;
	return p->values[n] < 0 || fail(p, "%%%lld is defined twice", (long long)n);
}

// ---- statements

static bool memory_tail(struct parser *p, int *src, int *n)
{
	int at = *n;
	src[at] = src[at + 1] = K_NONE;
	if (take(p, "if")) {
		if (!use(p, &src[at]))
			return false;
		*n = at + 1;
	}
	if (take(p, "segment")) {
		if (!use(p, &src[at + 1]))
			return false;
		*n = at + 2;
	}
	return true;
}

static bool store(struct parser *p)
{
	int buf, src[4], n = 2;
	if (!small(p, "b", p->k->nbufs, &buf) || !expect(p, "[") || !use(p, &src[0]) || !expect(p, "]") ||
	    !use(p, &src[1]) || !memory_tail(p, src, &n))
		return false;
	kernel_append(p->k, p->region, K_STORE, p->k->bufs[buf].type, buf, 0, n, src, NULL);
	return true;
}

static bool load(struct parser *p, int *out)
{
	int buf, src[3], n = 1;
	if (!small(p, "b", p->k->nbufs, &buf) || !expect(p, "[") || !use(p, &src[0]) || !expect(p, "]") ||
	    !memory_tail(p, src, &n))
		return false;
	*out = kernel_append(p->k, p->region, K_LOAD, p->k->bufs[buf].type, buf, 0, n, src, NULL);
	return true;
}

static bool affine(struct parser *p, int *out)
{
	int64_t imm, coef[KSUM_MAX];
	int src[KSUM_MAX], n = 0;
	if (!integer(p, INT64_MIN, INT64_MAX, &imm))
		return false;
	for (blanks(p); *p->p && *p->p != '\n'; blanks(p), n++) {
		if (n == KSUM_MAX)
			return fail(p, "more than %d terms", KSUM_MAX);
		if (!integer(p, INT64_MIN, INT64_MAX, &coef[n]) || !expect(p, "*") || !use(p, &src[n]))
			return false;
	}
	*out = kernel_append(p->k, p->region, K_AFFINE, TGC_I64, 0, imm, n, src, coef);
	return true;
}

static bool divide(struct parser *p, int op, int *out)
{
	int64_t c;
	int x;
	if (!use(p, &x) || !integer(p, 1, INT64_MAX, &c))
		return false;
	*out = kernel_append(p->k, p->region, op, TGC_I64, 0, c, 1, &x, NULL);
	return true;
}

static bool table(struct parser *p, int *out)
{
	int t, x;
	if (!small(p, "t", p->k->ntables, &t) || !expect(p, "[") || !use(p, &x) || !expect(p, "]"))
		return false;
	*out = kernel_append(p->k, p->region, K_TABLE, TGC_I64, t, 0, 1, &x, NULL);
	return true;
}

static bool scalar(struct parser *p, int *out)
{
	int s;
	if (!small(p, "s", p->k->nscalars, &s))
		return false;
	*out = kernel_append(p->k, p->region, K_SCALAR, p->k->scalar_types[s], s, 0, 0, NULL, NULL);
	return true;
}

static bool operation(struct parser *p, int *out)
{
	char word[24];
	tgc_type t;
	int src[3], n = 0;
	if (!name(p, word, sizeof word))
		return false;
	int op = op_find(word);
	if (op < 0 || !(op_is_elementwise(op) || op_info[op].cls == CLASS_KERNEL))
		return fail(p, "unknown operation '%s'", word);
	if (!type(p, &t))
		return false;
	do {
		if (n == 3)
			return fail(p, "more than three operands");
		if (!use(p, &src[n++]))
			return false;
	} while (take(p, ","));
	*out = kernel_append(p->k, p->region, op, t, 0, 0, n, src, NULL);
	return true;
}

static bool value(struct parser *p)
{
	int number, v = 0;
	if (!define(p, &number) || !expect(p, "="))
		return false;
	bool ok = take(p, "load")     ? load(p, &v)
	          : take(p, "affine") ? affine(p, &v)
	          : take(p, "idiv")   ? divide(p, K_IDIV, &v)
	          : take(p, "imod")   ? divide(p, K_IMOD, &v)
	          : take(p, "table")  ? table(p, &v)
	          : take(p, "scalar") ? scalar(p, &v)
	                              : operation(p, &v);
	if (ok)
		p->values[number] = v;
	return ok;
}

static bool combine_name(struct parser *p, uint8_t *out)
{
	char word[24];
	if (!name(p, word, sizeof word))
		return false;
	int op = strcmp(word, "none") == 0 ? 0 : op_find(word);
	*out = (uint8_t)op;
	return op == 0 || (op > 0 && op_info[op].cls == CLASS_BINARY) ||
	       fail(p, "cannot combine by '%s'", word);
}

static bool loop_begin(struct parser *p)
{
	char word[16];
	int index, lo, hi, n = 0, number[MAX_LIST], init[MAX_LIST];
	uint8_t combine[MAX_LIST];
	int64_t nest = 0;
	if (!name(p, word, sizeof word))
		return false;
	int kind = find_name(word, axis_name, AXIS_LANE + 1);
	if (kind < 0)
		return fail(p, "unknown axis '%s'", word);
	if (!define(p, &index) || !expect(p, "=") || !use(p, &lo) || !expect(p, "..") || !use(p, &hi))
		return false;
	if (take(p, "nest") && !integer(p, 1, INT32_MAX, &nest))
		return false;
	if (take(p, "carry")) {
		do {
			if (n == MAX_LIST)
				return fail(p, "too many carries");
			if (!define(p, &number[n]) || !expect(p, "=") || !use(p, &init[n]) ||
			    !combine_name(p, &combine[n]))
				return false;
			n++;
		} while (take(p, ","));
	}
	if (p->nopen == MAX_NESTING)
		return fail(p, "loops nest too deep");
	if (!expect(p, "{"))
		return false;
	int loop = kernel_loop_open(p->k, (enum axis_kind)kind, p->region, lo, hi, n, init, combine);
	if (p->k->arena.failed)
		return memory(p);
	p->open[p->nopen++] = loop;
	p->k->loops[loop].nest = (int32_t)nest;
	p->region = p->k->loops[loop].body;
	p->values[index] = p->k->loops[loop].index;
	for (int i = 0; i < n; i++)
		p->values[number[i]] = p->k->loops[loop].arg[i];
	return true;
}

static bool loop_end(struct parser *p)
{
	int next[MAX_LIST] = {0}, number;
	if (!p->nopen)
		return fail(p, "no loop is open");
	int loop = p->open[--p->nopen], n = p->k->loops[loop].ncarry;
	for (int i = 0; i < n; i++)
		if (!expect(p, i ? "," : "yield") || !use(p, &next[i]))
			return false;
	p->region = p->k->regions[p->region].parent;
	kernel_loop_close(p->k, loop, next);
	if (p->k->arena.failed)
		return memory(p);
	for (int i = 0; i < n; i++) {
		if (!expect(p, i ? "," : "->") || !define(p, &number))
			return false;
		p->values[number] = p->k->loops[loop].res[i];
	}
	return true;
}

static bool phase(struct parser *p)
{
	int64_t blocks;
	if (p->nopen)
		return fail(p, "a loop is still open");
	if (p->k->nphases == TG_COUNT(p->k->phases))
		return fail(p, "too many phases");
	if (!integer(p, 0, INT64_MAX, &blocks))
		return false;
	p->k->blocks[p->k->nphases] = blocks;
	p->k->beside[p->k->nphases] = take(p, "beside");
	p->phase = p->region = kernel_phase(p->k);
	p->nconsts = 0;
	return true;
}

static bool mma_slice(struct parser *p, int *buf, int *at)
{
	return small(p, "b", p->k->nbufs, buf) && expect(p, "[") && use(p, at) && expect(p, "]");
}

static bool mma(struct parser *p)
{
	int sums, at[2];
	int64_t rows, columns, depth, pitch[2], turned;
	struct kmma m;
	if (!small(p, "b", p->k->nbufs, &sums) || !expect(p, "+=") || !mma_slice(p, &m.a, &at[0]) ||
	    !expect(p, "*") || !mma_slice(p, &m.b, &at[1]) || !integer(p, 1, 15 * MMA_WARP, &rows) ||
	    !integer(p, 1, 15 * MMA_WARP, &columns) || !integer(p, 1, 15 * MMA_DEPTH, &depth) ||
	    !expect(p, "pitch") || !integer(p, 1, MMA_PITCH_MOST, &pitch[0]) ||
	    !integer(p, 1, MMA_PITCH_MOST, &pitch[1]) || !expect(p, "turned") || !integer(p, 0, 3, &turned))
		return false;
	m.rows = (int)rows;
	m.columns = (int)columns;
	m.depth = (int)depth;
	for (int side = 0; side < 2; side++) {
		m.pitch[side] = (int)pitch[side];
		m.terms_first[side] = turned >> side & 1;
	}
	kernel_append(p->k, p->region, K_MMA, TGC_F32, sums, kernel_mma_imm(&m), 2, at, NULL);
	return true;
}

static bool copy(struct parser *p)
{
	int64_t n;
	int to, from, src[4], nsrc = 2;
	if (!integer(p, 1, 16, &n) || !small(p, "b", p->k->nbufs, &to) || !expect(p, "[") || !use(p, &src[0]) ||
	    !expect(p, "]") || !small(p, "b", p->k->nbufs, &from) || !expect(p, "[") || !use(p, &src[1]) ||
	    !expect(p, "]") || !memory_tail(p, src, &nsrc))
		return false;
	kernel_append(p->k, p->region, K_COPY, p->k->bufs[to].type, to, (int64_t)from | n << 16, nsrc, src, NULL);
	return true;
}

static bool meet(struct parser *p, int op)
{
	int64_t groups = 0;
	if (op == K_WAIT && !integer(p, 0, 15, &groups))
		return false;
	kernel_append(p->k, p->region, op, TGC_I64, 0, groups, 0, NULL, NULL);
	return true;
}

static bool statement(struct parser *p)
{
	if (take(p, "phase"))
		return phase(p);
	if (p->phase < 0)
		return fail(p, "expected 'phase'");
	if (take(p, "for"))
		return loop_begin(p);
	if (take(p, "store"))
		return store(p);
	if (take(p, "mma"))
		return mma(p);
	if (take(p, "copy"))
		return copy(p);
	if (take(p, "commit"))
		return meet(p, K_COMMIT);
	if (take(p, "wait"))
		return meet(p, K_WAIT);
	if (take(p, "}"))
		return loop_end(p);
	return value(p);
}

// ---- the frame: buffers, scalars, tables

static bool buffer(struct parser *p)
{
	int64_t elems, offset = 0;
	tgc_type t;
	char word[16];
	if (!type(p, &t) || !integer(p, 0, INT64_MAX / 16, &elems) || !name(p, word, sizeof word))
		return false;
	int space = find_name(word, space_name, SPACE_LOCAL + 1);
	if (space < 0)
		return fail(p, "unknown space '%s'", word);
	if (take(p, "at") && !integer(p, 0, INT64_MAX / 16, &offset))
		return false;
	int b = kernel_buf(p->k, t, (enum space)space, elems);
	p->k->bufs[b].offset_bytes = offset;
	p->k->bufs[b].segmented = take(p, "segmented");
	return true;
}

static bool frame_table(struct parser *p)
{
	int n = 0, before = p->k->ntables;
	bool ok = true;
	int64_t *values = malloc(sizeof *values * (strcspn(p->p, "\n") / 2 + 1)); // a digit and a blank each
	if (!values)
		return memory(p);
	for (blanks(p); ok && *p->p && *p->p != '\n'; blanks(p))
		ok = integer(p, INT64_MIN, INT64_MAX, &values[n++]);
	if (ok)
		kernel_table(p->k, values, n);
	free(values);
	return ok && (p->k->ntables > before || fail(p, "a table repeats another"));
}

static bool frame_line(struct parser *p)
{
	char what = *p->p;
	int64_t i;
	tgc_type t;
	p->p++;
	int expected = what == 'b' ? p->k->nbufs : what == 's' ? p->k->nscalars : p->k->ntables;
	if (!integer(p, expected, expected, &i))
		return false;
	if (what == 'b')
		return buffer(p);
	if (what == 't')
		return frame_table(p);
	if (p->k->nscalars == TG_COUNT(p->k->scalar_types))
		return fail(p, "too many scalars");
	if (!type(p, &t))
		return false;
	kernel_scalar(p->k, t);
	return true;
}

static bool frame(struct parser *p)
{
	int64_t segs;
	next_line(p);
	if (!expect(p, "kernel") || !expect(p, "segments") || !integer(p, 0, 1 << 24, &segs) ||
	    !expect(p, "scratch") || !integer(p, 0, INT64_MAX / 16, &p->k->scratch_bytes) || !end_of_line(p))
		return false;
	p->k->nsegs = (int)segs;
	while ((*p->p == 'b' || *p->p == 's' || *p->p == 't') && p->p[1] >= '0' && p->p[1] <= '9')
		if (!frame_line(p) || !end_of_line(p))
			return false;
	return true;
}

static bool body(struct parser *p)
{
	while (*p->p)
		if (!statement(p) || !end_of_line(p))
			return false;
	if (p->nopen)
		return fail(p, "a loop is still open");
	return !p->k->arena.failed || memory(p);
}

struct kernel *kernel_parse(const char *text, char **error)
{
	struct parser p = {.p = text, .line = 1, .k = kernel_new(), .region = -1, .phase = -1};
	if (!p.k)
		memory(&p);
	else if (frame(&p) && body(&p))
		kernel_finish(p.k);
	free(p.values);
	free(p.consts);
	if (error)
		*error = p.error;
	else
		free(p.error);
	if (!p.error)
		return p.k;
	kernel_free(p.k);
	return NULL;
}
