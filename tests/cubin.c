// Machine code of sm_90 by opcodes, without a disassembler.
// In:  an ELF file as NVRTC makes it. Out: counts of instructions, and of memory accesses by width.
// Instructions have 128 bits: the low 12 are the operation with the form of its operands, bits 73 to 75 the
// width of an access, bits 82 and 83 the type that HMMA multiplies. The numbers are what nvdisasm -hex shows beside the
// names. Not here: what there should be (test_cubin.c).
#include "cubin.h"

#include <stdint.h>
#include <string.h>

const char *const cubin_names[CUBIN_OPS] = {"LDG",    "STG",  "LDS",  "STS",  "LDL", "STL",
                                            "LDGSTS", "LDSM", "HMMA", "FFMA", "BAR"};

static const struct opcode {
	uint16_t code, mask;
	uint8_t op;
	bool access;
} opcodes[] = {
    {0x981, 0xfff, CUBIN_LDG, true},    {0x986, 0xfff, CUBIN_STG, true},   {0x984, 0xfff, CUBIN_LDS, true},
    {0x388, 0xfff, CUBIN_STS, true},    {0x983, 0xfff, CUBIN_LDL, true},   {0x387, 0xfff, CUBIN_STL, true},
    {0xfae, 0xfff, CUBIN_LDGSTS, true}, {0x83b, 0xfff, CUBIN_LDSM, false}, {0x23c, 0xfff, CUBIN_HMMA, false},
    {0x023, 0x1ff, CUBIN_FFMA, false}, // registers, constants, literals
    {0xb1d, 0xfff, CUBIN_BAR, false},
};

static uint64_t number(const unsigned char *p, int bytes)
{
	uint64_t v = 0;
	for (int i = bytes - 1; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

static void count(const unsigned char *inst, struct cubin_count *c)
{
	static const int8_t widths[8] = {0, 0, 1, 1, 2, 3, 4, -1}; // signed ones have numbers of their own
	uint64_t low = number(inst, 8), high = number(inst + 8, 8);
	c->instructions++;
	for (size_t i = 0; i < sizeof opcodes / sizeof *opcodes; i++) {
		const struct opcode *o = &opcodes[i];
		bool never = (low >> 12 & 15) == 15; // @!PT: it pads
		if ((low & o->mask) != o->code || never)
			continue;
		int width = widths[high >> 9 & 7];
		c->n[o->op]++;
		c->tf32 += o->op == CUBIN_HMMA && (high >> 18 & 3) == 2; // 0: f16, 1: bf16
		if (o->access && width >= 0)
			c->width[o->op][width]++;
	}
}

// A section's header: name, offset and bytes.
struct section {
	const char *name;
	uint64_t offset, bytes;
};

static bool section(const unsigned char *elf, size_t all, int i, uint64_t names, struct section *s)
{
	uint64_t table = number(elf + 0x28, 8), each = number(elf + 0x3a, 2), at = table + each * (uint64_t)i;
	if (each < 64 || at > all || all - at < each)
		return false;
	const unsigned char *h = elf + at;
	uint64_t name = names + number(h, 4);
	s->offset = number(h + 24, 8);
	s->bytes = number(h + 4, 4) == 8 ? 0 : number(h + 32, 8); // 8: it takes no place in the file
	if (s->offset > all || all - s->offset < s->bytes || name >= all || !memchr(elf + name, 0, all - name))
		return false;
	s->name = (const char *)elf + name;
	return true;
}

bool cubin_count(const void *cubin, size_t bytes, const char *function, struct cubin_count *c)
{
	static const char text[] = ".text.";
	const unsigned char *elf = cubin;
	struct section s, names;
	*c = (struct cubin_count){0};
	if (bytes < 64 || memcmp(elf, "\177ELF\2\1", 6) != 0 ||
	    !section(elf, bytes, (int)number(elf + 0x3e, 2), 0, &names))
		return false;
	for (int i = 0; i < (int)number(elf + 0x3c, 2); i++) {
		if (!section(elf, bytes, i, names.offset, &s))
			return false;
		if (strncmp(s.name, text, sizeof text - 1) != 0 ||
		    strcmp(s.name + sizeof text - 1, function) != 0)
			continue;
		for (uint64_t at = 0; at + 16 <= s.bytes; at += 16)
			count(elf + s.offset + at, c);
		return true;
	}
	return false;
}
