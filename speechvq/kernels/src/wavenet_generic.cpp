// The decoder for any processor.
#include "wavenet_system.h"

#include "wavenet_128.h"
#include "wavenet_dot.h"
#include "wavenet_product.h"
#include "wavenet_bytes.h"
#include "wavenet_tileless.h"
#include "wavenet_core.h"

namespace speechvq {
namespace {
bool usable() { return true; }
}  // namespace

const WaveNetKernel wavenet_generic = {"generic", usable, pack, strides, decode, release};

}  // namespace speechvq
