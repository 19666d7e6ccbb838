// Modules: a tree with named parameters and a forward function a node.
// In:  constructors of layers.c and of users. Out: parameters in order, forward passes under their names.
// Not here: the layers themselves (layers.c).
#include "kit.h"

#include <stdlib.h>
#include <string.h>

struct param {
	char *name; // as in files, from the module it is asked of
	tgc_tensor *tensor;
};
struct child {
	char *name;
	tgc_module *module;
};
struct tgc_module {
	tgc_context *ctx;
	char *name;
	tgc_forward_fn *forward;
	void *user;
	bool training;
	struct param *params; // its own first, then its children's
	int nparams;
	struct child *children;
	int nchildren;
};

static char *join(const char *a, const char *b)
{
	size_t na = strlen(a), nb = strlen(b);
	char *s = malloc(na + nb + 2);
	if (!s)
		return NULL;
	memcpy(s, a, na);
	if (na)
		s[na++] = '.';
	memcpy(s + na, b, nb + 1);
	return s;
}

static tgc_module *no_memory(tgc_context *c)
{
	report(c, TGC_ERROR_MEMORY, "module", "no memory");
	return NULL;
}

tgc_module *tgc_module_new(tgc_context *c, const char *name, tgc_forward_fn *forward, void *user)
{
	if (!c || !name || !forward) {
		report(c, TGC_ERROR_ARG, "module", "name %s, forward %s", name ? name : "NULL",
		       forward ? "given" : "NULL");
		return NULL;
	}
	tgc_module *m = calloc(1, sizeof *m);
	if (!m)
		return no_memory(c);
	m->ctx = c;
	m->name = strdup(name);
	m->forward = forward;
	m->user = user;
	m->training = true;
	if (!m->name) {
		free(m);
		return no_memory(c);
	}
	return m;
}

void tgc_module_free(tgc_module **pm)
{
	if (!pm || !*pm)
		return;
	tgc_module *m = *pm;
	*pm = NULL;
	for (int i = 0; i < m->nparams; i++)
		free(m->params[i].name);
	for (int i = 0; i < m->nchildren; i++) {
		free(m->children[i].name);
		tgc_module_free(&m->children[i].module);
	}
	free(m->params);
	free(m->children);
	free(m->name);
	free(m);
}

static bool append(tgc_module *m, char *name, tgc_tensor *t)
{
	struct param *p = name ? realloc(m->params, sizeof *p * (size_t)(m->nparams + 1)) : NULL;
	if (!p) {
		free(name);
		no_memory(m->ctx);
		return false;
	}
	m->params = p;
	p[m->nparams++] = (struct param){name, t};
	return true;
}

tgc_tensor *tgc_module_param(tgc_module *m, const char *name, tgc_tensor *initial)
{
	if (!m)
		return tgc_error_tensor(NULL);
	tgc_tensor *v = tgc_variable(initial);
	if (tgc_is_error(v) || append(m, strdup(name), v))
		return v;
	return tgc_error_tensor(m->ctx);
}

tgc_module *tgc_module_add(tgc_module *m, const char *name, tgc_module *child)
{
	if (!m || !child) {
		if (m)
			report(m->ctx, TGC_ERROR_ARG, "module_add", "child \"%s\" is NULL", name);
		tgc_module_free(&child);
		return NULL;
	}
	struct child *list = realloc(m->children, sizeof *list * (size_t)(m->nchildren + 1));
	char *copy = strdup(name);
	if (list)
		m->children = list;
	if (!list || !copy) {
		free(copy);
		tgc_module_free(&child);
		return no_memory(m->ctx);
	}
	list[m->nchildren++] = (struct child){copy, child};
	for (int i = 0; i < child->nparams; i++)
		if (!append(m, join(name, child->params[i].name), child->params[i].tensor))
			return NULL;
	return child;
}

tgc_module *tgc_module_child(const tgc_module *m, int i)
{
	return m && i >= 0 && i < m->nchildren ? m->children[i].module : NULL;
}

tgc_context *tgc_module_context(const tgc_module *m) { return m ? m->ctx : NULL; }

tgc_tensor *tgc_forward(tgc_module *m, tgc_tensor *x)
{
	if (!m)
		return tgc_error_tensor(NULL);
	tgc_site_begin(m->ctx, __builtin_return_address(0));
	tgc_name_push(m->ctx, m->name);
	tgc_tensor *y = m->forward(m, x, m->user);
	tgc_name_pop(m->ctx);
	tgc_site_end(m->ctx);
	return y;
}

void tgc_set_training(tgc_module *m, bool training)
{
	if (!m)
		return;
	m->training = training;
	for (int i = 0; i < m->nchildren; i++)
		tgc_set_training(m->children[i].module, training);
}

bool tgc_is_training(const tgc_module *m) { return m && m->training; }

int tgc_params_count(const tgc_module *m) { return m ? m->nparams : 0; }

tgc_tensor *tgc_param(const tgc_module *m, int i)
{
	return m && i >= 0 && i < m->nparams ? m->params[i].tensor : NULL;
}

const char *tgc_param_name(const tgc_module *m, int i)
{
	return m && i >= 0 && i < m->nparams ? m->params[i].name : NULL;
}
