#include "data/array.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "num/half.h"

namespace halftone::data {
namespace {

static_assert(std::endian::native == std::endian::little);

// Elements a chunk: large enough that a read costs nothing, small enough for any stack of threads.
constexpr int64_t kChunk = 4096;

template <class T>
T load(const char* p, bool big_endian) {
  char raw[sizeof(T)];
  for (size_t i = 0; i < sizeof(T); ++i) raw[i] = p[big_endian ? sizeof(T) - 1 - i : i];
  T value;
  std::memcpy(&value, raw, sizeof(T));
  return value;
}

// Calls use(i, value) for each element, value being a float, double, int64_t or uint64_t.
template <class Use>
void for_each(const Array& array, int64_t first, int64_t count, const Use& use) {
  const int64_t width = size_bytes(array.type);
  std::vector<char> raw(static_cast<size_t>(std::min(count, kChunk) * width));
  for (int64_t done = 0; done < count; done += kChunk) {
    const int64_t n = std::min(kChunk, count - done);
    array.bytes->read((first + done) * width, n * width, raw.data());
    for (int64_t i = 0; i < n; ++i) {
      const char* p = raw.data() + i * width;
      const int64_t at = done + i;
      const bool big = array.big_endian;
      switch (array.type) {
        case Element::kBool:
          use(at, static_cast<int64_t>(*p != 0));
          break;
        case Element::kU8:
          use(at, static_cast<int64_t>(static_cast<uint8_t>(*p)));
          break;
        case Element::kI8:
          use(at, static_cast<int64_t>(static_cast<int8_t>(*p)));
          break;
        case Element::kU16:
          use(at, static_cast<int64_t>(load<uint16_t>(p, big)));
          break;
        case Element::kI16:
          use(at, static_cast<int64_t>(load<int16_t>(p, big)));
          break;
        case Element::kU32:
          use(at, static_cast<int64_t>(load<uint32_t>(p, big)));
          break;
        case Element::kI32:
          use(at, static_cast<int64_t>(load<int32_t>(p, big)));
          break;
        case Element::kU64:
          use(at, load<uint64_t>(p, big));
          break;
        case Element::kI64:
          use(at, load<int64_t>(p, big));
          break;
        case Element::kF16:
          use(at, num::widen(num::Fp16{load<uint16_t>(p, big)}));
          break;
        case Element::kBf16:
          use(at, num::widen(num::Bf16{load<uint16_t>(p, big)}));
          break;
        case Element::kF32:
          use(at, load<float>(p, big));
          break;
        case Element::kF64:
          use(at, load<double>(p, big));
          break;
      }
    }
  }
}

}  // namespace

int64_t size_bytes(Element type) {
  switch (type) {
    case Element::kBool:
    case Element::kU8:
    case Element::kI8:
      return 1;
    case Element::kU16:
    case Element::kI16:
    case Element::kF16:
    case Element::kBf16:
      return 2;
    case Element::kU32:
    case Element::kI32:
    case Element::kF32:
      return 4;
    case Element::kU64:
    case Element::kI64:
    case Element::kF64:
      return 8;
  }
  return 0;
}

int64_t array_bytes(Element type, const Shape& shape, const std::string& name) {
  int64_t n = size_bytes(type);
  bool empty = false;
  for (const int64_t d : shape) {
    if (d < 0 || (d > 0 && __builtin_mul_overflow(n, d, &n)))
      throw input_error("{}: the shape {} has no valid size", name, to_string(shape));
    empty = empty || d == 0;
  }
  return empty ? 0 : n;
}

void read_floats(const Array& array, int64_t first, std::span<float> out) {
  const auto count = static_cast<int64_t>(out.size());
  if (array.type == Element::kF32 && !array.big_endian) {
    array.bytes->read(first * 4, count * 4, out.data());
    return;
  }
  for_each(array, first, count,
           [&](int64_t i, auto value) { out[static_cast<size_t>(i)] = static_cast<float>(value); });
}

void read_integers(const Array& array, int64_t first, std::span<int64_t> out) {
  for_each(array, first, static_cast<int64_t>(out.size()), [&](int64_t i, auto value) {
    int64_t& to = out[static_cast<size_t>(i)];
    if constexpr (std::is_floating_point_v<decltype(value)>) {
      // 2^53: beyond it a double no longer counts in ones. Also refuses what is not finite.
      if (!(std::fabs(value) <= 0x1p53) ||
          static_cast<double>(static_cast<int64_t>(value)) != static_cast<double>(value))
        throw input_error("{}: element {} is {}, which is no whole number", array.name, first + i, value);
      to = static_cast<int64_t>(value);
    } else {
      if (value > static_cast<decltype(value)>(std::numeric_limits<int64_t>::max()))
        throw input_error("{}: element {} is {}, which is too large", array.name, first + i, value);
      to = static_cast<int64_t>(value);
    }
  });
}

std::string place_of(const Array& array, int64_t sample) {
  return array.place ? array.place(sample) : fmt::format("{}, sample {}", array.name, sample);
}

}  // namespace halftone::data
