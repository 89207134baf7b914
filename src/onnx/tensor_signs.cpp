#include "onnx/tensor_signs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/words.h"

namespace halftone::onnx {
namespace {

bool starts_with(std::string_view text, std::string_view begin) {
  return text.substr(0, begin.size()) == begin;
}
bool all_digits(std::string_view s) {
  return !s.empty() && s.find_first_not_of("0123456789") == std::string_view::npos;
}
// The last part of a path in lower case: "layers.0.attn_mask" gives attn_mask, "dense/ReadVariableOp:0" gives
// readvariableop.
std::string last_word(std::string_view name) {
  const size_t colon = name.rfind(':');
  if (colon != std::string_view::npos && all_digits(name.substr(colon + 1))) name = name.substr(0, colon);
  const size_t cut = name.find_last_of("./");
  std::string word(cut == std::string_view::npos ? name : name.substr(cut + 1));
  for (char& c : word) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  // A counter of equal names: ReadVariableOp_1.
  const size_t underscore = word.rfind('_');
  if (underscore != std::string::npos && underscore > 0 && all_digits(word.substr(underscore + 1)))
    word.resize(underscore);
  return word;
}

constexpr std::array<std::string_view, 43> kBufferWords{"mask",
                                                        "masks",
                                                        "running_mean",
                                                        "running_var",
                                                        "running_std",
                                                        "moving_mean",
                                                        "moving_variance",
                                                        "moving_var",
                                                        "anchors",
                                                        "anchor",
                                                        "anchor_points",
                                                        "anchor_grid",
                                                        "stride",
                                                        "strides",
                                                        "grid",
                                                        "grids",
                                                        "mean",
                                                        "std",
                                                        "eps",
                                                        "epsilon",
                                                        "filt",
                                                        "blur_kernel",
                                                        "window",
                                                        "hann_window",
                                                        "fb",
                                                        "mel_fb",
                                                        "inv_freq",
                                                        "freqs_cis",
                                                        "cos",
                                                        "sin",
                                                        "cos_cached",
                                                        "sin_cached",
                                                        "cos_cache",
                                                        "sin_cache",
                                                        "pe",
                                                        "relative_coords_table",
                                                        "coords",
                                                        "position_ids",
                                                        "indices",
                                                        "image_mean",
                                                        "image_std",
                                                        "pixel_mean",
                                                        "pixel_std"};
constexpr std::array<std::string_view, 9> kBufferEndings{
    "_mask", "_index", "_idx", "_idxs", "_ids", "_coords", "_coords_table", "_anchors", "_buffer"};
constexpr std::array<std::string_view, 14> kParameterWords{
    "weight",    "weights",    "bias",  "biases",    "gamma",  "beta",   "kernel",
    "embedding", "embeddings", "embed", "pos_embed", "lora_a", "lora_b", "readvariableop"};
constexpr std::array<std::string_view, 6> kParameterEndings{"_weight", "_bias",      "_biases",
                                                            "_token",  "_embedding", "_embed"};

// PyTorch's newer exporter calls what it computed beforehand by the operation: "expand", "cat_1".
constexpr std::array<std::string_view, 44> kOperationWords{
    "add",      "sub",       "mul",        "div",    "neg",     "exp",     "log",   "sqrt",
    "rsqrt",    "pow",       "sin",        "clamp",  "sigmoid", "softmax", "cat",   "stack",
    "expand",   "repeat",    "tile",       "view",   "reshape", "permute", "t",     "transpose",
    "squeeze",  "unsqueeze", "slice",      "select", "split",   "getitem", "index", "index_select",
    "gather",   "clone",     "contiguous", "where",  "zeros",   "ones",    "full",  "arange",
    "linspace", "eye",       "tril",       "triu"};

std::vector<double> doubles_of(const Tensor& tensor) {
  const Tensor wide = converted(tensor, DType::kF64);
  const auto values = wide.as<double>();
  return {values.begin(), values.end()};
}

// Whether the last axis holds sines and cosines: x^2 + y^2 = 1 for all elements and those half or a quarter
// of the axis, or one element, behind them; or, when `equal`, elements of at most 1 that are equal in such
// pairs.
bool pairs_up(const std::vector<double>& v, size_t width, size_t step, bool equal) {
  if (step == 0 || width % (2 * step) != 0) return false;
  size_t spread = 0;  // pairs that are not (0, 1) and the like, which other tables have too
  for (size_t i = 0; i < v.size(); ++i) {
    if ((i % width) / step % 2 != 0) continue;
    const double a = v[i];
    const double b = v[i + step];
    if (equal ? a != b || std::fabs(a) > 1 : std::fabs(a * a + b * b - 1) > 1e-4) return false;
    if (std::fabs(a) > 1e-3 && std::fabs(a) < 0.999) ++spread;
  }
  return spread * 4 >= v.size() / 2 && v.size() >= 8;
}

bool is_waves(const std::vector<double>& v, const Shape& shape) {
  if (shape.empty() || shape.back() < 2) return false;
  const auto width = static_cast<size_t>(shape.back());
  for (const size_t step : {width / 2, width / 4, size_t{1}})
    if (pairs_up(v, width, step, false)) return true;
  for (const size_t step : {width / 2, size_t{1}})
    if (shape.size() > 1 && pairs_up(v, width, step, true)) return true;
  return false;
}

}  // namespace

bool is_made_up(std::string_view name) {
  if (starts_with(name, "onnx::") || all_digits(name)) return true;
  for (const std::string_view begin :
       {"val_", "_to_copy_", "Constant_", "const_", "_val_", "helper.constant."})
    if (starts_with(name, begin) && all_digits(name.substr(begin.size()))) return true;
  for (const std::string_view begin : {"const_fold_opt__", "lifted_tensor_", "c_lifted_tensor_",
                                       "graph_constant", "_inlfunc_", "scalar_tensor"})
    if (starts_with(name, begin)) return true;
  if (name.find_first_of("./:") == std::string_view::npos && is_one_of(last_word(name), kOperationWords))
    return true;
  // "/layer1/Constant_output_0" of PyTorch's exporter, "model/add/Const:0" of TensorFlow's graphs.
  return starts_with(name, "/") || last_word(name) == "const";
}

NameKind kind_of_name(std::string_view name) {
  if (is_made_up(name)) return NameKind::kMadeUp;
  const std::string word = last_word(name);
  if (is_one_of(word, kBufferWords)) return NameKind::kBuffer;
  for (const std::string_view end : kBufferEndings)
    if (word.ends_with(end)) return NameKind::kBuffer;
  if (is_one_of(word, kParameterWords)) return NameKind::kParameter;
  for (const std::string_view end : kParameterEndings)
    if (word.ends_with(end)) return NameKind::kParameter;
  // TensorFlow's paths have slashes, and literals (".../mul/y:0") have them as well as variables.
  const bool module = name.find('.') != std::string_view::npos && name.find('/') == std::string_view::npos;
  return module ? NameKind::kModule : NameKind::kPlain;
}

Pattern pattern_of(const Tensor& tensor) {
  if (tensor.size() == 0) return Pattern::kEqual;
  const std::vector<double> v = doubles_of(tensor);
  bool equal = true;
  bool finite = true;
  bool zero_one = true;
  bool halves = true;
  double low = 0;  // the value below 0, where there is only one beside 0
  bool mask = true;
  double largest = 0;
  for (const double x : v) {
    equal = equal && x == v[0];
    finite = finite && std::isfinite(x);
    zero_one = zero_one && (x == 0 || x == 1);
    halves = halves && std::isfinite(x) && 2 * x == std::floor(2 * x);
    if (x != 0 && low == 0) low = x;
    mask = mask && (x == 0 || x == low);
    largest = std::max(largest, std::fabs(x));
  }
  if (mask && low <= -10) return Pattern::kMask;
  if (!finite) return Pattern::kInfinite;
  if (equal) return Pattern::kEqual;
  if (zero_one) return Pattern::kZeroOne;
  if (halves && largest >= 2 && v.size() >= 8) return Pattern::kGrid;
  if (is_waves(v, tensor.shape())) return Pattern::kWaves;
  std::vector<double> sorted = v;
  std::sort(sorted.begin(), sorted.end());
  const auto distinct = static_cast<size_t>(std::unique(sorted.begin(), sorted.end()) - sorted.begin());
  return v.size() >= 8 && distinct * 2 <= v.size() ? Pattern::kRepeated : Pattern::kNone;
}

bool is_masking_table(const Tensor& table) {
  if (table.shape().empty() || table.size() == 0) return false;
  const std::vector<double> v = doubles_of(table);
  const size_t width = v.size() / static_cast<size_t>(table.shape()[0]);
  size_t masking = 0;
  for (size_t row = 0; row < v.size(); row += width) {
    size_t infinite = 0;
    for (size_t i = row; i < row + width; ++i) {
      if (v[i] == -std::numeric_limits<double>::infinity())
        ++infinite;
      else if (!std::isfinite(v[i]))
        return false;
    }
    if (infinite != 0 && infinite != width) return false;
    masking += infinite != 0 ? 1 : 0;
  }
  return masking > 0 && masking * width < v.size();
}

bool is_fixed_filter(const Tensor& weight) {
  const Shape& shape = weight.shape();
  if (shape.size() < 3 || weight.size() == 0) return false;
  const auto channels = static_cast<size_t>(shape[0]);
  const std::vector<double> v = doubles_of(weight);
  // A sum over numbered bins: 0, 1, 2, ...
  if (channels == 1 && v.size() >= 8 && static_cast<int64_t>(v.size()) == shape[1]) {
    bool counts = true;
    for (size_t i = 0; i < v.size(); ++i) counts = counts && v[i] == static_cast<double>(i);
    if (counts) return true;
  }
  const size_t fan = v.size() / channels;
  if (shape[1] != 1 || channels < 2 || fan < 2) return false;
  for (size_t i = fan; i < v.size(); ++i)
    if (v[i] != v[i - fan]) return false;
  const bool flat = std::all_of(v.begin(), v.end(), [&](double x) { return x == v[0]; });
  return !flat || std::fabs(v[0] * static_cast<double>(fan) - 1) < 1e-5;
}

}  // namespace halftone::onnx
