#include "data/transform.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "base/error.h"
#include "data/geometry.h"
#include "num/random.h"

namespace halftone::data {
namespace {

enum Draw : uint64_t { kFlip = 0, kCropRow = 1, kCropColumn = 2, kResizedCrop = 3 };
constexpr int kAttempts = 10;
constexpr uint64_t kDrawsAnAttempt = 6;

class Random {
 public:
  explicit Random(const Draws& draws)
      : key_(num::random_key(draws.seed, kAugmentStream)), epoch_(draws.epoch), base_(64 * draws.sample) {}
  // In [0, n).
  int64_t below(uint64_t draw, int64_t n) const {
    return static_cast<int64_t>(num::random_below(key_, base_ + draw, epoch_, static_cast<uint64_t>(n)));
  }
  // In [0, 1), a multiple of 2^-53.
  double unit(uint64_t draw) const { return static_cast<double>(below(draw, int64_t{1} << 53)) * 0x1p-53; }

 private:
  num::RandomKey key_;
  uint64_t epoch_;
  uint64_t base_;
};

// e^x for |x| < 1, to 1e-16: by its series, because the C library's differs from machine to machine in the
// last bit.
double exp_series(double x) {
  double sum = 1;
  for (int i = 18; i >= 1; --i) sum = 1 + x / i * sum;
  return sum;
}

// What crop_padding and flip make of a sample: it moves, then left and right are exchanged.
struct Shift {
  int64_t down = 0;
  int64_t right = 0;
  bool flip = false;
};
Shift shift_of(const Augmentation& augmentation, const Draws* draws) {
  if (draws == nullptr) return {};
  const Random random(*draws);
  Shift shift;
  if (const int64_t p = augmentation.crop_padding; p > 0) {
    shift.down = random.below(kCropRow, 2 * p + 1) - p;
    shift.right = random.below(kCropColumn, 2 * p + 1) - p;
  }
  shift.flip = augmentation.flip && random.below(kFlip, 2) == 1;
  return shift;
}

// torchvision's RandomResizedCrop, its scale and ratio.
Box random_box(const Random& random, int64_t height, int64_t width) {
  constexpr double kLogRatio = 0.287682072451780927;  // ln 4/3
  const auto area = static_cast<double>(height * width);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const uint64_t draw = kResizedCrop + static_cast<uint64_t>(attempt) * kDrawsAnAttempt;
    const double target = area * (0.08 + 0.92 * random.unit(draw));
    const double ratio = exp_series(kLogRatio * (2 * random.unit(draw + 1) - 1));
    const auto w = static_cast<int64_t>(std::nearbyint(std::sqrt(target * ratio)));
    const auto h = static_cast<int64_t>(std::nearbyint(std::sqrt(target / ratio)));
    if (w < 1 || h < 1 || w > width || h > height) continue;
    return {random.below(draw + 2, height - h + 1), random.below(draw + 3, width - w + 1), h, w};
  }
  // The largest rectangle of an allowed shape, in the middle.
  int64_t w = width;
  int64_t h = height;
  if (3 * width > 4 * height) w = std::max<int64_t>(1, (4 * height + 1) / 3);
  if (4 * width < 3 * height) h = std::max<int64_t>(1, (4 * width + 1) / 3);
  return {(height - h) / 2, (width - w) / 2, h, w};
}

std::vector<float> per_channel(const std::vector<float>& given, float missing, size_t channels,
                               const char* what, const std::string& source) {
  if (given.empty()) return std::vector<float>(channels, missing);
  for (const float v : given)
    if (!std::isfinite(v)) throw usage_error("the {} of {} is not a finite number", what, source);
  if (given.size() == 1) return std::vector<float>(channels, given[0]);
  if (given.size() != channels)
    throw usage_error("{} numbers are given as {}, but the samples of {} have {} channels", given.size(),
                      what, source, channels);
  return given;
}

// Rounded to the row's type.
template <class T>
T rounded(float x) {
  if constexpr (std::is_same_v<T, num::Fp16>) {
    return num::to_fp16(x);
  } else if constexpr (std::is_same_v<T, num::Bf16>) {
    return num::to_bf16(x);
  } else {
    return x;
  }
}

}  // namespace

bool can_be_channels_last(const DataInfo& info) {
  return info.has_samples && !info.channels_last && info.shape.size() == 3 && info.geometry == info.shape;
}

Normalization normalization_preset(const std::string& name) {
  if (name == "imagenet") return {{0.485F, 0.456F, 0.406F}, {0.229F, 0.224F, 0.225F}};
  if (name == "cifar10") return {{0.4914F, 0.4822F, 0.4465F}, {0.2470F, 0.2435F, 0.2616F}};
  if (name == "cifar100") return {{0.5071F, 0.4865F, 0.4409F}, {0.2673F, 0.2564F, 0.2762F}};
  if (name == "mnist") return {{0.1307F}, {0.3081F}};
  if (name == "fashion-mnist") return {{0.2860F}, {0.3530F}};
  if (name == "none") return {};
  throw usage_error(
      "there is no normalisation {}; there are imagenet, cifar10, cifar100, mnist, fashion-mnist, none",
      name);
}

