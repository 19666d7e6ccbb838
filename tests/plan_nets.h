// Networks and their plans: what test_schedule.c and test_plan.c share.
#ifndef TG_PLAN_NETS_H
#define TG_PLAN_NETS_H

#include "check.h"
#include "runtime.h"

enum { NET_OUTS = 64 };
struct net {
	tgc_context *c;
	bool small;
	uint64_t seed;
	struct node *outs[NET_OUTS];
	struct variable *assign[NET_OUTS];
	int nouts;
};

// What networks are made of. Small ones have random data, large ones zeros: only their sizes matter.
int64_t net_pick(const struct net *n, int64_t large, int64_t small);
tgc_tensor *net_data(struct net *n, tgc_shape shape);
tgc_tensor *net_labels(struct net *n, int64_t count, int64_t below);
tgc_tensor *net_state(struct net *n, tgc_shape shape); // a variable
void net_out(struct net *n, tgc_tensor *t);
void net_store(struct net *n, tgc_tensor *var, tgc_tensor *t); // is computed and assigned

struct net_row {
	const char *name;
	void (*record)(struct net *n);
	int groups, copies; // of the large size
};
extern const struct net_row net_rows[];
extern const int net_rows_count;

struct net_plan {
	struct net n;
	struct arena arena;
	struct linear l;
	struct plan *p;
};
const struct target *net_target(void); // of all plans here
// record NULL: that of the row of that name.
void net_plan_build(struct net_plan *b, const char *name, void (*record)(struct net *n), bool small);
void net_plan_free(struct net_plan *b);
char *net_plan_text(const struct plan *p);                    // malloc'ed
void net_plan_check(const struct plan *p, const char *name); // fails the test unless the verifier takes it

#endif
