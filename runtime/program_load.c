// A program out of a file that nobody vouches for.
// In:  a path. Out: a program with variables and late scalars of its own, or TRUNCATED, LIMIT, FORMAT.
// What a file claims is compared with its real length and with limits before anything is allocated for it; the
// program in it goes through the verifier and through the scheduler, as any other. Not here: saving
// (program_save.c).
#include "runtime.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static const char OP[] = "program_load";
static const int64_t TEXT_LIMIT = 64 << 20, DATA_LIMIT = (int64_t)1 << 42;
// Of one size or attribute, and of the bytes of one value: far from where index arithmetic wraps.
static const int64_t NUMBER_LIMIT = (int64_t)1 << 40, VALUE_LIMIT = (int64_t)1 << 46;

struct values { // of leaf values: a file or memory
	const char *path;
	int fd; // -1: memory
	const char *data;
	int64_t at, left;  // bytes
	XXH3_state_t *sum; // of what was read; NULL: nobody asks
};
struct load {
	struct tgc_context *c;
	struct tgc_program *p;
	struct values *from;
	uint8_t *kind; // by leaf, of scalars: enum program_scalar + 1
};

static bool fail(struct load *w, tgc_status s, const char *what)
{
	context_fail(w->c, s, OP, "%s: %s", w->from->path, what);
	return false;
}

