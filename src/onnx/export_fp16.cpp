#include "onnx/export_fp16.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <map>
#include <set>

#include "base/error.h"
#include "base/words.h"
#include "num/half.h"
#include "onnx/domain.h"
#include "onnx/external_data.h"
#include "onnx/message_file.h"
#include "onnx/model_contents.h"
#include "onnx/operator_of.h"
#include "onnx/roles.h"
#include "onnx/structure.h"
#include "onnx/tensor_proto.h"
#include "ops/op.h"

namespace halftone::onnx {
namespace {

using Proto = ::onnx::TensorProto;

// From here on the running statistics may have another type than the batch norm's input.
constexpr int kMixedBatchNormOpset = 14;

// Whether ONNX wants this input in fp32 or double, or allows it where that is better.
bool wants_fp32(const NodeInfo& node, size_t input) {
  if (node.op_type == "BatchNormalization")
    return node.opset >= kMixedBatchNormOpset && (input == 3 || input == 4);
  if (node.op_type == "Resize") return input == 1 || input == 2;  // roi, scales; in opset 10 scales
  if (node.op_type == "Upsample") return input == 1;
  return node.op_type == "Range";  // there is no Range of fp16
}

class Exporter {
 public:
  Exporter(const Model& model, const std::string& path, const Fp16Options& options)
      : model_(model),
        contents_(model.contents()),
        path_(path),
        options_(options),
        roles_(tensor_roles(model)) {}

  Fp16Report run() {
    refuse_unknown();
    find_types();
    find_precisions();
    proto_ = whole_message(contents_);
    convert_tensors();
    refuse_external();
    rewire_nodes();
    convert_borders();
    if (!errors_.empty()) {
      std::string text = fmt::format("{} cannot be written in fp16:", model_.path());
      for (const std::string& e : errors_) text += "\n  " + e;
      throw Error(ErrorKind::kNumerical, text + "\nTry bf16 or fp32.");
    }
    write_message(proto_, path_);
    return std::move(report_);
  }

 private:
  // ---- what is there
  void refuse_unknown() const {
    std::vector<Problem> problems = model_.problems();
    for (const auto& f : contents_.proto.functions())
      problems.push_back({"", f.name(), model_.opset(),
                          "the file defines its own function; export it with functions inlined"});
    for (const ::onnx::NodeProto& n : contents_.proto.graph().node())
      if (is_default_domain(n.domain()) && find_structural(n.op_type()) != nullptr)
        problems.push_back(
            {n.name(), n.op_type(), model_.opset(),
             n.op_type() == "If"
                 ? "it has graphs of its own"
                 : "it arranges other nodes, or lists of tensors, which are not written in fp16"});
    for (const NodeInfo& n : model_.nodes()) {
      if (!n.domain.empty()) {
        if (ops::find_onnx(operator_of(n)) != nullptr)  // others are among the problems
          problems.push_back(
              {n.name, n.op_type, n.opset,
               fmt::format("it is of the domain '{}', whose operators are not written in fp16", n.domain)});
      } else if (n.op_type == "Celu") {
        problems.push_back({n.name, n.op_type, n.opset, "ONNX defines it for fp32 only"});
      } else if (n.op_type != "Constant" && structural_of(n) == nullptr &&
                 ops::find_onnx(n.op_type) == nullptr) {
        problems.push_back({n.name, n.op_type, n.opset, "there is no such operator in Halftone"});
      }
    }
    if (problems.empty()) return;
    std::string text = fmt::format("{}: Halftone cannot write this network in fp16:", model_.path());
    for (const Problem& p : problems)
      text += fmt::format("\n  node '{}', operator {}, opset {}: {}", p.node, p.op_type, p.opset, p.reason);
    throw Error(ErrorKind::kInput, text);
  }

  // The element type of every value, and whether it depends on the samples (not on their shape alone).
  void find_types() {
    for (const auto& input : contents_.proto.graph().input()) {
      type_[input.name()] = input.type().tensor_type().elem_type();
      live_.insert(input.name());
      taken_.insert(input.name());
    }
    for (const auto& t : contents_.proto.graph().initializer()) {
      type_[t.name()] = t.data_type();
      live_.erase(t.name());
      taken_.insert(t.name());
    }
    for (size_t i = 0; i < model_.nodes().size(); ++i) {
      const NodeInfo& n = model_.nodes()[i];
      const bool live = !is_one_of(n.op_type, {"Shape", "Size"}) &&
                        std::any_of(n.inputs.begin(), n.inputs.end(),
                                    [&](const auto& name) { return live_.count(name) != 0; });
      for (size_t k = 0; k < n.outputs.size(); ++k) {
        if (n.outputs[k].empty()) continue;
        type_[n.outputs[k]] = output_type(i, k);
        if (live) live_.insert(n.outputs[k]);
        taken_.insert(n.outputs[k]);
      }
    }
  }

