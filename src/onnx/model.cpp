#include "onnx/model.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "onnx/footprint.h"
#include "onnx/inline.h"
#include "onnx/input_axes.h"
#include "onnx/missing_operators.h"
#include "onnx/model_contents.h"
#include "onnx/operator_of.h"
#include "onnx/structure.h"
#include "onnx/tensor_proto.h"
#include "ops/op.h"

namespace halftone::onnx {
namespace {

constexpr int64_t kMaxFileBytes = (int64_t{1} << 31) - 1;  // protobuf's own limit

// What a file's nodes, names and short lists may take in memory: exported networks need 10 to 20 times the
// bytes that describe them, and those of the largest are some megabytes.
constexpr int64_t kStructureBytes = int64_t{64} << 20;
constexpr int64_t kStructurePerByte = 64;
constexpr int64_t kMaxStructureBytes = int64_t{2} << 30;

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

bool has_subgraph(const ::onnx::NodeProto& node) {
  return std::any_of(node.attribute().begin(), node.attribute().end(),
                     [](const auto& a) { return a.has_g() || a.graphs_size() > 0; });
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

// What goes wrong is kept, for protobuf is not made for exceptions.
class BlockReader final : public google::protobuf::io::CopyingInputStream {
 public:
  explicit BlockReader(const InputFile& file) : file_(file) {}
  int Read(void* buffer, int size) override {
    const int64_t bytes = std::min<int64_t>(size, file_.size() - at_);
    try {
      if (bytes > 0) file_.read(at_, bytes, static_cast<char*>(buffer));
    } catch (...) {
      failed_ = std::current_exception();
      return -1;
    }
    at_ += bytes;
    return static_cast<int>(bytes);
  }
  void rethrow() const {
    if (failed_ != nullptr) std::rethrow_exception(failed_);
  }

 private:
  const InputFile& file_;
  int64_t at_ = 0;
  std::exception_ptr failed_;
};

}  // namespace

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
  // Block by block: the bytes and the message together would be twice the network.
  BlockReader blocks(*contents.file.input);
  google::protobuf::io::CopyingInputStreamAdaptor stream(&blocks, 1 << 20);
  ::onnx::ModelProto proto;
  const bool parsed = proto.ParseFromZeroCopyStream(&stream);
  blocks.rethrow();
  // It was read before, so it is another file now.
  if (!parsed || !proto.has_graph())
    throw input_error("{}: the file was changed while it was in use", contents.file.path);
  for (const ProtoChange& made : contents.changes)
    made.changes == nullptr ? (void)separate(proto, made.separations) : (void)change(proto, *made.changes);
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
std::shared_ptr<Contents> copied_message(const Contents& from) {
  auto to = std::make_shared<Contents>();
  to->file.path = from.file.path;
  to->file.input = from.file.input;
  to->proto = from.proto;
  to->changes = from.changes;
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

namespace {
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

ir::Attributes Model::attributes(size_t node) const {
  return attributes_of(proto_of(*contents_, node), contents_->file);
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
