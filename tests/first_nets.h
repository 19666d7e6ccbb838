// The networks of first_step.c.
#ifndef TG_FIRST_NETS_H
#define TG_FIRST_NETS_H

#include <tgc/tgc.h>

// A forward pass and its parameters, which are made where they are first met.
struct net {
	tgc_context *c;
	tgc_module *params;
	int at; // next parameter
};
typedef tgc_tensor *net_fn(struct net *n); // the loss of one batch of random data
net_fn *net_find(const char *name);        // mlp, cnn, resnet20, gpt_small; NULL: none of them

#endif