Transform::Transform(const DataInfo& info, const TransformOptions& options, const RowForm& form)
    : shape_(info.shape),
      geometry_(info.geometry),
      options_(options),
      image_(info.image),
      last_(info.channels_last),
      writes_last_(info.channels_last || form.channels_last) {
  HT_ASSERT(!form.channels_last || can_be_channels_last(info), "{}", to_string(info.shape));
  const size_t channels = geometry_.empty() ? 1 : static_cast<size_t>(geometry_[0]);
  mean_ = per_channel(options.normalization.mean, 0.0F, channels, "mean", info.source);
  std_ = per_channel(options.normalization.std, 1.0F, channels, "standard deviation", info.source);
  for (const float s : std_)
    if (!(s > 0)) throw usage_error("the standard deviation {} for {} is not positive", s, info.source);
  const Augmentation& augmentation = options.augmentation;
  if (augmentation.crop_padding < 0)
    throw usage_error("a crop padding of {} is negative", augmentation.crop_padding);
  if (geometry_.empty() && (augmentation.flip || augmentation.crop_padding > 0))
    throw usage_error(
        "samples of shape {} in {} cannot be flipped or cropped; these are for images (channels, height, "
        "width)",
        to_string(shape_), info.source);
  if (!image_ && (augmentation.pixels.any() || augmentation.erase > 0))
    throw usage_error(
        "{} holds no pictures of bytes: --vertical-flip, --rotate, --color-jitter, --randaugment and --erase "
        "are for these",
        info.source);
  if (options.bgr && (!image_ || geometry_.at(0) != 3))
    throw usage_error("--channel-order bgr: {} holds no pictures of bytes with three channels", info.source);
  if (augmentation.pixels.any() && geometry_.at(0) != 1 && geometry_.at(0) != 3)
    throw usage_error(
        "the pictures of {} have {} channels; --vertical-flip, --rotate, --color-jitter and --randaugment "
        "are for 1 or 3",
        info.source, geometry_[0]);
  if (!image_ && (augmentation.random_resized_crop || options.resize > 0))
    throw usage_error("{} holds no pictures of bytes, so they cannot be resized", info.source);
  if (!geometry_.empty()) {
    const int64_t side = std::max(geometry_[1], geometry_[2]);
    if (augmentation.crop_padding > side)
      throw usage_error("a crop padding of {} is more than the {} x {} pixels of a sample",
                        augmentation.crop_padding, geometry_[1], geometry_[2]);
    if (options.resize != 0 && options.resize < side)
      throw usage_error("the shorter side resized to {} does not hold the {} x {} pixels of a sample",
                        options.resize, geometry_[1], geometry_[2]);
  }
  if (form.storage == DType::kF16) table_ = Table<num::Fp16>();
  if (form.storage == DType::kBf16) table_ = Table<num::Bf16>();
  HT_ASSERT(form.storage == DType::kF32 || table_.index() > 0, "{}", name_of(form.storage));
  if (image_) std::visit([this](auto& table) { fill(table); }, table_);
}

template <class T>
void Transform::fill(Table<T>& table) const {
  table.resize(mean_.size() * 256);
  for (size_t c = 0; c < mean_.size(); ++c)
    for (size_t v = 0; v < 256; ++v)
      table[c * 256 + v] = rounded<T>((static_cast<float>(v) / 255.0F - mean_[c]) / std_[c]);
}

Transform::Steps Transform::steps(bool channels_last) const {
  const int64_t channels = geometry_[0];
  const int64_t height = geometry_[1];
  const int64_t width = geometry_[2];
  return channels_last ? Steps{1, width * channels, channels} : Steps{height * width, width, 1};
}

void Transform::apply(const Sample& sample, const Draws* draws, Scratch& scratch, void* row) const {
  std::visit(
      [&]<class T>(const Table<T>& table) {
        if (image_) {
          apply_image(sample.pixels, draws, scratch, table, static_cast<T*>(row));
        } else {
          apply_values(sample, draws, static_cast<T*>(row));
        }
      },
      table_);
}

ScaledSize scaled_size(const Shape& geometry, int64_t resize, int64_t height, int64_t width) {
  const int64_t shorter = std::min(height, width);
  if (resize > 0)
    return {height == shorter ? resize : resize * height / shorter,
            width == shorter ? resize : resize * width / shorter};
  const int64_t least_height = geometry[1];
  const int64_t least_width = geometry[2];
  if (height == least_height && width == least_width) return {height, width};
  // The smaller of the scales that cover the size; the other side is at least what it needs.
  const bool by_height = least_height * width >= least_width * height;
  return {by_height ? least_height : std::max(least_height, height * least_width / width),
          by_height ? std::max(least_width, width * least_height / height) : least_width};
}

