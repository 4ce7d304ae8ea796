// One sample after the other: what wavenet_generic.cpp, wavenet_avx2.cpp and so on compile, each for its own
// instruction set. See wavenet_product.h and wavenet_bytes.h for what includers define; they include these before
// this, and wavenet_tiles.h or wavenet_tileless.h.
//
// All that a sample needs of the past is known before it: the taps of a layer with dilation d even d samples
// before. So a span of samples takes its past taps at once from the layers that allow it, which reads their
// weights once for all of them.
//
// Letters: N rows (utterances), L layers, R, G, S, P, Q widths, filled up.
#pragma once

#include "wavenet_gate.h"
#include "wavenet_pack.h"
#include "wavenet_net.h"
#include "wavenet_dice.h"
#include "wavenet_guess.h"

namespace speechvq {
namespace {

constexpr int64_t SPAN = 32;       // rows x samples whose past taps are taken together: all that tiles have room for
constexpr int64_t WORTH = 4;       // samples for which that is worth while

// What is written while a part is decoded.
struct Desk {
    float *conditions;  // (N, L, 2 G)
    float *sums;        // (span, N, L, 2 G): conditions and past taps
    float *gates, *u;   // (N, 2 G), (N, L, G)
    float *h, *skip, *post, *logits;  // (N, R) and so on
    Dice dice;
    int64_t* where;                   // (L): the place in each ring
    uint16_t* paper;                  // of the tiles
    char* digits;                     // (span * N, up to whole tiles) rows
    const float** in;                 // (span * N)
    const float** init;
    float** out;
};

inline int64_t widest(const Net& net) {
    int64_t most = net.shape.layers * net.G;
    for (int64_t other : {net.R, net.S, net.P})
        if (other > most) most = other;
    return most;
}

void cut_desk(const Net& net, int64_t rows, int64_t span, Desk& desk, Cutter& cutter) {
    const int64_t L = net.shape.layers;
    cutter.part(desk.conditions, rows * L * 2 * net.G);
    cutter.part(desk.sums, span * rows * L * 2 * net.G);
    cutter.part(desk.gates, rows * 2 * net.G);
    cutter.part(desk.u, rows * L * net.G);
    cutter.part(desk.h, rows * net.R);
    cutter.part(desk.skip, rows * net.S);
    cutter.part(desk.post, rows * net.P);
    cutter.part(desk.logits, rows * net.Q);
    desk.dice.cut(net.Q, cutter);
    cutter.part(desk.where, L);
    cutter.part(desk.paper, 2 * 2 * 16 * whole_steps(widest(net)));
    if (net.storage == INT8) cutter.part(desk.digits, (span * rows + 15) / 16 * 16 * digits_bytes(widest(net)));
    cutter.part(desk.in, span * rows);
    cutter.part(desk.init, span * rows);
    cutter.part(desk.out, span * rows);
}

template <class Store>
struct Speaker {
    const Net& net;
    const WaveNetJob& job;  // of this part's rows
    const int64_t span, T;
    Desk desk;
    const bool tiles;

    void times(const Matrix& matrix, const Rows& rows) {
        if (net.storage == INT8) return times_bytes(matrix, rows);
        if (!tiles) return product<Store>(matrix, rows);
        // The paper's end of the last step must be zero whatever was longer before.
        for (int64_t i = 0; matrix.inputs % 32 && i < 2 * 2 * 16 * whole_steps(matrix.inputs); i++) desk.paper[i] = 0;
        tile_product(matrix, net.parts, rows, desk.paper);
    }

    void times_bytes(const Matrix& matrix, const Rows& rows) {
        for (int64_t r = 0; r < rows.count; r++)
            write_digits(rows.in[r], matrix.inputs, desk.digits + r * digits_bytes(matrix.inputs));
        if (byte_tiles_pay(rows.count)) return tile_byte_product(matrix, rows, desk.digits);
        byte_product(matrix, rows, desk.digits);
    }

    // out[n] = init[n] + bias + in[n] * matrix; rows lie `..._stride` floats apart.
    void multiply(const Matrix& matrix, const float* in, int64_t in_stride, const float* init, int64_t init_stride,
                  const float* bias, float* out, int64_t out_stride) {
        for (int64_t n = 0; n < job.rows; n++) {
            desk.in[n] = in + n * in_stride;
            desk.init[n] = init + n * init_stride;
            desk.out[n] = out + n * out_stride;
        }
        times(matrix, {job.rows, desk.in, init ? desk.init : nullptr, bias, desk.out});
    }

    void take_conditions(int64_t frame) {
        const int64_t L = net.shape.layers, G = net.shape.gate;
        for (int64_t n = 0; n < job.rows; n++)
            for (int64_t part = 0; part < 2 * L; part++)
                std::memcpy(desk.conditions + (n * 2 * L + part) * net.G,
                            job.conditions + ((n * job.frames + frame) * 2 * L + part) * G, G * sizeof(float));
    }

