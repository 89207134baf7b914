// Rows by indices, integers and booleans: their meaning by plain loops here, and the same bits on every
// instruction set.
#include "kern/index.h"

#include "kern/harness.h"

namespace halftone::kern::test {
namespace {

class Index : public KernelTest {};

const std::vector<DType> kWhole = {DType::kI64, DType::kI32, DType::kU8};
const std::vector<DType> kAll = {DType::kF64, DType::kF32, DType::kF16, DType::kBf16,
                                 DType::kI64, DType::kI32, DType::kU8};

void put_any(Buffer& b, int64_t i, int64_t value) {
  void* p = b.data();
  if (is_float(b.dtype())) b.set(i, static_cast<double>(value));
  if (b.dtype() == DType::kI64) static_cast<int64_t*>(p)[i] = value;
  if (b.dtype() == DType::kI32) static_cast<int32_t*>(p)[i] = static_cast<int32_t>(value);
  if (b.dtype() == DType::kU8) static_cast<uint8_t*>(p)[i] = static_cast<uint8_t>(value);
}
double get_any(const Buffer& b, int64_t i) {
  const void* p = b.data();
  if (b.dtype() == DType::kI64) return static_cast<double>(static_cast<const int64_t*>(p)[i]);
  if (b.dtype() == DType::kI32) return static_cast<const int32_t*>(p)[i];
  if (b.dtype() == DType::kU8) return static_cast<const uint8_t*>(p)[i];
  return b.at(i);
}
// Small numbers of any type; unsigned ones without a sign.
Buffer whole(DType dtype, int64_t n, uint32_t seed, int64_t most = 9) {
  std::mt19937 engine(seed);
  Buffer b(dtype, n);
  for (int64_t i = 0; i < n; ++i) {
    const auto value = static_cast<int64_t>(engine() % static_cast<uint32_t>(2 * most + 1)) - most;
    put_any(b, i, dtype == DType::kU8 ? std::abs(value) : value);
  }
  return b;
}

// The gradient of a table: every number of columns, slots in any order, rows without slots.
TEST_F(Index, ScatterRowsIsTheSumInTheOrderOfSlots) {
  constexpr int64_t kRows = 5;
  constexpr int64_t kSlots = 23;
  std::vector<int32_t> rows(kSlots);
  std::mt19937 engine(3);
  for (int32_t& row : rows) row = static_cast<int32_t>(engine() % 4);  // the last row never
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16, DType::kI32})
    for (const int64_t run : {1, 7, 16, 17, 64, 65, 130})
      for (const bool with_base : {false, true})
        for (const Scatter op : {Scatter::kAdd, Scatter::kLast, Scatter::kClear}) {
          if (op != Scatter::kAdd && !with_base) continue;
          const bool is_whole = !is_float(dtype);
          const Buffer base =
              is_whole ? whole(dtype, kRows * run, 1) : values(dtype, kRows * run, 1, Values::kSpecials);
          const Buffer updates = is_whole ? whole(dtype, kSlots * run, 2) : values(dtype, kSlots * run, 2);
          std::vector<int32_t> starts(kRows + 1, -1);
          std::vector<int32_t> order(kSlots, -1);
          const auto of = [&](const Kernels& k) {
            k.index->group_rows({rows.data(), kSlots, kRows, starts.data(), order.data()});
            Buffer y(dtype, kRows * run);
            // In two calls: rows and columns may be cut anywhere.
            const int64_t cut = run / 3;
            for (const auto& [col, cols] : {std::pair{int64_t{0}, cut}, std::pair{cut, run - cut}})
              for (const auto& [row, count] :
                   {std::pair{int64_t{0}, int64_t{2}}, std::pair{int64_t{2}, kRows - 2}})
                EXPECT_EQ(
                    k.index->scatter_rows({op, dtype, with_base ? base.data() : nullptr,
                                           op == Scatter::kClear ? nullptr : updates.data(), starts.data(),
                                           order.data(), run, row, count, col, cols, y.data()}),
                    -1);
            return std::vector<Buffer>{y};
          };
          expect_equal_everywhere("scatter_rows", Equality::kBits, of);
          const Buffer y = of(table(Isa::kReference))[0];
          for (int64_t r = 0; r < kRows; ++r)
            for (int64_t c = 0; c < run; ++c) {
              Buffer expected(dtype, 1);
              float sum = with_base ? static_cast<float>(get_any(base, r * run + c)) : 0.0F;
              bool any = false;
              for (int64_t s = 0; s < kSlots; ++s) {
                if (rows[static_cast<size_t>(s)] != r) continue;
                any = true;
                const auto u = static_cast<float>(get_any(updates, s * run + c));
                sum = op == Scatter::kAdd ? sum + u : op == Scatter::kLast ? u : 0.0F;
              }
              if (is_whole) {
                put_any(expected, 0, static_cast<int64_t>(sum));
              } else {
                expected.set(0, sum);
              }
              const double want = any ? get_any(expected, 0) : with_base ? get_any(base, r * run + c) : 0;
              const double got = get_any(y, r * run + c);
              ASSERT_TRUE(got == want || (std::isnan(got) && std::isnan(want)))
                  << name_of(dtype) << " " << r << " " << c;
            }
        }
}

