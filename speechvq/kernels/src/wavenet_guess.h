// One utterance, several samples at a time, for wavenet_core.h: speculative decoding (Leviathan et al. 2023).
//
// Weights of half the width guess the next few samples one after the other; then the exact weights look at all the
// guesses at once, which reads them once, and what they draw counts, up to the first sample that was guessed
// wrong and with it. Both draw with the same noise, so the guesses are mostly right; and since a row of a product
// does not depend on its neighbours, what is said is in every bit what the exact weights say alone.
//
// Letters: K samples of a chunk; L, R, G, S, P, Q as in wavenet_core.h.
#pragma once

namespace speechvq {
namespace {

constexpr int64_t CHUNK = 16, BOLD = 12, SHY = 2;  // samples at a time: at most, and of guesses at most and at least

// What is written for a chunk.
struct Sheet {
    float *conditions;       // (L, 2 G)
    float *sums;             // (K, L, 2 G): conditions, and taps from before the chunk
    float *entered, *tried;  // (K, L, R): what entered each layer, and what did in guessing
    float *gates, *u;        // (K, 2 G), (K, L, G)
    float *h, *skip, *post, *logits;  // (K, R) and so on
    int64_t *levels, *where;          // (K + 1): the sample before each; (L): the place in each ring
    const float **in, **init;         // (K)
    float** out;
};

void cut_sheet(const Net& net, Sheet& sheet, Cutter& cutter) {
    const int64_t K = CHUNK, L = net.shape.layers;
    cutter.part(sheet.conditions, L * 2 * net.G);
    cutter.part(sheet.sums, K * L * 2 * net.G);
    cutter.part(sheet.entered, K * L * net.R);
    cutter.part(sheet.tried, K * L * net.R);
    cutter.part(sheet.gates, K * 2 * net.G);
    cutter.part(sheet.u, K * L * net.G);
    cutter.part(sheet.h, K * net.R);
    cutter.part(sheet.skip, K * net.S);
    cutter.part(sheet.post, K * net.P);
    cutter.part(sheet.logits, K * net.Q);
    cutter.part(sheet.levels, K + 1);
    cutter.part(sheet.where, L);
    cutter.part(sheet.in, K);
    cutter.part(sheet.init, K);
    cutter.part(sheet.out, K);
}

struct Guesser {
    const Net &net, &quick;  // the exact weights, and those that guess
    const WaveNetJob& job;   // of one row
    Sheet sheet;
    Dice dice;

    int64_t distance(int64_t l, int64_t tap) const { return (net.shape.taps - 1 - tap) * net.dilations[l]; }

    // The sums of the next `count` samples as far as they come from before the chunk.
    void listen_back(int64_t count) {
        const int64_t taps = net.shape.taps - 1, wide = 2 * net.G, all = net.shape.layers * wide;
        for (int64_t l = 0; l < net.shape.layers; l++)
            for (int64_t tap = 0; tap < taps; tap++) {
                int64_t rows = 0;
                for (; rows < least(count, distance(l, tap)); rows++) {
                    const int64_t slot = (sheet.where[l] + tap * net.dilations[l] + rows) % net.lengths[l];
                    sheet.in[rows] = job.past + (net.begins[l] + slot) * net.R;
                    sheet.out[rows] = sheet.sums + rows * all + l * wide;
                    sheet.init[rows] = tap ? sheet.out[rows] : sheet.conditions + l * wide;
                }
                product<Whole>(net.past[l * taps + tap], {rows, sheet.in, sheet.init, nullptr, sheet.out});
                for (; !tap && rows < count; rows++)
                    std::memcpy(sheet.sums + rows * all + l * wide, sheet.conditions + l * wide, wide * sizeof(float));
            }
    }

    // out = init + bias + in * matrix for the rows from `first` on, which lie `..._stride` floats apart.
    template <class Store>
    void multiply(const Matrix& matrix, int64_t first, int64_t count, const float* in, int64_t in_stride,
                  const float* init, int64_t init_stride, const float* bias, float* out, int64_t out_stride) {
        for (int64_t i = 0; i < count; i++) {
            sheet.in[i] = in + (first + i) * in_stride;
            sheet.init[i] = init ? init + (first + i) * init_stride : nullptr;
            sheet.out[i] = out + (first + i) * out_stride;
        }
        product<Store>(matrix, {count, sheet.in, init ? sheet.init : nullptr, bias, sheet.out});
    }