static tgc_status read_at(struct tgc_context *c, const struct values *f, void *to, size_t n, int64_t at)
{
	for (size_t done = 0; done < n;) {
		ssize_t got = pread(f->fd, (char *)to + done, n - done, (off_t)(at + (int64_t)done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return context_fail(c, TGC_ERROR_IO, OP, "cannot read %s: %s", f->path,
			                    strerror(errno));
		if (got == 0)
			return context_fail(c, TGC_ERROR_TRUNCATED, OP,
			                    "%s ends at byte %lld, %zu more were expected", f->path,
			                    (long long)at + (long long)done, n - done);
		done += (size_t)got;
	}
	return TGC_OK;
}

// ---- text ---------------------------------------------------------------------------------------

static bool eat(const char **s, const char *word)
{
	size_t n = strlen(word);
	if (strncmp(*s, word, n) != 0)
		return false;
	*s += n;
	return true;
}

static bool number(const char **s, int64_t *v)
{
	char *end;
	errno = 0;
	*v = strtoll(*s, &end, 10);
	if (end == *s || isspace((unsigned char)**s) || errno)
		return false;
	*s = end;
	return true;
}

static bool count(const char **s, const char *word, int *n)
{
	int64_t v;
	if (!eat(s, word) || !number(s, &v) || v < 0 || v > INT16_MAX)
		return false;
	*n = (int)v;
	return true;
}

// Where the program's own text begins; NULL: what stands before it is wrong. Scalars are looked at once leaves
// are known.
static const char *parse_counts(struct load *w, const char **text)
{
	if (!count(text, "inputs ", &w->p->ninputs) || !count(text, " outputs ", &w->p->nouts) ||
	    !eat(text, "\n"))
		return NULL;
	return strncmp(*text, "program", 7) == 0 ? *text : strstr(*text, "\nprogram");
}

static bool parse_scalar(struct load *w, const char **text)
{
	struct linear *l = &w->p->linear;
	int64_t leaf, bits;
	int kind = 0;
	if (!eat(text, "scalar ") || !number(text, &leaf) || leaf < 0 || leaf >= l->prog.nleaves ||
	    l->prog.leaves[leaf].cls != LEAF_SCALAR || w->kind[leaf] || !eat(text, " "))
		return false;
	while (kind <= PROGRAM_FIXED && !eat(text, program_scalar_names[kind]))
		kind++;
	if (kind > PROGRAM_FIXED || !eat(text, " ") || !number(text, &bits) || !eat(text, "\n"))
		return false;
	w->kind[leaf] = (uint8_t)(kind + 1);
	l->leaf_values[leaf] = number_round((tgc_type)l->prog.leaves[leaf].type, (union number){.i = bits});
	return true;
}

// ---- what a sound program must be besides -------------------------------------------------------

static bool within(const struct pnode *n)
{
	int64_t bytes = (int64_t)tgc_type_bytes((tgc_type)n->type);
	for (int i = 0; i < n->rank; i++) {
		int64_t size = n->dims[i].n > 1 ? n->dims[i].n : 1;
		if (n->dims[i].n > NUMBER_LIMIT || bytes > VALUE_LIMIT / size)
			return false;
		bytes *= size;
	}
	for (int i = 0; i < n->nattr && n->op != OP_CONST; i++)
		if (n->attr[i] > NUMBER_LIMIT || n->attr[i] < -NUMBER_LIMIT)
			return false;
	return true;
}

static bool check_sizes(struct load *w)
{
	const struct prog *g = &w->p->linear.prog;
	for (int i = 0; i < g->n; i++)
		if (!within(&g->nodes[i]))
			return context_fail(w->c, TGC_ERROR_LIMIT, OP,
			                    "%s: operation %d is larger than a program may hold", w->from->path,
			                    i),
			       false;
	return true;
}

static bool check_leaves(struct load *w)
{
	const struct prog *g = &w->p->linear.prog;
	for (int i = 0; i < g->nleaves; i++) {
		const struct pleaf *f = &g->leaves[i];
		if ((f->cls == LEAF_INPUT) != (i < w->p->ninputs))
			return fail(w, TGC_ERROR_FORMAT, "inputs are not the first leaves");
		if (f->node < 0 && f->cls != LEAF_VARIABLE)
			return fail(w, TGC_ERROR_FORMAT, "a leaf that nothing reads");
		if (f->node >= 0 && g->nodes[f->node].rank > TGC_MAX_RANK)
			return fail(w, TGC_ERROR_FORMAT, "a leaf with too many axes");
		int op = f->node < 0 ? OP_VARIABLE : g->nodes[f->node].op;
		if (op != (f->cls == LEAF_VARIABLE ? OP_VARIABLE : f->cls == LEAF_SCALAR ? OP_SCALAR : OP_DATA))
			return fail(w, TGC_ERROR_FORMAT, "a leaf of another class than its operation");
	}
	return g->nleaves >= w->p->ninputs || fail(w, TGC_ERROR_FORMAT, "fewer leaves than inputs");
}

static bool check_outputs(struct load *w)
{
	const struct prog *g = &w->p->linear.prog;
	bool *assigned = ARENA_ARRAY(&w->p->arena, bool, g->nleaves + 1);
	if (!assigned)
		return fail(w, TGC_ERROR_MEMORY, "no memory");
	if (g->nouts < w->p->nouts)
		return fail(w, TGC_ERROR_FORMAT, "fewer outputs than it says");
	for (int i = 0; i < g->nouts; i++) {
		int to = g->outs[i].assign;
		if (g->nodes[g->outs[i].node].rank > TGC_MAX_RANK)
			return fail(w, TGC_ERROR_FORMAT, "an output with too many axes");
		if ((to >= 0) != (i >= w->p->nouts))
			return fail(w, TGC_ERROR_FORMAT,
			            "returned outputs come first, assigned ones behind them");
		if (to >= 0 && assigned[to])
			return fail(w, TGC_ERROR_FORMAT, "a variable that is assigned twice");
		if (to >= 0)
			assigned[to] = true;
	}
	for (int i = 0; i < g->nleaves; i++)
		if (g->leaves[i].node < 0 && !assigned[i])
			return fail(w, TGC_ERROR_FORMAT, "a variable that nothing uses");
	return true;
}

static bool parse(struct load *w, const char *text)
{
	struct linear *l = &w->p->linear;
	struct arena *a = &w->p->arena;
	const char *at = parse_counts(w, &text);
	char *error = NULL;
	if (!at)
		return fail(w, TGC_ERROR_FORMAT, "it does not begin as a program does");
	if (!prog_parse(&l->prog, a, &at, &error) || !check_sizes(w) || (error = prog_verify(&l->prog))) {
		if (error)
			fail(w, a->failed ? TGC_ERROR_MEMORY : TGC_ERROR_FORMAT, error);
		free(error);
		return false;
	}
	at += strspn(at, "\n");
	w->kind = ARENA_ARRAY(a, uint8_t, l->prog.nleaves + 1);
	l->leaf_values = ARENA_ARRAY(a, union number, l->prog.nleaves + 1);
	l->leaf_nodes = ARENA_ARRAY(a, struct node *, l->prog.nleaves + 1);
	if (a->failed)
		return fail(w, TGC_ERROR_MEMORY, "no memory");
	while (strncmp(text, "scalar", 6) == 0)
		if (!parse_scalar(w, &text))
			return fail(w, TGC_ERROR_FORMAT, "a scalar that the program has not");
	if (*at || strncmp(text, "program", 7) != 0)
		return fail(w, TGC_ERROR_FORMAT, "something that is no part of it");
	for (int i = 0; i < l->prog.nleaves; i++)
		if (l->prog.leaves[i].cls == LEAF_SCALAR && !w->kind[i])
			return fail(w, TGC_ERROR_FORMAT, "a scalar without a value");
	return check_leaves(w) && check_outputs(w);
}

// ---- leaves -------------------------------------------------------------------------------------

// The shape of a variable that is only assigned is that of what it is assigned.
static const struct pnode *shape_of(const struct prog *g, int leaf)
{
	int node = g->leaves[leaf].node;
	for (int i = 0; i < g->nouts && node < 0; i++)
		if (g->outs[i].assign == leaf)
			node = g->outs[i].node;
	return &g->nodes[node];
}

static struct node *data_node(struct tgc_context *c, const struct pnode *like, bool input)
{
	int64_t attr[2] = {node_new_id(c), input};
	struct dim dims[TGC_MAX_RANK];
	for (int i = 0; i < like->rank; i++)
		dims[i] = (struct dim){like->dims[i].n, 0};
	return node_new(c, OP_DATA, (tgc_type)like->type, like->rank, dims, 0, NULL, 2, attr);
}

static bool read_values(struct load *w, void *to, size_t bytes)
{
	struct values *f = w->from;
	if ((int64_t)bytes > f->left)
		return fail(w, TGC_ERROR_FORMAT, "more values in the program than behind it");
	if (f->fd < 0 && bytes)
		memcpy(to, f->data + f->at, bytes);
	else if (bytes && read_at(w->c, f, to, bytes, f->at))
		return false;
	if (f->sum && bytes)
		XXH3_128bits_update(f->sum, to, bytes);
	f->at += (int64_t)bytes;
	f->left -= (int64_t)bytes;
	return true;
}

static bool load_values(struct load *w, void *to, size_t bytes)
{
	if (!device_is_far(w->c))
		return read_values(w, to, bytes);
	void *near = malloc(bytes + 1);
	bool ok = near ? read_values(w, near, bytes) : fail(w, TGC_ERROR_MEMORY, "no memory");
	ok = ok && device_write(w->c, OP, to, near, bytes) == TGC_OK;
	free(near);
	return ok;
}

static struct node *load_data(struct load *w, const struct pnode *like, size_t bytes)
{
	if ((int64_t)bytes > w->from->left) // before there is memory for it
		return fail(w, TGC_ERROR_FORMAT, "more values in the program than behind it"), NULL;
	struct node *n = data_node(w->c, like, false);
	if (!n)
		return NULL;
	n->buf = device_alloc(w->c, OP, (int64_t)bytes);
	if (n->buf && load_values(w, n->buf->data, bytes))
		return n;
	node_unref(w->c, n);
	return NULL;
}

static struct node *load_variable(struct load *w, const struct pnode *like, size_t bytes)
{
	struct node *n = load_data(w, like, bytes);
	if (!n)
		return NULL;
	tgc_tensor *initial = handle_new(w->c, n);
	tgc_tensor *t = initial->node ? tgc_variable(initial) : initial;
	struct node *home = t->node ? node_ref(t->node) : NULL;
	tgc_release(initial);
	return home;
}

static struct node *load_scalar(struct load *w, int leaf)
{
	struct linear *l = &w->p->linear;
	if (w->kind[leaf] == PROGRAM_SEED + 1 && l->prog.leaves[leaf].type == TGC_U64)
		return node_ref(w->c->seed_node);
	struct node *n = scalar_node(w->c, (tgc_type)l->prog.leaves[leaf].type, 0, 0, l->leaf_values[leaf]);
	if (!n || w->kind[leaf] != PROGRAM_LATE + 1)
		return n;
	tgc_tensor *t = handle_new(w->c, n);
	if (!t->node)
		return NULL;
	t->scalar_id = n->attr[0];
	handle_keep(t);
	return node_ref(n);
}

static bool load_leaves(struct load *w)
{
	struct linear *l = &w->p->linear;
	for (int i = 0; i < l->prog.nleaves; i++) {
		const struct pleaf *f = &l->prog.leaves[i];
		const struct pnode *like = shape_of(&l->prog, i);
		size_t bytes = (size_t)f->elems * tgc_type_bytes((tgc_type)f->type);
		struct node *n = f->cls == LEAF_INPUT    ? data_node(w->c, like, true)
		                 : f->cls == LEAF_SCALAR ? load_scalar(w, i)
		                 : f->cls == LEAF_DATA   ? load_data(w, like, bytes)
		                                         : load_variable(w, like, bytes);
		if (!n)
			return fail(w, TGC_ERROR_MEMORY, "no memory");
		l->leaf_nodes[i] = n;
		w->p->nheld = i + 1;
		w->p->late |= f->cls == LEAF_SCALAR;
	}
	return w->from->left == 0 || fail(w, TGC_ERROR_FORMAT, "more values behind the program than in it");
}

// ---- the whole ----------------------------------------------------------------------------------

static bool load(struct load *w, const char *text)
{
	struct tgc_context *c = w->c;
	if (!parse(w, text))
		return false;
	if (!program_find_draws(w->p))
		return fail(w, TGC_ERROR_MEMORY, "no memory");
	if (!load_leaves(w))
		return false;
	if (device_of(c)->kind->interp)
		return true;
	w->p->entry = plans_make(c, &w->p->linear);
	return w->p->entry;
}

static struct tgc_program *load_from(struct tgc_context *c, const char *text, struct values *from)
{
	struct tgc_program *p = calloc(1, sizeof *p);
	struct load w = {.c = c, .p = p, .from = from};
	if (!p) {
		fail(&w, TGC_ERROR_MEMORY, "no memory");
		return NULL;
	}
	*p = (struct tgc_program){.ctx = c, .loaded = true};
	arena_init(&p->arena, &c->host);
	if (!load(&w, text))
		tgc_program_free(&p);
	return p;
}

struct tgc_program *program_parse(struct tgc_context *c, const char *text, const void *data, size_t data_bytes)
{
	struct values from = {.path = "memory", .fd = -1, .data = data, .left = (int64_t)data_bytes};
	return load_from(c, text, &from);
}

static int open_file(struct door *d, const char *path, int64_t *bytes)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		door_fail(d, TGC_ERROR_IO, "cannot open %s: %s", path, strerror(errno));
		return -1;
	}
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		*bytes = st.st_size;
		return fd;
	}
	door_fail(d, TGC_ERROR_IO, "%s is no regular file", path);
	close(fd);
	return -1;
}