TEST_F(Index, GroupRowsKeepsTheOrderOfSlots) {
  const std::vector<int32_t> rows{2, 0, 2, 2, 0};
  for (const Isa isa : available()) {
    std::vector<int32_t> starts(5, -1);
    std::vector<int32_t> order(6, -1);
    table(isa).index->group_rows({rows.data(), 5, 4, starts.data(), order.data()});
    EXPECT_EQ(starts, (std::vector<int32_t>{0, 2, 2, 5, 5}));
    EXPECT_EQ(order, (std::vector<int32_t>{1, 4, 0, 2, 3, -1}));
  }
}

TEST_F(Index, GatherRowsCopiesBytes) {
  const std::vector<int32_t> rows{3, 0, 3, 1, 2};
  std::vector<int32_t> last(4, -1);
  for (const Isa isa : available())
    for (const int64_t bytes : {1, 2, 4, 6, 8, 34}) {
      const IndexKernels& k = *table(isa).index;
      const Buffer x = whole(DType::kU8, 4 * bytes, 7, 100);
      Buffer y(DType::kU8, 5 * bytes);
      k.gather_rows({x.data(), rows.data(), bytes, 0, 2, y.data(), nullptr});
      k.gather_rows({x.data(), rows.data(), bytes, 2, 3, y.data(), nullptr});
      for (int64_t i = 0; i < 5 * bytes; ++i)
        ASSERT_EQ(get_any(y, i), get_any(x, rows[static_cast<size_t>(i / bytes)] * bytes + i % bytes));
      ASSERT_TRUE(y.guards_intact());
      k.last_slots({rows.data(), 5, last.data()});
      k.gather_rows({x.data(), rows.data(), bytes, 0, 5, y.data(), last.data()});
      for (int64_t i = 0; i < bytes; ++i) {
        ASSERT_EQ(get_any(y, i), 0);  // slot 2 has the same row
        ASSERT_EQ(get_any(y, 2 * bytes + i), get_any(x, 3 * bytes + i));
      }
    }
}

TEST_F(Index, ResolveRowsFindsTheFirstIndexOutside) {
  const int64_t sizes[] = {3, 4};
  const int64_t strides[] = {4, 1};
  const int64_t shape[] = {2, 3};
  const int64_t base[] = {100, 0};
  for (const Isa isa : available()) {
    const IndexKernels& k = *table(isa).index;
    std::vector<int64_t> indices{0, 0, 2, -1, -3, 1, 1, 1, 2, 3, 0, -4};
    std::vector<int32_t> rows(6, -1);
    EXPECT_EQ(
        k.resolve_rows({DType::kI64, indices.data(), 0, 6, 2, sizes, strides, 2, shape, base, rows.data()}),
        -1);
    EXPECT_EQ(rows, (std::vector<int32_t>{0, 11, 1, 105, 111, 100}));
    indices[9] = 4;
    indices[10] = -4;
    EXPECT_EQ(
        k.resolve_rows({DType::kI64, indices.data(), 0, 6, 2, sizes, strides, 2, shape, base, rows.data()}),
        9);
    for (const int32_t row : rows) EXPECT_LT(row, 112);
    EXPECT_EQ(
        k.resolve_rows({DType::kI64, indices.data(), 0, 4, 2, sizes, strides, 2, shape, base, rows.data()}),
        -1);
  }
}

