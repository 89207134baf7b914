// What the network's inputs want of the samples: sizes that the file leaves open, and where an image's
// channels are.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/dataset.h"
#include "halftone/halftone.h"
#include "onnx/model.h"

namespace halftone::api {

// The same model with the inputs fixed that NAME=NUMBER among these (--input) names. Errors (kUsage): a name
// given twice, a number that the input's type cannot hold.
onnx::Model with_fixed_inputs(const onnx::Model& model, const std::vector<std::string>& inputs);
// Whether this --input is one of those that were fixed.
bool is_fixed(const onnx::Model& model, const std::string& input);

// Gives open axes of the network's inputs the sizes of --dim. Errors (kUsage): not NAME=SIZE, a name that the
// network does not have (with those that it has), the batch, a name given twice.
void bind_dims(onnx::Model& model, const std::vector<std::string>& dims);

// NAME and VALUE of NAME=VALUE, where NAME is one of these inputs (the longest such: names may have equals
// signs). None: it is none.
std::optional<std::pair<std::string, std::string>> named_value(const std::string& text,
                                                               const std::vector<onnx::ValueInfo>& inputs);

// Says in `wanted` what a sample must be like for input `index`. Errors (kUsage): --layout.
void describe_samples(const onnx::Model& model, size_t index, const DataOptions& options,
                      data::OpenOptions& wanted);

// Gives the axes of input `input` that are open still the sizes of an array of this shape, whose first axis
// is the batch. In `what` it comes from. Error: two axes of one name and two sizes. An array of another rank
// gives none.
void bind_to_data(onnx::Model& model, size_t input, const Shape& shape, const std::string& what,
                  const Log& log);

// The same for the samples of a set, for the first input.
void bind_to_samples(onnx::Model& model, const data::Dataset& set, const Log& log);

}  // namespace halftone::api