static bool check_head(struct door *d, const char *path, const struct program_head *h, int64_t bytes)
{
	if (memcmp(h->magic, PROGRAM_MAGIC, sizeof h->magic) != 0)
		return door_fail(d, TGC_ERROR_FORMAT, "%s is no saved program of this version of tgc", path);
	if (h->text_bytes > (uint64_t)TEXT_LIMIT || h->data_bytes > (uint64_t)DATA_LIMIT)
		return door_fail(d, TGC_ERROR_LIMIT,
		                 "%s claims %llu and %llu bytes, at most %lld and %lld are read", path,
		                 (unsigned long long)h->text_bytes, (unsigned long long)h->data_bytes,
		                 (long long)TEXT_LIMIT, (long long)DATA_LIMIT);
	int64_t want = (int64_t)(sizeof *h + h->text_bytes + h->data_bytes);
	if (bytes != want)
		return door_fail(d, bytes < want ? TGC_ERROR_TRUNCATED : TGC_ERROR_FORMAT,
		                 "%s has %lld bytes, its header says %lld", path, (long long)bytes,
		                 (long long)want);
	return true;
}

static bool same_sum(const uint64_t want[2], XXH128_hash_t sum)
{
	return want[0] == sum.low64 && want[1] == sum.high64;
}

// NUL-terminated; NULL: an error is recorded.
static char *read_text(struct door *d, const struct values *f, const struct program_head *h)
{
	size_t n = (size_t)h->text_bytes;
	char *text = malloc(n + 1);
	if (!text)
		door_fail(d, TGC_ERROR_MEMORY, "no memory for %zu bytes", n);
	else if (read_at(d->c, f, text, n, sizeof *h) != TGC_OK)
		d->ok = false;
	else if (!same_sum(h->text_sum, XXH3_128bits(text, n)) || memchr(text, 0, n))
		door_fail(d, TGC_ERROR_FORMAT, "%s is damaged: its text has another checksum", f->path);
	if (text && d->ok) {
		text[n] = 0;
		return text;
	}
	free(text);
	return NULL;
}

