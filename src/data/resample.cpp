#include "data/resample.h"

#include <algorithm>
#include <cmath>

namespace halftone::data {
namespace {

// 8 bits of the pixel and 2 for sums that overshoot leave 22 of 32 for the weights.
constexpr int kBits = 32 - 8 - 2;

uint8_t to_byte(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255));
}

}  // namespace

void Resampler::fill(Weights& weights, int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double filter_scale = std::max(scale, 1.0);
  const double support = filter_scale;
  weights.stride = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
  weights.first.resize(static_cast<size_t>(to));
  weights.count.resize(static_cast<size_t>(to));
  weights.values.assign(static_cast<size_t>(to * weights.stride), 0);
  std::vector<double> k(static_cast<size_t>(weights.stride));
  for (int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    // Truncation towards zero, then the picture's edges, as Pillow does it.
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
    const int64_t end = std::min<int64_t>(static_cast<int64_t>(center + support + 0.5), from);
    const int64_t count = end - first;
    double sum = 0;
    for (int64_t x = 0; x < count; ++x) {
      const double t = std::fabs((static_cast<double>(x + first) - center + 0.5) * (1.0 / filter_scale));
      k[static_cast<size_t>(x)] = t < 1.0 ? 1.0 - t : 0.0;
      sum += k[static_cast<size_t>(x)];
    }
    for (int64_t x = 0; x < count; ++x) {
      const double w = sum != 0.0 ? k[static_cast<size_t>(x)] / sum : k[static_cast<size_t>(x)];
      weights.values[static_cast<size_t>(i * weights.stride + x)] =
          static_cast<int32_t>(0.5 + w * static_cast<double>(1 << kBits));
    }
    weights.first[static_cast<size_t>(i)] = first;
    weights.count[static_cast<size_t>(i)] = count;
  }
}

Sample::Pixels Resampler::resize(const Sample::Pixels& from, const Box& box, int64_t height, int64_t width) {
  const int64_t channels = from.channels;
  const bool across = box.width != width;
  const bool down = box.height != height;
  Sample::Pixels source = from;
  source.data += box.top * from.row_stride + box.left * from.column_stride;
  source.height = box.height;
  source.width = box.width;
  if (across) {
    fill(across_, box.width, width);
    columns_.resize(static_cast<size_t>(channels * box.height * width));
    uint8_t* to = columns_.data();
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t y = 0; y < box.height; ++y) {
        const uint8_t* row = source.data + c * source.channel_stride + y * source.row_stride;
        for (int64_t x = 0; x < width; ++x) {
          const auto at = static_cast<size_t>(x);
          const int32_t* w = across_.values.data() + x * across_.stride;
          const uint8_t* p = row + across_.first[at] * source.column_stride;
          int32_t sum = 1 << (kBits - 1);
          for (int64_t i = 0; i < across_.count[at]; ++i) sum += p[i * source.column_stride] * w[i];
          *to++ = to_byte(sum);
        }
      }
    }
    source = {columns_.data(), channels, box.height, width, box.height * width, width, 1};
  }
  if (down || !across) {
    fill(down_, box.height, height);
    out_.resize(static_cast<size_t>(channels * height * width));
    std::vector<int32_t> sums(static_cast<size_t>(width));
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t y = 0; y < height; ++y) {
        const auto at = static_cast<size_t>(y);
        const int32_t* w = down_.values.data() + y * down_.stride;
        std::fill(sums.begin(), sums.end(), 1 << (kBits - 1));
        for (int64_t i = 0; i < down_.count[at]; ++i) {
          const uint8_t* row =
              source.data + c * source.channel_stride + (down_.first[at] + i) * source.row_stride;
          for (int64_t x = 0; x < width; ++x)
            sums[static_cast<size_t>(x)] += row[x * source.column_stride] * w[i];
        }
        uint8_t* to = out_.data() + (c * height + y) * width;
        for (int64_t x = 0; x < width; ++x) to[x] = to_byte(sums[static_cast<size_t>(x)]);
      }
    }
    source = {out_.data(), channels, height, width, height * width, width, 1};
  }
  return source;
}

}  // namespace halftone::data
