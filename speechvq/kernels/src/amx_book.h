// A packed codebook: made once, coarse; its finer level when rows need it.
#pragma once

namespace speechvq {
namespace {

constexpr int64_t FEW = 16;  // rows that are scanned before a fine level is made for more

inline void release_book(Book* book) {
    if (!book) return;
    release_level(book->coarse), release_level(book->fine.load());
    std::free(book->middle);
    delete book;
}

// About the mean of the codes, from some of them. Any point is right; this one makes the bounds small, which
// the caller's (on a coarse grid, for the sake of kernels that round) would not.
inline void choose_middle(Book& book) {
    constexpr int64_t SOME = 512;
    const int64_t apart = book.K > SOME ? book.K / SOME : 1, count = (book.K + apart - 1) / apart;
    for (int64_t d = 0; d < book.D; d++) book.middle[d] = 0;
    for (int64_t k = 0; k < book.K; k += apart)
        for (int64_t d = 0; d < book.D; d++) {
            const float value = book.codes[k * book.D + d] / float(count);
            book.middle[d] += std::fabs(value) < NEVER ? value : 0;
        }
    for (int64_t d = 0; d < book.D; d++)
        if (!std::isfinite(book.middle[d])) book.middle[d] = 0;
}

inline Book* make_book(const float* codes, int64_t K, int64_t D) {
    Book* book = new (std::nothrow) Book();
    if (!book) return nullptr;
    book->codes = codes, book->K = K, book->D = D;
    book->middle = lines_of<float>(D);
    // Three products of up to ten channels fit into one tile: they cost what one does.
    if (book->middle) {
        choose_middle(*book);
        book->coarse = make_level(codes, nullptr, K, D, book->middle, 3 * D <= STEP ? 3 : 1);
    }
    if (book->coarse) return book;
    release_book(book);
    return nullptr;
}

// A number that equal codes share and others hardly ever.
inline uint64_t digest(const float* code, int64_t D) {
    uint64_t lanes[4] = {1, 2, 3, 4};
    for (int64_t d = 0; d < D; d++) {
        uint32_t bits;
        std::memcpy(&bits, code + d, sizeof bits);
        lanes[d % 4] = (lanes[d % 4] ^ bits) * 0x9e3779b97f4a7c15u;
        lanes[d % 4] ^= lanes[d % 4] >> 29;
    }
    const uint64_t all = (lanes[0] * 3 + lanes[1]) * 5 + lanes[2] * 7 + lanes[3];
    return all ^ all >> 31;
}

// The codes that are not the same, bit by bit, as one before, into `which`. Returns how many there are. A
// codebook that has not learned yet has many of the same, and each would be a candidate of every row near it.
inline int64_t distinct(const Book& book, int32_t* which) {
    int64_t size = 2, count = 0;
    while (size < 2 * book.K) size *= 2;
    int32_t* table = static_cast<int32_t*>(std::calloc(size, sizeof(int32_t)));
    if (!table) return 0;
    for (int64_t k = 0; k < book.K; k++) {
        const float* code = book.codes + k * book.D;
        int64_t slot = digest(code, book.D) & (size - 1);
        const auto same = [&](int32_t other) {
            return std::memcmp(code, book.codes + (other - 1) * book.D, book.D * sizeof *code) == 0;
        };
        while (table[slot] && !same(table[slot])) slot = (slot + 1) & (size - 1);
        if (table[slot]) continue;
        table[slot] = int32_t(k + 1);
        which[count++] = int32_t(k);
    }
    std::free(table);
    return count;
}

// Three products of the codes that differ; null when memory is out.
inline const Level* fine_level(const Book& shared) {
    Book& book = const_cast<Book&>(shared);
    if (const Level* made = book.fine.load()) return made;
    const std::lock_guard<std::mutex> alone(book.making);
    int32_t* which = book.fine.load() ? nullptr : lines_of<int32_t>(book.K);
    const int64_t count = which ? distinct(book, which) : 0;
    if (count) book.fine.store(make_level(book.codes, which, count, book.D, book.middle, 3));
    std::free(which);
    return book.fine.load();
}

// The rows that the first search could not tell.
inline void find_lost(const Book& book, const Rows& rows, int64_t* indices) {
    int32_t lost[CHUNK];
    const bool many = rows.count && (book.scanned.fetch_add(rows.count) + rows.count > FEW);
    const Level* fine = many ? fine_level(book) : nullptr;
    for (int64_t from = 0; from < rows.count;) {
        int64_t count = rows.count - from, left = count;
        if (fine && count > chunk_rows(*fine)) count = chunk_rows(*fine);
        const Rows some = {rows.x, rows.stride, rows.ids + from, count};
        if (fine) {
            left = search(book, *fine, some, indices, lost);
        } else {
            std::memcpy(lost, some.ids, count * sizeof *lost);
        }
        for (int64_t i = 0; i < left; i++) indices[lost[i]] = scan(book, rows.x + lost[i] * rows.stride);
        from += count;
    }
}

inline void find_all(const Book& book, const float* x, int64_t stride, int64_t rows, int64_t* indices) {
    int32_t ids[CHUNK], lost[CHUNK];
    const int64_t most = chunk_rows(*book.coarse);
    for (int64_t from = 0; from < rows; from += most) {
        const int64_t count = from + most < rows ? most : rows - from;
        for (int64_t i = 0; i < count; i++) ids[i] = int32_t(i);
        const Rows here = {x + from * stride, stride, ids, count};
        const int64_t left = search(book, *book.coarse, here, indices + from, lost);
        find_lost(book, {here.x, stride, lost, left}, indices + from);
    }
}

}  // namespace
}  // namespace speechvq
