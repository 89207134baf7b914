// Resize and Upsample: tables for Resample (resample.cpp).
//
// formula  nearest, linear and cubic interpolation along each axis whose size changes, by ONNX's formulas;
//          positions in fp32, as ONNX Runtime computes them, weights in double
// gradient Resample's
// shapes   x[N, C, ...] -> y[N, C, ...]; any axes
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   once, when y is stored
// saves    none
// scratch  Resample's
// alias    none
// errors   a number of images that changes; scales, sizes, roi or axes that are not constants; attributes
//          of a version that has not got them; align_corners with scales that give no whole size (ONNX and
//          ONNX Runtime differ there)
// source   ONNX Resize-10/11/13/18/19, Upsample-7/9
// tests    tests/ops/resize_test.cpp
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/resample.h"

namespace halftone::ops::resize {
namespace {

constexpr int64_t kLongestAxis = int64_t{1} << 22;  // of a result; more is no image

struct Settings {
  std::string mode, coordinates, nearest;
  bool antialias = false;
  bool exclude_outside = false;
  double cubic = -0.75;
};

// One axis: n elements become m; scale is m / n or what the file says, start and end are the region of
// interest (fractions of the axis).
struct Axis {
  int64_t n, m;
  float scale;
  float start, end;
};

// ONNX's x_original for element j of the result.
float position(const Settings& s, const Axis& a, int64_t j) {
  const auto x = static_cast<float>(j);
  const auto n = static_cast<float>(a.n);
  const auto m = static_cast<float>(a.m);
  if (s.coordinates == "align_corners") return a.m == 1 ? 0 : x * (n - 1) / (m - 1);
  if (s.coordinates == "asymmetric") return x / a.scale;
  if (s.coordinates == "tf_crop_and_resize")
    return a.m == 1 ? 0.5F * (a.start + a.end) * (n - 1)
                    : a.start * (n - 1) + x * (a.end - a.start) * (n - 1) / (m - 1);
  if (s.coordinates == "pytorch_half_pixel" && a.m == 1) return 0;
  const float half_pixel = (x + 0.5F) / a.scale - 0.5F;
  if (s.coordinates == "half_pixel_symmetric") return n / 2 * (1 - m / (a.scale * n)) + half_pixel;
  return half_pixel;
}

int64_t nearest(const Settings& s, float at, float scale) {
  const float low = std::floor(at);
  const float part = at - low;
  const auto left = static_cast<int64_t>(low);
  if (part == 0) return left;
  if (s.nearest == "floor") return left;
  if (s.nearest == "ceil") return left + 1;
  if (s.nearest == "before 11") return scale < 1 ? left + 1 : left;
  if (s.nearest == "round_prefer_ceil") return part < 0.5F ? left : left + 1;
  return part <= 0.5F ? left : left + 1;
}

double linear_weight(double distance) {
  return std::max(0.0, 1 - std::fabs(distance));
}
double cubic_weight(double distance, double a) {
  const double d = std::fabs(distance);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return 0;
}

AxisTable table_of(const Settings& s, const Axis& a, int64_t axis) {
  AxisTable t;
  t.axis = axis;
  const bool cubic = s.mode == "cubic";
  // With antialias the filter is as wide as the pixels that fall into one of the result.
  const double width = s.antialias ? std::min<double>(a.scale, 1) : 1;
  const double reach = (cubic ? 2 : 1) / width;
  check_table(axis, static_cast<double>(a.m) * (s.mode == "nearest" ? 1 : 2 * reach));
  for (int64_t j = 0; j < a.m; ++j) {
    const float at = position(s, a, j);
    if (s.coordinates == "tf_crop_and_resize" && (at < 0 || at > static_cast<float>(a.n - 1))) {
      t.end();  // extrapolation_value, which the caller adds
      continue;
    }
    const auto inside = [&](int64_t i) { return std::clamp<int64_t>(i, 0, a.n - 1); };
    if (s.mode == "nearest") {
      t.tap(inside(nearest(s, at, a.scale)), 1);
      t.end();
      continue;
    }
    const auto first = static_cast<int64_t>(std::floor(at - reach)) + 1;
    const auto last = static_cast<int64_t>(std::ceil(at + reach)) - 1;
    std::map<int64_t, double> taps;
    double sum = 0;
    for (int64_t i = first; i <= last; ++i) {
      const double distance = (static_cast<double>(i) - at) * width;
      const double weight = cubic ? cubic_weight(distance, s.cubic) : linear_weight(distance);
      if (weight == 0 || (s.exclude_outside && inside(i) != i)) continue;
      sum += weight;
      taps[inside(i)] += weight;
    }
    const bool normalized = s.antialias || s.exclude_outside;
    if (normalized && sum == 0) throw input_error("element {} of axis {} has no weights", j, axis);
    for (const auto& [index, weight] : taps) t.tap(index, normalized ? weight / sum : weight);
    t.end();
  }
  return t;
}

// What import has read of a node: one entry for each axis of x.
struct Wanted {
  std::vector<float> scales;
  Shape sizes;
  std::vector<float> start, end;
};

std::vector<double> numbers_of(const ImportContext& c, size_t i, const char* name) {
  const Tensor* t = c.constant(i);
  if (t == nullptr) throw input_error("{} (input {}) must be a constant that is known when loading", name, i);
  return to_doubles(*t);
}

int64_t scaled_size(int64_t n, float scale, float part, size_t axis) {
  const float size = std::floor(static_cast<float>(n) * part * scale);
  if (!(scale > 0) || !(size >= 1) || !(size <= static_cast<float>(kLongestAxis)))
    throw input_error("axis {} of {} elements cannot be scaled by {}", axis, n, scale);
  return static_cast<int64_t>(size);
}

ValueId resized(ImportContext& c, const Settings& s, const Wanted& w, double extrapolation) {
  Builder& b = c.builder;
  const Shape x = c.shape(0);
  const bool crops = s.coordinates == "tf_crop_and_resize";
  std::vector<AxisTable> tables;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] < 1) throw input_error("axis {} of {} has no elements", i, to_string(x));
    if (w.scales[i] == 1 && w.sizes[i] == x[i] && !crops) continue;
    if (x[i] > kLongestAxis) throw input_error("axis {} of {} is too long to be resized", i, to_string(x));
    if (i == 0 && x.size() > 2 && w.sizes[0] != x[0])
      throw input_error(
          "{} images would be resized to {}: the file fixes the batch in sizes or scales; export it with an "
          "open batch",
          x[0], w.sizes[0]);
    const float exact = w.scales[i] * static_cast<float>(x[i]);
    if (s.coordinates == "align_corners" && exact != static_cast<float>(w.sizes[i]) && w.sizes[i] > 1)
      throw input_error(
          "align_corners with scale {} makes {} elements {}, which is not whole: ONNX and ONNX Runtime "
          "differ in "
          "what that means; export the network with sizes instead of scales",
          w.scales[i], x[i], exact);
    tables.push_back(
        table_of(s, {x[i], w.sizes[i], w.scales[i], w.start[i], w.end[i]}, static_cast<int64_t>(i)));
  }
  // Where an axis lies outside, extrapolation_value: a constant that is added.
  Shape outside_shape(x.size(), 1);
  for (const AxisTable& t : tables)
    for (size_t j = 0; j + 1 < t.offsets.size(); ++j)
      if (t.offsets[j] == t.offsets[j + 1]) outside_shape[static_cast<size_t>(t.axis)] = t.size();
  ValueId y = kNone;
  if (extrapolation != 0 && elements(outside_shape) > 1) {
    Tensor outside = folded(DType::kF32, outside_shape);
    const Shape strides = strides_of(outside_shape);
    for (const AxisTable& t : tables) {
      const auto axis = static_cast<size_t>(t.axis);
      if (outside_shape[axis] == 1) continue;
      for (int64_t e = 0; e < outside.size(); ++e) {
        const auto j = static_cast<size_t>(e / strides[axis] % outside_shape[axis]);
        if (t.offsets[j] == t.offsets[j + 1])
          outside.as<float>()[static_cast<size_t>(e)] = static_cast<float>(extrapolation);
      }
    }
    y = b.constant(std::move(outside));
  }
  const ValueId inside = add_resample(b, c.inputs[0], std::move(tables));
  return y == kNone ? inside : b.add1("Add", {inside, y});
}