static struct tgc_program *read_file(struct door *d, struct values *f, int64_t bytes)
{
	struct program_head h;
	struct tgc_program *p = NULL;
	if (bytes < (int64_t)sizeof h) {
		door_fail(d, TGC_ERROR_TRUNCATED, "%s has %lld bytes, its header %zu", f->path,
		          (long long)bytes, sizeof h);
		return NULL;
	}
	if (read_at(d->c, f, &h, sizeof h, 0) || !check_head(d, f->path, &h, bytes))
		return NULL;
	char *text = read_text(d, f, &h);
	f->at = (int64_t)(sizeof h + h.text_bytes);
	f->left = (int64_t)h.data_bytes;
	f->sum = XXH3_createState();
	if (text && f->sum) {
		XXH3_128bits_reset(f->sum);
		p = load_from(d->c, text, f);
	} else if (text) {
		door_fail(d, TGC_ERROR_MEMORY, "no memory");
	}
	if (p && !same_sum(h.data_sum, XXH3_128bits_digest(f->sum))) {
		door_fail(d, TGC_ERROR_FORMAT, "%s is damaged: its values have another checksum", f->path);
		tgc_program_free(&p);
	}
	XXH3_freeState(f->sum);
	free(text);
	return p;
}

tgc_program *tgc_program_load(tgc_context *ctx, const char *path)
{
	struct door d = door_open_context("program_load", DOOR_SITE, ctx);
	struct values f = {.path = path, .fd = -1};
	int64_t bytes = 0;
	if (d.ok && !path)
		door_fail(&d, TGC_ERROR_ARG, "path is NULL");
	if (d.ok && !device_check(ctx, d.op))
		f.fd = open_file(&d, path, &bytes);
	tgc_program *p = f.fd >= 0 ? read_file(&d, &f, bytes) : NULL;
	if (f.fd >= 0)
		close(f.fd);
	door_leave(&d);
	return p;
}
