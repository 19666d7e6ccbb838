// What an emulated kernel and the machine that runs it agree on. Plain C without includes.
#ifndef TG_EMU_ABI_H
#define TG_EMU_ABI_H

enum tg_mma { TG_MMA_F16, TG_MMA_BF16, TG_MMA_TF32 };
struct tg_machine {
	int thread, block; // that are running
	void *(*shared)(const void *key, long bytes, int line);
	void (*barrier)(int line);
	void (*warp_sync)(unsigned mask, int line);
	unsigned long long (*shuffle)(unsigned mask, unsigned long long bits, int from, int line);
	void (*copy)(void *to, const void *from, int bytes, int ok, int line);
	void (*copy_commit)(void);
	void (*copy_wait)(int groups);
	void (*ldmatrix)(unsigned *r, const void *row, int n, int transposed, int line);
	void (*mma)(float *c, const unsigned *a, const unsigned *b, int kind, int line);
	void (*misaligned)(const void *p, int bytes);
};

#endif