TEST_F(Index, IntegersAreTheSameEverywhere) {
  for (const DType dtype : kWhole)
    for (const int64_t n : lengths()) {
      const Buffer a = whole(dtype, n, 1, 6);
      const Buffer b = whole(dtype, n, 2, 6);
      for (int op = 0; op <= static_cast<int>(IntegerBinary::kXor); ++op)
        expect_equal_everywhere("integer_binary", Equality::kBits, [&](const Kernels& k) {
          Buffer y(dtype, n);
          Buffer bad(DType::kI64, 1);
          static_cast<int64_t*>(bad.data())[0] = k.index->integer_binary(
              {static_cast<IntegerBinary>(op), dtype, a.data(), 0, 1, b.data(), 0, 1, y.data(), 1, n});
          return std::vector<Buffer>{y, bad};
        });
      for (int op = 0; op <= static_cast<int>(IntegerUnary::kNot); ++op)
        expect_equal_everywhere("integer_unary", Equality::kBits, [&](const Kernels& k) {
          Buffer y(dtype, n);
          Buffer bad(DType::kI64, 1);
          static_cast<int64_t*>(bad.data())[0] =
              k.index->integer_unary({static_cast<IntegerUnary>(op), dtype, a.data(), y.data(), n});
          return std::vector<Buffer>{y, bad};
        });
    }
}

TEST_F(Index, ComparisonSelectionAndCastsAreTheSameEverywhere) {
  for (const DType dtype : kAll)
    for (const int64_t n : {0, 1, 15, 16, 33}) {
      const bool floats = is_float(dtype);
      const Buffer a = floats ? values(dtype, n, 1, Values::kSpecials) : whole(dtype, n, 1);
      const Buffer b = floats ? values(dtype, n, 2, Values::kSpecials) : whole(dtype, n, 2);
      Buffer condition(DType::kU8, n);
      for (const Compare op : {Compare::kEqual, Compare::kLess, Compare::kLessOrEqual})
        expect_equal_everywhere("compare and select", Equality::kBits, [&](const Kernels& k) {
          Buffer y(DType::kU8, n);
          k.index->compare(
              {op, dtype, a.data(), 0, 1, b.data(), 0, 1, static_cast<uint8_t*>(y.data()), 1, n});
          Buffer chosen(dtype, n);
          k.index->select({size_bytes(dtype), static_cast<const uint8_t*>(y.data()), 0, 1, a.data(), 0, 1,
                           b.data(), 0, 0, chosen.data(), 1, n > 0 ? n : 0});
          return std::vector<Buffer>{y, chosen};
        });
      for (const DType to : kAll) {
        if (floats && is_float(to)) continue;
        expect_equal_everywhere("cast", Equality::kBits, [&](const Kernels& k) {
          Buffer y(to, n);
          Buffer bad(DType::kI64, 1);
          static_cast<int64_t*>(bad.data())[0] = k.index->cast({dtype, a.data(), to, false, y.data(), n});
          return std::vector<Buffer>{y, bad};
        });
      }
      if (!floats) continue;
      expect_equal_everywhere("classify", Equality::kBits, [&](const Kernels& k) {
        Buffer y(DType::kU8, n);
        k.index->classify({dtype, a.data(), static_cast<uint8_t*>(y.data()), n, true, true, false});
        return std::vector<Buffer>{y};
      });
    }
}

TEST_F(Index, AlongAnAxisTheSameEverywhere) {
  for (const DType dtype : kAll)
    for (const int64_t cols : {1, 5, 16, 35}) {
      constexpr int64_t kLength = 9;
      const int64_t stride = cols + 2;
      const int64_t n = kLength * stride;
      const Buffer x = is_float(dtype) ? values(dtype, n, 4, Values::kSpecials) : whole(dtype, n, 4);
      for (const bool first : {false, true})
        for (const bool second : {false, true})
          expect_equal_everywhere("along an axis", Equality::kNan, [&](const Kernels& k) {
            Buffer sums(dtype, n);
            k.index->cum_sum({dtype, x.data(), sums.data(), kLength, cols, stride, first, second});
            Buffer place(DType::kI64, cols);
            k.index->arg_extreme(
                {dtype, x.data(), static_cast<int64_t*>(place.data()), kLength, cols, stride, first, second});
            Buffer few(DType::kI64, 4 * stride);
            int64_t heap[4];
            k.index->top_k(
                {dtype, x.data(), static_cast<int64_t*>(few.data()), kLength, cols, stride, 4, first, heap});
            return std::vector<Buffer>{sums, place, few};
          });
    }
}

}  // namespace
}  // namespace halftone::kern::test
