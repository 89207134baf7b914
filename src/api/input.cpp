#include "api/input.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "onnx/input_axes.h"

namespace halftone::api {
namespace {

constexpr int64_t kMostSize = int64_t{1} << 31;

std::string known_axes(const onnx::Model& model) {
  const std::vector<std::string> names = onnx::open_axes(model);
  if (names.empty()) return fmt::format("{} leaves no size open but the batch (--batch)", model.path());
  return fmt::format("{} leaves open {}", model.path(), fmt::join(names, ", "));
}

bool names_batch(const onnx::Model& model, const std::string& name) {
  for (size_t i = 0; i < model.inputs().size(); ++i)
    for (size_t axis = 0; axis < model.inputs()[i].dims.size(); ++axis)
      if (onnx::is_batch(model, i, axis) && onnx::axis_name(model.inputs()[i], axis) == name) return true;
  return false;
}

std::map<std::string, int64_t> parse_dims(const std::vector<std::string>& dims, const onnx::Model& model) {
  const std::vector<std::string> names = onnx::open_axes(model);
  std::map<std::string, int64_t> sizes;
  for (const std::string& dim : dims) {
    const size_t at = dim.rfind('=');
    int64_t size = 0;
    const char* end = dim.data() + dim.size();
    const char* digits = at == std::string::npos ? end : dim.data() + at + 1;
    const auto [p, error] = std::from_chars(digits, end, size);
    if (at == std::string::npos || at == 0 || error != std::errc() || p != end || size < 1 ||
        size > kMostSize)
      throw usage_error("--dim {} is not possible: expected NAME=SIZE with a size from 1 to {}", dim,
                        kMostSize);
    const std::string name = dim.substr(0, at);
    if (names_batch(model, name))
      throw usage_error("--dim {}: {} is the batch, whose size --batch gives; {}", dim, name,
                        known_axes(model));
    if (std::find(names.begin(), names.end(), name) == names.end())
      throw usage_error("--dim {}: no input has an open size called {}; {}", dim, name, known_axes(model));
    if (!sizes.emplace(name, size).second) throw usage_error("--dim {}: {} is given twice", dim, name);
  }
  return sizes;
}

bool may_be_channels(int64_t size) {
  return size == 1 || size == 3;
}

}  // namespace

onnx::Model with_fixed_inputs(const onnx::Model& model, const std::vector<std::string>& inputs) {
  std::map<std::string, double> fixed;
  std::set<std::string> fed;  // from a field, or a file
  for (const std::string& text : inputs) {
    const auto named = named_value(text, model.inputs());
    if (!named) continue;
    const auto& [name, given] = *named;
    double value = 0;
    const char* end = given.data() + given.size();
    const auto [p, error] = std::from_chars(given.data(), end, value);
    const bool number = error == std::errc() && p == end && std::isfinite(value);
    const bool again = fixed.count(name) != 0 || (number && fed.count(name) != 0);
    if (again) throw usage_error("--input {}: {} is given twice", text, name);
    if (number) {
      fixed.emplace(name, value);
    } else {
      fed.insert(name);
    }
  }
  return fixed.empty() ? model : model.with_fixed(fixed);
}

bool is_fixed(const onnx::Model& model, const std::string& input) {
  std::vector<onnx::ValueInfo> all;
  for (const onnx::FixedInput& fixed : model.fixed()) all.push_back(fixed.info);
  const auto fixed = named_value(input, all);
  const auto other = named_value(input, model.inputs());
  return fixed && (!other || fixed->first.size() > other->first.size());
}

void bind_dims(onnx::Model& model, const std::vector<std::string>& dims) {
  const std::map<std::string, int64_t> sizes = parse_dims(dims, model);
  if (!sizes.empty()) model.bind(sizes);
}

std::optional<std::pair<std::string, std::string>> named_value(const std::string& text,
                                                               const std::vector<onnx::ValueInfo>& inputs) {
  const onnx::ValueInfo* named = nullptr;
  for (const onnx::ValueInfo& input : inputs)
    if (text.starts_with(input.name + "=") && (named == nullptr || input.name.size() > named->name.size()))
      named = &input;
  if (named == nullptr) return std::nullopt;
  return std::pair(named->name, text.substr(named->name.size() + 1));
}

void describe_samples(const onnx::Model& model, size_t index, const DataOptions& options,
                      data::OpenOptions& wanted) {
  const onnx::ValueInfo& input = model.inputs().at(index);
  std::vector<std::string> open;
  std::string bound;  // axes with a name have a size only by Model::bind
  for (size_t axis = 1; axis < input.dims.size(); ++axis) {
    const int64_t size = input.dims[axis].value;
    const bool is_open = size <= 0 && !onnx::is_batch(model, index, axis);
    wanted.sample_shape.push_back(is_open ? -1 : size);
    if (size > 0 && !input.dims[axis].param.empty())
      bound += fmt::format("{} = {}, ", input.dims[axis].param, size);
    if (is_open) open.push_back(fmt::format("--dim {}=SIZE", onnx::axis_name(input, axis)));
  }
  wanted.size_advice = fmt::format("{}", fmt::join(open, " "));
  if (!bound.empty()) wanted.shape_note = fmt::format(" ({}from --dim or the training data)", bound);
  const std::string& layout = options.layout;
  if (layout != "auto" && layout != "channels-first" && layout != "channels-last")
    throw usage_error("--layout {} is not known; it is auto, channels-first or channels-last", layout);
  if (layout != "auto" && wanted.sample_shape.size() != 3)
    throw usage_error(
        "--layout {} needs a network that takes images with three axes; {} takes samples of shape {}", layout,
        model.path(), to_string(wanted.sample_shape));
  if (wanted.sample_shape.size() != 3) return;
  wanted.network_layout = data::Layout::kAuto;
  const auto shown = index == 0 ? onnx::channel_axis(model) : std::nullopt;
  if (layout != "auto") {
    wanted.network_layout =
        layout == "channels-last" ? data::Layout::kChannelsLast : data::Layout::kChannelsFirst;
    wanted.layout_reason = "--layout";
  } else if (shown) {
    const bool last = *shown == onnx::ChannelAxis::kLast;
    wanted.network_layout = last ? data::Layout::kChannelsLast : data::Layout::kChannelsFirst;
    wanted.layout_reason =
        last ? "the network transposes them first" : "the network's first operator wants it";
  } else if (may_be_channels(wanted.sample_shape[2]) && !may_be_channels(wanted.sample_shape[0])) {
    wanted.network_layout = data::Layout::kChannelsLast;
    wanted.layout_reason =
        fmt::format("only the last axis of {} can be channels", to_string(wanted.sample_shape));
  } else if (may_be_channels(wanted.sample_shape[0]) && !may_be_channels(wanted.sample_shape[2])) {
    wanted.network_layout = data::Layout::kChannelsFirst;
    wanted.layout_reason =
        fmt::format("only the first axis of {} can be channels", to_string(wanted.sample_shape));
  }
}

void bind_to_data(onnx::Model& model, size_t input, const Shape& shape, const std::string& what,
                  const Log& log) {
  HT_ASSERT(input < model.inputs().size(), "input {} of {}", input, model.inputs().size());
  const onnx::ValueInfo& info = model.inputs()[input];
  if (info.dims.size() != shape.size()) return;
  std::map<std::string, int64_t> sizes;
  std::string text;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    if (info.dims[axis].value > 0 || onnx::is_batch(model, input, axis)) continue;
    const std::string name = onnx::axis_name(info, axis);
    const auto [known, added] = sizes.emplace(name, shape[axis]);
    if (!added && known->second != shape[axis])
      throw input_error("{}: input {} uses the size {} for two axes, but here they are {} and {}", what,
                        info.name, name, known->second, shape[axis]);
    if (added) text += fmt::format("{}{} = {}", text.empty() ? "" : ", ", name, shape[axis]);
  }
  if (sizes.empty()) return;
  if (log) log(fmt::format("input {}: {}, from {}", info.name, text, what));
  model.bind(sizes);
}

void bind_to_samples(onnx::Model& model, const data::Dataset& set, const Log& log) {
  Shape shape = set.info().shape;
  shape.insert(shape.begin(), set.size());
  bind_to_data(model, 0, shape, set.info().source, log);
}

}  // namespace halftone::api
