#include "data/pixels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "data/series.h"
#include "data/transform.h"
#include "num/random.h"

namespace halftone::data {
namespace {

enum PixelDraw : uint64_t {
  kVertical = 0,
  kAngle = 1,
  kOrder = 2,
  kFactors = 6,
  kErase = 10,
  kOperations = 52
};
constexpr int kEraseAttempts = 10;
constexpr uint64_t kDrawsAnErasure = 4;
constexpr double kPi = 3.14159265358979323846;

class PixelRandom {
 public:
  explicit PixelRandom(const Draws& draws)
      : key_(num::random_key(draws.seed, kPixelStream)), epoch_(draws.epoch), base_(64 * draws.sample) {}
  int64_t below(uint64_t draw, int64_t n) const {
    return static_cast<int64_t>(num::random_below(key_, base_ + draw, epoch_, static_cast<uint64_t>(n)));
  }
  double unit(uint64_t draw) const { return static_cast<double>(below(draw, int64_t{1} << 53)) * 0x1p-53; }
  double between(uint64_t draw, double least, double most) const {
    return least + (most - least) * unit(draw);
  }

 private:
  num::RandomKey key_;
  uint64_t epoch_, base_;
};

// Pictures here are H,W,C in a row.
Sample::Pixels packed(std::vector<uint8_t>& memory, int64_t channels, int64_t height, int64_t width) {
  memory.resize(static_cast<size_t>(channels * height * width));
  return {memory.data(), channels, height, width, 1, width * channels, channels};
}

uint8_t truncated(float x) {
  return static_cast<uint8_t>(std::clamp(x, 0.0F, 255.0F));
}
// Both factors rounded from double, as PyTorch's scalars are.
uint8_t blended(double ratio, float a, float b) {
  return truncated(static_cast<float>(ratio) * a + static_cast<float>(1 - ratio) * b);
}
float grey_of(const uint8_t* p, int64_t channels) {
  if (channels == 1) return p[0];
  return static_cast<float>(truncated(0.2989F * p[0] + 0.587F * p[1] + 0.114F * p[2]));
}

int64_t pixels_of(const Sample::Pixels& p) {
  return p.height * p.width;
}

void brightness(uint8_t* p, int64_t n, double factor) {
  for (int64_t i = 0; i < n; ++i) p[i] = blended(factor, p[i], 0);
}
void contrast(uint8_t* p, int64_t count, int64_t channels, double factor) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += grey_of(p + i * channels, channels);
  const auto mean = static_cast<float>(sum / static_cast<double>(count));
  for (int64_t i = 0; i < count * channels; ++i) p[i] = blended(factor, p[i], mean);
}
void saturation(uint8_t* p, int64_t count, int64_t channels, double factor) {
  if (channels == 1) return;
  for (int64_t i = 0; i < count; ++i) {
    const float grey = grey_of(p + i * channels, channels);
    for (int64_t c = 0; c < channels; ++c) p[i * channels + c] = blended(factor, p[i * channels + c], grey);
  }
}

void hue(uint8_t* p, int64_t count, int64_t channels, float shift) {
  if (channels == 1) return;
  for (int64_t i = 0; i < count; ++i, p += 3) {
    const float r = static_cast<float>(p[0]) / 255;
    const float g = static_cast<float>(p[1]) / 255;
    const float b = static_cast<float>(p[2]) / 255;
    const float high = std::max({r, g, b});
    const float low = std::min({r, g, b});
    const float range = high - low;
    if (range == 0) continue;  // a grey has no hue
    const float s = range / high;
    const float rc = (high - r) / range;
    const float gc = (high - g) / range;
    const float bc = (high - b) / range;
    float h = high == r ? bc - gc : high == g ? 2 + rc - bc : 4 + gc - rc;
    h = h / 6 + 1 + shift + 1;
    h -= std::floor(h);
    const float sixth = std::floor(h * 6);
    const float f = h * 6 - sixth;
    const float x = std::clamp(high * (1 - s), 0.0F, 1.0F);
    const float y = std::clamp(high * (1 - s * f), 0.0F, 1.0F);
    const float z = std::clamp(high * (1 - s * (1 - f)), 0.0F, 1.0F);
    const int place = static_cast<int>(sixth) % 6;
    const std::array<std::array<float, 3>, 6> colours{
        {{high, z, x}, {y, high, x}, {x, high, z}, {x, y, high}, {z, x, high}, {high, x, y}}};
    for (size_t c = 0; c < 3; ++c)
      p[c] = static_cast<uint8_t>(colours[static_cast<size_t>(place)][c] * 255.999F);
  }
}

// The pixel that stands at x', y' = a (x, y) + (dx, dy) in the picture, seen from its middle, is shown at x, y.
struct Affine {
  double xx = 1, xy = 0, yx = 0, yy = 1, dx = 0, dy = 0;
};
void move(const Affine& a, Sample::Pixels& pixels, PixelScratch& scratch) {
  const int64_t h = pixels.height;
  const int64_t w = pixels.width;
  const int64_t channels = pixels.channels;
  std::swap(scratch.picture, scratch.other);  // the picture is in `other` now
  pixels = packed(scratch.picture, channels, h, w);
  const uint8_t* from = scratch.other.data();
  uint8_t* to = scratch.picture.data();
  for (int64_t y = 0; y < h; ++y)
    for (int64_t x = 0; x < w; ++x, to += channels) {
      const double cx = static_cast<double>(x) + 0.5 - static_cast<double>(w) / 2;
      const double cy = static_cast<double>(y) + 0.5 - static_cast<double>(h) / 2;
      const auto sx = static_cast<int64_t>(
          std::nearbyint(a.xx * cx + a.xy * cy + a.dx + static_cast<double>(w) / 2 - 0.5));
      const auto sy = static_cast<int64_t>(
          std::nearbyint(a.yx * cx + a.yy * cy + a.dy + static_cast<double>(h) / 2 - 0.5));
      if (sx < 0 || sx >= w || sy < 0 || sy >= h) {
        std::memset(to, 0, static_cast<size_t>(channels));
      } else {
        std::memcpy(to, from + (sy * w + sx) * channels, static_cast<size_t>(channels));
      }
    }
}
void rotate(double degrees, Sample::Pixels& pixels, PixelScratch& scratch) {
  const double angle = degrees * kPi / 180;
  const double c = cos_series(angle);
  const double s = sin_series(angle);
  move({c, -s, s, c, 0, 0}, pixels, scratch);
}

void sharpness(Sample::Pixels& pixels, PixelScratch& scratch, double factor) {
  const int64_t h = pixels.height;
  const int64_t w = pixels.width;
  if (h <= 2 || w <= 2) return;
  const int64_t channels = pixels.channels;
  scratch.other.assign(scratch.picture.begin(), scratch.picture.end());
  for (int64_t y = 0; y < h; ++y)
    for (int64_t x = 0; x < w; ++x)
      for (int64_t c = 0; c < channels; ++c) {
        const auto at = static_cast<size_t>((y * w + x) * channels + c);
        float sum = 13.0F * scratch.other[at];  // at the edges the picture is not blurred
        if (y > 0 && y + 1 < h && x > 0 && x + 1 < w) {
          sum = 4.0F * scratch.other[at];
          for (int64_t i = -1; i <= 1; ++i)
            for (int64_t j = -1; j <= 1; ++j)
              sum += scratch.other[static_cast<size_t>(((y + i) * w + x + j) * channels + c)];
        }
        scratch.picture[at] = blended(factor, scratch.other[at], std::nearbyint(sum / 13));
      }
}

void autocontrast(Sample::Pixels& pixels, std::vector<uint8_t>& p) {
  for (int64_t c = 0; c < pixels.channels; ++c) {
    int low = 255;
    int high = 0;
    for (int64_t i = c; i < static_cast<int64_t>(p.size()); i += pixels.channels) {
      low = std::min<int>(low, p[static_cast<size_t>(i)]);
      high = std::max<int>(high, p[static_cast<size_t>(i)]);
    }
    if (low >= high) continue;
    const float scale = 255.0F / static_cast<float>(high - low);
    for (int64_t i = c; i < static_cast<int64_t>(p.size()); i += pixels.channels) {
      uint8_t& x = p[static_cast<size_t>(i)];
      x = truncated(static_cast<float>(x - low) * scale);
    }
  }
}

void equalize(Sample::Pixels& pixels, std::vector<uint8_t>& p) {
  for (int64_t c = 0; c < pixels.channels; ++c) {
    std::array<int64_t, 256> counts{};
    for (int64_t i = c; i < static_cast<int64_t>(p.size()); i += pixels.channels)
      ++counts[p[static_cast<size_t>(i)]];
    int64_t last = 0;  // of the brightest value that is there
    for (const int64_t n : counts)
      if (n > 0) last = n;
    const int64_t step = (pixels_of(pixels) - last) / 255;
    if (step == 0) continue;
    std::array<uint8_t, 256> table{};
    int64_t sum = 0;
    for (size_t v = 0; v < 256; ++v) {
      table[v] = static_cast<uint8_t>(v == 0 ? 0 : std::clamp<int64_t>((sum + step / 2) / step, 0, 255));
      sum += counts[v];
    }
    for (int64_t i = c; i < static_cast<int64_t>(p.size()); i += pixels.channels) {
      uint8_t& x = p[static_cast<size_t>(i)];
      x = table[x];
    }
  }
}

// RandAugment's, in torchvision's order, with its strengths of 31 steps.
struct Operation {
  const char* name;
  double most;  // at the last step
  bool has_sign;
};
constexpr Operation kAllOperations[] = {
    {"Identity", 0, false},     {"ShearX", 0.3, true},    {"ShearY", 0.3, true},     {"TranslateX", 0, true},
    {"TranslateY", 0, true},    {"Rotate", 30, true},     {"Brightness", 0.9, true}, {"Color", 0.9, true},
    {"Contrast", 0.9, true},    {"Sharpness", 0.9, true}, {"Posterize", 4, false},   {"Solarize", 255, false},
    {"AutoContrast", 0, false}, {"Equalize", 0, false}};
constexpr int64_t kListed = std::size(kAllOperations);
constexpr double kLastStep = 30;

void rand_augment(const PixelChanges& changes, const PixelRandom& random, Sample::Pixels& pixels,
                  PixelScratch& scratch) {
  for (int64_t i = 0; i < changes.operations; ++i) {
    const auto draw = kOperations + 2 * static_cast<uint64_t>(i);
    const Operation& operation = kAllOperations[random.below(draw, kListed)];
    const std::string name = operation.name;
    const double share = static_cast<double>(changes.strength) / kLastStep;
    double strength = operation.most * share;
    if (name == "TranslateX") strength = 150.0 / 331 * static_cast<double>(pixels.width) * share;
    if (name == "TranslateY") strength = 150.0 / 331 * static_cast<double>(pixels.height) * share;
    if (name == "Posterize") strength = 8 - std::nearbyint(strength);
    if (name == "Solarize") strength = 255 - strength;
    if (operation.has_sign && random.below(draw + 1, 2) == 1) strength = -strength;
    apply_operation(name, strength, pixels, scratch);
  }
}

void jitter(const PixelChanges& changes, const PixelRandom& random, Sample::Pixels& pixels,
            PixelScratch& scratch) {
  std::array<int, 4> order{0, 1, 2, 3};
  for (size_t i = order.size(); i-- > 1;)
    std::swap(order[i], order[static_cast<size_t>(random.below(kOrder + i, static_cast<int64_t>(i) + 1))]);
  const int64_t count = pixels_of(pixels);
  uint8_t* p = scratch.picture.data();
  const auto factor = [&](uint64_t draw, double strength) {
    return random.between(kFactors + draw, std::max(0.0, 1 - strength), 1 + strength);
  };
  for (const int which : order) {
    if (which == 0 && changes.brightness > 0)
      brightness(p, count * pixels.channels, factor(0, changes.brightness));
    if (which == 1 && changes.contrast > 0) contrast(p, count, pixels.channels, factor(1, changes.contrast));
    if (which == 2 && changes.saturation > 0)
      saturation(p, count, pixels.channels, factor(2, changes.saturation));
    if (which == 3 && changes.hue > 0)
      hue(p, count, pixels.channels,
          static_cast<float>(random.between(kFactors + 3, -changes.hue, changes.hue)));
  }
}

}  // namespace

