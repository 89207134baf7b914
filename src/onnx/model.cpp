#include "onnx/model.h"

#include <google/protobuf/io/coded_stream.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "num/half.h"
#include "onnx/branch_contents.h"
#include "onnx/domain.h"
#include "onnx/external_data.h"
#include "onnx/footprint.h"
#include "onnx/inline.h"
#include "onnx/input_axes.h"
#include "onnx/missing_operators.h"
#include "onnx/model_contents.h"
#include "onnx/operator_of.h"
#include "onnx/structure.h"
#include "onnx/tensor_proto.h"
#include "ops/fold.h"
#include "ops/op.h"

namespace halftone::onnx {
namespace {

constexpr int64_t kMaxFileBytes = (int64_t{1} << 31) - 1;  // protobuf's own limit

// What a file's nodes, names and short lists may take in memory: exported networks need 10 to 20 times the
// bytes that describe them, and those of the largest are some megabytes.
constexpr int64_t kStructureBytes = int64_t{64} << 20;
constexpr int64_t kStructurePerByte = 64;
constexpr int64_t kMaxStructureBytes = int64_t{2} << 30;

ValueInfo value_info(const ::onnx::ValueInfoProto& proto) {
  ValueInfo info;
  info.name = proto.name();
  info.type = "?";
  if (!proto.type().has_tensor_type()) return info;
  const auto& type = proto.type().tensor_type();
  info.type = type_name(type.elem_type());
  info.dtype = dtype_of(type.elem_type());
  info.has_shape = type.has_shape();
  for (const auto& d : type.shape().dim()) {
    Dimension dim;
    if (d.has_dim_value()) dim.value = d.dim_value();
    if (d.has_dim_param()) dim.param = d.dim_param();
    // Some exporters write 0 or -1 for "unknown".
    if (dim.value <= 0) dim.value = -1;
    info.dims.push_back(std::move(dim));
  }
  return info;
}

void add_tensor(Contents& c, TensorInfo info, TensorPlace place) {
  if (!c.tensor_index.emplace(info.name, c.tensors.size()).second)
    throw input_error("'{}' is defined twice", info.name);
  c.tensors.push_back(std::move(info));
  c.places.push_back(place);
}

void add_initializers(Contents& c) {
  const auto& graph = c.proto.graph();
  for (int i = 0; i < graph.initializer_size(); ++i) {
    const ::onnx::TensorProto& t = graph.initializer(i);
    if (t.name().empty()) throw input_error("initializer {} has no name", i);
    add_tensor(c, {t.name(), type_name(t.data_type()), dtype_of(t.data_type()), checked_shape(t, c.file)},
               {i, -1, -1});
  }
}

void add_constant(Contents& c, int node, const TensorPlace::Path& within, const std::string& name) {
  TensorPlace place{-1, node, 0, within};
  const ::onnx::NodeProto& proto = graph_of(std::as_const(c.proto), place).node(node);
  for (int i = 0; i < proto.attribute_size(); ++i) {
    const ::onnx::AttributeProto& a = proto.attribute(i);
    place.attribute = i;
    if (a.name() == "value" && a.has_t()) {
      add_tensor(
          c, {name, type_name(a.t().data_type()), dtype_of(a.t().data_type()), checked_shape(a.t(), c.file)},
          place);
    } else if (a.name() == "value_float") {
      add_tensor(c, {name, "float", DType::kF32, {}}, place);
    } else if (a.name() == "value_floats") {
      add_tensor(c, {name, "float", DType::kF32, {a.floats_size()}}, place);
    } else if (a.name() == "value_int") {
      add_tensor(c, {name, "int64", DType::kI64, {}}, place);
    } else if (a.name() == "value_ints") {
      add_tensor(c, {name, "int64", DType::kI64, {a.ints_size()}}, place);
    } else {
      continue;
    }
    return;
  }
}

void add_branch_tensor(Contents& c, const InlinedTensor& tensor) {
  const TensorPlace& place = tensor.place;
  if (place.initializer < 0) return add_constant(c, place.node, place.within, tensor.name);
  const ::onnx::TensorProto& t = graph_of(std::as_const(c.proto), place).initializer(place.initializer);
  add_tensor(c, {tensor.name, type_name(t.data_type()), dtype_of(t.data_type()), checked_shape(t, c.file)},
             place);
}

// File indices in an order in which every node follows those it reads from; the file's order where that is
// one.
std::vector<int> sorted(const ::onnx::GraphProto& graph,
                        const std::map<std::string, int, std::less<>>& producer) {
  const int count = graph.node_size();
  std::vector<int> missing(static_cast<size_t>(count), 0);
  std::vector<std::vector<int>> readers(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    const auto reads = [&](const std::string& name) {
      const auto it = producer.find(name);
      if (it == producer.end() || it->second < 0) return;
      readers[static_cast<size_t>(it->second)].push_back(i);
      ++missing[static_cast<size_t>(i)];
    };
    for (const std::string& name : graph.node(i).input()) reads(name);
    for (const std::string& name : captured_names(graph.node(i))) reads(name);
  }
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  for (int i = 0; i < count; ++i)
    if (missing[static_cast<size_t>(i)] == 0) ready.push(i);
  std::vector<int> order;
  while (!ready.empty()) {
    const int node = ready.top();
    ready.pop();
    order.push_back(node);
    for (const int reader : readers[static_cast<size_t>(node)])
      if (--missing[static_cast<size_t>(reader)] == 0) ready.push(reader);
  }
  if (static_cast<int>(order.size()) != count) {
    int stuck = 0;
    while (missing[static_cast<size_t>(stuck)] == 0) ++stuck;
    throw input_error("the graph has a cycle through node '{}' ({})", graph.node(stuck).name(),
                      graph.node(stuck).op_type());
  }
  return order;
}

NodeInfo node_info(const ::onnx::NodeProto& node, int position, int opset) {
  NodeInfo info;
  info.op_type = node.op_type();
  info.name = node.name().empty() ? fmt::format("{}#{}", node.op_type(), position) : node.name();
  info.domain = is_default_domain(node.domain()) ? "" : node.domain();
  info.opset = opset;
  info.inputs.assign(node.input().begin(), node.input().end());
  info.outputs.assign(node.output().begin(), node.output().end());
  // What its graphs read counts as read by it.
  info.declared_inputs = info.inputs.size();
  const std::vector<std::string> captured = captured_names(node);
  info.inputs.insert(info.inputs.end(), captured.begin(), captured.end());
  return info;
}

// Of one number, or of a shape that the file gives. More is known when the other sizes are.
std::optional<Tensor> known_value(const FixedInput& input) {
  Shape shape;
  for (const Dimension& d : input.info.dims) {
    if (d.value <= 0) return std::nullopt;
    shape.push_back(d.value);
  }
  constexpr int64_t kMostFixedElements = 64;
  if (!input.info.has_shape || !input.info.dtype || elements(shape) > kMostFixedElements) return std::nullopt;
  return elements_of(input, shape);
}

void read_graph(Contents& c) {
  const ::onnx::GraphProto& graph = c.proto.graph();
  for (const auto& opset : c.proto.opset_import())
    if (is_default_domain(opset.domain()))
      c.opset = static_cast<int>(std::clamp<int64_t>(opset.version(), -1, 1 << 30));
  add_initializers(c);
  // Data that writing the network will copy, whoever reads it: better refused now than after a training.
  for_each_external(c.proto, [&](const auto& t) { checked_shape(t, c.file); });

  // Which node produces a name; -1: an input or an initializer.
  std::map<std::string, int, std::less<>> producer;
  for (const TensorInfo& t : c.tensors) producer.emplace(t.name, -1);
  for (const auto& t : graph.sparse_initializer()) producer.emplace(t.values().name(), -1);  // see problems()
  std::set<std::string> seen;
  for (const auto& input : graph.input()) {
    if (input.name().empty() || !seen.insert(input.name()).second)
      throw input_error("the graph has an input '{}' {}", input.name(),
                        input.name().empty() ? "without a name" : "twice");
    if (!producer.emplace(input.name(), -1).second)
      continue;  // an initializer that the file lists as an input too (IR version 3)
    const auto fix = c.fixes.find(input.name());
    if (fix == c.fixes.end()) {
      c.inputs.push_back(value_info(input));
    } else {
      c.fixed.push_back({value_info(input), fix->second});
    }
  }
  for (int i = 0; i < graph.node_size(); ++i)
    for (const std::string& name : graph.node(i).output())
      if (!name.empty() && !producer.emplace(name, i).second)
        throw input_error("'{}' is defined twice", name);
  for (const auto& node : graph.node()) {
    if (node.output_size() == 0)
      throw input_error("node '{}' ({}) has no output, which no ONNX operator allows", node.name(),
                        node.op_type());
    std::vector<std::string> read = captured_names(node);
    read.insert(read.end(), node.input().begin(), node.input().end());
    for (const std::string& name : read)
      if (!name.empty() && producer.find(name) == producer.end())
        throw input_error("node '{}' ({}) reads '{}', which nothing defines", node.name(), node.op_type(),
                          name);
  }
  if (graph.output_size() == 0) throw input_error("the graph has no outputs");
  for (const auto& output : graph.output()) {
    if (producer.find(output.name()) == producer.end())
      throw input_error("nothing defines the graph's output '{}'", output.name());
    c.outputs.push_back(value_info(output));
  }

  KnownValues known(graph, c.file);
  for (const FixedInput& input : c.fixed)
    if (const std::optional<Tensor> value = known_value(input)) known.set(input.info.name, value->clone());
  Inlined inlined = inline_bodies(c.proto, sorted(graph, producer), c.opset, known);
  c.copies = std::move(inlined.copies);
  for (const InlinedTensor& tensor : inlined.tensors) add_branch_tensor(c, tensor);
  for (InlinedNode& at : inlined.nodes) {
    c.file_index.push_back(at.file);
    c.inlined.push_back(at.copy);
    NodeInfo info = node_info(proto_of(c, c.nodes.size()), at.file, at.opset);
    info.guards = std::move(at.guards);
    info.choice = at.choice;
    // A function's constants are its own; the file's may be parameters.
    if (at.copy < 0 && info.domain.empty() && info.op_type == "Constant" && info.outputs.size() == 1)
      add_constant(c, at.file, {}, info.outputs[0]);
    c.nodes.push_back(std::move(info));
  }
}

Tensor vector_tensor(const ::onnx::AttributeProto& a) {
  const bool floats = a.name() == "value_floats" || a.name() == "value_float";
  const bool scalar = a.name() == "value_float" || a.name() == "value_int";
  Tensor out(floats ? DType::kF32 : DType::kI64,
             scalar ? Shape{} : Shape{floats ? a.floats_size() : a.ints_size()});
  for (int64_t i = 0; i < out.size(); ++i) {
    const int k = static_cast<int>(i);
    if (floats) {
      out.as<float>()[static_cast<size_t>(i)] = scalar ? a.f() : a.floats(k);
    } else {
      out.as<int64_t>()[static_cast<size_t>(i)] = scalar ? a.i() : a.ints(k);
    }
  }
  return out;
}

ir::Attribute attribute(const ::onnx::AttributeProto& a, const TensorFile& file) {
  switch (a.type()) {
    case ::onnx::AttributeProto::INT:
      return a.i();
    case ::onnx::AttributeProto::FLOAT:
      return static_cast<double>(a.f());
    case ::onnx::AttributeProto::STRING:
      return a.s();
    case ::onnx::AttributeProto::INTS:
      return std::vector<int64_t>(a.ints().begin(), a.ints().end());
    case ::onnx::AttributeProto::FLOATS:
      return std::vector<double>(a.floats().begin(), a.floats().end());
    case ::onnx::AttributeProto::STRINGS: {  // one a line
      std::string lines;
      for (const std::string& line : a.strings()) lines += line + "\n";
      return lines;
    }
    case ::onnx::AttributeProto::TENSOR:
      checked_shape(a.t(), file);
      return std::make_shared<const Tensor>(decode(a.t(), file));
    default:
      throw input_error("attribute '{}' is of kind {}, which Halftone has no use for", a.name(),
                        ::onnx::AttributeProto::AttributeType_Name(a.type()));
  }
}

bool has_subgraph(const ::onnx::NodeProto& node) {
  return std::any_of(node.attribute().begin(), node.attribute().end(),
                     [](const auto& a) { return a.has_g() || a.graphs_size() > 0; });
}

// Of --input NAME=NUMBER.
void check_number(const ValueInfo& input, double value, const std::string& path) {
  const auto most = [&] {
    switch (*input.dtype) {
      case DType::kU8:
        return input.type == "bool" ? 1.0 : 255.0;
      case DType::kI32:
        return 0x1p31 - 1;
      case DType::kI64:
        return 0x1p53;
      case DType::kF16:
        return static_cast<double>(num::kFp16Max);
      case DType::kBf16:
        return 0x1.FEp127;
      case DType::kF32:
      case DType::kF64:  // elements_of() makes fp32 of it
        return static_cast<double>(std::numeric_limits<float>::max());
    }
    return 0.0;
  }();
  const double least = *input.dtype == DType::kU8 ? 0.0 : -most;
  const bool fits = is_float(*input.dtype) || value == std::floor(value);
  if (!fits || value < least || value > most)
    throw usage_error("{}: input '{}' takes {}, and cannot be {}", path, input.name, input.type, value);
}

// `file_bytes` is the size of the file that the message describes, which may be larger than the message.
void parse_message(std::string_view message, int64_t file_bytes, const std::string& path,
                   ::onnx::ModelProto& proto) {
  const int64_t most = kStructureBytes + std::min(kStructurePerByte * file_bytes, kMaxStructureBytes);
  if (structure_bytes(message, most) > most)
    throw input_error("{}: its {} bytes would take more than {} bytes of memory, which no network needs",
                      path, file_bytes, most);
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const uint8_t*>(message.data()),
                                                static_cast<int>(message.size()));
  if (!proto.ParseFromCodedStream(&stream) || !stream.ConsumedEntireMessage())
    throw input_error("{}: this is no ONNX file, or it is damaged: the protobuf message cannot be read",
                      path);
  if (!proto.has_graph()) throw input_error("{}: this is no ONNX file: it has no graph", path);
}

}  // namespace

