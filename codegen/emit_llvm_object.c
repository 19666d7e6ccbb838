// Kernels to object code.
// In:  a kernel and a target record. Out: an ELF object that needs nothing from outside, optionally the module
// and the assembly as text. Each call has its own LLVM context, so calls may run side by side.
// Not here: loading and running it (runtime/jit.c).
#include "emit_llvm.h"

#include <elf.h>
#include <llvm-c/Target.h>
#include <pthread.h>
#include <stdlib.h>

static const LLVMCodeGenOptLevel LEVEL = LLVMCodeGenLevelDefault;
static const LLVMRelocMode RELOC = LLVMRelocPIC;

// LLVM's registry of targets is process-wide and filled once.
static pthread_once_t targets_once = PTHREAD_ONCE_INIT;

static void register_targets(void)
{
	LLVMInitializeNativeTarget();
	LLVMInitializeNativeAsmPrinter();
}

static char *copied(char *message)
{
	char *s = message ? strdup(message) : NULL;
	LLVMDisposeMessage(message);
	return s;
}

// A record without features stands for the processor this runs on.
char *emit_cpu(const struct target *t)
{
	return t->features ? strdup(t->name) : copied(LLVMGetHostCPUName());
}

char *emit_features(const struct target *t)
{
	return t->features ? strdup(t->features) : copied(LLVMGetHostCPUFeatures());
}

char *emit_llvm_stamp(const struct target *t)
{
	unsigned version[3] = {0};
	char *triple = LLVMGetDefaultTargetTriple(), *cpu = emit_cpu(t), *features = emit_features(t);
	struct text s = {0};
	LLVMGetVersion(&version[0], &version[1], &version[2]);
	if (cpu && features)
		text_add(&s, "llvm %u.%u.%u level %d reloc %d\ncpu %s %s\nfeatures %s\n", version[0], version[1],
		         version[2], LEVEL, RELOC, triple, cpu, features);
	free(cpu);
	free(features);
	LLVMDisposeMessage(triple);
	return text_take(&s);
}

static char *machine_new(const struct target *t, LLVMTargetMachineRef *machine)
{
	char *triple = LLVMGetDefaultTargetTriple(), *message = NULL, *error = NULL;
	char *cpu = emit_cpu(t), *features = emit_features(t);
	LLVMTargetRef target;

	*machine = NULL;
	if (!cpu || !features)
		error = strdup("out of memory");
	else if (LLVMGetTargetFromTriple(triple, &target, &message))
		error = copied(message);
	else
		*machine = LLVMCreateTargetMachine(target, triple, cpu, features, LEVEL, RELOC,
		                                   LLVMCodeModelDefault);
	if (!error && !*machine)
		error = strdup("no LLVM target machine for this processor");
	free(cpu);
	free(features);
	LLVMDisposeMessage(triple);
	return error;
}

static char *emit_file(LLVMTargetMachineRef machine, LLVMModuleRef m, LLVMCodeGenFileType kind, void **data,
                       size_t *bytes)
{
	LLVMMemoryBufferRef b;
	char *message = NULL;

	if (LLVMTargetMachineEmitToMemoryBuffer(machine, m, kind, &message, &b))
		return copied(message);
	*bytes = LLVMGetBufferSize(b);
	*data = malloc(*bytes + 1);
	if (*data) {
		memcpy(*data, LLVMGetBufferStart(b), *bytes);
		((char *)*data)[*bytes] = 0;
	}
	LLVMDisposeMemoryBuffer(b);
	return *data ? NULL : strdup("out of memory");
}

static bool allowed(const char *symbol)
{
	return !*symbol || !strcmp(symbol, "memcpy") || !strcmp(symbol, "memset") || !strcmp(symbol, "memmove");
}

// A symbol that the object asks for and kernels may not call; NULL: none.
static const char *foreign_symbol(const void *object, size_t bytes)
{
	const char *base = object;
	const Elf64_Ehdr *h = object;

	if (bytes < sizeof *h || memcmp(h->e_ident, ELFMAG, SELFMAG))
		return NULL;
	const Elf64_Shdr *sections = (const Elf64_Shdr *)(base + h->e_shoff);
	for (int i = 0; i < h->e_shnum; i++) {
		if (sections[i].sh_type != SHT_SYMTAB)
			continue;
		const Elf64_Sym *symbols = (const Elf64_Sym *)(base + sections[i].sh_offset);
		const char *names = base + sections[sections[i].sh_link].sh_offset;
		for (size_t s = 1; s < sections[i].sh_size / sizeof *symbols; s++)
			if (symbols[s].st_shndx == SHN_UNDEF && !allowed(names + symbols[s].st_name))
				return names + symbols[s].st_name;
	}
	return NULL;
}

static char *check_symbols(const void *object, size_t bytes)
{
	const char *symbol = foreign_symbol(object, bytes);
	char *error = NULL;

	if (symbol && asprintf(&error, "generated code would call %s", symbol) < 0)
		error = NULL;
	return error;
}

// Code generation changes the module, so each output has its own copy.
static char *emit_assembly(LLVMTargetMachineRef machine, LLVMModuleRef m, char **text)
{
	LLVMModuleRef copy = LLVMCloneModule(m);
	void *data = NULL;
	size_t bytes;
	char *error = emit_file(machine, copy, LLVMAssemblyFile, &data, &bytes);

	LLVMDisposeModule(copy);
	*text = data;
	return error;
}

static char *generate(LLVMTargetMachineRef machine, LLVMModuleRef m, void **object, size_t *object_bytes,
                      char **llvm_text, char **asm_text)
{
	LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
	char *triple = LLVMGetTargetMachineTriple(machine), *error = NULL;

	LLVMSetModuleDataLayout(m, layout);
	LLVMSetTarget(m, triple);
	LLVMDisposeTargetData(layout);
	LLVMDisposeMessage(triple);
	if (llvm_text)
		*llvm_text = copied(LLVMPrintModuleToString(m));
	if (asm_text)
		error = emit_assembly(machine, m, asm_text);
	if (!error)
		error = emit_file(machine, m, LLVMObjectFile, object, object_bytes);
	return error ? error : check_symbols(*object, *object_bytes);
}

char *emit_llvm_object(const struct kernel *k, const struct target *t, const char *name, void **object,
                       size_t *object_bytes, char **llvm_text, char **asm_text)
{
	LLVMTargetMachineRef machine;
	void *module = NULL;

	*object = NULL;
	*object_bytes = 0;
	if (llvm_text)
		*llvm_text = NULL;
	if (asm_text)
		*asm_text = NULL;
	pthread_once(&targets_once, register_targets);
	char *error = machine_new(t, &machine);
	if (error)
		return error;
	LLVMContextRef c = LLVMContextCreate();
	error = emit_llvm(k, t, name, c, &module);
	if (!error) {
		error = generate(machine, module, object, object_bytes, llvm_text, asm_text);
		LLVMDisposeModule(module);
	}
	if (error) {
		free(*object);
		*object = NULL;
	}
	LLVMContextDispose(c);
	LLVMDisposeTargetMachine(machine);
	return error;
}

char *emit_llvm_module(void *module, const struct target *t, void **object, size_t *object_bytes)
{
	LLVMTargetMachineRef machine;

	*object = NULL;
	*object_bytes = 0;
	pthread_once(&targets_once, register_targets);
	char *error = machine_new(t, &machine);
	if (error)
		return error;
	error = generate(machine, module, object, object_bytes, NULL, NULL);
	if (error) {
		free(*object);
		*object = NULL;
	}
	LLVMDisposeTargetMachine(machine);
	return error;
}