    // What the weights of `n` say about `count` samples from the `first` of the chunk on, when sheet.levels come
    // before them. `entered` holds what entered the layers before that, and gets what does now.
    template <class Store>
    void pass(const Net& n, float* entered, int64_t first, int64_t count) {
        const int64_t L = n.shape.layers, taps = n.shape.taps - 1, wide = 2 * n.G;
        for (int64_t j = first; j < first + count; j++) enter(n, sheet.levels[j], sheet.h + j * n.R);
        for (int64_t l = 0; l < L; l++) {
            float* sums = sheet.sums + l * wide;
            for (int64_t j = first; j < first + count; j++) {
                std::memcpy(sheet.gates + j * wide, sums + j * L * wide, wide * sizeof(float));
                std::memcpy(entered + (j * L + l) * n.R, sheet.h + j * n.R, n.R * sizeof(float));
            }
            for (int64_t tap = 0; tap < taps; tap++) {
                const int64_t back = distance(l, tap), from = back > first ? back : first;
                if (from < first + count)
                    multiply<Store>(n.past[l * taps + tap], from, first + count - from,
                                    entered + (l - back * L) * n.R, L * n.R, sheet.gates, wide, nullptr, sheet.gates,
                                    wide);
            }
            multiply<Store>(n.now[l], first, count, sheet.h, n.R, sheet.gates, wide, nullptr, sheet.gates, wide);
            for (int64_t j = first; j < first + count; j++)
                for (int64_t b = 0; b < n.G / LANES; b++)
                    put(sheet.u + (j * L + l) * n.G, b,
                        gated(at(sheet.gates + j * wide, b), at(sheet.gates + j * wide + n.G, b)));
            if (l + 1 < L)
                multiply<Store>(n.residual[l], first, count, sheet.u + l * n.G, L * n.G, sheet.h, n.R,
                                n.residual_bias + l * n.R, sheet.h, n.R);
        }
        multiply<Store>(n.skip, first, count, sheet.u, L * n.G, nullptr, 0, n.skip_bias, sheet.skip, n.S);
        rectify(sheet.skip + first * n.S, count * n.S);
        multiply<Store>(n.post, first, count, sheet.skip, n.S, nullptr, 0, n.post_bias, sheet.post, n.P);
        rectify(sheet.post + first * n.P, count * n.P);
        multiply<Store>(n.last, first, count, sheet.post, n.P, nullptr, 0, n.last_bias, sheet.logits, n.Q);
    }

    int64_t draw(int64_t j, int64_t t) {
        return dice.draw(net.shape, job.drawing, sheet.logits + j * net.Q,
                         job.uniforms + (t + j) * (net.shape.mixtures ? 2 : 1));
    }

    // The samples before each of the chunk that begins at t, as far as known or guessed.
    void guess(int64_t count, int64_t t) {
        sheet.levels[0] = *job.before;
        for (int64_t j = 0; j + 1 < count; j++) {
            if (!job.forced) pass<Halves>(quick, sheet.tried, j, 1);
            sheet.levels[j + 1] = job.forced ? job.forced[t + j] : draw(j, t);
        }
    }

    // Says at most `count` samples from t on, and how many.
    int64_t say(int64_t count, int64_t t) {
        listen_back(count);
        guess(count, t);
        pass<Whole>(net, sheet.entered, 0, count);
        int64_t said = 0;
        for (bool right = true; right && said < count; said++) {
            const int64_t drawn = draw(said, t);
            job.made[t + said] = drawn;
            *job.before = job.forced ? job.forced[t + said] : drawn;
            right = said + 1 < count && *job.before == sheet.levels[said + 1];
        }
        if (job.logits)
            for (int64_t j = 0; j < said; j++)
                std::memcpy(job.logits + (t + j) * net.shape.outputs, sheet.logits + j * net.Q,
                            net.shape.outputs * sizeof(float));
        return said;
    }

    // The rings take what entered in the first `said` samples of the chunk.
    void remember(int64_t said) {
        const int64_t L = net.shape.layers;
        for (int64_t l = 0; l < L; l++)
            for (int64_t j = 0; j < said; j++) {
                std::memcpy(job.past + (net.begins[l] + sheet.where[l]) * net.R, sheet.entered + (j * L + l) * net.R,
                            net.R * sizeof(float));
                if (++sheet.where[l] == net.lengths[l]) sheet.where[l] = 0;
            }
    }

    void all() {
        const int64_t L = net.shape.layers, G = net.shape.gate, T = job.frames * job.hop;
        for (int64_t l = 0; l < L; l++) sheet.where[l] = job.time % net.lengths[l];
        int64_t bold = job.forced ? CHUNK : BOLD;
        for (int64_t t = 0; t < T;) {
            // Conditions last to the end of the hop; what is left of it is taken in even parts.
            const int64_t left = job.hop - t % job.hop, parts = (left + bold - 1) / bold;
            const int64_t count = (left + parts - 1) / parts;
            if (left == job.hop)
                for (int64_t part = 0; part < 2 * L; part++)
                    std::memcpy(sheet.conditions + part * net.G,
                                job.conditions + (t / job.hop * 2 * L + part) * G, G * sizeof(float));
            const int64_t said = say(count, t);
            remember(said);
            t += said;
            if (said < count) bold = bold - 2 > SHY ? bold - 2 : SHY;
            if (said == count && bold < BOLD) bold++;
        }
    }
};

// What `decode` does, for one row of a network that has a quick one beside it.
bool decode_guessing(const Net& net, const WaveNetJob& job) {
    Guesser guesser = {net, *net.quick, job, {}, {}};
    Cutter count = {nullptr};
    cut_sheet(net, guesser.sheet, count);
    guesser.dice.cut(net.Q, count);
    char* block = static_cast<char*>(aligned(count.taken));
    if (!block) return false;
    std::memset(block, 0, count.taken);
    Cutter cut = {block};
    cut_sheet(net, guesser.sheet, cut);
    guesser.dice.cut(net.Q, cut);
    guesser.all();
    std::free(block);
    return true;
}

}  // namespace
}  // namespace speechvq