void read_graph_of(Contents& contents) {
  try {
    read_graph(contents);
  } catch (const Error& e) {
    throw Error(e.kind(), fmt::format("{}: {}", contents.file.path, e.what()));
  }
}

Model Model::load(const std::string& path) {
  InputFile file(path, kMaxFileBytes);
  std::optional<Outline> outline = onnx::outline(
      [&](int64_t offset, int64_t bytes, void* to) { file.read(offset, bytes, to); }, file.size());
  if (!outline) {
    std::string bytes(static_cast<size_t>(file.size()), '\0');
    file.read(0, file.size(), bytes.data());
    return parse(bytes, path);
  }
  auto contents = std::make_shared<Contents>();
  contents->file.path = path;
  parse_message(outline->message, file.size(), path, contents->proto);
  outline->message = {};
  ::onnx::GraphProto& graph = *contents->proto.mutable_graph();
  for (const auto& [place, data] : outline->tensors) {
    const ::onnx::TensorProto& t = place.initializer >= 0
                                       ? graph.initializer(place.initializer)
                                       : graph.node(place.node).attribute(place.attribute).t();
    contents->file.detached.emplace(&t, data);
  }
  contents->file.input = std::make_shared<const InputFile>(std::move(file));
  read_graph_of(*contents);
  return Model(std::move(contents));
}

