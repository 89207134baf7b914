// Which outputs of a network are used.
#pragma once

#include <string>
#include <vector>

#include "halftone/halftone.h"
#include "onnx/model.h"

namespace halftone::api {

// The output that is asked for by `option` (--output, --loss), else the first of floats. Error: there is
// none, or it is not there.
std::string output_of(const onnx::Model& model, const std::string& asked, const std::string& option);
// The network with these outputs alone, the samples in front of each input.
onnx::Model with_outputs(const onnx::Model& model, const std::vector<std::string>& names);
// The same with those that losses read; says so when it has others.
onnx::Model choose_output(const onnx::Model& model, const NetworkOptions& options, const Log& log);
// A line when the network has other outputs; empty when not.
std::string other_outputs(const onnx::Model& model, const std::vector<std::string>& used);
// Parameters on which only outputs depend that are not used.
std::vector<std::string> parameters_of_others(const onnx::Model& model, const std::vector<std::string>& used);

}  // namespace halftone::api
