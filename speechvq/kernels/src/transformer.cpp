// The transformer for other languages: networks by handle. See transformer.h.
#include "transformer.h"

#include <cstring>
#include <initializer_list>

#define API extern "C" __attribute__((visibility("default")))

namespace speechvq {

static const TransformerKernel* const KERNELS[] = {&transformer_avx512, &transformer_avx2, &transformer_generic};

bool sensible(const TransformerShape& shape) {
    constexpr int64_t MOST = int64_t(1) << 20;
    for (int64_t width : {shape.layers + 1, shape.width, shape.attention, shape.heads, shape.wide, shape.leaves + 1,
                          shape.outputs + 1})
        if (width < 1 || width > MOST) return false;
    if (shape.attention % shape.heads) return false;
    for (int64_t width : {shape.width, shape.attention / shape.heads, shape.wide, shape.outputs})
        if (width % 16) return false;
    return true;
}

// The kernel called `asked`, or without a name, or with one that only others have, the fastest.
static const TransformerKernel* choose(const char* asked) {
    for (const TransformerKernel* kernel : KERNELS)
        if (kernel->usable() && (!asked || !std::strcmp(asked, "amx") || !std::strcmp(asked, kernel->name)))
            return kernel;
    return nullptr;
}

struct Transformer {
    const TransformerKernel* kernel;
    PackedTransformer* net;
};

}  // namespace speechvq

using namespace speechvq;

// Null when memory is out, or when the shape or the kernel is none.
API Transformer* speechvq_transformer_pack(const char* asked, const TransformerShape* shape,
                                           const TransformerBlock* blocks, const TransformerLeave* leave) {
    const TransformerKernel* kernel = choose(asked);
    if (!kernel || !sensible(*shape)) return nullptr;
    PackedTransformer* net = kernel->pack(*shape, blocks, *leave);
    return net ? new Transformer{kernel, net} : nullptr;
}

// 0, or 1 when memory is out.
API int speechvq_transformer_step(const Transformer* handle, const TransformerStep* step) {
    if (step->rows < 1) return 0;
    return handle->kernel->step(handle->net, *step) ? 0 : 1;
}

API void speechvq_transformer_release(Transformer* handle) {
    if (handle) handle->kernel->release(handle->net);
    delete handle;
}