Model Model::parse(std::string_view bytes, const std::string& path) {
  if (static_cast<int64_t>(bytes.size()) > kMaxFileBytes)
    throw input_error("{}: {} bytes are more than an ONNX file can have (2 GiB)", path, bytes.size());
  auto contents = std::make_shared<Contents>();
  contents->file.path = path;
  parse_message(bytes, static_cast<int64_t>(bytes.size()), path, contents->proto);
  read_graph_of(*contents);
  return Model(std::move(contents));
}

::onnx::ModelProto whole_message(const Contents& contents) {
  if (contents.file.input == nullptr) return contents.proto;
  const InputFile& file = *contents.file.input;
  std::string bytes(static_cast<size_t>(file.size()), '\0');
  file.read(0, file.size(), bytes.data());
  ::onnx::ModelProto proto;
  parse_message(bytes, file.size(), file.path(), proto);
  for (const std::vector<ProtoSeparation>& list : contents.separations) separate(proto, list);
  return proto;
}

const std::string& Model::path() const {
  return contents_->file.path;
}
int Model::opset() const {
  return contents_->opset;
}
std::optional<std::string> Model::metadata(std::string_view key) const {
  for (const auto& entry : contents_->proto.metadata_props())
    if (entry.key() == key) return entry.value();
  return std::nullopt;
}