  int type_of_input(const NodeInfo& n, size_t i) const {
    const auto it = i < n.inputs.size() ? type_.find(n.inputs[i]) : type_.end();
    return it == type_.end() ? int{Proto::UNDEFINED} : it->second;
  }

  int output_type(size_t index, size_t k) const {
    const NodeInfo& n = model_.nodes()[index];
    const ::onnx::NodeProto& proto = contents_.proto.graph().node(contents_.file_index[index]);
    const std::string& op = n.op_type;
    if (op == "Constant") return constant_type(proto);
    if (op == "ConstantOfShape") {
      for (const auto& a : proto.attribute())
        if (a.name() == "value") return a.t().data_type();
      return Proto::FLOAT;
    }
    if (op == "Cast") {
      for (const auto& a : proto.attribute())
        if (a.name() == "to") return static_cast<int>(a.i());
      return Proto::UNDEFINED;
    }
    if (is_one_of(op, {"Shape", "Size", "NonZero", "ArgMax", "ArgMin"})) return Proto::INT64;
    if (is_one_of(op, {"Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Xor", "Not",
                       "IsNaN", "IsInf"}))
      return Proto::BOOL;
    if (op == "Where" || op == "CastLike") return type_of_input(n, 1);
    if (op == "Dropout" && k == 1) return Proto::BOOL;
    if (is_one_of(op, {"MaxPool", "TopK"}) && k == 1) return Proto::INT64;
    return type_of_input(n, 0);
  }

  static int constant_type(const ::onnx::NodeProto& proto) {
    for (const auto& a : proto.attribute()) {
      if (a.name() == "value") return a.t().data_type();
      if (a.name() == "value_float" || a.name() == "value_floats") return Proto::FLOAT;
    }
    return Proto::INT64;
  }

  // Whether it is one that anybody can read: a Constant of two outputs, say, nobody can.
  bool is_fp32_constant(const NodeInfo& n) const {
    const TensorInfo* t = n.op_type == "Constant" ? model_.find_tensor(n.outputs.at(0)) : nullptr;
    return t != nullptr && t->dtype == DType::kF32;
  }

  bool is_fp32(const std::string& name) const {
    const auto it = type_.find(name);
    return it != type_.end() && it->second == Proto::FLOAT;
  }

  // ---- what becomes fp16
  // A node stays in fp32 when nothing of it depends on the samples and all that reads it wants fp32, or
  // integers.
  void find_precisions() {
    const auto& nodes = model_.nodes();
    stays_.assign(nodes.size(), false);
    std::set<std::string> wanted_in_fp16;
    for (const ValueInfo& output : model_.outputs()) wanted_in_fp16.insert(output.name);
    for (size_t i = nodes.size(); i-- > 0;) {
      const NodeInfo& n = nodes[i];
      const bool live = std::any_of(n.outputs.begin(), n.outputs.end(),
                                    [&](const auto& name) { return live_.count(name) != 0; });
      stays_[i] = !live && std::none_of(n.outputs.begin(), n.outputs.end(), [&](const auto& name) {
        return is_fp32(name) && wanted_in_fp16.count(name) != 0;
      });
      for (size_t k = 0; k < n.inputs.size(); ++k)
        if (is_fp32(n.inputs[k]) && !stays_[i] && !wants_fp32(n, k)) wanted_in_fp16.insert(n.inputs[k]);
    }
    // Values that are fp32 afterwards: inputs at the border, tensors nobody wants in fp16, what fp32 nodes
    // put out.
    for (const ValueInfo& input : model_.inputs())
      if (is_fp32(input.name) && !options_.fp16_borders) fp32_.insert(input.name);
    for (const TensorInfo& t : model_.tensors())
      if (is_fp32(t.name) && wanted_in_fp16.count(t.name) == 0) fp32_.insert(t.name);
    for (size_t i = 0; i < nodes.size(); ++i) {
      const NodeInfo& n = nodes[i];
      if (n.op_type == "Constant") continue;
      for (size_t k = 0; k < n.outputs.size(); ++k) {
        // Mean and 1 / deviation of a layer norm have the type that its attribute stash_type names: fp32.
        const bool mixed = n.op_type == "BatchNormalization" && n.opset >= kMixedBatchNormOpset;
        const bool statistic = k > 0 && (mixed || n.op_type == "LayerNormalization");
        if (is_fp32(n.outputs[k]) && (stays_[i] || statistic || n.op_type == "Range"))
          fp32_.insert(n.outputs[k]);
      }
    }
  }

