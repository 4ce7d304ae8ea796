// Makes and releases a packed network, for wavenet_core.h.
#pragma once

namespace speechvq {
namespace {

// Hands out parts of one block of memory; without a block, counts what they take.
struct Cutter {
    char* block;
    int64_t taken = 0;
    template <class T>
    void part(T*& pointer, int64_t count) {
        if (block) pointer = reinterpret_cast<T*>(block + taken);
        taken += (count * int64_t(sizeof(T)) + 63) / 64 * 64;
    }
};

void cut_rest(Net& net, Cutter& cutter) {
    const WaveNetShape& s = net.shape;
    cutter.part(net.dilations, s.layers);
    cutter.part(net.begins, s.layers);
    cutter.part(net.lengths, s.layers);
    cutter.part(net.past, s.layers * (s.taps - 1));
    cutter.part(net.now, s.layers);
    cutter.part(net.residual, s.layers);
    cutter.part(net.enter, (s.mixtures ? 2 : s.levels) * net.R);
    cutter.part(net.residual_bias, s.layers * net.R);
    cutter.part(net.skip_bias, net.S);
    cutter.part(net.post_bias, net.P);
    cutter.part(net.last_bias, net.Q);
}

// `bytes` of (inputs, outputs), of all matrices.
template <class Bytes>
int64_t total(const Net& net, Bytes bytes) {
    const WaveNetShape& s = net.shape;
    return s.layers * s.taps * bytes(net.R, 2 * net.G) + (s.layers - 1) * bytes(net.G, net.R) +
           bytes(s.layers * net.G, net.S) + bytes(net.S, net.P) + bytes(net.P, net.Q);
}

// The floats of the largest matrix.
int64_t sheet_floats(const Net& net) {
    int64_t most = net.shape.layers * net.G * net.S;
    for (int64_t other : {net.R * 2 * net.G, net.G * net.R, net.S * net.P, net.P * net.Q})
        if (other > most) most = other;
    return most;
}

void lay_rings(Net& net) {
    const WaveNetShape& s = net.shape;
    net.places = 0;
    for (int64_t l = 0; l < s.layers; l++) {
        net.dilations[l] = s.dilations[l];
        net.lengths[l] = (s.taps - 1) * s.dilations[l];
        net.begins[l] = net.places;
        net.places += net.lengths[l];
    }
    net.shape.dilations = net.dilations;
}

void release(PackedWaveNet* packed) {
    Net* net = reinterpret_cast<Net*>(packed);
    if (!net) return;
    release(reinterpret_cast<PackedWaveNet*>(net->quick));
    std::free(net->weights);
    std::free(net->tiles);
    std::free(net->rest);
    std::free(net);
}

// `batches`: whether it must serve more than one utterance.
Net* pack_one(const WaveNetShape& shape, const WaveNetWeights& weights, WaveNetStorage storage, bool batches) {
    Net* net = static_cast<Net*>(std::calloc(1, sizeof(Net)));
    if (!net) return nullptr;
    net->shape = shape;
    net->storage = storage;
    net->R = padded(shape.residual), net->G = padded(shape.gate), net->S = padded(shape.skip);
    net->P = padded(shape.post), net->Q = padded(shape.outputs);
    Cutter count = {nullptr};
    cut_rest(*net, count);
    net->rest = static_cast<char*>(aligned(count.taken));
    const bool in_tiles = TILES && batches && (storage == FLOAT24 || storage == BFLOAT16);
    net->parts = !in_tiles ? 0 : storage == FLOAT24 ? 2 : 1;
    const int64_t plain = total(*net, [&](int64_t k, int64_t m) { return matrix_bytes(storage, k, m); });
    const int64_t tiled = total(*net, [&](int64_t k, int64_t m) { return tile_bytes(k, m, net->parts); });
    net->weights = static_cast<char*>(aligned(plain + OVERRUN));
    net->tiles = net->parts ? static_cast<char*>(aligned(tiled)) : nullptr;
    float* sheet = static_cast<float*>(std::calloc(sheet_floats(*net), sizeof(float)));
    const bool enough = net->rest && net->weights && sheet && (net->tiles || !net->parts);
    if (enough) {
        std::memset(net->rest, 0, count.taken);
        Cutter cut = {net->rest};
        cut_rest(*net, cut);
        lay_rings(*net);
        Packer{*net, weights, sheet, net->weights, net->tiles}.all();
    }
    std::free(sheet);
    if (enough) return net;
    release(reinterpret_cast<PackedWaveNet*>(net));
    return nullptr;
}

PackedWaveNet* pack(const WaveNetShape& shape, const WaveNetWeights& weights, WaveNetStorage storage) {
    Net* net = pack_one(shape, weights, storage, true);
    if (net && storage == FLOAT32) {
        net->quick = pack_one(shape, weights, BFLOAT16, false);
        if (!net->quick) {
            release(reinterpret_cast<PackedWaveNet*>(net));
            net = nullptr;
        }
    }
    return reinterpret_cast<PackedWaveNet*>(net);
}

}  // namespace
}  // namespace speechvq
