// Inputs that are one number for all samples (--input NAME=NUMBER).
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"
#include "num/half.h"
#include "onnx/model_contents.h"
#include "ops/fold.h"

namespace halftone::onnx {
namespace {

// Of --input NAME=NUMBER.
void check_number(const ValueInfo& input, double value, const std::string& path) {
  const auto most = [&] {
    switch (*input.dtype) {
      case DType::kU8:
        return input.type == "bool" ? 1.0 : 255.0;
      case DType::kI32:
        return 0x1p31 - 1;
      case DType::kI64:
        return 0x1p53;
      case DType::kF16:
        return static_cast<double>(num::kFp16Max);
      case DType::kBf16:
        return 0x1.FEp127;
      case DType::kF32:
      case DType::kF64:  // elements_of() makes fp32 of it
        return static_cast<double>(std::numeric_limits<float>::max());
    }
    return 0.0;
  }();
  const double least = *input.dtype == DType::kU8 ? 0.0 : -most;
  const bool fits = is_float(*input.dtype) || value == std::floor(value);
  if (!fits || value < least || value > most)
    throw usage_error("{}: input '{}' takes {}, and cannot be {}", path, input.name, input.type, value);
}

}  // namespace

Model Model::with_fixed(const std::map<std::string, double>& values) const {
  const Contents& old = *contents_;
  std::map<std::string, double> fixes = old.fixes;
  for (const auto& [name, value] : values) {
    const auto input = std::find_if(old.inputs.begin(), old.inputs.end(),
                                    [&, &name = name](const ValueInfo& i) { return i.name == name; });
    if (input == old.inputs.end()) throw usage_error("{}: no input is called '{}'", path(), name);
    if (!input->dtype || !input->has_shape)
      throw input_error("{}: input '{}' has {}, and cannot be a fixed number", path(), name,
                        input->dtype ? "no shape" : "the type " + input->type);
    check_number(*input, value, path());
    fixes[name] = value;
  }
  auto made = copied_message(old);
  made->fixes = std::move(fixes);
  read_graph_of(*made);
  Model model(std::move(made));
  model.chosen_ = chosen_;
  return model;
}

Tensor elements_of(const FixedInput& input, const Shape& shape) {
  const auto size = static_cast<size_t>(elements(shape));
  if (is_float(*input.info.dtype))
    return ops::from_doubles(std::vector<double>(size, input.value), DType::kF32, shape);
  return ops::from_int64s(std::vector<int64_t>(size, static_cast<int64_t>(input.value)), *input.info.dtype,
                          shape);
}

}  // namespace halftone::onnx
