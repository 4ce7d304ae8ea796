// See threads.h.
#include "threads.h"

#include <algorithm>
#include <thread>
#include <vector>

namespace speechvq {

constexpr double IN_A_MILLISECOND = 5e7;

int64_t useful_threads(double multiplications, int64_t asked) {
    const double worth = std::min(multiplications / IN_A_MILLISECOND, 1e6);
    return std::clamp<int64_t>(int64_t(worth), 1, std::max<int64_t>(asked, 1));
}

void in_parallel(int64_t threads, const std::function<void(int64_t)>& work) {
    std::vector<std::thread> others;
    int64_t started = 1;
    try {
        for (; started < threads; started++) others.emplace_back(work, started);
    } catch (...) {  // no more threads to be had: this one does their work too
    }
    work(0);
    for (int64_t t = started; t < threads; t++) work(t);
    for (std::thread& other : others) other.join();
}

}  // namespace speechvq