// sizes by a policy that keeps the ratio of the axes; scales becomes the common one.
void keep_ratio(const std::string& policy, const Shape& x, const std::vector<int64_t>& axes, Wanted& w) {
  if (policy == "stretch") return;
  if (policy != "not_larger" && policy != "not_smaller")
    throw input_error("keep_aspect_ratio_policy is '{}', expected stretch, not_larger or not_smaller",
                      policy);
  float scale = 0;
  for (const int64_t axis : axes) {
    const float own = w.scales[static_cast<size_t>(axis)];
    const bool better = policy == "not_larger" ? own < scale : own > scale;
    if (scale == 0 || better) scale = own;
  }
  for (const int64_t axis : axes) {
    const auto i = static_cast<size_t>(axis);
    w.scales[i] = scale;
    w.sizes[i] = static_cast<int64_t>(std::floor(scale * static_cast<float>(x[i]) + 0.5F));
    if (w.sizes[i] < 1 || w.sizes[i] > kLongestAxis)
      throw input_error("axis {} becomes {} long", i, w.sizes[i]);
  }
}

std::vector<int64_t> every_axis(size_t rank) {
  std::vector<int64_t> axes(rank);
  std::iota(axes.begin(), axes.end(), 0);
  return axes;
}

Wanted unchanged(const Shape& x) {
  return {std::vector<float>(x.size(), 1), x, std::vector<float>(x.size(), 0),
          std::vector<float>(x.size(), 1)};
}