    // The sums of layer l for `count` samples of this span, the `first` of which is next, from the past alone.
    void listen_back(int64_t l, int64_t first, int64_t count) {
        const int64_t taps = net.shape.taps - 1, wide = 2 * net.G, all = net.shape.layers * wide;
        for (int64_t tap = 0; tap < taps; tap++) {
            int64_t slot = (desk.where[l] + tap * net.dilations[l]) % net.lengths[l], row = 0;
            for (int64_t j = first; j < first + count; j++, slot++) {
                if (slot == net.lengths[l]) slot = 0;
                for (int64_t n = 0; n < job.rows; n++, row++) {
                    desk.in[row] = job.past + (n * net.places + net.begins[l] + slot) * net.R;
                    desk.out[row] = desk.sums + (j * job.rows + n) * all + l * wide;
                    desk.init[row] = tap ? desk.out[row] : desk.conditions + n * all + l * wide;
                }
            }
            times(net.past[l * taps + tap], {row, desk.in, desk.init, nullptr, desk.out});
        }
    }

    void layer(int64_t l, int64_t j) {
        const int64_t L = net.shape.layers, wide = 2 * net.G;
        multiply(net.now[l], desk.h, net.R, desk.sums + (j * job.rows * L + l) * wide, L * wide, nullptr, desk.gates,
                 wide);
        for (int64_t n = 0; n < job.rows; n++) {
            const float* gates = desk.gates + n * wide;
            for (int64_t b = 0; b < net.G / LANES; b++)
                put(desk.u + (n * L + l) * net.G, b, gated(at(gates, b), at(gates + net.G, b)));
            float* slot = job.past + (n * net.places + net.begins[l] + desk.where[l]) * net.R;
            std::memcpy(slot, desk.h + n * net.R, net.R * sizeof(float));
        }
        if (l + 1 < L)
            multiply(net.residual[l], desk.u + l * net.G, L * net.G, desk.h, net.R, net.residual_bias + l * net.R,
                     desk.h, net.R);
        if (++desk.where[l] == net.lengths[l]) desk.where[l] = 0;
    }

    void leave() {
        multiply(net.skip, desk.u, net.shape.layers * net.G, nullptr, 0, net.skip_bias, desk.skip, net.S);
        rectify(desk.skip, job.rows * net.S);
        multiply(net.post, desk.skip, net.S, nullptr, 0, net.post_bias, desk.post, net.P);
        rectify(desk.post, job.rows * net.P);
        multiply(net.last, desk.post, net.P, nullptr, 0, net.last_bias, desk.logits, net.Q);
    }

    void say(int64_t t) {
        const int64_t draws = net.shape.mixtures ? 2 : 1;
        for (int64_t n = 0; n < job.rows; n++) {
            const float* logits = desk.logits + n * net.Q;
            const int64_t place = n * T + t;
            job.made[place] = desk.dice.draw(net.shape, job.drawing, logits, job.uniforms + place * draws);
            job.before[n] = job.forced ? job.forced[place] : job.made[place];
            if (job.logits)
                std::memcpy(job.logits + place * net.shape.outputs, logits, net.shape.outputs * sizeof(float));
        }
    }

    void all() {
        const int64_t L = net.shape.layers;
        for (int64_t l = 0; l < L; l++) desk.where[l] = job.time % net.lengths[l];
        for (int64_t frame = 0; frame < job.frames; frame++) {
            take_conditions(frame);
            for (int64_t begin = 0; begin < job.hop; begin += span) {
                const int64_t now = least(job.hop - begin, span);
                for (int64_t j = 0; j < now; j++) {
                    for (int64_t l = 0; l < L; l++) {
                        const int64_t together = net.dilations[l] < WORTH ? 1 : net.dilations[l];
                        if (j % together == 0) listen_back(l, j, least(together, now - j));
                    }
                    for (int64_t n = 0; n < job.rows; n++) enter(net, job.before[n], desk.h + n * net.R);
                    for (int64_t l = 0; l < L; l++) layer(l, j);
                    leave();
                    say(frame * job.hop + begin + j);
                }
            }
        }
    }
};

WaveNetStrides strides(const PackedWaveNet* packed, int64_t frames, int64_t hop) {
    const Net& net = *reinterpret_cast<const Net*>(packed);
    const WaveNetShape& s = net.shape;
    const int64_t T = frames * hop;
    return {frames * s.layers * 2 * s.gate, T * (s.mixtures ? 2 : 1), net.places * net.R, T, T * s.outputs};
}

bool decode(const PackedWaveNet* packed, const WaveNetJob& job) {
    const Net& net = *reinterpret_cast<const Net*>(packed);
    if (net.quick && job.rows == 1) return decode_guessing(net, job);
    const bool by_tiles = net.parts > 0 && tiles_pay(net.parts, job.rows);
    const int64_t span = SPAN / job.rows > 1 ? SPAN / job.rows : 1, T = job.frames * job.hop;
    Desk desk = {};
    Cutter count = {nullptr};
    cut_desk(net, job.rows, span, desk, count);
    char* block = static_cast<char*>(aligned(count.taken));
    if (!block) return false;
    std::memset(block, 0, count.taken);
    Cutter cut = {block};
    cut_desk(net, job.rows, span, desk, cut);
    const Tiles tiles(by_tiles || (TILES && net.storage == INT8));
    // Bytes are multiplied by none of the three.
    if (net.storage == FLOAT32 || net.storage == INT8) Speaker<Whole>{net, job, span, T, desk, by_tiles}.all();
    if (net.storage == FLOAT24) Speaker<Thirds>{net, job, span, T, desk, by_tiles}.all();
    if (net.storage == BFLOAT16) Speaker<Halves>{net, job, span, T, desk, by_tiles}.all();
    std::free(block);
    return true;
}

}  // namespace
}  // namespace speechvq