void apply_operation(const std::string& name, double strength, Sample::Pixels& pixels,
                     PixelScratch& scratch) {
  std::vector<uint8_t>& p = scratch.picture;
  HT_ASSERT(pixels.data == p.data() && pixels.column_stride == pixels.channels, "a picture of its own");
  const double factor = 1 + strength;
  const double w = static_cast<double>(pixels.width);
  const double h = static_cast<double>(pixels.height);
  if (name == "Identity") return;
  // Sheared around the upper left corner.
  if (name == "ShearX") return move({1, strength, 0, 1, strength * h / 2, 0}, pixels, scratch);
  if (name == "ShearY") return move({1, 0, strength, 1, 0, strength * w / 2}, pixels, scratch);
  if (name == "TranslateX") return move({1, 0, 0, 1, -std::trunc(strength), 0}, pixels, scratch);
  if (name == "TranslateY") return move({1, 0, 0, 1, 0, -std::trunc(strength)}, pixels, scratch);
  if (name == "Rotate") return rotate(strength, pixels, scratch);
  if (name == "Brightness") return brightness(p.data(), static_cast<int64_t>(p.size()), factor);
  if (name == "Color") return saturation(p.data(), pixels_of(pixels), pixels.channels, factor);
  if (name == "Contrast") return contrast(p.data(), pixels_of(pixels), pixels.channels, factor);
  if (name == "Sharpness") return sharpness(pixels, scratch, factor);
  if (name == "Posterize") {
    const int mask = -(1 << (8 - static_cast<int>(strength)));
    for (uint8_t& x : p) x = static_cast<uint8_t>(x & mask);
    return;
  }
  if (name == "Solarize") {
    for (uint8_t& x : p) x = x >= strength ? static_cast<uint8_t>(255 - x) : x;
    return;
  }
  if (name == "AutoContrast") return autocontrast(pixels, p);
  if (name == "Equalize") return equalize(pixels, p);
  if (name == "Hue") return hue(p.data(), pixels_of(pixels), pixels.channels, static_cast<float>(strength));
  HT_ASSERT(false, "there is no operation {}", name);
}

