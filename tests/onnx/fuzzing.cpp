#include "fuzzing.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <iterator>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "num/random.h"
#include "onnx/export_fp16.h"
#include "onnx/import.h"
#include "onnx/pytorch_names.h"
#include "onnx/roles.h"
#include "onnx/save.h"
#include "operator_seeds.h"
#include "ops/effects.h"
#include "ops/verify.h"

namespace halftone::onnx::test {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

std::string small_network(int opset) {
  ModelBuilder b(opset);
  const std::vector<float> numbers(36, 0.25F);
  const auto some = [&](const std::string& name, const std::vector<int64_t>& dims, bool raw) {
    int64_t n = 1;
    for (const int64_t d : dims) n *= d;
    return floats(name, dims, std::vector<float>(numbers.begin(), numbers.begin() + n), raw);
  };
  b.input("x", {"N", "1", "4", "4"}).output("y", {"N", "3"});
  b.initializer(some("conv.weight", {2, 1, 3, 3}, true)).initializer(some("conv.bias", {2}, false));
  for (const char* name : {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"})
    b.initializer(some(name, {2}, true));
  b.initializer(some("onnx::MatMul_9", {2, 3}, true))
      .initializer(some("fc.bias", {3}, false))
      .initializer(int64s("rest", {-1}));
  b.node("Sub", {"x", "conv.bias_0"}, {"centred"})
      .node("Constant", {}, {"conv.bias_0"}, {{"value_float", 0.5F}});
  b.node("Conv", {"centred", "conv.weight", "conv.bias"}, {"c"},
         {{"pads", std::vector<int64_t>{1, 1, 1, 1}}, {"auto_pad", "NOTSET"}});
  b.node("BatchNormalization", {"c", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"}, {"n"},
         {{"epsilon", 1e-5F}});
  b.node("Relu", {"n"}, {"r"}).node("GlobalAveragePool", {"r"}, {"p"});
  b.node("Shape", {"p"}, {"s"})
      .node("Constant", {}, {"zero"}, {{"value", int64s("", {0})}})
      .node("Gather", {"s", "zero"}, {"batch"});
  b.node("Concat", {"batch", "rest"}, {"shape"}, {{"axis", 0}}).node("Reshape", {"p", "shape"}, {"flat"});
  b.node("MatMul", {"flat", "onnx::MatMul_9"}, {"m"}, {}, "/fc/MatMul")
      .node("Add", {"fc.bias", "m"}, {"y"}, {}, "/fc/Add");
  return b.bytes();
}

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : key_(num::random_key(seed, 3)) {}
  size_t below(size_t n) { return static_cast<size_t>(num::random_below(key_, draw_++, 0, n)); }

  void change_message(Message& root) {
    std::vector<Message*> all;
    names_.clear();
    collect(root, all);
    change(*all[below(all.size())]);
  }

  void change_bytes(std::string& bytes) {
    if (bytes.empty()) return;
    const size_t at = below(bytes.size());
    switch (below(5)) {
      case 0:
        bytes[at] = static_cast<char>(below(256));
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.insert(at, bytes.substr(below(bytes.size()), 1 + below(32)));
        break;
      default:
        bytes.erase(at, 1 + below(16));
    }
  }

 private:
  void collect(Message& m, std::vector<Message*>& all) {
    all.push_back(&m);
    const Reflection* r = m.GetReflection();
    std::vector<const FieldDescriptor*> fields;
    r->ListFields(m, &fields);
    for (const FieldDescriptor* f : fields) {
      if (f->cpp_type() == FieldDescriptor::CPPTYPE_STRING && names_.size() < 4096) {
        for (int i = 0; f->is_repeated() && i < r->FieldSize(m, f); ++i)
          names_.push_back(r->GetRepeatedString(m, f, i));
        if (!f->is_repeated()) names_.push_back(r->GetString(m, f));
      }
      if (f->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
      for (int i = 0; f->is_repeated() && i < r->FieldSize(m, f); ++i)
        collect(*r->MutableRepeatedMessage(&m, f, i), all);
      if (!f->is_repeated()) collect(*r->MutableMessage(&m, f), all);
    }
  }

  int64_t number() {
    static constexpr int64_t kEdges[] = {0,
                                         1,
                                         -1,
                                         2,
                                         3,
                                         7,
                                         9,
                                         10,
                                         11,
                                         13,
                                         16,
                                         64,
                                         255,
                                         65536,
                                         -2,
                                         INT32_MAX,
                                         INT32_MIN,
                                         INT64_MAX,
                                         INT64_MIN,
                                         int64_t{1} << 32,
                                         int64_t{1} << 40,
                                         int64_t{1} << 62};
    return kEdges[below(std::size(kEdges))];
  }
  std::string name() {
    if (below(3) == 0) {
      const auto ops = ops::all_onnx();
      return std::string(ops[below(ops.size())]->op_type);
    }
    static const std::string kNames[] = {"",           "axis",  "axes",     "value",    "perm", "pads",
                                         "SAME_UPPER", "VALID", "../w.bin", "location", "to",   "shape"};
    if (names_.empty() || below(4) == 0) return kNames[below(std::size(kNames))];
    return names_[below(names_.size())];
  }

  void change(Message& m) {
    const Reflection* r = m.GetReflection();
    const Descriptor* d = m.GetDescriptor();
    std::vector<const FieldDescriptor*> present;
    r->ListFields(m, &present);
    // Mostly what is there; sometimes a field that was not.
    const FieldDescriptor* f = present.empty() || below(4) == 0
                                   ? d->field(static_cast<int>(below(static_cast<size_t>(d->field_count()))))
                                   : present[below(present.size())];
    if (!f->is_repeated()) {
      if (below(5) == 0) return r->ClearField(&m, f);
      return set(m, f, -1);
    }
    const int size = r->FieldSize(m, f);
    const auto any = [&] { return static_cast<int>(below(static_cast<size_t>(size))); };
    switch (size == 0 ? 0 : below(5)) {
      case 0:
        return add(m, f);
      case 1:
        r->SwapElements(&m, f, any(), any());
        return r->RemoveLast(&m, f);
      case 2:
        return r->SwapElements(&m, f, any(), any());
      case 3:
        if (f->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
          const int from = any();
          Message* copy = r->AddMessage(&m, f);
          return copy->CopyFrom(r->GetRepeatedMessage(m, f, from));
        }
        return add(m, f);
      default:
        return set(m, f, any());
    }
  }

  void add(Message& m, const FieldDescriptor* f) {
    const Reflection* r = m.GetReflection();
    switch (f->cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        r->AddMessage(&m, f);
        break;
      case FieldDescriptor::CPPTYPE_STRING:
        r->AddString(&m, f, name());
        break;
      case FieldDescriptor::CPPTYPE_INT32:
        r->AddInt32(&m, f, static_cast<int32_t>(number()));
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        r->AddInt64(&m, f, number());
        break;
      case FieldDescriptor::CPPTYPE_UINT64:
        r->AddUInt64(&m, f, static_cast<uint64_t>(number()));
        break;
      case FieldDescriptor::CPPTYPE_FLOAT:
        r->AddFloat(&m, f, static_cast<float>(number()));
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        r->AddDouble(&m, f, static_cast<double>(number()));
        break;
      default:
        break;
    }
  }

  // Element i of a repeated field, or (-1) a single one.
  void set(Message& m, const FieldDescriptor* f, int i) {
    const Reflection* r = m.GetReflection();
    switch (f->cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        if (i < 0) r->MutableMessage(&m, f);
        break;
      case FieldDescriptor::CPPTYPE_STRING:
        i < 0 ? r->SetString(&m, f, name()) : r->SetRepeatedString(&m, f, i, name());
        break;
      case FieldDescriptor::CPPTYPE_INT32:
        i < 0 ? r->SetInt32(&m, f, static_cast<int32_t>(number()))
              : r->SetRepeatedInt32(&m, f, i, static_cast<int32_t>(number()));
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        i < 0 ? r->SetInt64(&m, f, number()) : r->SetRepeatedInt64(&m, f, i, number());
        break;
      case FieldDescriptor::CPPTYPE_UINT64:
        i < 0 ? r->SetUInt64(&m, f, static_cast<uint64_t>(number()))
              : r->SetRepeatedUInt64(&m, f, i, static_cast<uint64_t>(number()));
        break;
      case FieldDescriptor::CPPTYPE_FLOAT:
        i < 0 ? r->SetFloat(&m, f, static_cast<float>(number()))
              : r->SetRepeatedFloat(&m, f, i, static_cast<float>(number()));
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        i < 0 ? r->SetDouble(&m, f, static_cast<double>(number()))
              : r->SetRepeatedDouble(&m, f, i, static_cast<double>(number()));
        break;
      case FieldDescriptor::CPPTYPE_ENUM:
        if (i < 0)
          r->SetEnum(&m, f,
                     f->enum_type()->value(
                         static_cast<int>(below(static_cast<size_t>(f->enum_type()->value_count())))));
        break;
      default:
        break;
    }
  }

  num::RandomKey key_;
  uint64_t draw_ = 0;
  std::vector<std::string> names_;
};

// Runs f; an Error is the answer to a bad file.
template <class Function>
bool answered(Function&& f) {
  try {
    f();
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds;
  for (const int opset : {9, 13, 17}) seeds.push_back(small_network(opset));
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(std::string(HALFTONE_TESTS_DIR) +
                                                                         "/fixtures/onnx_nodes"))
    if (entry.path().extension() == ".onnx") paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) seeds.push_back(read_file(path.string()));
  for (std::string& seed : operator_seeds()) seeds.push_back(std::move(seed));
  return seeds;
}

std::set<std::string> operators_of(const std::string& bytes) {
  std::set<std::string> names;
  const std::function<void(const NodeProto&)> add = [&](const NodeProto& node) {
    names.insert(node.domain().empty() ? node.op_type() : node.domain() + "." + node.op_type());
    for (const AttributeProto& a : node.attribute())
      for (const NodeProto& inside : a.g().node()) add(inside);
  };
  ModelProto model;
  if (!model.ParseFromString(bytes)) return names;
  for (const NodeProto& node : model.graph().node()) add(node);
  for (const auto& function : model.functions())
    for (const NodeProto& node : function.node()) add(node);
  return names;
}

std::optional<Outline> outline_of(const std::string& bytes) {
  return outline(
      [&](int64_t offset, int64_t count, void* to) {
        HT_ASSERT(offset >= 0 && count >= 0 && offset + count <= static_cast<int64_t>(bytes.size()));
        std::memcpy(to, bytes.data() + offset, static_cast<size_t>(count));
      },
      static_cast<int64_t>(bytes.size()));
}

std::string put_back(const Outline& outline, const std::string& bytes) {
  ModelProto proto;
  if (!proto.ParseFromString(outline.message)) return "no message";
  for (const auto& [place, data] : outline.tensors) {
    TensorProto* t = place.initializer >= 0 ? proto.mutable_graph()->mutable_initializer(place.initializer)
                                            : proto.mutable_graph()
                                                  ->mutable_node(place.node)
                                                  ->mutable_attribute(place.attribute)
                                                  ->mutable_t();
    const std::string elements =
        bytes.substr(static_cast<size_t>(data.offset), static_cast<size_t>(data.length));
    if (data.raw) {
      t->set_raw_data(elements);
    } else if (t->data_type() == TensorProto::FLOAT) {
      t->mutable_float_data()->Resize(static_cast<int>(elements.size() / sizeof(float)), 0);
      std::memcpy(t->mutable_float_data()->mutable_data(), elements.data(), elements.size());
    } else {
      t->mutable_double_data()->Resize(static_cast<int>(elements.size() / sizeof(double)), 0);
      std::memcpy(t->mutable_double_data()->mutable_data(), elements.data(), elements.size());
    }
  }
  return proto.SerializeAsString();
}

int use_model(const std::string& bytes) {
  static const TemporaryFolder folder;
  {
    ModelProto whole;
    const bool fine = whole.ParseFromString(bytes);
    const std::optional<Outline> parts = outline_of(bytes);
    HT_ASSERT(!parts || put_back(*parts, bytes) == (fine ? whole.SerializeAsString() : "no message"));
  }
  std::optional<Model> model;
  if (!answered([&] { model.emplace(Model::parse(bytes, folder / "fuzz.onnx")); })) return 0;
  tensor_roles(*model);
  answered([&] { pytorch_tensors(*model); });
  model->problems();
  for (const TensorInfo& t : model->tensors()) answered([&] { model->tensor(t.name); });
  bool imported = false;
  for (const int64_t batch : {1, 3}) {
    ImportOptions options;
    options.batch = batch;
    options.storage = batch == 1 ? DType::kF32 : DType::kF16;
    options.mode = batch == 1 ? ops::Mode::kEval : ops::Mode::kTrain;
    imported = answered([&] {
                 for (const ir::Value& v : import(*model, options).values) v.initial();
               }) ||
               imported;
  }
  // Files are slow: only for those that would get there.
  if (imported) {
    answered([&] { export_fp16(*model, folder / "fp16.onnx"); });
    std::map<std::string, Tensor> same;
    for (const TensorInfo& t : model->tensors())
      if (t.dtype && is_float(*t.dtype)) same[t.name] = model->tensor(t.name);
    save(*model, same, folder / "same.onnx");
    save(*model, {}, folder / "same.onnx");
    ModelProto proto;
    HT_ASSERT(proto.ParseFromString(bytes) && read_file(folder / "same.onnx") == proto.SerializeAsString());
  }
  return imported ? 2 : 1;
}

int use_loss(const std::string& bytes) {
  struct Network {
    ir::Graph graph;
    std::map<std::string, ir::ValueId> known;  // its input and output
  };
  static const Network network = [] {
    ImportOptions options;
    options.batch = 3;
    options.storage = DType::kF16;
    options.mode = ops::Mode::kTrain;
    Network n{import(Model::parse(small_network(17), "network.onnx"), options), {}};
    n.known = {{"x", n.graph.inputs.at(0)}, {"y", n.graph.outputs.at(0)}};
    return n;
  }();
  ir::Graph graph = network.graph;
  const bool appended = answered([&] {
    const Model loss = Model::parse(bytes, "loss.onnx");
    const ir::ValueId id = append(graph, loss, network.known, 3, DType::kF16);
    graph.outputs = {id};
    ops::verify(graph, "append");
    ops::remove_dead_nodes(graph);
  });
  return appended ? 1 : 0;
}

std::string mutated(const std::string& bytes, uint64_t seed) {
  Mutator m(seed);
  ModelProto proto;
  std::string out = bytes;
  if (m.below(4) != 0 && proto.ParseFromString(bytes)) {
    for (size_t i = 0, times = 1 + m.below(3); i < times; ++i) m.change_message(proto);
    out = proto.SerializePartialAsString();
  } else {
    for (size_t i = 0, times = 1 + m.below(3); i < times; ++i) m.change_bytes(out);
  }
  return out;
}

}  // namespace halftone::onnx::test
