// How a walk finds the codes of a tile of rows.
//
// Legend: V visits (depths).
#pragma once

#include <cstdint>

#include "books.h"

namespace speechvq {

class Search {
public:
    virtual ~Search() = default;
    // How many rows to give at most.
    virtual int64_t tile() const = 0;
    // The nearest code at depth v of each row of `from`, what is left of the rows of the tile that walk it.
    // `slots`: each row's number in the tile, the same at every depth; at depth 0 it is 0, 1, 2 ...
    virtual void find(int64_t v, const int64_t* slots, const float* from, int64_t stride, int64_t rows,
                      int64_t* found) = 0;
};

// Every depth for itself, by the kernel of the books.
class PlainSearch final : public Search {
public:
    explicit PlainSearch(const Books& books) : books_(books) {}
    int64_t tile() const override;
    void find(int64_t v, const int64_t* slots, const float* from, int64_t stride, int64_t rows,
              int64_t* found) override;

private:
    const Books& books_;
};

}  // namespace speechvq
