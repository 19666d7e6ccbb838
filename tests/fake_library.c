// A shared library that is found but has not what is wanted.
// In, out: nothing. Not here: the fake driver (fake_cuda.c).
__attribute__((visibility("default"))) int tgfake_version(void);

int tgfake_version(void) { return 1; }