const std::vector<ValueInfo>& Model::inputs() const {
  return bound_ == nullptr ? contents_->inputs : *bound_;
}
namespace {

using AxisSizes = std::map<std::string, int64_t>;

// May be bound: an axis without a size, or (again) one that has none in the file.
bool may_bind(const Dimension& now, const Dimension& in_file, bool again) {
  return now.value <= 0 || (again && in_file.value <= 0);
}

void bind_fixed_axes(std::vector<FixedInput>& inputs, const std::vector<FixedInput>& in_file,
                     const AxisSizes& sizes, bool again) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    ValueInfo& input = inputs[i].info;
    for (size_t axis = 0; axis < input.dims.size(); ++axis) {
      const auto size = sizes.find(axis_name(input, axis));
      if (size != sizes.end() && may_bind(input.dims[axis], in_file.at(i).info.dims.at(axis), again))
        input.dims[axis].value = size->second;
    }
  }
}

}  // namespace

void Model::bind(const std::map<std::string, int64_t>& sizes) {
  bind_axes(sizes, false);
}
void Model::rebind(const std::map<std::string, int64_t>& sizes) {
  bind_axes(sizes, true);
}
void Model::bind_axes(const std::map<std::string, int64_t>& sizes, bool again) {
  auto inputs = std::make_shared<std::vector<ValueInfo>>(this->inputs());
  for (size_t i = 0; i < inputs->size(); ++i) {
    ValueInfo& input = (*inputs)[i];
    for (size_t axis = 0; axis < input.dims.size(); ++axis) {
      const auto size = sizes.find(axis_name(input, axis));
      const bool open = may_bind(input.dims[axis], contents_->inputs.at(i).dims.at(axis), again) &&
                        !is_batch(*this, i, axis);
      if (open && size != sizes.end()) input.dims[axis].value = size->second;
    }
  }
  auto fixed = std::make_shared<std::vector<FixedInput>>(this->fixed());
  bind_fixed_axes(*fixed, contents_->fixed, sizes, again);
  bound_ = std::move(inputs);
  bound_fixed_ = std::move(fixed);
}

