// Which field of the data goes where: to an input of the network, to a loss as its labels, to the weights of
// samples.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "api/losses.h"
#include "data/dataset.h"
#include "train/feeding.h"

namespace halftone::api {

// Whether samples and their labels alone do not say it: several inputs, an input of integers, or options that
// name fields.
bool needs_fields(const onnx::Model& model, const NetworkOptions& network);

// What was decided for a data set.
struct FieldPlan {
  bool asked = false;         // false: the data has no named arrays
  bool samples_only = false;  // set before: no labels are wanted
  train::Feeding feeding;     // the field of each input
  // One a loss: the field that holds its labels; empty: the first labels there are. Of further losses, and of
  // what a loss graph takes, fields have names that no array has.
  std::vector<std::string> labels;
  size_t samples = 0;  // the input that is prepared as samples are; kNoInput: none
  static constexpr size_t kNoInput = static_cast<size_t>(-1);
  std::vector<std::string> inputs,
      dims;  // --input and --dim: what fixes inputs, and their sizes, when the result is read again
};

// Decides for the arrays of a file, and binds sizes that the network leaves open to theirs. Inputs: by
// --input; else an array of the same name; else the only array of a type and shape that fits. Labels: what a
// loss names, else --y-key, else an array called y, labels, ...; else the only one that is left. Errors
// (input, usage) name the arrays that are there and what is wanted. A loss graph's inputs that are no outputs
// or inputs of the network take fields by their names.
data::ArrayChoice choose_fields(onnx::Model& model, onnx::Model* loss_graph, const NetworkOptions& network,
                                const DataOptions& options, const std::vector<data::ArrayHeader>& arrays,
                                const std::string& path, const Log& log, FieldPlan& plan);

// What is decided already, by the names of arrays: the field of each input (a loss graph's too), and the
// labels of each loss ("": it reads none).
struct BoundFields {
  std::map<std::string, std::string> inputs;
  std::vector<std::string> labels;
};
// The same for these arrays, where that is decided already (columns of a table).
data::ArrayChoice choose_bound_fields(onnx::Model& model, onnx::Model* loss_graph,
                                      const NetworkOptions& network, const DataOptions& options,
                                      const std::vector<data::ArrayHeader>& arrays, const std::string& path,
                                      const Log& log, const BoundFields& bound, FieldPlan& plan);

// Inputs of a loss graph (null: there is none) that are neither inputs of the network nor tensors of it:
// fields of the data.
std::vector<onnx::ValueInfo> fields_of_loss_graph(const onnx::Model& model, const onnx::Model* loss_graph);

// For data without named arrays. Error when it cannot feed this network, or has no field of a name that is
// asked for.
void check_plain_data(const onnx::Model& model, const NetworkOptions& network, const data::DataInfo& info,
                      FieldPlan& plan);

// Gives sizes that the network's inputs leave open those of their fields. Error: a field of another shape
// than its input's.
void bind_to_fields(onnx::Model& model, const data::Dataset& set, const FieldPlan& plan, const Log& log);

}  // namespace halftone::api
