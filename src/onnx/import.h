// From an ONNX file to our graph: dimensions bound, shape arithmetic folded away, parameters and states
// found.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/patterns.h"
#include "ir/graph.h"
#include "onnx/model.h"
#include "ops/op.h"

namespace halftone::onnx {

struct ImportOptions {
  DType storage = DType::kF32;  // of parameters, activations and float inputs
  // The first dimension of the first input and every dimension of that name. A number that the file gives
  // there instead is replaced: exporters write it into the input's type only, and a graph that depends on it
  // shows by a shape error.
  int64_t batch = 1;
  ops::Mode mode = ops::Mode::kEval;
  ops::BatchNormMode batch_norm = ops::BatchNormMode::kTrain;
  // Nodes (of Model::nodes) whose batch norm acts as with kFreeze whatever batch_norm says.
  std::set<size_t> frozen_norms;
  // Other open dimensions, by name; those without a name as "INPUT:AXIS".
  std::map<std::string, int64_t> other_dims;
  TrainFreeze choice;  // which tensors are parameters, where the user says so (roles.h)
};

// The graph in execution order. Inputs, parameters and states carry the names in the file (a parameter that
// is a Constant node: its output's name); an activation that an ONNX node put out has that output's name.
// Other open axes of the inputs have the sizes that Model::bind gave them.
// Parameters: storage type, initial value as in the file, read from it when somebody asks. States: fp32 (fp64
// in the oracle). Nodes that no output needs are left out. Error listing every node that cannot be imported
// (unknown operator, opset, whatever its operator refuses) and everything Model::problems names. Nodes after
// a refused one are checked for their operator and opset only.
ir::Graph import(const Model& model, const ImportOptions& options);

// Appends the nodes of `loss` to `graph` and returns its only output. Its inputs of a name in `known` are
// these values; the others become inputs of the graph (open axes have the sizes that Model::bind gave them,
// an open first axis the batch). Floats have `type`, its initializers are constants, norms and dropouts are
// as in evaluation. Error listing every node that cannot be imported.
ir::ValueId append(ir::Graph& graph, const Model& loss, const std::map<std::string, ir::ValueId>& known,
                   int64_t batch, DType type);

}  // namespace halftone::onnx
