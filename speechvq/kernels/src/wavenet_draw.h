// From what the network says about a sample to the sample. Compiled for any processor: it is little work, and
// what it takes from the standard library must not be compiled for a newer one.
#pragma once

#include <cstdint>

#include "wavenet.h"

namespace speechvq {

// The place of the largest of `count` values, the first of equals.
int64_t likeliest(const float* values, int64_t count);

// The k-th largest of `count` values; `room` holds as many.
float least_of_top(const float* values, int64_t count, int64_t k, float* room);

// Sets to zero what does not belong to the smallest set of likeliest that holds `top_p` of the sum.
void keep_nucleus(float* chances, int64_t count, double top_p, int64_t* room);

// The first place at which the running sum of `chances` exceeds `uniform` times the sum.
int64_t reach(const float* chances, int64_t count, double uniform);

// The level that `component` of a mixture gives, `outputs` being M logits, M means, M log scales.
int64_t logistic_level(const float* outputs, const WaveNetShape& shape, int64_t component, double uniform,
                       const Drawing& drawing);

}  // namespace speechvq
