// What the stand-ins for NVRTC and for the driver share.
#ifndef TG_FAKE_CUDA_H
#define TG_FAKE_CUDA_H

#include <stdint.h>

#define API __attribute__((visibility("default"))) int

// A "cubin": a library of this processor; beside each kernel stands NAME_nargs, how many parameters it has.
struct image {
	char magic[8];
	uint64_t bytes;
	char data[];
};

// Host code in the stream, or in the graph that is being captured: run(data) when its turn comes. Returns a driver's error.
enum { FAKE_CALL_BYTES = 512 };
int fake_cuda_enqueue(const char *name, void (*run)(const void *data), const void *data, unsigned long bytes);
void fake_cuda_pass(int ms); // that host code takes so long on the device's clock

#endif
