// Threads for the length of one call. None outlive it, so that a program may fork whenever it likes.
#pragma once

#include <cstdint>
#include <functional>

namespace speechvq {

// How many of `asked` threads so many multiplications are worth: one for each millisecond or so.
int64_t useful_threads(double multiplications, int64_t asked);

// Does work(0) to work(threads - 1), each on its own thread while there are any to be had. `work` must
// throw nothing.
void in_parallel(int64_t threads, const std::function<void(int64_t)>& work);

}  // namespace speechvq
