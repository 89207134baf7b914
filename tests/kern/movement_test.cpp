// Copies with strides, and fills.
#include "kern/harness.h"

namespace halftone::kern::test {
namespace {

class Movement : public KernelTest {};

// Every rank, transposition, stride 0 and negative strides, against index arithmetic.
TEST_F(Movement, CopyMovesEveryElement) {
  std::mt19937 engine(4);
  for (int round = 0; round < 400; ++round) {
    const int rank = static_cast<int>(engine() % 6);
    int64_t shape[8] = {};
    int64_t source_strides[8] = {};
    int64_t target_strides[8] = {};
    int64_t total = 1;
    for (int i = 0; i < rank; ++i) {
      // Sometimes larger than a tile of the transposition.
      shape[i] = round % 10 == 0 && i < 2 ? 33 + engine() % 40 : 1 + engine() % 5;
      if (round % 97 == 5 && i == 1) shape[i] = 0;
      total *= shape[i];
    }
    // Dense strides in random orders of the axes; a source axis may be repeated or run backwards.
    const auto strides = [&](int64_t* out) {
      std::vector<int> order;
      for (int i = 0; i < rank; ++i) order.push_back(i);
      std::shuffle(order.begin(), order.end(), engine);
      int64_t stride = 1;
      for (const int axis : order) {
        out[axis] = stride;
        stride *= std::max<int64_t>(shape[axis], 1);
      }
    };
    strides(source_strides);
    strides(target_strides);
    int64_t start = 0;
    if (rank > 0 && round % 3 == 0) source_strides[engine() % static_cast<unsigned>(rank)] = 0;
    if (rank > 1 && round % 4 == 0) {
      source_strides[1] = -source_strides[1];
      start = -source_strides[1] * (std::max<int64_t>(shape[1], 1) - 1);
    }
    for (const int64_t bytes : {1, 2, 4, 8}) {
      std::vector<uint8_t> source(static_cast<size_t>(std::max<int64_t>(total, 1) * bytes));
      for (uint8_t& b : source) b = static_cast<uint8_t>(engine());
      std::vector<uint8_t> want(source.size() + 16, 0xA5);
      int64_t index[8] = {};
      for (int64_t n = 0; n < total; ++n) {
        int64_t from = start;
        int64_t to = 0;
        for (int i = 0; i < rank; ++i) {
          from += index[i] * source_strides[i];
          to += index[i] * target_strides[i];
        }
        std::memcpy(want.data() + 8 + to * bytes, source.data() + from * bytes, static_cast<size_t>(bytes));
        for (int i = rank - 1; i >= 0 && ++index[i] == shape[i]; --i) index[i] = 0;
      }
      for (const Isa isa : available()) {
        std::vector<uint8_t> got(source.size() + 16, 0xA5);
        table(isa).copy({bytes, source.data() + start * bytes, got.data() + 8, rank, shape, source_strides,
                         target_strides, round % 2 == 0});
        ASSERT_EQ(got, want) << "round " << round << " bytes " << bytes << " " << name_of(isa);
      }
    }
  }
}

// Rows of whole cache lines, also such as are spread out on either side or run backwards, and the same a few
// bytes aside.
TEST_F(Movement, CopyPastTheCachesIsTheSame) {
  constexpr int64_t kRows = 37;
  std::mt19937 engine(5);
  for (const int64_t bytes : {1, 2, 4, 8})
    for (const int64_t row : {64 / bytes, 192 / bytes, 4096 / bytes, 100 / bytes})
      for (const int64_t aside : {int64_t{0}, bytes})
        for (const int64_t direction : {1, -1}) {
          const int64_t source_step = row + 3;
          const int64_t target_step = (row * bytes + 127) / 64 * 64 / bytes;
          std::vector<uint8_t> source(static_cast<size_t>(kRows * source_step * bytes));
          for (uint8_t& b : source) b = static_cast<uint8_t>(engine());
          const uint8_t* const first =
              source.data() + (direction > 0 ? 0 : (kRows - 1) * source_step * bytes);
          const int64_t shape[2] = {kRows, row};
          const int64_t source_strides[2] = {direction * source_step, 1};
          const int64_t target_strides[2] = {target_step, 1};
          const int64_t size = kRows * target_step * bytes + 128;
          Buffer want(DType::kU8, size);
          std::memset(want.data(), 0xA5, static_cast<size_t>(size));
          const auto to = [&](void* p) { return static_cast<uint8_t*>(p) + 64 + aside; };
          for (int64_t r = 0; r < kRows; ++r)
            std::memcpy(to(want.data()) + r * target_step * bytes,
                        first + direction * r * source_step * bytes, static_cast<size_t>(row * bytes));
          for (const Isa isa : available()) {
            Buffer got(DType::kU8, size);
            std::memset(got.data(), 0xA5, static_cast<size_t>(size));
            table(isa).copy({bytes, first, to(got.data()), 2, shape, source_strides, target_strides, true});
            ASSERT_EQ(std::memcmp(got.data(), want.data(), static_cast<size_t>(size)), 0)
                << bytes << " bytes, rows of " << row << ", " << name_of(isa);
            ASSERT_TRUE(got.guards_intact());
          }
        }
}

TEST_F(Movement, FillSetsEveryElementAndNoMore) {
  for (const DType dtype :
       {DType::kF64, DType::kF32, DType::kF16, DType::kBf16, DType::kI64, DType::kI32, DType::kU8})
    for (const int64_t n : {0, 1, 7, 33})
      for (const Isa isa : available()) {
        Buffer y(dtype, n);
        table(isa).fill({dtype, y.data(), n, 3.0});
        EXPECT_TRUE(y.guards_intact());
        for (int64_t i = 0; i < n; ++i) {
          double got = 0;
          if (is_float(dtype)) got = y.at(i);
          if (dtype == DType::kI64) got = static_cast<double>(static_cast<const int64_t*>(y.data())[i]);
          if (dtype == DType::kI32) got = static_cast<const int32_t*>(y.data())[i];
          if (dtype == DType::kU8) got = static_cast<const uint8_t*>(y.data())[i];
          EXPECT_EQ(got, 3);
        }
      }
}

}  // namespace
}  // namespace halftone::kern::test
