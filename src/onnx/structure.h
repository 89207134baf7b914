// Operators that arrange others instead of computing: branches, loops, sequences of tensors, optional values.
// They are gone when a network has been read, which is possible where nothing of it depends on the samples: a
// branch is chosen, a loop is unrolled, a sequence is a list of names. An If of the file's graph or of a
// function is in its branches' place already (inline.h); those inside the graphs of other nodes are chosen
// here. Private to src/onnx.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ir/attributes.h"
#include "onnx/model.h"
#include "tensor/tensor.h"

namespace halftone::onnx {

struct Branch;  // branch_contents.h

struct StructuralOp {
  std::string_view op_type;
  int since;  // first opset understood
  int until;  // last
};
// nullptr: an operator that computes.
const StructuralOp* find_structural(std::string_view op_type);
const std::vector<StructuralOp>& structural_ops();
// Of ONNX's own domain.
inline const StructuralOp* structural_of(const NodeInfo& node) {
  return node.domain.empty() ? find_structural(node.op_type) : nullptr;
}

// A condition's value. what: how the message begins. Error: it is not one truth.
bool one_truth(const Tensor& condition, std::string_view what);

// Where a node's attributes and graphs are read from: the file's node `index`, one of a branch, or as they
// are given.
struct Place {
  size_t index = 0;
  const Branch* branch = nullptr;
  const ir::Attributes* given = nullptr;
};

// What the importer does for them.
class Surroundings {
 public:
  virtual ~Surroundings() = default;
  virtual bool is_in_file(
      const std::string& name) const = 0;  // what a node, a tensor or an input outside of bodies is called
  virtual bool is_constant(const std::string& name) const = 0;
  virtual std::shared_ptr<const Tensor> constant(const std::string& name) = 0;
  virtual Shape shape_of(const std::string& name) = 0;
  virtual void define(const std::string& name, Tensor constant) = 0;
  // `name` means from now on what `from` means: a constant, a value, or one that a refused node would have
  // computed.
  virtual void rename(const std::string& name, const std::string& from) = 0;
  virtual ir::Attributes attributes(const Place& at) const = 0;  // without its graphs
  // round: of a loop, so that names of one are not those of another; -1: there is one only.
  virtual std::shared_ptr<const Branch> graph(const Place& at, std::string_view name,
                                              int64_t round) const = 0;
  // Translates nodes in their order. False: one was refused, and noted as a problem.
  virtual bool add(const Branch& graph) = 0;
  virtual bool add(const NodeInfo& node, const ir::Attributes& attributes) = 0;
};

class Structure {
 public:
  explicit Structure(Surroundings& importer) : importer_(importer) {}

  // Puts what the node stands for in its place; each of its outputs has a meaning then. Error: that depends
  // on the samples.
  void translate(const NodeInfo& node, const Place& at);
  bool is_sequence(const std::string& name) const { return sequences_.count(name) != 0; }
  // Whether `name` is a sequence or an optional value, and its meaning that of `from` now.
  bool rename(const std::string& name, const std::string& from);

 private:
  void choose(const NodeInfo& node, const Place& at);
  void loop(const NodeInfo& node, const Place& at);
  void scan(const NodeInfo& node, const Place& at);
  void map(const NodeInfo& node, const Place& at);
  void sequence(const NodeInfo& node, const Place& at);
  void split(const NodeInfo& node, const Place& at);
  void optional(const NodeInfo& node);

  std::shared_ptr<const Branch> open(const NodeInfo& node, const Place& at, std::string_view name,
                                     int64_t round, size_t inputs);
  void bind(const std::string& name, const std::string& from);
  void fail_behind(const NodeInfo& node);
  void emit(const NodeInfo& origin, const std::string& op, std::vector<std::string> inputs,
            std::vector<std::string> outputs, const ir::Attributes& attributes = {});
  bool take(const std::string& name);
  std::string own(const NodeInfo& origin);
  std::string number(const NodeInfo& origin, const std::vector<int64_t>& values, bool scalar);
  void join(const NodeInfo& origin, std::vector<std::string> parts, int64_t axis, bool new_axis,
            const std::string& to);
  int64_t whole(const NodeInfo& node, size_t input, const char* what);
  bool truth(const std::string& name, const char* what);
  std::vector<std::string>& sequence_at(const std::string& name);

  Surroundings& importer_;
  std::map<std::string, std::vector<std::string>> sequences_;
  std::map<std::string, std::string> optionals_;  // the value, or nothing
  std::set<std::string> opened_;                  // graphs, whose names have their node's in front
  std::set<std::string> taken_;                   // names inside them, and of nodes in between
  int64_t unrolled_ = 0;
  int64_t made_ = 0;
};

}  // namespace halftone::onnx
