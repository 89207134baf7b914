// Model::separated: readers of one tensor get tensors of their own.
#include <algorithm>
#include <set>

#include "base/error.h"
#include "onnx/inline.h"
#include "onnx/model_contents.h"

namespace halftone::onnx {
namespace {

using Proto = ::onnx::TensorProto;

// Before this version of the format initializers are listed among the graph's inputs.
constexpr int64_t kFreeInitializers = 4;

// The tensor of that name, its elements included unless they lie elsewhere; of a Constant's number or list of
// numbers a copy in `made`.
const Proto* find_tensor(const ::onnx::GraphProto& graph, const std::string& name, Proto& made) {
  for (const Proto& t : graph.initializer())
    if (t.name() == name) return &t;
  for (const ::onnx::NodeProto& node : graph.node()) {
    if (node.op_type() != "Constant" || node.output_size() != 1 || node.output(0) != name) continue;
    for (const ::onnx::AttributeProto& a : node.attribute()) {
      if (a.name() == "value" && a.has_t()) return &a.t();
      if (a.name() != "value_float" && a.name() != "value_floats") continue;
      made.set_data_type(Proto::FLOAT);
      if (a.name() == "value_float") {
        made.add_float_data(a.f());
      } else {
        made.add_dims(a.floats_size());
        for (const float x : a.floats()) made.add_float_data(x);
      }
      return &made;
    }
  }
  HT_ASSERT(false, "there is no tensor '{}'", name);
  return nullptr;
}

bool is_read(const ::onnx::GraphProto& graph, const std::string& name) {
  for (const auto& node : graph.node()) {
    if (std::find(node.input().begin(), node.input().end(), name) != node.input().end()) return true;
    const std::vector<std::string> captured = captured_names(node);
    if (std::find(captured.begin(), captured.end(), name) != captured.end()) return true;
  }
  return std::any_of(graph.output().begin(), graph.output().end(),
                     [&](const auto& output) { return output.name() == name; });
}

// Removes the Identity nodes that put out these names, and those before them that nothing else reads.
void remove_identities(::onnx::GraphProto& graph, std::set<std::string> names) {
  while (!names.empty()) {
    const std::string name = *names.begin();
    names.erase(names.begin());
    for (int n = 0; n < graph.node_size(); ++n) {
      const ::onnx::NodeProto& node = graph.node(n);
      if (node.op_type() != "Identity" || node.output_size() != 1 || node.output(0) != name) continue;
      const std::string before = node.input(0);
      graph.mutable_node()->DeleteSubrange(n, 1);
      if (!is_read(graph, before)) names.insert(before);
      break;
    }
  }
}

// The names of a tensor from a reader's input back to the file.
std::vector<std::string> names_of(const Contents& contents, std::string value, const std::string& tensor) {
  std::vector<std::string> names;
  while (value != tensor) {
    const auto producer =
        std::find_if(contents.nodes.begin(), contents.nodes.end(), [&](const NodeInfo& node) {
          return node.op_type == "Identity" && node.outputs.size() == 1 && node.outputs[0] == value;
        });
    HT_ASSERT(producer != contents.nodes.end(), "'{}' is not '{}' behind Identity nodes", value, tensor);
    names.push_back(value);
    value = producer->inputs.at(0);
  }
  const auto earlier = contents.origins.find(tensor);
  if (earlier == contents.origins.end()) {
    names.push_back(tensor);
  } else {
    names.insert(names.end(), earlier->second.begin(), earlier->second.end());
  }
  return names;
}

}  // namespace

std::vector<std::pair<const Proto*, const Proto*>> separate(::onnx::ModelProto& proto,
                                                            const std::vector<ProtoSeparation>& separations) {
  ::onnx::GraphProto& graph = *proto.mutable_graph();
  std::vector<std::pair<const Proto*, const Proto*>> out;
  std::set<std::string> superfluous;
  for (const ProtoSeparation& s : separations) {
    Proto number;
    const Proto* from = find_tensor(graph, s.tensor, number);
    Proto* to = graph.add_initializer();
    *to = *from;
    to->set_name(s.name);
    out.emplace_back(to, from == &number ? nullptr : from);
    if (proto.ir_version() < kFreeInitializers) {
      auto* input = graph.add_input();
      input->set_name(s.name);
      auto* type = input->mutable_type()->mutable_tensor_type();
      type->set_elem_type(to->data_type());
      type->mutable_shape();
      for (const int64_t d : to->dims()) type->mutable_shape()->add_dim()->set_dim_value(d);
    }
    ::onnx::NodeProto& node = *graph.mutable_node(s.node);
    const std::string before = node.input(s.input);
    node.set_input(s.input, s.name);
    if (before != s.tensor && (before == s.name || !is_read(graph, before))) superfluous.insert(before);
  }
  remove_identities(graph, std::move(superfluous));
  return out;
}

Model Model::separated(const std::vector<Separation>& separations) const {
  const Contents& old = *contents_;
  auto made = copied_message(old);
  std::vector<ProtoSeparation> list;
  for (const Separation& s : separations) {
    if (old.inlined.at(s.node) >= 0)
      throw input_error(
          "'{}' is read by node '{}' inside one of the file's functions or branches, which cannot get a "
          "tensor of its "
          "own; export it with functions inlined, or simplify it",
          s.tensor, old.nodes[s.node].name);
    list.push_back({old.file_index.at(s.node), static_cast<int>(s.input), s.tensor, s.name});
    made->origins.emplace(s.name, names_of(old, old.nodes[s.node].inputs[s.input], s.tensor));
  }
  for (const auto& [tensor, source] : separate(made->proto, list)) {
    const auto place = source == nullptr ? made->file.detached.end() : made->file.detached.find(source);
    if (place != made->file.detached.end()) made->file.detached.emplace(tensor, DataPlace(place->second));
  }
  made->changes.push_back({std::move(list), nullptr});
  read_graph_of(*made);
  Model model(std::move(made));
  model.bound_ = bound_;
  model.bound_fixed_ = bound_fixed_;
  model.chosen_ = chosen_;
  return model;
}

const std::string& Model::origin(const std::string& name) const {
  const auto it = contents_->origins.find(name);
  return it == contents_->origins.end() ? name : it->second.back();
}

}  // namespace halftone::onnx
