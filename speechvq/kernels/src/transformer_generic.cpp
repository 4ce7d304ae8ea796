// The transformer for any processor.
#include "transformer_system.h"

#include "wavenet_128.h"
#include "wavenet_product.h"
#include "wavenet_gate.h"
#include "transformer_product.h"
#include "transformer_pack.h"
#include "transformer_core.h"

namespace speechvq {
namespace {
bool usable() { return true; }
}  // namespace

const TransformerKernel transformer_generic = {"generic", usable, pack, step, release};

}  // namespace speechvq