Sample::Pixels Transform::sized(const Sample::Pixels& pixels, const Draws* draws, Scratch& scratch) const {
  const int64_t height = geometry_[1];
  const int64_t width = geometry_[2];
  if (draws != nullptr && options_.augmentation.random_resized_crop)
    return scratch.resampler.resize(pixels, random_box(Random(*draws), pixels.height, pixels.width), height,
                                    width);
  Sample::Pixels result = pixels;
  const auto [h, w] = scaled_size(geometry_, options_.resize, pixels.height, pixels.width);
  if (h != pixels.height || w != pixels.width)
    result = scratch.resampler.resize(pixels, {0, 0, pixels.height, pixels.width}, h, w);
  const int64_t top = half_of(h - height);
  const int64_t left = half_of(w - width);
  result.data += top * result.row_stride + left * result.column_stride;
  result.height = height;
  result.width = width;
  return result;
}

template <class T>
void Transform::apply_image(const Sample::Pixels& pixels, const Draws* draws, Scratch& scratch,
                            const Table<T>& table, T* row) const {
  Sample::Pixels from = sized(pixels, draws, scratch);
  if (draws != nullptr && options_.augmentation.pixels.any())
    from = changed_pixels(from, options_.augmentation.pixels, *draws, scratch.pixels);
  HT_ASSERT(from.channels == geometry_[0]);
  const int64_t height = geometry_[1];
  const int64_t width = geometry_[2];
  const auto [down, right, flip] = shift_of(options_.augmentation, draws);
  const Steps to = steps(writes_last_);
  const int64_t step = flip ? -to.column : to.column;
  for (int64_t y = 0; y < height; ++y) {
    const int64_t sy = y + down;
    // Columns [begin, end) of the row come from the picture, the others are black.
    const int64_t begin = std::clamp<int64_t>(-right, 0, width);
    const int64_t end = sy < 0 || sy >= height ? begin : std::clamp<int64_t>(width - right, begin, width);
    for (int64_t c = 0; c < geometry_[0]; ++c) {
      const int64_t sc = options_.bgr ? geometry_[0] - 1 - c : c;
      const T* of_byte = table.data() + sc * 256;
      T* out = row + c * to.channel + y * to.row + (flip ? (width - 1) * to.column : 0);
      for (int64_t x = 0; x < begin; ++x) out[x * step] = of_byte[0];
      for (int64_t x = end; x < width; ++x) out[x * step] = of_byte[0];
      const uint8_t* p =
          from.data + sc * from.channel_stride + sy * from.row_stride + right * from.column_stride;
      for (int64_t x = begin; x < end; ++x) out[x * step] = of_byte[p[x * from.column_stride]];
    }
  }
  if (draws == nullptr || options_.augmentation.erase == 0) return;
  const Erased box = erased(height, width, options_.augmentation.erase, *draws);
  for (int64_t c = 0; c < geometry_[0]; ++c)
    for (int64_t y = box.row; y < box.row + box.height; ++y)
      for (int64_t x = box.column; x < box.column + box.width; ++x)
        row[c * to.channel + y * to.row + x * to.column] = rounded<T>(0.0F);
}

template <class T>
void Transform::apply_values(const Sample& sample, const Draws* draws, T* row) const {
  HT_ASSERT(static_cast<int64_t>(sample.values.size()) == elements(shape_));
  const float* in = sample.values.data();
  if (geometry_.empty()) {
    const float mean = mean_[0];
    const float std = std_[0];
    for (size_t i = 0; i < sample.values.size(); ++i) row[i] = rounded<T>((in[i] - mean) / std);
    return;
  }
  const int64_t height = geometry_[1];
  const int64_t width = geometry_[2];
  const auto [down, right, flip] = shift_of(options_.augmentation, draws);
  const Steps from = steps(last_);
  const Steps to = steps(writes_last_);
  for (int64_t y = 0; y < height; ++y) {
    const int64_t sy = y + down;
    for (int64_t c = 0; c < geometry_[0]; ++c) {
      const float mean = mean_[static_cast<size_t>(c)];
      const float std = std_[static_cast<size_t>(c)];
      for (int64_t x = 0; x < width; ++x) {
        const int64_t sx = x + right;
        const bool inside = sy >= 0 && sy < height && sx >= 0 && sx < width;
        const float value = inside ? in[c * from.channel + sy * from.row + sx * from.column] : 0.0F;
        row[c * to.channel + y * to.row + (flip ? width - 1 - x : x) * to.column] =
            rounded<T>((value - mean) / std);
      }
    }
  }
}

}  // namespace halftone::data
