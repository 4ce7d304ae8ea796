// One place after the other: what transformer_generic.cpp and so on compile, each for its own instruction set. See
// wavenet_product.h for what includers define, and transformer_product.h for how a matrix lies.
//
// Letters are those of transformer.h.
#pragma once

namespace speechvq {
namespace {

constexpr float EPSILON = 1e-5f;  // of the norms

struct Norm {
    const float *weight, *bias;
};

struct Block {
    Norm before, between;
    Layer look, bring, widen, narrow;
};

struct Net {
    TransformerShape shape;
    Block* blocks;  // (L)
    Norm last;
    Layer* leaves;
    char* memory;
};

// Hands out parts of one block of memory; without a block, counts what they take.
struct Cutter {
    char* block;
    int64_t taken = 0;
    template <class T>
    T* part(int64_t count) {
        T* pointer = block ? reinterpret_cast<T*>(block + taken) : nullptr;
        taken += (count * int64_t(sizeof(T)) + 63) / 64 * 64;
        return pointer;
    }
};

// Copies, in the order of a step, what a network's tensors hold; or counts, while the cutter has no block.
struct Packer {
    Net& net;
    Cutter& cutter;

    const float* copy(const float* from, int64_t count) {
        float* to = cutter.part<float>(count);
        if (to) std::memcpy(to, from, count * sizeof(float));
        return to;
    }

    Layer layer(const float* from, const float* bias, int64_t inputs, int64_t outputs) {
        float* to = cutter.part<float>(packed_size(inputs, outputs));
        if (to) pack_matrix(from, inputs, outputs, to);
        return {inputs, outputs, to, copy(bias, outputs)};
    }

    void all(const TransformerBlock* blocks, const TransformerLeave& leave) {
        const TransformerShape& s = net.shape;
        net.blocks = cutter.part<Block>(s.layers);
        net.leaves = cutter.part<Layer>(s.leaves);
        for (int64_t l = 0; l < s.layers; l++) {
            const TransformerBlock& from = blocks[l];
            Block made;
            made.before = {copy(from.before, s.width), copy(from.before_bias, s.width)};
            made.look = layer(from.look, from.look_bias, s.width, 3 * s.attention);
            made.bring = layer(from.bring, from.bring_bias, s.attention, s.width);
            made.between = {copy(from.between, s.width), copy(from.between_bias, s.width)};
            made.widen = layer(from.widen, from.widen_bias, s.width, s.wide);
            made.narrow = layer(from.narrow, from.narrow_bias, s.wide, s.width);
            if (net.blocks) net.blocks[l] = made;
        }
        if (s.leaves) net.last = {copy(leave.norm, s.width), copy(leave.norm_bias, s.width)};
        for (int64_t i = 0; i < s.leaves; i++) {
            const Layer made =
                layer(leave.weight + i * s.outputs * s.width, leave.bias + i * s.outputs, s.width, s.outputs);
            if (net.leaves) net.leaves[i] = made;
        }
    }
};

// out = (x - mean) / sqrt(variance + epsilon) weight + bias.
inline void normalise(const float* x, const Norm& norm, int64_t width, float* out) {
    Floats sum = splat(0), squares = splat(0);
    for (int64_t b = 0; b < width / LANES; b++) sum += at(x, b);
    const Floats mean = splat(total(sum) / width);
    for (int64_t b = 0; b < width / LANES; b++) {
        const Floats off = at(x, b) - mean;
        squares = multiply_add(off, off, squares);
    }
    const Floats scale = splat(1 / std::sqrt(total(squares) / width + EPSILON));
    for (int64_t b = 0; b < width / LANES; b++)
        put(out, b, multiply_add((at(x, b) - mean) * scale, at(norm.weight, b), at(norm.bias, b)));
}

// x (1 + erf(x / sqrt 2)) / 2, the error function as in Abramowitz and Stegun (1964), 7.1.26, to 1.5e-7.
inline void gelu(float* values, int64_t count) {
    for (int64_t b = 0; b * LANES < count; b++) {
        const Floats x = at(values, b), size = x < splat(0) ? -x : x, one = splat(1);
        const Floats t = one / multiply_add(size, splat(0.3275911f * 0.70710678f), one);
        Floats sum = splat(1.061405429f);
        sum = multiply_add(sum, t, splat(-1.453152027f));
        sum = multiply_add(sum, t, splat(1.421413741f));
        sum = multiply_add(sum, t, splat(-0.284496736f));
        sum = multiply_add(sum, t, splat(0.254829592f));
        const Floats tail = sum * t * power_of_two(at_least(x * x * splat(-0.5f * 1.44269504f), -126));
        // Below zero it is the tail alone that counts, which 1 - (1 - tail) would round away.
        put(values, b, x * splat(0.5f) * (x < splat(0) ? tail : splat(2) - tail));
    }
}

// Turns channels 2 i and 2 i + 1, as a complex number, by the i-th angle.
inline void rotate(float* head, const float* turn, int64_t channels) {
    for (int64_t i = 0; i < channels; i += 2) {
        const float a = head[i], b = head[i + 1];
        head[i] = a * turn[i] - b * turn[i + 1];
        head[i + 1] = a * turn[i + 1] + b * turn[i];
    }
}

struct Stepper {
    const Net& net;
    const TransformerStep& job;
    float *normal, *looks, *seen, *wide, *scores;

