// Modules: layers with named parameters, and networks built of them.
// In:  sizes. Out: modules whose forward pass records operations; nothing runs here.
// Not here: training (optim.h), files (io.h).
#ifndef TGC_NN_H
#define TGC_NN_H

#include <tgc/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

// A module owns its parameters (variables, not bound to a scope) and its children, and names both: the weight
// of child "0" is "0.weight". Threads: as its context.
typedef struct tgc_module tgc_module;
typedef tgc_tensor *tgc_forward_fn(tgc_module *m, tgc_tensor *x, void *user);

// A module of the user's own. `user` is handed to forward; `name` is copied.
// Errors: NULL when out of memory, MEMORY is then recorded; so for every constructor below.
// Owner:  the caller, until it is added to another module; tgc_module_free frees children too.
TGC_API tgc_module *tgc_module_new(tgc_context *ctx, const char *name, tgc_forward_fn *forward, void *user);
TGC_API void tgc_module_free(tgc_module **m);
// Adds a parameter: `initial` becomes a variable, which is returned (in error if initial is).
TGC_API tgc_tensor *tgc_module_param(tgc_module *m, const char *name, tgc_tensor *initial);
// Adds a child, which now belongs to m. A NULL child is an ARG error. Returns child.
TGC_API tgc_module *tgc_module_add(tgc_module *m, const char *name, tgc_module *child);
TGC_API tgc_module *tgc_module_child(const tgc_module *m, int i); // NULL if there is no i-th child
TGC_API tgc_context *tgc_module_context(const tgc_module *m);

// Records the forward pass under the module's name. m NULL gives a tensor in error.
TGC_API tgc_tensor *tgc_forward(tgc_module *m, tgc_tensor *x);
// Training mode (dropout active); modules start with it. For children too.
TGC_API void tgc_set_training(tgc_module *m, bool training);
TGC_API bool tgc_is_training(const tgc_module *m);

// Every parameter below m, in order of construction; names as they stand in files.
TGC_API int tgc_params_count(const tgc_module *m);
TGC_API tgc_tensor *tgc_param(const tgc_module *m, int i);          // NULL if there is no i-th
TGC_API const char *tgc_param_name(const tgc_module *m, int i);     // NULL if there is no i-th

// Fully connected layer, y = x w^T + b. Shapes: x[...,in] -> [...,out], weight[out,in], bias[out].
// Both start uniform in +-1/sqrt(in), as in PyTorch.
TGC_API tgc_module *tgc_linear(tgc_context *ctx, int64_t in, int64_t out);
// Layers without parameters.
TGC_API tgc_module *tgc_relu_layer(tgc_context *ctx);
TGC_API tgc_module *tgc_gelu_layer(tgc_context *ctx);
TGC_API tgc_module *tgc_flatten_layer(tgc_context *ctx); // x[N,...] -> [N, rest]
TGC_API tgc_module *tgc_dropout_layer(tgc_context *ctx, double p); // the identity outside training
// Convolution with bias, cross-correlation. x[N,in,H,W], weight[out,in,size,size] -> [N,out,H',W'].
TGC_API tgc_module *tgc_conv2d_layer(tgc_context *ctx, int64_t in, int64_t out, int64_t size, int64_t stride,
                                     int64_t padding);
// One after the other; children are named "0", "1", ... The modules now belong to the result.
TGC_API tgc_module *tgc_sequential(tgc_context *ctx, int count, tgc_module *const *modules);
// Linear layers with ReLU between them: sizes 784, 512, 10 give 784-512-10.
TGC_API tgc_module *tgc_mlp(tgc_context *ctx, int count, const int64_t *sizes);

#ifdef __cplusplus
}
#endif
#endif
