// Bodies inside a file: a function's (ModelProto.functions) or a branch's (If), as nodes of the graph that
// calls them. Only what is read: the file that is written keeps its calls. Private to src/onnx.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "onnx/known_values.h"
#include "onnx/model.h"
#include "onnx/outline.h"
#include "onnx/proto.h"

namespace halftone::onnx {

// Copies a body's nodes under names that are free in the graph around it.
class BodyCopier {
 public:
  // Names that the body defines get `prefix` in front. names: those of the body that stand for one outside
  // already (a function's inputs and outputs); what is in neither is captured from outside and stays.
  BodyCopier(std::string prefix, std::map<std::string, std::string> names)
      : prefix_(std::move(prefix)), names_(std::move(names)) {}

  // What the body calls `name` from now on: given, or the prefix and itself.
  const std::string& define(const std::string& name);
  // The name outside of one that the body reads.
  std::string outside(const std::string& name) const;
  // A node of the body, its attributes that refer to the call's (attributes) replaced.
  ::onnx::NodeProto copy(const ::onnx::NodeProto& node,
                         const std::map<std::string, ::onnx::AttributeProto>& attributes);

 private:
  void rename_captured(::onnx::GraphProto& graph,
                       const std::map<std::string, ::onnx::AttributeProto>& attributes) const;

  const std::string prefix_;
  std::map<std::string, std::string> names_;
};

// Nodes in the order of `graph`, each call of one of the model's functions replaced by the function's nodes,
// calls in those too. Each with the opset of the default domain that its function, or the model, imports, and
// the file's node it comes from. Nodes of the file that stay as they are are not copied (`copy` is -1).
//
// An If becomes the nodes of the branch that its condition takes, where that is known already
// (known_values.h). Else it becomes those of both, each with a guard, and behind them a choice: an If without
// graphs, whose inputs are the condition, the results of the one branch and those of the other. An If that is
// not as ONNX wants it stays (fault_of_branches says why).
struct InlinedNode {
  int file = -1;  // index in the graph
  int copy = -1;  // index in `copies`
  int opset = 0;
  std::vector<Guard> guards = {};
  bool choice = false;
};
// A tensor that a branch has to itself, under the name that its readers among the copies know it by. (Those
// of a function's branches are Constant nodes among the copies, as a function may be called again and again.)
struct InlinedTensor {
  std::string name;
  TensorPlace place;
};
struct Inlined {
  std::vector<InlinedNode> nodes;
  std::vector<::onnx::NodeProto> copies;
  std::vector<InlinedTensor> tensors;
};
// order: indices of the graph's nodes. known: gains what the nodes compute. Error: a function that calls
// itself, or reads what it does not define before; a call with more inputs or outputs than the function has;
// more nodes than any network has.
Inlined inline_bodies(const ::onnx::ModelProto& model, const std::vector<int>& order, int opset,
                      KnownValues& known);

// What keeps a graph of a node (`attribute`) from standing in the node's place, whatever the node; empty:
// nothing.
std::string fault_of_graph(const ::onnx::GraphProto& graph, std::string_view attribute);
// What keeps an If's graphs from standing in its place; empty: nothing.
std::string fault_of_branches(const ::onnx::NodeProto& node);

// The names that a node's graphs read from outside themselves, each once.
std::vector<std::string> captured_names(const ::onnx::NodeProto& node);

}  // namespace halftone::onnx