const std::vector<FixedInput>& Model::fixed() const {
  return bound_fixed_ == nullptr ? contents_->fixed : *bound_fixed_;
}
Model Model::with_fixed(const std::map<std::string, double>& values) const {
  const Contents& old = *contents_;
  std::map<std::string, double> fixes = old.fixes;
  for (const auto& [name, value] : values) {
    const auto input = std::find_if(old.inputs.begin(), old.inputs.end(),
                                    [&, &name = name](const ValueInfo& i) { return i.name == name; });
    if (input == old.inputs.end()) throw usage_error("{}: no input is called '{}'", path(), name);
    if (!input->dtype || !input->has_shape)
      throw input_error("{}: input '{}' has {}, and cannot be a fixed number", path(), name,
                        input->dtype ? "no shape" : "the type " + input->type);
    check_number(*input, value, path());
    fixes[name] = value;
  }
  auto made = copied_message(old);
  made->fixes = std::move(fixes);
  read_graph_of(*made);
  Model model(std::move(made));
  model.chosen_ = chosen_;
  return model;
}

Tensor elements_of(const FixedInput& input, const Shape& shape) {
  const auto size = static_cast<size_t>(elements(shape));
  if (is_float(*input.info.dtype))
    return ops::from_doubles(std::vector<double>(size, input.value), DType::kF32, shape);
  return ops::from_int64s(std::vector<int64_t>(size, static_cast<int64_t>(input.value)), *input.info.dtype,
                          shape);
}

std::shared_ptr<Contents> copied_message(const Contents& from) {
  auto to = std::make_shared<Contents>();
  to->file.path = from.file.path;
  to->file.input = from.file.input;
  to->proto = from.proto;
  to->separations = from.separations;
  to->origins = from.origins;
  to->fixes = from.fixes;
  const auto keep = [&](const ::onnx::TensorProto& before, const ::onnx::TensorProto& now) {
    if (const DataPlace* place = from.file.find(before)) to->file.detached.emplace(&now, *place);
  };
  const ::onnx::GraphProto& old = from.proto.graph();
  const ::onnx::GraphProto& made = to->proto.graph();
  for (int i = 0; i < old.initializer_size(); ++i) keep(old.initializer(i), made.initializer(i));
  for (int n = 0; n < old.node_size(); ++n)
    for (int a = 0; a < old.node(n).attribute_size(); ++a)
      keep(old.node(n).attribute(a).t(), made.node(n).attribute(a).t());
  return to;
}

