// What the threads of a warp do together, and copies that a thread waits for.
// In:  what each lane of the mask brings; the last one to come does the work for all. Out: every lane's part. A
// lane outside its own mask, a mask that names lanes which have ended or are not there, and lanes that meet
// with other masks, lines or operations end the launch. Fragments are laid out as PTX has them. Not here:
// scheduling (machine.c).
#include "emu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WARP = 32 };

static struct emu_fiber *lane(int base, int l)
{
	return base + l < emu_threads() ? emu_fiber(base + l) : NULL;
}

// ---- the work, for all lanes of the mask ---------------------------------------------------------------------------

static void exchange(int base, uint32_t mask)
{
	uint64_t out[WARP];
	for (int l = 0; l < WARP; l++) { // a lane that is not in the mask has nothing to give
		struct emu_fiber *f = mask >> l & 1 ? lane(base, l) : NULL;
		bool given = f && f->from >= 0 && f->from < WARP && mask >> f->from & 1;
		out[l] = given ? lane(base, f->from)->bits : ~0ull;
	}
	for (int l = 0; l < WARP; l++)
		if (mask >> l & 1)
			lane(base, l)->bits = out[l];
}

// Matrix j of 8 rows of 8 halves; row i's address comes from lane 8*j + i.
static void load_matrices(int base)
{
	int n = lane(base, 0)->n;
	for (int l = 0; l < WARP; l++) {
		struct emu_fiber *f = lane(base, l);
		for (int j = 0; j < n; j++) {
			uint16_t half[2];
			for (int k = 0; k < 2; k++) {
				int row = f->transposed ? l % 4 * 2 + k : l / 4,
				    col = f->transposed ? l / 4 : l % 4 * 2 + k;
				half[k] = ((const uint16_t *)lane(base, 8 * j + row)->row)[col];
			}
			f->r[j] = half[0] | (uint32_t)half[1] << 16;
		}
	}
}

static float value(int kind, uint32_t word, int half)
{
	uint32_t bits = kind == TG_MMA_TF32 ? word & ~0x1fffu : word >> 16 * half << 16;
	float f;
	if (kind == TG_MMA_F16) {
		uint32_t h = word >> 16 * half & 0xffff, e = h >> 10 & 31;
		float a = e == 31 ? (h & 1023 ? NAN : INFINITY)
		                  : ldexpf((float)(h & 1023) + (e ? 1024.0f : 0.0f), (int)(e ? e : 1) - 25);
		return h & 0x8000 ? -a : a;
	}
	memcpy(&f, &bits, sizeof f);
	return f;
}

// Row r of A and column c of B at depth k. 16-bit: k of 16, two a register; TF32: k of 8, one.
static float a_at(int base, int kind, int r, int k)
{
	bool narrow = kind != TG_MMA_TF32;
	int within = narrow ? k % 8 / 2 : k % 4, half = narrow ? k / 8 : k / 4;
	return value(kind, lane(base, r % 8 * 4 + within)->a[r / 8 + 2 * half], narrow ? k % 2 : 0);
}

static float b_at(int base, int kind, int c, int k)
{
	bool narrow = kind != TG_MMA_TF32;
	int within = narrow ? k % 8 / 2 : k % 4, half = narrow ? k / 8 : k / 4;
	return value(kind, lane(base, c * 4 + within)->b[half], narrow ? k % 2 : 0);
}

static void multiply(int base)
{
	int kind = lane(base, 0)->kind, depth = kind == TG_MMA_TF32 ? 8 : 16;
	float out[WARP][4];
	for (int l = 0; l < WARP; l++)
		for (int i = 0; i < 4; i++) {
			double sum = 0; // the tensor core's sums are wider than f32, in no order that is told
			for (int k = 0; k < depth; k++)
				sum += (double)a_at(base, kind, l / 4 + 8 * (i / 2), k) *
				       b_at(base, kind, l % 4 * 2 + i % 2, k);
			out[l][i] = (float)(sum + lane(base, l)->c[i]);
		}
	for (int l = 0; l < WARP; l++)
		memcpy(lane(base, l)->c, out[l], sizeof out[l]);
}

// ---- meeting -------------------------------------------------------------------------------------------------------