Sample::Pixels changed_pixels(const Sample::Pixels& pixels, const PixelChanges& changes, const Draws& draws,
                              PixelScratch& scratch) {
  HT_ASSERT(pixels.channels == 1 || pixels.channels == 3, "{} channels", pixels.channels);
  const PixelRandom random(draws);
  Sample::Pixels own = packed(scratch.picture, pixels.channels, pixels.height, pixels.width);
  const bool upside_down = changes.vertical_flip && random.below(kVertical, 2) == 1;
  uint8_t* to = scratch.picture.data();
  for (int64_t y = 0; y < pixels.height; ++y) {
    const uint8_t* row = pixels.data + (upside_down ? pixels.height - 1 - y : y) * pixels.row_stride;
    for (int64_t x = 0; x < pixels.width; ++x)
      for (int64_t c = 0; c < pixels.channels; ++c)
        *to++ = row[x * pixels.column_stride + c * pixels.channel_stride];
  }
  rand_augment(changes, random, own, scratch);
  jitter(changes, random, own, scratch);
  if (changes.rotation > 0) rotate(random.between(kAngle, -changes.rotation, changes.rotation), own, scratch);
  return own;
}

Erased erased(int64_t height, int64_t width, double probability, const Draws& draws) {
  const PixelRandom random(draws);
  if (probability <= 0 || random.unit(kErase) >= probability) return {};
  constexpr double kLogRatio = 1.203972804325936;  // ln 10/3
  const auto area = static_cast<double>(height * width);
  for (int attempt = 0; attempt < kEraseAttempts; ++attempt) {
    const uint64_t draw = kErase + 1 + static_cast<uint64_t>(attempt) * kDrawsAnErasure;
    const double target = area * random.between(draw, 0.02, 0.33);
    const double ratio = exponential_series(random.between(draw + 1, -kLogRatio, kLogRatio));
    const auto h = static_cast<int64_t>(std::nearbyint(std::sqrt(target * ratio)));
    const auto w = static_cast<int64_t>(std::nearbyint(std::sqrt(target / ratio)));
    if (h < 1 || w < 1 || h >= height || w >= width) continue;
    return {random.below(draw + 2, height - h + 1), random.below(draw + 3, width - w + 1), h, w};
  }
  return {};
}

}  // namespace halftone::data