const std::vector<ValueInfo>& Model::outputs() const {
  return chosen_ != nullptr ? *chosen_ : contents_->outputs;
}
Model Model::with_outputs(const std::vector<std::string>& names) const {
  std::vector<ValueInfo> chosen;
  for (const std::string& name : names) {
    chosen.emplace_back();
    for (const ValueInfo& output : contents_->outputs)
      if (output.name == name) chosen.back() = output;
    chosen.back().name = name;
  }
  Model model(*this);
  model.chosen_ = std::make_shared<const std::vector<ValueInfo>>(std::move(chosen));
  return model;
}
Model Model::with_batch_in_front() const {
  auto inputs = std::make_shared<std::vector<ValueInfo>>(this->inputs());
  if (inputs->empty() || inputs->front().dims.empty()) return *this;  // the importer's to refuse
  Dimension& batch = inputs->front().dims.front();
  if (batch.param.empty()) batch.param = "batch of " + inputs->front().name;
  for (ValueInfo& input : *inputs) {
    if (!input.has_shape) continue;  // likewise
    if (input.dims.empty())
      throw input_error(
          "{}: input '{}' is a scalar; training and evaluation need the samples as the first axis of each "
          "input. Where "
          "it is the same for all samples, --input {}=NUMBER says so",
          path(), input.name, input.name);
    Dimension& first = input.dims.front();
    if (&first == &batch) continue;
    if (first.value > 0 && first.value != batch.value)
      throw input_error(
          "{}: input '{}' has no batch axis: its first axis has the size {}, that of input '{}', which "
          "counts the samples, {}; "
          "training and evaluation need the samples as the first axis of each input. Where it is one number "
          "for all samples, "
          "--input {}=NUMBER says so",
          path(), input.name, first.value, inputs->front().name,
          batch.value > 0 ? fmt::format("the size {}", batch.value)
                          : fmt::format("the open size {}", batch.param),
          input.name);
    first = {-1, batch.param};
  }
  Model model(*this);
  model.bound_ = std::move(inputs);
  return model;
}
const std::vector<NodeInfo>& Model::nodes() const {
  return contents_->nodes;
}
const std::vector<TensorInfo>& Model::tensors() const {
  return contents_->tensors;
}

// Without the graphs and types of what arranges others, which branch_of gives.
ir::Attributes attributes_of(const ::onnx::NodeProto& node, const TensorFile& file) {
  const bool structural = is_default_domain(node.domain()) && find_structural(node.op_type()) != nullptr;
  ir::Attributes out;
  for (const auto& a : node.attribute())
    if (!structural || (!a.has_g() && !a.has_tp())) out.set(a.name(), attribute(a, file));
  return out;
}

namespace {

std::shared_ptr<const Branch> branch_of(const std::shared_ptr<const Contents>& contents,
                                        const ::onnx::NodeProto& node, const NodeInfo& info,
                                        std::string_view attribute, int64_t round) {
  const ::onnx::GraphProto* graph = nullptr;
  for (const auto& a : node.attribute())
    if (a.name() == attribute && a.has_g()) graph = &a.g();
  if (graph == nullptr) throw input_error("it has no graph '{}'", attribute);
  if (const std::string fault = fault_of_graph(*graph, attribute); !fault.empty())
    throw input_error("{}", fault);
  auto branch = std::make_shared<Branch>();
  auto own = std::make_shared<BranchContents>();
  own->contents = contents;
  const std::string prefix = round < 0 ? fmt::format("{}/{}/", info.name, attribute)
                                       : fmt::format("{}/{}/{}/", info.name, attribute, round);
  BodyCopier copier(prefix, {});
  for (const auto& input : graph->input()) own->inputs.push_back(copier.define(input.name()));
  for (const auto& t : graph->initializer())
    branch->tensors.emplace(copier.define(t.name()), decode(t, contents->file));
  int position = 0;
  for (const ::onnx::NodeProto& n : graph->node()) {
    own->nodes.push_back(copier.copy(n, {}));
    NodeInfo made = node_info(own->nodes.back(), position++, info.opset);
    if (n.name().empty()) made.name = prefix + made.name;
    branch->nodes.push_back(std::move(made));
  }
  for (const auto& output : graph->output()) branch->outputs.push_back(copier.outside(output.name()));
  branch->contents = std::move(own);
  return branch;
}

template <typename Graph, typename Step>
Graph* follow(Graph* graph, const TensorPlace::Path& path, const Step& step) {
  for (const auto& [node, attribute] : path) graph = step(graph, node, attribute);
  return graph;
}
}  // namespace