// True: all lanes of the mask are here.
static bool all_here(const struct emu_fiber *f, int base, int self, int line)
{
	bool all = true;
	for (int l = 0; l < WARP; l++) {
		const struct emu_fiber *o = lane(base, l);
		if (!(f->mask >> l & 1) || l == self)
			continue;
		if (!o || o->state == EMU_DONE)
			emu_fail("line %d: mask %08x names lane %d, which %s", line, f->mask, l,
			         o ? "has ended" : "is not there");
		if (o->state != EMU_AT_WARP) {
			all = false;
			continue;
		}
		if (o->mask != f->mask || o->line != line || o->together != f->together)
			emu_fail("divergent warp: line %d with mask %08x, while lane %d waits at line %d with "
			         "mask %08x",
			         line, f->mask, l, o->line, o->mask);
	}
	return all;
}

static void meet(struct emu_fiber *f, enum emu_together what, uint32_t mask, int line)
{
	int base = emu_machine.thread / WARP * WARP, self = emu_machine.thread - base;
	f->together = (uint8_t)what;
	f->mask = mask;
	if (!(mask >> self & 1))
		emu_fail("line %d: mask %08x does not name its own lane %d", line, mask, self);
	if (what >= EMU_LDMATRIX && mask != ~0u)
		emu_fail("line %d: a fragment needs the whole warp", line);
	if (!all_here(f, base, self, line)) {
		emu_wait(EMU_AT_WARP, line);
		return;
	}
	if (what == EMU_SHUFFLE)
		exchange(base, mask);
	else if (what == EMU_LDMATRIX)
		load_matrices(base);
	else if (what == EMU_MMA)
		multiply(base);
	for (int l = 0; l < WARP; l++)
		if (mask >> l & 1 && l != self)
			lane(base, l)->state = EMU_READY;
}

static struct emu_fiber *running(void)
{
	return emu_fiber(emu_machine.thread);
}

void emu_warp_sync(unsigned mask, int line)
{
	meet(running(), EMU_SYNC, mask, line);
}

unsigned long long emu_shuffle(unsigned mask, unsigned long long bits, int from, int line)
{
	struct emu_fiber *f = running();
	f->bits = bits;
	f->from = from;
	meet(f, EMU_SHUFFLE, mask, line);
	return f->bits;
}

void emu_ldmatrix(unsigned *r, const void *row, int n, int transposed, int line)
{
	struct emu_fiber *f = running();
	if ((uintptr_t)row & 15 && emu_machine.thread % WARP < 8 * n)
		emu_machine.misaligned(row, 16);
	f->r = r;
	f->row = row;
	f->n = n;
	f->transposed = transposed;
	meet(f, EMU_LDMATRIX, ~0u, line);
}

void emu_mma(float *c, const unsigned *a, const unsigned *b, int kind, int line)
{
	struct emu_fiber *f = running();
	f->c = c;
	f->a = a;
	f->b = b;
	f->kind = kind;
	meet(f, EMU_MMA, ~0u, line);
}

// ---- asynchronous copies -------------------------------------------------------------------------------------------

static void copy_now(const struct emu_copy *c)
{
	if (c->from)
		memcpy(c->to, c->from, (size_t)c->bytes);
	else
		memset(c->to, 0, (size_t)c->bytes);
}

void emu_copy(void *to, const void *from, int bytes, int ok, int line)
{
	struct emu_fiber *f = running();
	struct emu_copy copy = {to, ok ? from : NULL, bytes, f->group};
	uintptr_t last = (uintptr_t)bytes - 1;
	if ((uintptr_t)to & last || (ok && (uintptr_t)from & last))
		emu_machine.misaligned((uintptr_t)to & last ? to : from, bytes);
	if (!emu_deferred()) {
		copy_now(&copy);
		return;
	}
	if (f->ncopies == f->cap) {
		int cap = f->cap ? 2 * f->cap : 64;
		struct emu_copy *wide = realloc(f->copies, sizeof *wide * (size_t)cap);
		if (!wide)
			emu_fail("line %d: out of memory", line);
		f->copies = wide;
		f->cap = cap;
	}
	f->copies[f->ncopies++] = copy;
}

void emu_copy_commit(void)
{
	running()->group++;
}

// All but the last `groups` groups are there afterwards.
void emu_copy_wait(int groups)
{
	struct emu_fiber *f = running();
	int left = 0;
	for (int i = 0; i < f->ncopies; i++)
		if (f->copies[i].group + groups < f->group)
			copy_now(&f->copies[i]);
		else
			f->copies[left++] = f->copies[i];
	f->ncopies = left;
}
