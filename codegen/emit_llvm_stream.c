// Stores past the caches.
// In:  buffers that a kernel only writes, in whole vectors, where it moves far more than the caches hold. Out:
// stores that do not read the line first; they need aligned places, which is asked once a call, as a caller's
// memory may lie anywhere. Before a function ends, what it stored so is made to precede whatever its thread
// stores next.
#include "emit_llvm.h"

void emit_streams(struct emit *e)
{
	const struct kernel *k = e->k;
	int width = e->t->vector_bytes;
	bool able = kernel_streams(k, e->t);
	e->streamed = false;
	for (int i = 0; i < k->nbufs; i++) {
		const struct kbuf *b = &k->bufs[i];
		e->streams[i] = NULL;
		if (!able || b->space != SPACE_GLOBAL || b->segmented || b->read || !b->written ||
		    b->elems * (int64_t)tgc_type_bytes((tgc_type)b->type) < e->t->l2_bytes)
			continue;
		LLVMValueRef at = LLVMBuildPtrToInt(e->b, e->bufs[i], e->i64, "");
		at = LLVMBuildAnd(e->b, at, emit_int(e, width - 1), "");
		e->streams[i] = LLVMBuildICmp(e->b, LLVMIntEQ, at, emit_int(e, 0), "");
	}
}

static bool whole_vectors(const struct eterm *t, int n, int64_t width)
{
	for (int i = 0; i < n; i++)
		if (t[i].coef % width)
			return false;
	return true;
}

LLVMValueRef emit_streams_to(const struct emit *e, int buf, const struct address *a, int64_t bytes)
{
	int64_t width = e->t->vector_bytes;
	bool whole = e->lanes * bytes == width && a->lane_step == 1 && !a->nlane && a->imm % width == 0 &&
	             whole_vectors(a->fixed, a->nfixed, width) && whole_vectors(a->unroll, a->nunroll, width);
	for (int i = 0; i < EMIT_AXES && whole; i++)
		whole = a->axis_step[i] % width == 0;
	return whole ? e->streams[buf] : NULL;
}

void emit_stream_store(struct emit *e, LLVMValueRef aligned, LLVMValueRef x, LLVMValueRef p, unsigned bytes)
{
	LLVMBasicBlockRef yes = LLVMAppendBasicBlockInContext(e->c, e->fn, "past"),
	                  no = LLVMAppendBasicBlockInContext(e->c, e->fn, "through"),
	                  done = LLVMAppendBasicBlockInContext(e->c, e->fn, "stored");
	LLVMMetadataRef one = LLVMValueAsMetadata(LLVMConstInt(e->i32, 1, 0));
	LLVMBuildCondBr(e->b, aligned, yes, no);
	LLVMPositionBuilderAtEnd(e->b, yes);
	LLVMValueRef store = LLVMBuildStore(e->b, x, p);
	LLVMSetAlignment(store, (unsigned)e->t->vector_bytes);
	LLVMSetMetadata(store, LLVMGetMDKindIDInContext(e->c, "nontemporal", 11),
	                LLVMMetadataAsValue(e->c, LLVMMDNodeInContext2(e->c, &one, 1)));
	LLVMBuildBr(e->b, done);
	LLVMPositionBuilderAtEnd(e->b, no);
	LLVMSetAlignment(LLVMBuildStore(e->b, x, p), bytes);
	LLVMBuildBr(e->b, done);
	LLVMPositionBuilderAtEnd(e->b, done);
	e->streamed = true;
}

void emit_streams_end(struct emit *e)
{
	if (e->streamed)
		emit_intrinsic(e, "llvm.x86.sse.sfence", 0, NULL, 0, NULL);
}