void take_scales(const std::vector<double>& scales, const std::vector<int64_t>& axes, const Shape& x,
                 Wanted& w) {
  if (scales.size() != axes.size())
    throw input_error("there are {} scales for {} axes", scales.size(), axes.size());
  for (size_t k = 0; k < axes.size(); ++k) {
    const auto i = static_cast<size_t>(axes[k]);
    w.scales[i] = static_cast<float>(scales[k]);
    w.sizes[i] = scaled_size(x[i], w.scales[i], w.end[i] - w.start[i], i);
  }
}

void check_mode(const std::string& mode) {
  if (mode != "nearest" && mode != "linear" && mode != "cubic")
    throw input_error("mode is '{}', expected nearest, linear or cubic", mode);
}

std::vector<ValueId> import_resize_10(ImportContext& c) {
  check_attributes(c.attributes, {"mode"});
  if (!c.has(1)) throw input_error("scales are missing");
  const Shape x = c.shape(0);
  Settings s{c.attributes.string_or("mode", "nearest"), "asymmetric", "before 11"};
  if (s.mode == "cubic") throw input_error("mode is 'cubic', which Resize has since opset 11");
  check_mode(s.mode);
  Wanted w = unchanged(x);
  take_scales(numbers_of(c, 1, "scales"), every_axis(x.size()), x, w);
  return {resized(c, s, w, 0)};
}

// Input i when it is there and has elements: exporters leave an unused one as a tensor of none.
bool given(const ImportContext& c, size_t i) {
  return c.has(i) && c.shape(i) != Shape{0};
}

