// Optimizers and their schedules.
// In:  a module's parameters and a loss. Out: assignments, run together with the loss as one plan.
// Not here: gradients themselves (run.h).
#ifndef TGC_OPTIM_H
#define TGC_OPTIM_H

#include <tgc/nn.h>
#include <tgc/run.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tgc_schedule {
	TGC_CONSTANT, // lr
	TGC_LINEAR,   // from lr at step 0 down to 0 at total_steps
	TGC_COSINE,   // half a cosine from lr down to 0 at total_steps
} tgc_schedule;

// Fields left 0 take their default. The rate and the step count are late scalars: they never recompile.
typedef struct tgc_optim_options {
	size_t struct_size TGC_ZERO;
	double lr TGC_ZERO;           // 1e-3 (Adam), 1e-2 (SGD)
	double beta1 TGC_ZERO, beta2 TGC_ZERO; // Adam: 0.9, 0.999
	double eps TGC_ZERO;          // Adam: 1e-8
	double weight_decay TGC_ZERO; // adamw: decoupled; sgd: added to the gradient
	double momentum TGC_ZERO;     // SGD
	tgc_schedule schedule TGC_ZERO;
	int64_t total_steps TGC_ZERO;  // of LINEAR and COSINE; 0 is an ARG error there
	int64_t warmup_steps TGC_ZERO; // linear from 0 to lr before the schedule
	// The loss is multiplied by so much before it is differentiated, and the gradients are divided by it: for f16, whose
	// small gradients would be 0 (tgc_autocast_begin). A step whose gradients overflow changes no parameter and halves
	// the scale; 2000 others double it. All of that is decided on the device. 65536 is a good start; 0: no scale.
	double loss_scale TGC_ZERO;
} tgc_optim_options;

typedef struct tgc_optim tgc_optim;

// Adam with decoupled weight decay (0 by default, which is plain Adam).
// Source: Kingma and Ba 2015; Loshchilov and Hutter 2019; update form as torch.optim.AdamW.
// Owner:  the caller; tgc_optim_free before the module is freed. NULL when out of memory or on bad options,
//         with the error recorded.
TGC_API tgc_optim *tgc_adamw_with(tgc_module *m, tgc_optim_options o);
#define tgc_adamw(m, ...) tgc_adamw_with(m, TGC_OPTIONS(tgc_optim_options, __VA_ARGS__))
// Stochastic gradient descent, with momentum as in torch.optim.SGD.
TGC_API tgc_optim *tgc_sgd_with(tgc_module *m, tgc_optim_options o);
#define tgc_sgd(m, ...) tgc_sgd_with(m, TGC_OPTIONS(tgc_optim_options, __VA_ARGS__))
TGC_API void tgc_optim_free(tgc_optim **o);

// Differentiates loss, assigns every parameter and runs it all, loss included, as one plan: tgc_item(loss)
// is free afterwards. On error no parameter is changed and the step does not count.
TGC_API tgc_status tgc_step(tgc_optim *o, tgc_tensor *loss);
// Rate of the next step, and steps done. Those that a loss scale left out count here, but not in Adam's corrections.
TGC_API double tgc_optim_rate(const tgc_optim *o);
TGC_API int64_t tgc_optim_steps(const tgc_optim *o);
// The loss scale, a variable f32[]; NULL without one. Owner: the optimizer.
TGC_API tgc_tensor *tgc_optim_loss_scale(const tgc_optim *o);

#ifdef __cplusplus
}
#endif
#endif
