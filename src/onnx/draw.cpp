#include "onnx/draw.h"

#include <cmath>

#include "base/crc32c.h"
#include "num/random.h"

namespace halftone::onnx {

Tensor drawn(const std::string& name, const Shape& shape, double bound, uint64_t seed) {
  // Apart from the streams of dropout and optimizer, which are small numbers, and of data.
  constexpr uint64_t kDrawStreams = uint64_t{1} << 40;
  const num::RandomKey key =
      num::random_key(seed, kDrawStreams + crc32c(name.data(), static_cast<int64_t>(name.size())));
  Tensor out(DType::kF32, shape);
  uint64_t element = 0;
  for (float& x : out.as<float>()) {
    constexpr double kBits = 4294967296.0;
    x = static_cast<float>(bound * (2 * (num::random32(key, element++, 0) / kBits) - 1));
  }
  return out;
}

double linear_bound(int64_t fan_in) {
  return 1 / std::sqrt(static_cast<double>(fan_in));
}

}  // namespace halftone::onnx
