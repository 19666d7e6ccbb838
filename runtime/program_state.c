// The variables and late scalars that a program hangs on.
// In:  a program. Out: their handles, as long as they live. A loaded program's own die with it.
// Not here: their values in a run (program.c).
#include "runtime.h"

struct search {
	int64_t id;
	tgc_tensor *found;
};

static void compare_id(tgc_tensor *t, void *user)
{
	struct search *s = user;
	if (t->scalar_id == s->id)
		s->found = t;
}

// The handle of a late scalar; NULL: nobody can set it.
tgc_tensor *program_scalar(const struct tgc_program *p, int leaf)
{
	if (leaf >= p->nheld || p->linear.prog.leaves[leaf].cls != LEAF_SCALAR || p->draws[leaf] ||
	    program_is_seed(p, leaf))
		return NULL;
	struct search s = {.id = p->linear.leaf_nodes[leaf]->attr[0]};
	handle_each(p->ctx, compare_id, &s);
	return s.found;
}

static tgc_tensor *variable(const struct tgc_program *p, int leaf)
{
	bool is = p->linear.prog.leaves[leaf].cls == LEAF_VARIABLE;
	return is ? node_variable(p->linear.leaf_nodes[leaf])->handle : NULL;
}

int tgc_program_variables_count(const tgc_program *p)
{
	int n = 0;
	for (int i = 0; p && i < p->nheld; i++)
		n += p->linear.prog.leaves[i].cls == LEAF_VARIABLE;
	return n;
}

tgc_tensor *tgc_program_variable(const tgc_program *p, int i)
{
	for (int leaf = 0; p && i >= 0 && leaf < p->nheld; leaf++)
		if (p->linear.prog.leaves[leaf].cls == LEAF_VARIABLE && i-- == 0)
			return variable(p, leaf);
	return NULL;
}

int tgc_program_scalars_count(const tgc_program *p)
{
	int n = 0;
	for (int i = 0; p && i < p->nheld; i++)
		n += program_scalar(p, i) != NULL;
	return n;
}

tgc_tensor *tgc_program_scalar(const tgc_program *p, int i)
{
	for (int leaf = 0; p && i >= 0 && leaf < p->nheld; leaf++) {
		tgc_tensor *t = program_scalar(p, leaf);
		if (t && i-- == 0)
			return t;
	}
	return NULL;
}

// Asked for anew: some may have been released before.
void program_release_state(struct tgc_program *p)
{
	for (int i = 0; i < p->nheld; i++) {
		bool is_variable = p->linear.prog.leaves[i].cls == LEAF_VARIABLE;
		tgc_release(is_variable ? variable(p, i) : program_scalar(p, i));
	}
}
