// Makes a failing sketch small: fewer outputs, nodes turned into leaves, nodes bypassed, dead ones dropped.
// In: a sketch and what it means to fail. Out: a smaller one that fails. Not here: running it.
#include "fuzz.h"

struct shrinker {
	bool (*fails)(void *user, const struct sketch *s);
	void *user;
	int budget;
};

// Drops what no output needs and renumbers; false if the rest does not infer.
static bool compact(struct sketch *s)
{
	bool live[SK_NODES] = {false};
	int to[SK_NODES];
	struct sketch out = {.nouts = s->nouts};

	for (int i = 0; i < s->nouts; i++)
		live[s->outs[i]] = true;
	for (int i = s->n - 1; i >= 0; i--)
		for (int k = 0; live[i] && k < s->nodes[i].nsrc; k++)
			live[s->nodes[i].src[k]] = true;
	for (int i = 0; i < s->n; i++) {
		struct snode n = s->nodes[i];

		if (!live[i])
			continue;
		for (int k = 0; k < n.nsrc; k++)
			n.src[k] = to[n.src[k]];
		to[i] = sk_add(&out, n);
		if (to[i] < 0)
			return false;
		out.nodes[to[i]].mag = n.mag;
	}
	for (int i = 0; i < s->nouts; i++)
		out.outs[i] = to[s->outs[i]];
	*s = out;
	return true;
}

static bool attempt(struct shrinker *sh, struct sketch *s, struct sketch *candidate)
{
	if (sh->budget-- <= 0 || !compact(candidate) || !sh->fails(sh->user, candidate))
		return false;
	*s = *candidate;
	return true;
}

static bool drop_outputs(struct shrinker *sh, struct sketch *s)
{
	for (int i = 0; s->nouts > 1 && i < s->nouts; i++) {
		struct sketch c = *s;

		c.outs[i] = c.outs[--c.nouts];
		if (attempt(sh, s, &c))
			return true;
	}
	return false;
}

// An earlier node as the output instead.
static bool raise_output(struct shrinker *sh, struct sketch *s)
{
	for (int i = 0; s->nouts == 1 && i < s->outs[0]; i++) {
		struct sketch c = *s;

		if (s->nodes[i].op == OP_DATA || s->nodes[i].op == OP_CONST)
			continue;
		c.outs[0] = i;
		if (attempt(sh, s, &c))
			return true;
	}
	return false;
}

static bool make_leaf(struct shrinker *sh, struct sketch *s)
{
	for (int i = s->n - 1; i >= 0; i--) {
		struct sketch c = *s;
		struct snode *n = &c.nodes[i];
		bool is_float = interp_is_float(n->type);

		if (n->op == OP_DATA || n->op == OP_CONST || n->nsrc == 0)
			continue;
		*n = (struct snode){.op = OP_DATA,
		                    .type = n->type,
		                    .rank = n->rank,
		                    .lo = is_float ? -3 : 0,
		                    .hi = is_float ? 3 : 9,
		                    .seed = (uint64_t)i + 1,
		                    .mag = n->mag};
		memcpy(n->dims, s->nodes[i].dims, sizeof n->dims);
		if (attempt(sh, s, &c))
			return true;
	}
	return false;
}

static bool bypass(struct shrinker *sh, struct sketch *s)
{
	for (int i = s->n - 1; i >= 0; i--) {
		for (int k = 0; k < s->nodes[i].nsrc; k++) {
			struct sketch c = *s;

			for (int j = i + 1; j < c.n; j++)
				for (int m = 0; m < c.nodes[j].nsrc; m++)
					if (c.nodes[j].src[m] == i)
						c.nodes[j].src[m] = s->nodes[i].src[k];
			for (int j = 0; j < c.nouts; j++)
				if (c.outs[j] == i)
					c.outs[j] = s->nodes[i].src[k];
			if (attempt(sh, s, &c))
				return true;
		}
	}
	return false;
}

// Leaves with shorter axes, fewer surprises in their data, no state.
static bool simplify_leaves(struct shrinker *sh, struct sketch *s)
{
	for (int i = 0; i < s->n; i++) {
		if (s->nodes[i].op != OP_DATA)
			continue;
		for (int a = 0; a < s->nodes[i].rank; a++) {
			struct sketch c = *s;
			int64_t was = c.nodes[i].dims[a];

			for (int j = 0; j < c.n; j++) // leaves that must agree shrink together
				if (c.nodes[j].op == OP_DATA && a < c.nodes[j].rank &&
				    c.nodes[j].dims[a] == was)
					c.nodes[j].dims[a] = was / 2;
			if (was > 3 && attempt(sh, s, &c))
				return true;
		}
		if (s->nodes[i].special || s->nodes[i].leaf) {
			struct sketch c = *s;

			c.nodes[i].special = c.nodes[i].leaf = 0;
			if (attempt(sh, s, &c))
				return true;
		}
	}
	return false;
}

void shrink(struct sketch *s, bool (*fails)(void *user, const struct sketch *s), void *user)
{
	struct shrinker sh = {fails, user, 600};

	while (sh.budget > 0 && (drop_outputs(&sh, s) || raise_output(&sh, s) || make_leaf(&sh, s) ||
	                         bypass(&sh, s) || simplify_leaves(&sh, s)))
		;
}