  // ---- tensors
  Tensor narrowed(const std::string& name, const Tensor& wide) {
    Tensor out = converted(wide, DType::kF16);
    const bool trained = roles_.count(name) != 0;
    int64_t beyond = 0;
    int64_t flushed = 0;
    double largest = 0;
    for (size_t i = 0; i < out.as<num::Fp16>().size(); ++i) {
      const float before = wide.as<float>()[i];
      num::Fp16& h = out.as<num::Fp16>()[i];
      const float after = num::widen(h);
      if (std::isfinite(before) && !std::isfinite(after)) {
        ++beyond;
        largest = std::max(largest, std::abs(static_cast<double>(before)));
        h = num::to_fp16(std::copysign(num::kFp16Max, before));
      }
      if (before != 0 && after == 0) ++flushed;
    }
    if (beyond > 0 && trained)
      errors_.push_back(fmt::format("'{}': {} of {} values are beyond 65504 (the largest is {:.6g})", name,
                                    beyond, out.size(), largest));
    if (beyond > 0 && !trained)
      report_.warnings.push_back(
          fmt::format("'{}': {} of {} values are beyond 65504 (the largest is {:.6g}) and became +-65504",
                      name, beyond, out.size(), largest));
    if (flushed > 0)
      report_.warnings.push_back(fmt::format("'{}': {} of {} values are below fp16's range and became 0",
                                             name, flushed, out.size()));
    return out;
  }

  static void set_raw(Proto& t, const Tensor& value, int type) {
    t.clear_float_data();
    t.clear_external_data();
    t.clear_data_location();
    t.set_data_type(type);
    t.set_raw_data(value.data(), static_cast<size_t>(value.bytes()));
  }

  void convert(Proto& t, const std::string& name, bool to_fp16) {
    if (to_fp16 && t.data_type() == Proto::FLOAT) {
      set_raw(t, narrowed(name, decode(t, contents_.file)), Proto::FLOAT16);
    } else if (t.data_location() == Proto::EXTERNAL) {
      set_raw(t, decode(t, contents_.file), t.data_type());
    }
  }

  void convert_tensors() {
    ::onnx::GraphProto& graph = *proto_.mutable_graph();
    for (Proto& t : *graph.mutable_initializer()) convert(t, t.name(), fp32_.count(t.name()) == 0);
    for (size_t i = 0; i < model_.nodes().size(); ++i) {
      const NodeInfo& n = model_.nodes()[i];
      const bool to_fp16 = n.op_type == "Constant" ? fp32_.count(n.outputs.at(0)) == 0 : !stays_[i];
      for (auto& a : *graph.mutable_node(contents_.file_index[i])->mutable_attribute()) {
        if (a.has_t()) {
          convert(*a.mutable_t(), n.outputs.at(0), to_fp16);
        } else if (to_fp16 && is_fp32_constant(n) &&
                   (a.name() == "value_float" || a.name() == "value_floats")) {
          const Tensor value = narrowed(n.outputs.at(0), model_.tensor(n.outputs.at(0)));
          a.Clear();
          a.set_name("value");
          a.set_type(::onnx::AttributeProto::TENSOR);
          for (const int64_t d : value.shape()) a.mutable_t()->add_dims(d);
          set_raw(*a.mutable_t(), value, Proto::FLOAT16);
        } else if (n.op_type == "Cast" && to_fp16 && a.name() == "to" && a.i() == Proto::FLOAT) {
          a.set_i(Proto::FLOAT16);
        }
      }
    }
    // Before opset 9's value attribute there is nothing; without it ConstantOfShape puts out fp32 zeros.
    for (size_t i = 0; i < model_.nodes().size(); ++i) {
      ::onnx::NodeProto& node = *graph.mutable_node(contents_.file_index[i]);
      if (model_.nodes()[i].op_type != "ConstantOfShape" || node.attribute_size() > 0 || stays_[i]) continue;
      auto* a = node.add_attribute();
      a->set_name("value");
      a->set_type(::onnx::AttributeProto::TENSOR);
      a->mutable_t()->add_dims(1);
      set_raw(*a->mutable_t(), Tensor(DType::kF16, {1}), Proto::FLOAT16);
    }
  }

