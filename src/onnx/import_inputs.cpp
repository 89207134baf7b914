// A network's inputs, fixed inputs and outputs as the graph has them.
#include <utility>

#include "base/error.h"
#include "onnx/importer.h"
#include "onnx/input_axes.h"
#include "onnx/model_contents.h"

namespace halftone::onnx {

namespace {

using ir::ValueId;
using ir::ValueKind;

// No machine holds an activation of this size; beyond it sizes in bytes and loops over an axis would get out
// of hand.
constexpr int64_t kMaxElements = int64_t{1} << 36;

}  // namespace

void Importer::bind_inputs() {
  if (model_.inputs().empty())
    throw input_error("{}: the graph has no input{}", model_.path(),
                      model_.fixed().empty() ? "" : " but those that --input gives a number");
  const ValueInfo& first = model_.inputs()[0];
  if (first.has_shape && first.dims.empty())
    throw input_error("{}: input '{}' is a scalar; its first dimension was expected to be the batch",
                      model_.path(), first.name);
  if (first.has_shape) {
    file_batch_ = first.dims[0].value;
    batch_param_ = first.dims[0].param;
  }
  for (const ValueInfo& input : model_.inputs()) {
    ir::Value value;
    value.name = input.name;
    value.kind = ValueKind::kInput;
    const DType dtype = input.dtype.value_or(DType::kF32);
    value.type.dtype = is_float(dtype) ? options_.storage : dtype;
    if (!input.dtype) {
      problem({}, {}, fmt::format("input '{}' is of type {}", input.name, input.type));
      failed_.insert(input.name);
      continue;
    }
    if (!input.has_shape) {
      problem({}, {}, fmt::format("input '{}' has no shape; export it with one", input.name));
      failed_.insert(input.name);
      continue;
    }
    bool bound = true;
    for (size_t axis = 0; axis < input.dims.size(); ++axis) {
      const int64_t d = dimension(input, axis);
      bound = bound && d > 0;
      value.type.shape.push_back(d);
    }
    if (!bound) {
      failed_.insert(input.name);
      continue;
    }
    if (!has_possible_size(input.name, value.type.shape)) continue;
    const ValueId id = graph_.add_value(std::move(value));
    graph_.inputs.push_back(id);
    values_[input.name] = id;
  }
}

bool Importer::has_possible_size(const std::string& input, const Shape& shape) {
  try {
    check_size(shape);
    return true;
  } catch (const Error& e) {
    problem({}, {}, fmt::format("input '{}': {}", input, e.what()));
    failed_.insert(input);
    return false;
  }
}

void Importer::bind_fixed() {
  for (const FixedInput& input : model_.fixed()) {
    Shape shape;
    for (const Dimension& d : input.info.dims) {
      int64_t size = !d.param.empty() && d.param == batch_param_ ? options_.batch : d.value;
      for (const ValueInfo& other : model_.inputs())
        for (const Dimension& same : other.dims)
          if (size <= 0 && !d.param.empty() && same.param == d.param) size = same.value;
      if (size <= 0 && !d.param.empty())
        throw input_error("{}: the size {} of the fixed input '{}' is open: --dim {}=SIZE gives it",
                          model_.path(), d.param, input.info.name, d.param);
      shape.push_back(size > 0 ? size : options_.batch);
    }
    check_size(shape);
    if (elements(shape) > kMaxFolded)
      throw input_error("{}: input '{}' of shape {} is too large to be a fixed number", model_.path(),
                        input.info.name, to_string(shape));
    constants_[input.info.name] = std::make_shared<const Tensor>(elements_of(input, shape));
  }
}

void Importer::bind_appended(const ValueInfo& input) {
  ir::Value value;
  value.name = input.name;
  value.kind = ValueKind::kInput;
  if (!input.dtype || !input.has_shape || input.dims.empty()) {
    problem({}, {},
            fmt::format("input '{}' has {}; expected a tensor with the samples in front", input.name,
                        !input.dtype      ? "the type " + input.type
                        : input.has_shape ? "no axes"
                                          : "no shape"));
    failed_.insert(input.name);
    return;
  }
  value.type.dtype = is_float(*input.dtype) ? options_.storage : *input.dtype;
  value.type.shape.push_back(options_.batch);
  for (size_t axis = 1; axis < input.dims.size(); ++axis) {
    if (input.dims[axis].value <= 0) {
      problem({}, {},
              fmt::format("the size of axis {} of input '{}' is open: a field of that name gives it", axis,
                          input.name));
      failed_.insert(input.name);
      return;
    }
    value.type.shape.push_back(input.dims[axis].value);
  }
  if (!has_possible_size(input.name, value.type.shape)) return;
  const ValueId id = graph_.add_value(std::move(value));
  graph_.inputs.push_back(id);
  values_[input.name] = id;
}

int64_t Importer::dimension(const ValueInfo& input, size_t axis) {
  const Dimension& d = input.dims[axis];
  const bool first = &input == &model_.inputs()[0];
  if (first && axis == 0) return options_.batch;
  if (d.value > 0) return d.value;
  if (!d.param.empty() && d.param == batch_param_) return options_.batch;
  problem(
      {}, {},
      fmt::format("the size of axis {} of input '{}' is open: data of that size gives it, or --dim {}=SIZE",
                  axis, input.name, axis_name(input, axis)));
  return -1;
}

void Importer::set_outputs() {
  for (const ValueInfo& output : model_.outputs()) {
    if (failed_.count(output.name) != 0) continue;  // a problem already, or behind one
    if (structure_.is_sequence(output.name)) {
      problem(
          {}, {},
          fmt::format("output '{}' is a sequence of tensors; make each of them, or their Concat, an output",
                      output.name));
      continue;
    }
    const auto it = values_.find(output.name);
    if (it != values_.end() && graph_.value(it->second).kind == ValueKind::kInput) {
      problem(
          {}, {},
          fmt::format("output '{}' is the input '{}' itself", output.name, graph_.value(it->second).name));
      continue;
    }
    if (it == values_.end() || graph_.value(it->second).kind != ValueKind::kActivation) {
      problem({}, {}, fmt::format("output '{}' does not depend on any input", output.name));
      continue;
    }
    const Shape& shape = graph_.value(it->second).type.shape;
    bool fits = !output.has_shape || output.dims.size() == shape.size();
    for (size_t axis = 0; fits && output.has_shape && axis < shape.size(); ++axis) {
      // Where the file fixes the batch, any dimension of that size may stand for it.
      const Dimension& d = output.dims[axis];
      const bool named = !batch_param_.empty() && d.param == batch_param_;
      const bool may_be_batch = named || (d.value > 0 && d.value == file_batch_);
      const bool as_declared = d.value > 0 ? shape[axis] == d.value : !named;
      fits = as_declared || (may_be_batch && shape[axis] == options_.batch);
    }
    // With the file's own batch it is only the declaration that is wrong, as in files that were changed
    // after they were exported. So it is with one sample, which nothing can be mixed with, and where the
    // declaration lacks the batch that the output has: a trace of one sample wrote it (a Squeeze took its
    // axis), or a converter that writes no sizes at all.
    const bool lacks_batch = !fits && !shape.empty() && shape[0] == options_.batch &&
                             (output.dims.empty() ||
                              (output.dims.size() + 1 == shape.size() &&
                               std::equal(output.dims.begin(), output.dims.end(), shape.begin() + 1,
                                          [](const Dimension& d, int64_t size) { return d.value == size; })));
    if (!fits && !lacks_batch && options_.batch != file_batch_ && options_.batch != 1) {
      problem({}, {},
              fmt::format("output '{}' comes out as {}, which is not what the file declares", output.name,
                          to_string(shape)));
      continue;
    }
    graph_.outputs.push_back(it->second);
  }
}

void Importer::check_size(const Shape& shape) {
  if (elements(shape) > kMaxElements)
    throw input_error("a tensor of shape {} has more elements than Halftone can train with",
                      to_string(shape));
}

}  // namespace halftone::onnx
