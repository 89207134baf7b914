// The importer: one pass over a file's nodes, which builds the graph and gathers what keeps it from being
// built. Private to src/onnx; import.h is what others call.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "onnx/branch_contents.h"
#include "onnx/import.h"
#include "onnx/roles.h"
#include "onnx/structure.h"
#include "ops/op.h"

namespace halftone::onnx {

// Folding bounds each result; this bounds all of them, so that a small file cannot keep us busy or full.
// Shape arithmetic has tens of elements, an attention mask millions.
constexpr int64_t kMaxFolded = int64_t{1} << 26;

class Importer : private Surroundings {
 public:
  Importer(const Model& model, const ImportOptions& options)
      : model_(model),
        options_(options),
        builder_(graph_, options.storage),
        roles_(tensor_roles(model, options.choice)) {}
  // Behind another graph, whose values `known` names.
  Importer(ir::Graph graph, const Model& model, const ImportOptions& options,
           const std::map<std::string, ir::ValueId>& known);

  ir::Graph append(ir::ValueId& output);
  ir::Graph run();

 private:
  // ---- inputs and outputs
  void bind_inputs();
  bool has_possible_size(const std::string& input, const Shape& shape);
  // Inputs that are one number for all samples: constants. An open axis without a name counts the samples.
  void bind_fixed();
  // An input that is a field of the data.
  void bind_appended(const ValueInfo& input);
  // The size of an input's axis; -1, with a problem noted, when nobody says it.
  int64_t dimension(const ValueInfo& input, size_t axis);
  void set_outputs();

  // ---- nodes
  std::vector<bool> needed_nodes() const;
  ir::Attributes attributes(const Place& at) const override;
  std::shared_ptr<const Branch> graph(const Place& at, std::string_view name, int64_t round) const override;
  // Whether a condition is known not to be so.
  bool is_passed_over(const NodeInfo& n);
  bool truth_of(const std::string& condition) { return one_truth(*constant(condition), "its condition"); }
  void node(size_t index);
  void node(const NodeInfo& n, const Place& at);
  // Behind a refused node others may be refused for reasons of their own, which belong into the same message.
  // Where the shape of its output is known all the same, a value takes its place; the graph is never used.
  bool stand_in(const NodeInfo& n, size_t k);
  bool check_operator(const NodeInfo& n);

  // ---- what a loop or a sequence stands for
  bool is_in_file(const std::string& name) const override;
  bool add(const Branch& graph) override;
  bool add(const NodeInfo& n, const ir::Attributes& given) override;
  void define(const std::string& name, Tensor tensor) override;
  void rename(const std::string& name, const std::string& from) override;
  Shape shape_of(const std::string& name) override;
  void translate_structure(const NodeInfo& n, const Place& at);
  // The results of the branch that the condition takes, as those of the If. Where the condition is only known
  // while it runs, both branches are computed, and one is chosen.
  void choose(const NodeInfo& n);
  void choose_while_running(const NodeInfo& n, size_t k);
  void translate(const NodeInfo& n, const Place& at);
  // The node's outputs as constants: by the operator's own rule, else by running it. False: it stays a node.
  bool fold(const ops::OnnxOp& op, const NodeInfo& n, const ir::Attributes& attributes);
  static void check_size(const Shape& shape);
  ops::BatchNormMode batch_norm_of(const NodeInfo& n, const Place& at) const;
  // Two batch norms cannot both keep their running statistics in one tensor (with_own_statistics separates
  // them before).
  void check_statistics(const ops::ImportContext& c);

  // ---- values
  bool is_constant(const std::string& name) const override;
  // Integers as they are, floats in fp32.
  std::shared_ptr<const Tensor> constant(const std::string& name) override;
  ir::ValueId value(const std::string& name);

  // ---- problems
  void problem(std::string name, std::string op_type, std::string reason);
  [[noreturn]] void refuse() const;

  const Model& model_;
  const ImportOptions& options_;
  ir::Graph graph_;
  ops::Builder builder_;
  const std::map<std::string, Role> roles_;
  int64_t folded_ = 0;  // elements of all folded nodes
  std::map<std::string, ir::ValueId> values_;
  std::map<std::string, std::shared_ptr<const Tensor>> constants_;
  std::set<std::string> failed_;      // values that a refused node would have produced
  size_t unchecked_ = 0;              // nodes behind them
  std::set<std::string> reported_;    // nodes that are problems already
  std::set<ir::ValueId> statistics_;  // states that a batch norm updates
  std::vector<Problem> problems_;
  mutable std::set<std::string> file_names_;  // empty: nobody has asked yet
  Structure structure_{*this};
  int64_t file_batch_ = -1;
  std::string batch_param_;
};

}  // namespace halftone::onnx
