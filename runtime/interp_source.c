// Iota and random bits for the oracle.
// Random: Philox4x32-10 of Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
#include "interp.h"

void interp_iota(struct interp *it, int32_t node)
{
	const struct pnode *n = &it->p->nodes[node];
	struct interp_value *out = &it->v[node];
	int64_t idx[32];

	for (int64_t i = 0; i < out->elems; i++) {
		interp_unravel(n->rank, n->dims, i, idx);
		if (out->f)
			out->f[i] = interp_int_to_float(out->type, TGC_I64, idx[n->attr[0]]);
		else
			out->i[i] = interp_wrap(out->type, idx[n->attr[0]]);
	}
}

static void philox(uint32_t c[4], uint32_t k0, uint32_t k1)
{
	for (int round = 0; round < 10; round++) {
		uint64_t p0 = UINT64_C(0xD2511F53) * c[0], p1 = UINT64_C(0xCD9E8D57) * c[2];
		uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;

		c[1] = (uint32_t)p1;
		c[3] = (uint32_t)p0;
		c[0] = n0;
		c[2] = n2;
		k0 += 0x9E3779B9;
		k1 += 0xBB67AE85;
	}
}

void interp_random(struct interp *it, int32_t node)
{
	const struct pnode *n = &it->p->nodes[node];
	struct interp_value *out = &it->v[node];
	uint64_t seed = (uint64_t)it->v[n->src[0]].i[0], base = (uint64_t)it->v[n->src[1]].i[0];

	for (int64_t i = 0; i < out->elems; i++) {
		uint64_t block = base + (uint64_t)i / 4;
		uint32_t c[4] = {(uint32_t)block, (uint32_t)(block >> 32), 0, 0};

		philox(c, (uint32_t)seed, (uint32_t)(seed >> 32));
		out->i[i] = c[i % 4];
	}
}
