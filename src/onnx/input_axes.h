// The axes of a network's inputs: which sizes the file leaves open, and which axis of an image holds its
// channels.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "onnx/model.h"

namespace halftone::onnx {

// Whether this axis of inputs()[input] is the batch: the first of the first input, and every one with its
// name.
bool is_batch(const Model& model, size_t input, size_t axis);

// What an open axis is called: its name in the file, or "INPUT:AXIS" where it has none.
std::string axis_name(const ValueInfo& input, size_t axis);

// The names of the open axes that are not the batch, each once, in the order of the inputs; then those of
// fixed inputs.
std::vector<std::string> open_axes(const Model& model);

// Where the channels of the first input's images are, as the nodes that read it show: an operator that works
// on images (convolution, pooling, a norm) has them in front, a Transpose shows where they were. Nodes
// between that leave the axes as they are (element-wise ones, Pad, Cast, ...) are looked through. None: the
// input has not 4 axes, or the nodes don't show it, or contradict each other.
enum class ChannelAxis { kFirst, kLast };
std::optional<ChannelAxis> channel_axis(const Model& model);

}  // namespace halftone::onnx
