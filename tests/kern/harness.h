// What the kernel tests share: values with specials, buffers with guard bytes, and "equal to the reference on
// every instruction set".
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kern/dispatch.h"
#include "kern/kernels.h"
#include "num/half.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace halftone::kern::test {

// Kernels run with FTZ/DAZ on.
class KernelTest : public testing::Test {
 protected:
#if defined(__x86_64__)
  KernelTest() : saved_(_mm_getcsr()) {
    _mm_setcsr(saved_ | 0x8040U);
  }
  ~KernelTest() override {
    _mm_setcsr(saved_);
  }

 private:
  unsigned saved_;
#endif
};

inline const std::vector<DType> kStorages = {DType::kF32, DType::kF16, DType::kBf16};

// Lengths from nothing to three vectors and one more element.
inline std::vector<int64_t> lengths() {
  std::vector<int64_t> all;
  for (int64_t n = 0; n <= 49; ++n) all.push_back(n);
  return all;
}

inline void put(DType dtype, void* p, int64_t i, double value) {
  switch (dtype) {
    case DType::kF64:
      static_cast<double*>(p)[i] = value;
      break;
    case DType::kF32:
      static_cast<float*>(p)[i] = static_cast<float>(value);
      break;
    case DType::kF16:
      static_cast<num::Fp16*>(p)[i] = num::to_fp16(static_cast<float>(value));
      break;
    default:
      static_cast<num::Bf16*>(p)[i] = num::to_bf16(static_cast<float>(value));
  }
}
inline double get(DType dtype, const void* p, int64_t i) {
  switch (dtype) {
    case DType::kF64:
      return static_cast<const double*>(p)[i];
    case DType::kF32:
      return static_cast<const float*>(p)[i];
    case DType::kF16:
      return num::widen(static_cast<const num::Fp16*>(p)[i]);
    default:
      return num::widen(static_cast<const num::Bf16*>(p)[i]);
  }
}
// Unit roundoff: half the distance between 1 and the next value.
inline double epsilon(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return 0x1p-53;
    case DType::kF32:
      return 0x1p-24;
    case DType::kF16:
      return 0x1p-11;
    default:
      return 0x1p-8;
  }
}
// The smallest normal value: below it errors are absolute.
inline double smallest_normal(DType dtype) {
  return dtype == DType::kF16 ? 0x1p-14 : dtype == DType::kF64 ? 0x1p-1022 : 0x1p-126;
}

// Elements of one type with guard bytes on both sides, starting one element after an aligned address.
class Buffer {
 public:
  Buffer(DType dtype, int64_t n) : dtype_(dtype), n_(n) {
    const size_t start = kGuard + static_cast<size_t>(size_bytes(dtype));
    bytes_.assign(start + static_cast<size_t>(n * size_bytes(dtype)) + kGuard, kFill);
    start_ = start;
  }
  void* data() { return bytes_.data() + start_; }
  const void* data() const { return bytes_.data() + start_; }
  DType dtype() const { return dtype_; }
  int64_t size() const { return n_; }
  double at(int64_t i) const { return get(dtype_, data(), i); }
  void set(int64_t i, double value) { put(dtype_, data(), i, value); }
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  bool guards_intact() const {
    const size_t end = start_ + static_cast<size_t>(n_ * size_bytes(dtype_));
    for (size_t i = 0; i < bytes_.size(); ++i)
      if ((i < start_ || i >= end) && bytes_[i] != kFill) return false;
    return true;
  }
  bool operator==(const Buffer& other) const { return bytes_ == other.bytes_; }

 private:
  static constexpr size_t kGuard = 64;
  static constexpr uint8_t kFill = 0xA5;
  DType dtype_;
  int64_t n_;
  size_t start_ = 0;
  std::vector<uint8_t> bytes_;
};

enum class Values { kPlain, kPositive, kSpecials };

// Reproducible values: Gaussian times `scale`, or their magnitudes, or with every fourth one special.
inline Buffer values(DType dtype, int64_t n, uint32_t seed, Values kind = Values::kPlain,
                     double scale = 1.0) {
  static const std::vector<double> kSpecial = {0.0,
                                               -0.0,
                                               0x1p-24,
                                               -3 * 0x1p-24,
                                               0x1p-14,
                                               65504.0,
                                               -65504.0,
                                               1e-39,
                                               -1e-39,
                                               1.0,
                                               -1.0,
                                               3e38,
                                               88.7,
                                               -87.3,
                                               0x1p-126,
                                               std::numeric_limits<double>::infinity(),
                                               -std::numeric_limits<double>::infinity(),
                                               std::numeric_limits<double>::quiet_NaN(),
                                               0.5,
                                               2.0};
  std::mt19937 engine(seed * 7919U + 17U);
  std::normal_distribution<double> gauss(0.0, scale);
  Buffer out(dtype, n);
  for (int64_t i = 0; i < n; ++i) {
    double value = gauss(engine);
    if (kind == Values::kPositive) value = std::abs(value) + 0.01 * scale;
    if (kind == Values::kSpecials && engine() % 4 == 0) value = kSpecial[engine() % kSpecial.size()];
    out.set(i, value);
  }
  return out;
}

// kBits: every byte. kNan: a NaN equals a NaN, whatever its sign and payload (with several NaN inputs the CPU
// picks one by the order of operands, which compilers exchange).
enum class Equality { kBits, kNan };

inline testing::AssertionResult equal_buffers(const Buffer& expected, const Buffer& got, Equality equality) {
  if (!got.guards_intact()) return testing::AssertionFailure() << "wrote outside";
  if (expected == got) return testing::AssertionSuccess();
  const int64_t bytes = size_bytes(expected.dtype());
  for (int64_t i = 0; i < expected.size(); ++i) {
    const uint8_t* a = static_cast<const uint8_t*>(expected.data()) + i * bytes;
    const uint8_t* b = static_cast<const uint8_t*>(got.data()) + i * bytes;
    if (std::memcmp(a, b, static_cast<size_t>(bytes)) == 0) continue;
    if (is_float(expected.dtype())) {
      if (equality == Equality::kNan && std::isnan(expected.at(i)) && std::isnan(got.at(i))) continue;
      return testing::AssertionFailure() << "element " << i << " of " << expected.size() << ": expected "
                                         << expected.at(i) << ", got " << got.at(i);
    }
    return testing::AssertionFailure() << "element " << i << " of " << expected.size();
  }
  return testing::AssertionSuccess();
}

// run(kernels) gives its output buffers; they must be the reference's on every instruction set here. `what`
// names the case.
using Run = std::function<std::vector<Buffer>(const Kernels&)>;
inline void expect_equal_everywhere(const std::string& what, Equality equality, const Run& run) {
  const std::vector<Buffer> expected = run(table(Isa::kReference));
  for (const Isa isa : available()) {
    if (isa == Isa::kReference) continue;
    const std::vector<Buffer> got = run(table(isa));
    ASSERT_EQ(expected.size(), got.size());
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_TRUE(equal_buffers(expected[i], got[i], equality))
          << what << ", output " << i << ", " << name_of(isa);
  }
}

// A check that never saw two different finite values proves nothing.
inline bool varies(const Buffer& b) {
  for (int64_t i = 1; i < b.size(); ++i)
    if (std::isfinite(b.at(i)) && std::isfinite(b.at(0)) && b.at(i) != b.at(0)) return true;
  return false;
}

}  // namespace halftone::kern::test
