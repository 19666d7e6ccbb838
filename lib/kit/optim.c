// Optimizers: gradients, update rules and assignments as one recorded step.
// In:  a module and a loss. Out: every parameter and its state assigned, run together with the loss.
// Not here: differentiation and fusing, which make one kernel of all updates; the loss scale (loss_scale.c).
#include "kit.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STATE = 2, MAX_RATES = 3 };

struct tgc_optim {
	tgc_module *module;
	tgc_context *ctx;
	tgc_optim_options o;
	int count;             // parameters
	tgc_tensor **params;   // [count]
	tgc_tensor **grads;    // [count], of the current step
	tgc_tensor **state;    // [count * nstate]
	tgc_tensor **updates;  // [count * (1 + nstate)]: the new parameter, then its state
	tgc_tensor *rates[MAX_RATES]; // late scalars
	tgc_tensor *rate[MAX_RATES];  // of the current step: these, or what Adam makes of the steps that were taken
	int nstate, nrates;
	struct loss_scale scale; // o.loss_scale > 0
	int64_t steps;
	void (*set_rates)(struct tgc_optim *o);
	void (*update)(struct tgc_optim *o, int i, tgc_tensor *p, tgc_tensor *g, tgc_tensor **s, tgc_tensor **out);
};

static const double PI = 3.14159265358979323846;

double tgc_optim_rate(const tgc_optim *o)
{
	if (!o)
		return NAN;
	double done = (double)o->steps, warm = (double)o->o.warmup_steps, total = (double)o->o.total_steps;
	if (done < warm)
		return o->o.lr * (done + 1) / warm;
	if (o->o.schedule == TGC_CONSTANT)
		return o->o.lr;
	double left = total > warm ? (total - done) / (total - warm) : 0;
	left = left < 0 ? 0 : left;
	return o->o.lr * (o->o.schedule == TGC_LINEAR ? left : 0.5 * (1 + cos(PI * (1 - left))));
}

int64_t tgc_optim_steps(const tgc_optim *o) { return o ? o->steps : 0; }

tgc_tensor *tgc_optim_loss_scale(const tgc_optim *o) { return o && o->o.loss_scale > 0 ? o->scale.state[0] : NULL; }

// Adam's bias corrections live in the rates: p -= rate0 * m / (sqrt(v) * rate1 + eps), p decayed by rate2.
static void adam_rates(tgc_optim *o)
{
	double t = (double)(o->steps + 1), lr = tgc_optim_rate(o);
	bool scaled = o->o.loss_scale > 0;
	tgc_set(o->rates[0], scaled ? lr : lr / (1 - pow(o->o.beta1, t)));
	tgc_set(o->rates[1], scaled ? 1 : 1 / sqrt(1 - pow(o->o.beta2, t)));
	if (o->nrates > 2)
		tgc_set(o->rates[2], 1 - lr * o->o.weight_decay);
	if (scaled) { // only the device knows t
		tgc_tensor *taken = o->scale.next[2], *one = tgc_maximum(taken, 1); // the first one may be left out
		o->rate[0] = tgc_div(o->rates[0], tgc_sub(1, tgc_exp(tgc_mul(one, log(o->o.beta1)))));
		o->rate[1] = tgc_div(o->rates[1], tgc_sqrt(tgc_sub(1, tgc_exp(tgc_mul(one, log(o->o.beta2))))));
	}
}

static void adam_update(tgc_optim *o, int i, tgc_tensor *p, tgc_tensor *g, tgc_tensor **s, tgc_tensor **out)
{
	(void)i;
	double b1 = o->o.beta1, b2 = o->o.beta2;
	tgc_tensor *m = tgc_add(tgc_mul(s[0], b1), tgc_mul(g, 1 - b1));
	tgc_tensor *v = tgc_add(tgc_mul(s[1], b2), tgc_mul(tgc_mul(g, g), 1 - b2));
	tgc_tensor *denom = tgc_add(tgc_mul(tgc_sqrt(v), o->rate[1]), o->o.eps);
	if (o->nrates > 2)
		p = tgc_mul(p, o->rate[2]);
	out[0] = tgc_sub(p, tgc_mul(tgc_div(m, denom), o->rate[0]));
	out[1] = m;
	out[2] = v;
}

static void sgd_rates(tgc_optim *o) { tgc_set(o->rates[0], tgc_optim_rate(o)); }

static void sgd_update(tgc_optim *o, int i, tgc_tensor *p, tgc_tensor *g, tgc_tensor **s, tgc_tensor **out)
{
	(void)i;
	if (o->o.weight_decay != 0)
		g = tgc_add(g, tgc_mul(p, o->o.weight_decay));
	if (o->nstate) {
		g = tgc_add(tgc_mul(s[0], o->o.momentum), g);
		out[1] = g;
	}
	out[0] = tgc_sub(p, tgc_mul(g, o->rate[0]));
}

static bool allocate(tgc_optim *o)
{
	size_t n = (size_t)(o->count ? o->count : 1), ns = (size_t)o->nstate;
	o->params = calloc(n, sizeof(tgc_tensor *));
	o->grads = calloc(n, sizeof(tgc_tensor *));
	o->state = calloc(n * (ns + 1), sizeof(tgc_tensor *));
	o->updates = calloc(n * (ns + 1), sizeof(tgc_tensor *));
	if (!o->params || !o->grads || !o->state || !o->updates)
		return false;
	for (int i = 0; i < o->count; i++) {
		tgc_tensor *p = o->params[i] = tgc_param(o->module, i);
		for (int k = 0; k < o->nstate; k++)
			o->state[i * o->nstate + k] =
			    tgc_variable(tgc_zeros(o->ctx, tgc_tensor_type(p), tgc_tensor_shape(p)));
	}
	for (int i = 0; i < o->nrates; i++)
		o->rate[i] = o->rates[i] = tgc_keep(tgc_scalar(o->ctx, 0));
	return o->o.loss_scale == 0 || loss_scale_open(&o->scale, o->ctx, o->o.loss_scale);
}

