// Positions and elements for the oracle: row-major unravel and ravel, get, put, copy.
// Trusts the program; not here: what the operations do with them.
#include "interp.h"

void interp_unravel(int rank, const struct dim *d, int64_t at, int64_t *idx)
{
	for (int a = rank - 1; a >= 0; a--) {
		idx[a] = at % d[a].n;
		at /= d[a].n;
	}
}

int64_t interp_ravel(int rank, const struct dim *d, const int64_t *idx)
{
	int64_t at = 0;

	for (int a = 0; a < rank; a++) {
		assert(idx[a] >= 0 && idx[a] < d[a].n);
		at = at * d[a].n + idx[a];
	}
	return at;
}

struct fnum interp_get(const struct interp_value *v, int64_t at)
{
	if (v->f)
		return (struct fnum){v->f[at], v->bound[at], v->unsure[at] != 0};
	return (struct fnum){(double)v->i[at], 0, v->unsure[at] != 0};
}

void interp_put(struct interp_value *v, int64_t at, struct fnum x)
{
	v->f[at] = x.v;
	v->bound[at] = x.b;
	v->unsure[at] = x.unsure;
}

void interp_copy(struct interp_value *to, int64_t at, const struct interp_value *from, int64_t from_at)
{
	if (to->f) {
		to->f[at] = from->f[from_at];
		to->bound[at] = from->bound[from_at];
	} else {
		to->i[at] = from->i[from_at];
	}
	to->unsure[at] = from->unsure[from_at];
}