std::vector<ValueId> import_resize(ImportContext& c) {
  if (c.opset < 11) return import_resize_10(c);
  if (c.opset < 18) {
    check_attributes(c.attributes, {"coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside",
                                    "extrapolation_value", "mode", "nearest_mode"});
  } else {
    check_attributes(c.attributes, {"antialias", "axes", "coordinate_transformation_mode", "cubic_coeff_a",
                                    "exclude_outside", "extrapolation_value", "keep_aspect_ratio_policy",
                                    "mode", "nearest_mode"});
  }
  const Attributes& a = c.attributes;
  const Shape x = c.shape(0);
  Settings s;
  s.mode = a.string_or("mode", "nearest");
  s.coordinates = a.string_or("coordinate_transformation_mode", "half_pixel");
  s.nearest = a.string_or("nearest_mode", "round_prefer_floor");
  s.antialias = a.int_or("antialias", 0) != 0;
  s.exclude_outside = a.int_or("exclude_outside", 0) != 0;
  s.cubic = a.float_or("cubic_coeff_a", -0.75);
  check_mode(s.mode);
  if (!std::isfinite(s.cubic)) throw input_error("cubic_coeff_a is {}", s.cubic);
  const auto known = [](const std::string& word, std::initializer_list<const char*> list, const char* what) {
    if (std::none_of(list.begin(), list.end(), [&](const char* w) { return word == w; }))
      throw input_error("{} is '{}', which is not supported", what, word);
  };
  if (c.opset < 19 && s.coordinates == "half_pixel_symmetric")
    throw input_error(
        "coordinate_transformation_mode is 'half_pixel_symmetric', which Resize has since opset 19");
  known(s.coordinates,
        {"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize",
         "half_pixel_symmetric"},
        "coordinate_transformation_mode");
  known(s.nearest, {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}, "nearest_mode");
  if (s.antialias && s.mode == "nearest") s.antialias = false;  // ONNX: it has no effect
  std::vector<int64_t> axes = a.ints_or("axes", every_axis(x.size()));
  std::vector<bool> seen(x.size(), false);
  for (int64_t& axis : axes) {
    axis = normalize_axis(axis, static_cast<int64_t>(x.size()));
    if (seen[static_cast<size_t>(axis)]) throw input_error("axis {} is named twice", axis);
    seen[static_cast<size_t>(axis)] = true;
  }
  Wanted w = unchanged(x);
  if (s.coordinates == "tf_crop_and_resize") {
    if (!given(c, 1)) throw input_error("tf_crop_and_resize needs roi");
    const std::vector<double> roi = numbers_of(c, 1, "roi");
    for (const double edge : roi)
      if (!std::isfinite(edge)) throw input_error("roi has the value {}", edge);
    if (roi.size() != 2 * axes.size())
      throw input_error("roi has {} numbers for {} axes", roi.size(), axes.size());
    for (size_t k = 0; k < axes.size(); ++k) {
      w.start[static_cast<size_t>(axes[k])] = static_cast<float>(roi[k]);
      w.end[static_cast<size_t>(axes[k])] = static_cast<float>(roi[k + axes.size()]);
    }
  }
  if (given(c, 2) == given(c, 3)) throw input_error("one of scales and sizes is needed, not both or none");
  const std::string policy = a.string_or("keep_aspect_ratio_policy", "stretch");
  if (given(c, 2)) {
    take_scales(numbers_of(c, 2, "scales"), axes, x, w);
  } else {
    const std::vector<int64_t> sizes = c.int_constant(3);
    if (sizes.size() != axes.size())
      throw input_error("there are {} sizes for {} axes", sizes.size(), axes.size());
    for (size_t k = 0; k < axes.size(); ++k) {
      const auto i = static_cast<size_t>(axes[k]);
      if (sizes[k] < 1 || sizes[k] > kLongestAxis) throw input_error("size {} of axis {}", sizes[k], i);
      w.sizes[i] = sizes[k];
      w.scales[i] = static_cast<float>(sizes[k]) / static_cast<float>(x[i]);
    }
    keep_ratio(policy, x, axes, w);
  }
  return {resized(c, s, w, a.float_or("extrapolation_value", 0))};
}

std::vector<ValueId> import_upsample(ImportContext& c) {
  const Shape x = c.shape(0);
  std::vector<double> scales;
  if (c.opset < 9) {
    check_attributes(c.attributes, {"mode", "scales"});
    for (const auto& [name, attribute] : c.attributes)
      if (const auto* list = std::get_if<std::vector<double>>(&attribute);
          name == "scales" && list != nullptr)
        scales = *list;
    if (scales.empty()) throw input_error("scales are missing");
  } else {
    check_attributes(c.attributes, {"mode"});
    if (!c.has(1)) throw input_error("scales are missing");
    scales = numbers_of(c, 1, "scales");
  }
  Settings s{c.attributes.string_or("mode", "nearest"), "asymmetric", "before 11"};
  if (s.mode != "nearest" && s.mode != "linear" && s.mode != "bilinear")
    throw input_error("mode is '{}', expected nearest or linear", s.mode);
  if (s.mode == "bilinear") s.mode = "linear";
  for (const double scale : scales)
    if (!(scale >= 1)) throw input_error("a scale is {}, expected at least 1", scale);
  Wanted w = unchanged(x);
  take_scales(scales, every_axis(x.size()), x, w);
  return {resized(c, s, w, 0)};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {},
      {{.op_type = "Resize", .since = 10, .until = 24, .import = import_resize},
       {.op_type = "Upsample", .since = 7, .until = 9, .import = import_upsample}},
  };
  return family;
}

}  // namespace halftone::ops::resize