static const char *unfit(const tgc_optim_options *o)
{
	if (!(o->lr >= 0))
		return "lr must not be negative";
	if (!(o->beta1 >= 0 && o->beta1 < 1 && o->beta2 >= 0 && o->beta2 < 1))
		return "beta1 and beta2 must be in [0, 1)";
	if (o->schedule != TGC_CONSTANT && o->total_steps <= 0)
		return "a schedule needs total_steps";
	if (o->warmup_steps < 0 || !(o->weight_decay >= 0) || !(o->momentum >= 0))
		return "warmup_steps, weight_decay and momentum must not be negative";
	if (!(o->loss_scale >= 0 && o->loss_scale <= FLT_MAX))
		return "loss_scale must be a finite number, and not negative";
	return NULL;
}

static tgc_optim *create(tgc_module *m, const char *name, tgc_optim_options opt, int nstate, int nrates)
{
	tgc_context *c = tgc_module_context(m);
	const char *why = !m ? "the module is NULL" : unfit(&opt);
	if (why) {
		report(c, TGC_ERROR_ARG, name, "%s", why);
		return NULL;
	}
	tgc_optim *o = calloc(1, sizeof *o);
	if (o) {
		o->module = m;
		o->ctx = c;
		o->o = opt;
		o->count = tgc_params_count(m);
		o->nstate = nstate;
		o->nrates = nrates;
		if (allocate(o))
			return o;
		tgc_optim_free(&o);
	}
	report(c, TGC_ERROR_MEMORY, name, "no memory");
	return NULL;
}

tgc_optim *tgc_adamw_with(tgc_module *m, tgc_optim_options o)
{
	o.lr = o.lr == 0 ? 1e-3 : o.lr;
	o.beta1 = o.beta1 == 0 ? 0.9 : o.beta1;
	o.beta2 = o.beta2 == 0 ? 0.999 : o.beta2;
	o.eps = o.eps == 0 ? 1e-8 : o.eps;
	tgc_optim *opt = create(m, "adamw", o, 2, o.weight_decay == 0 ? 2 : 3);
	if (opt) {
		opt->set_rates = adam_rates;
		opt->update = adam_update;
	}
	return opt;
}

tgc_optim *tgc_sgd_with(tgc_module *m, tgc_optim_options o)
{
	o.lr = o.lr == 0 ? 1e-2 : o.lr;
	tgc_optim *opt = create(m, "sgd", o, o.momentum == 0 ? 0 : 1, 1);
	if (opt) {
		opt->set_rates = sgd_rates;
		opt->update = sgd_update;
	}
	return opt;
}

void tgc_optim_free(tgc_optim **po)
{
	if (!po || !*po)
		return;
	tgc_optim *o = *po;
	*po = NULL;
	for (int i = 0; o->state && i < o->count * o->nstate; i++)
		tgc_release(o->state[i]);
	for (int i = 0; i < o->nrates; i++)
		tgc_release(o->rates[i]);
	loss_scale_close(&o->scale);
	free(o->params);
	free(o->grads);
	free(o->state);
	free(o->updates);
	free(o);
}

// Records every update before the first assignment, so that a mistake leaves all variables as they were.
static bool record(tgc_optim *o, tgc_tensor *finite)
{
	int stride = o->nstate + 1;
	bool ok = true;
	for (int i = 0; i < o->count; i++) {
		tgc_tensor **out = o->updates + i * stride, **state = o->state + i * o->nstate;
		o->update(o, i, o->params[i], o->grads[i], state, out);
		for (int k = 0; k < stride; k++) {
			if (finite)
				out[k] = tgc_select(finite, out[k], k ? state[k - 1] : o->params[i]);
			ok = ok && !tgc_is_error(out[k]);
		}
	}
	return ok;
}

static tgc_status assign(tgc_optim *o)
{
	tgc_status s = o->o.loss_scale > 0 ? loss_scale_assign(&o->scale) : TGC_OK;
	int stride = o->nstate + 1;
	for (int i = 0; i < o->count && !s; i++) {
		s = tgc_assign(o->params[i], o->updates[i * stride]);
		for (int k = 0; k < o->nstate && !s; k++)
			s = tgc_assign(o->state[i * o->nstate + k], o->updates[i * stride + 1 + k]);
	}
	return s;
}

tgc_status tgc_step(tgc_optim *o, tgc_tensor *loss)
{
	if (!o)
		return TGC_ERROR_ARG;
	tgc_site_begin(o->ctx, __builtin_return_address(0));
	tgc_scope_begin(o->ctx);
	tgc_name_push(o->ctx, "step");
	bool scaled = o->o.loss_scale > 0;
	tgc_tensor *of = scaled ? tgc_mul(loss, tgc_cast(o->scale.state[0], tgc_tensor_type(loss))) : loss, *finite = NULL;
	tgc_status s = tgc_grad(of, o->count, o->params, o->grads);
	if (!s && scaled)
		finite = loss_scale_undo(&o->scale, o->count, o->grads);
	if (!s)
		o->set_rates(o);
	if (!s && !record(o, finite))
		s = tgc_error_status(o->ctx);
	if (!s)
		s = assign(o);
	if (!s)
		s = tgc_realize(loss);
	tgc_name_pop(o->ctx);
	tgc_scope_end(o->ctx);
	tgc_site_end(o->ctx);
	if (!s)
		o->steps++;
	return s;
}