const ::onnx::GraphProto& graph_of(const ::onnx::ModelProto& proto, const TensorPlace& place) {
  return *follow(&proto.graph(), place.within,
                 [](const auto* g, int n, int a) { return &g->node(n).attribute(a).g(); });
}
::onnx::GraphProto& graph_of(::onnx::ModelProto& proto, const TensorPlace& place) {
  return *follow(proto.mutable_graph(), place.within,
                 [](auto* g, int n, int a) { return g->mutable_node(n)->mutable_attribute(a)->mutable_g(); });
}

ir::Attributes Branch::attributes(size_t node) const {
  return attributes_of(contents->nodes[node], contents->contents->file);
}

ir::Attributes Model::attributes(size_t node) const {
  return attributes_of(proto_of(*contents_, node), contents_->file);
}

std::shared_ptr<const Branch> branch_of(const Model& model, size_t node, std::string_view attribute,
                                        int64_t round) {
  const std::shared_ptr<const Contents> contents(std::shared_ptr<const Contents>(), &model.contents());
  return branch_of(contents, proto_of(*contents, node), contents->nodes[node], attribute, round);
}

std::shared_ptr<const Branch> branch_of(const Branch& branch, size_t node, std::string_view attribute,
                                        int64_t round) {
  const BranchContents& c = *branch.contents;
  return branch_of(c.contents, c.nodes[node], branch.nodes[node], attribute, round);
}

const TensorInfo* Model::find_tensor(std::string_view name) const {
  const auto it = contents_->tensor_index.find(name);
  return it == contents_->tensor_index.end() ? nullptr : &contents_->tensors[it->second];
}

bool Model::is_initializer(std::string_view name) const {
  const auto it = contents_->tensor_index.find(name);
  return it != contents_->tensor_index.end() && contents_->places[it->second].initializer >= 0;
}

Tensor Model::tensor(std::string_view name) const {
  const auto it = contents_->tensor_index.find(name);
  HT_ASSERT(it != contents_->tensor_index.end(), "{} is no tensor of the file", name);
  const TensorPlace& place = contents_->places[it->second];
  const ::onnx::GraphProto& graph = graph_of(std::as_const(contents_->proto), place);
  if (place.initializer >= 0) return decode(graph.initializer(place.initializer), contents_->file);
  const ::onnx::AttributeProto& a = graph.node(place.node).attribute(place.attribute);
  return a.name() == "value" ? decode(a.t(), contents_->file) : vector_tensor(a);
}

std::vector<std::string> Model::sparse_initializers() const {
  std::vector<std::string> names;
  for (const auto& t : contents_->proto.graph().sparse_initializer()) names.push_back(t.values().name());
  return names;
}

std::vector<Problem> Model::problems() const {
  std::vector<Problem> out;
  const int version = contents_->opset;
  if (version < kFirstOpset || version > kLastOpset)
    out.push_back({"", "", version,
                   version == 0
                       ? std::string("the file does not say its opset")
                       : fmt::format("opset {} is outside {} to {}", version, kFirstOpset, kLastOpset)});
  for (const auto& s : contents_->proto.graph().sparse_initializer())
    out.push_back({"", "", version,
                   fmt::format("initializer '{}' is sparse, and Halftone trains dense tensors only: store "
                               "it as a dense initializer, zeros included",
                               s.values().name())});
  for (size_t i = 0; i < contents_->nodes.size(); ++i) {
    const NodeInfo& node = contents_->nodes[i];
    if (node.op_type == "If" && node.domain.empty() && !node.choice) {
      out.push_back({node.name, node.op_type, version, fault_of_branches(proto_of(*contents_, i))});
      continue;
    }
    if (!node.guards.empty()) continue;  // the importer looks at the branches that are taken
    if (!node.domain.empty() && ops::find_onnx(operator_of(node)) == nullptr)
      out.push_back({node.name, node.op_type, version, reason_of_missing(node.op_type, node.domain)});
    else if (structural_of(node) == nullptr && has_subgraph(proto_of(*contents_, i)))
      out.push_back({node.name, node.op_type, version,
                     fmt::format("it has a graph of its own, which ONNX's {} has not", node.op_type)});
  }
  return out;
}

}  // namespace halftone::onnx