  // What is left of external data would be missing beside the file that is written.
  void refuse_external() const {
    for_each_external(proto_, [&](const auto& t) {
      throw input_error(
          "{}: tensor '{}' has its elements in another file, in a place where the export to fp16 does not "
          "look (the body of a "
          "node, or a function)",
          model_.path(), t.name());
    });
  }

  // ---- nodes
  std::string fresh(const std::string& wanted) {
    std::string name = wanted;
    for (int i = 1; !taken_.insert(name).second; ++i) name = fmt::format("{}_{}", wanted, i);
    return name;
  }
  static void make_cast(::onnx::NodeProto& node, const std::string& from, const std::string& to, int type) {
    node.set_op_type("Cast");
    node.set_name("Cast_" + to);
    node.add_input(from);
    node.add_output(to);
    auto* a = node.add_attribute();
    a->set_name("to");
    a->set_type(::onnx::AttributeProto::INT);
    a->set_i(type);
  }

  // Rebuilds the list of nodes with Cast nodes before the first that needs them. Outputs of the network get a
  // name of their own inside.
  void rewire_nodes() {
    ::onnx::GraphProto& graph = *proto_.mutable_graph();
    std::map<std::string, std::string> inside;  // an output's name: the name of its fp16 value
    if (!options_.fp16_borders)
      for (const ValueInfo& output : model_.outputs())
        if (is_fp32(output.name) && fp32_.count(output.name) == 0 &&
            model_.find_tensor(output.name) == nullptr)
          inside[output.name] = fresh(output.name + "_fp16");
    google::protobuf::RepeatedPtrField<::onnx::NodeProto> old;
    old.Swap(graph.mutable_node());
    std::map<std::string, std::string> cast_of;  // a value's name: that of its other precision
    for (size_t i = 0; i < model_.nodes().size(); ++i) {
      const NodeInfo& n = model_.nodes()[i];
      ::onnx::NodeProto node = std::move(*old.Mutable(contents_.file_index[i]));
      for (size_t k = 0; k < n.inputs.size(); ++k) {
        const std::string& name = n.inputs[k];
        if (!is_fp32(name)) continue;
        const bool has = fp32_.count(name) != 0;
        const bool wants = stays_[i] || wants_fp32(n, k);
        std::string actual = inside.count(name) != 0 ? inside[name] : name;
        if (has != wants) {
          std::string& cast = cast_of[name];
          if (cast.empty()) {
            cast = fresh(name + (wants ? "_fp32" : "_fp16"));
            make_cast(*graph.add_node(), actual, cast, wants ? Proto::FLOAT : Proto::FLOAT16);
          }
          actual = cast;
        }
        node.set_input(static_cast<int>(k), actual);
      }
      for (size_t k = 0; k < n.outputs.size(); ++k)
        if (inside.count(n.outputs[k]) != 0) node.set_output(static_cast<int>(k), inside[n.outputs[k]]);
      *graph.add_node() = std::move(node);
    }
    for (const ValueInfo& output : model_.outputs())
      if (inside.count(output.name) != 0)
        make_cast(*graph.add_node(), inside[output.name], output.name, Proto::FLOAT);
    for (auto& info : *graph.mutable_value_info()) declare(info);
  }

  void declare(::onnx::ValueInfoProto& info) const {
    if (is_fp32(info.name()) && fp32_.count(info.name()) == 0 && info.type().has_tensor_type())
      info.mutable_type()->mutable_tensor_type()->set_elem_type(Proto::FLOAT16);
  }

  void convert_borders() {
    ::onnx::GraphProto& graph = *proto_.mutable_graph();
    for (auto& input : *graph.mutable_input())
      declare(input);  // fp16, or an initializer that is listed as an input
    for (auto& output : *graph.mutable_output())
      if (options_.fp16_borders || model_.find_tensor(output.name()) != nullptr) declare(output);
  }

  const Model& model_;
  const Contents& contents_;
  const std::string& path_;
  const Fp16Options& options_;
  const std::map<std::string, Role> roles_;
  ::onnx::ModelProto proto_;
  std::map<std::string, int> type_;
  std::set<std::string> live_;   // values that depend on the samples
  std::set<std::string> taken_;  // all names
  std::set<std::string> fp32_;   // fp32 values that stay so
  std::vector<bool> stays_;      // nodes that compute in fp32
  std::vector<std::string> errors_;
  Fp16Report report_;
};

}  // namespace

Fp16Report export_fp16(const Model& model, const std::string& path, const Fp16Options& options) {
  return Exporter(model, path, options).run();
}

}  // namespace halftone::onnx
