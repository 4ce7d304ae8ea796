// The decoder for other languages: networks by handle, utterances shared out to threads. See wavenet.h.
#include "wavenet.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "threads.h"

#define API extern "C" __attribute__((visibility("default")))

namespace speechvq {

static const WaveNetKernel* const KERNELS[] = {&wavenet_amx, &wavenet_vnni, &wavenet_avx512, &wavenet_avx2,
                                               &wavenet_generic};

bool sensible(const WaveNetShape& shape) {
    constexpr int64_t MOST = int64_t(1) << 20;
    for (int64_t width : {shape.layers, shape.taps - 1, shape.residual, shape.gate, shape.skip, shape.post,
                          shape.outputs, shape.levels, shape.mixtures + 1})
        if (width < 1 || width > MOST) return false;
    const int64_t needed = shape.mixtures ? 3 * shape.mixtures : shape.levels;
    return needed == shape.outputs;
}

// The kernel called `asked`, or without a name the fastest; null if this machine has none such.
static const WaveNetKernel* choose(const char* asked) {
    for (const WaveNetKernel* kernel : KERNELS)
        if (kernel->usable() && (!asked || !std::strcmp(asked, kernel->name))) return kernel;
    return nullptr;
}

// Numbers too small for a usual float count as zero inside, where the processor would take its time for them.
class Flushing {
public:
#if defined(__SSE2__)
    Flushing() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
    ~Flushing() { _mm_setcsr(before_); }

private:
    unsigned before_;
#endif
};

constexpr int64_t MOST_ROWS = 32;  // decoded together: enough to make use of each weight that is read

struct Handle {
    const WaveNetKernel* kernel;
    PackedWaveNet* net;
};

// The rows from `first` on of a job.
static WaveNetJob part(const Handle& handle, const WaveNetJob& job, int64_t first, int64_t rows) {
    const WaveNetStrides strides = handle.kernel->strides(handle.net, job.frames, job.hop);
    WaveNetJob some = job;
    some.rows = rows;
    some.conditions += first * strides.conditions;
    some.uniforms += first * strides.uniforms;
    some.past += first * strides.past;
    some.before += first;
    some.made += first * strides.made;
    if (job.forced) some.forced += first * strides.made;
    if (job.logits) some.logits += first * strides.logits;
    return some;
}

// Shares the rows out evenly; true when all are done.
static bool decode_all(const Handle& handle, const WaveNetJob& job, int64_t asked) {
    const int64_t threads = std::clamp<int64_t>(asked, 1, job.rows);
    const int64_t parts = (job.rows + threads * MOST_ROWS - 1) / (threads * MOST_ROWS) * threads;
    std::atomic<int64_t> next{0};
    std::atomic<bool> good{true};
    in_parallel(threads, [&](int64_t) {
        const Flushing flushing;
        for (int64_t p; (p = next++) < parts && good;) {
            const int64_t first = job.rows * p / parts, rows = job.rows * (p + 1) / parts - first;
            if (rows && !handle.kernel->decode(handle.net, part(handle, job, first, rows))) good = false;
        }
    });
    return good;
}

}  // namespace speechvq

using namespace speechvq;

API const char* speechvq_wavenet_kernel(const char* asked) {
    const WaveNetKernel* kernel = choose(asked);
    return kernel ? kernel->name : nullptr;
}

// Null when memory is out, or when the shape or the kernel is none.
API Handle* speechvq_wavenet_pack(const char* asked, const WaveNetShape* shape, const WaveNetWeights* weights,
                                  int64_t storage) {
    const WaveNetKernel* kernel = choose(asked);
    if (!kernel || !sensible(*shape) || storage < FLOAT32 || storage > INT8) return nullptr;
    PackedWaveNet* net = kernel->pack(*shape, *weights, WaveNetStorage(storage));
    return net ? new Handle{kernel, net} : nullptr;
}

// 0, or 1 when memory is out.
API int speechvq_wavenet_decode(const Handle* handle, int64_t threads, const WaveNetJob* job) {
    if (job->rows < 1 || job->frames < 1 || job->hop < 1) return 0;
    return decode_all(*handle, *job, threads) ? 0 : 1;
}

API void speechvq_wavenet_release(Handle* handle) {
    if (handle) handle->kernel->release(handle->net);
    delete handle;
}