    bool start(Cutter& cutter) {
        const TransformerShape& s = net.shape;
        const int64_t R = job.rows;
        normal = cutter.part<float>(R * s.width);
        looks = cutter.part<float>(R * 3 * s.attention);
        seen = cutter.part<float>(R * s.attention);
        wide = cutter.part<float>(R * s.wide);
        scores = cutter.part<float>(job.place + 1 - job.first + 15);
        return cutter.block;
    }

    void normal_of(const Norm& norm) {
        const int64_t E = net.shape.width;
        for (int64_t r = 0; r < job.rows; r++) normalise(job.x + r * E, norm, E, normal + r * E);
    }

    // What one query sees of `keys` and `values`, (length, channels) each.
    void attend(const float* query, const float* keys, const float* values, int64_t channels, float* to) {
        const int64_t first = job.first, count = job.place + 1 - first, blocks = channels / LANES;
        float top = -INFINITY, sum = 0;
        for (int64_t t = 0; t < count; t++) {
            Floats dot = splat(0);
            for (int64_t b = 0; b < blocks; b++)
                dot = multiply_add(at(query, b), at(keys + (first + t) * channels, b), dot);
            scores[t] = total(dot);
            if (scores[t] > top) top = scores[t];
        }
        exponentials(scores, count, top, 1 / std::sqrt(float(channels)), -INFINITY, scores);
        for (int64_t t = 0; t < count; t++) sum += scores[t];
        for (int64_t b = 0; b < blocks; b++) {
            Floats mixed = splat(0);
            for (int64_t t = 0; t < count; t++)
                mixed = multiply_add(splat(scores[t]), at(values + (first + t) * channels, b), mixed);
            put(to, b, mixed / splat(sum));
        }
    }

    void look_around(float* kept) {
        const int64_t A = net.shape.attention, H = net.shape.heads, D = A / H;
        for (int64_t r = 0; r < job.rows; r++)
            for (int64_t h = 0; h < H; h++) {
                float* query = looks + r * 3 * A + h * D;
                float* keys = kept + ((r * 2 + 0) * H + h) * job.length * D;
                float* values = kept + ((r * 2 + 1) * H + h) * job.length * D;
                if (job.turn)
                    for (int64_t part = 0; part < 2; part++) rotate(query + part * A, job.turn, D);
                std::memcpy(keys + job.place * D, query + A, D * sizeof(float));
                std::memcpy(values + job.place * D, query + 2 * A, D * sizeof(float));
                attend(query, keys, values, D, seen + r * A + h * D);
            }
    }

    void all() {
        for (int64_t l = 0; l < net.shape.layers; l++) {
            const Block& block = net.blocks[l];
            normal_of(block.before);
            times(block.look, job.rows, normal, looks, false);
            look_around(job.kept[l]);
            times(block.bring, job.rows, seen, job.x, true);
            normal_of(block.between);
            times(block.widen, job.rows, normal, wide, false);
            gelu(wide, job.rows * net.shape.wide);
            times(block.narrow, job.rows, wide, job.x, true);
        }
        if (job.leave < 0) return;
        normal_of(net.last);
        times(net.leaves[job.leave], job.rows, normal, job.logits, false);
    }
};

void release(PackedTransformer* packed) {
    Net* net = reinterpret_cast<Net*>(packed);
    if (net) std::free(net->memory);
    std::free(net);
}

PackedTransformer* pack(const TransformerShape& shape, const TransformerBlock* blocks, const TransformerLeave& leave) {
    Net* net = static_cast<Net*>(std::calloc(1, sizeof(Net)));
    if (!net) return nullptr;
    net->shape = shape;
    Cutter count = {nullptr};
    Packer{*net, count}.all(blocks, leave);
    net->memory = static_cast<char*>(aligned(count.taken));
    Cutter cut = {net->memory};
    if (net->memory) {
        Packer{*net, cut}.all(blocks, leave);
        return reinterpret_cast<PackedTransformer*>(net);
    }
    std::free(net);
    return nullptr;
}

bool step(const PackedTransformer* packed, const TransformerStep& job) {
    Stepper stepper = {*reinterpret_cast<const Net*>(packed), job};
    Cutter count = {nullptr};
    stepper.start(count);
    Cutter cut = {static_cast<char*>(aligned(count.taken))};
    if (!stepper.start(cut)) return false;
    stepper.all();
    std::free(cut.block);
    return true;
}

}  // namespace
}  // namespace speechvq
