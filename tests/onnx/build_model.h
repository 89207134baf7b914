// Small ONNX models made in code.
#pragma once

#include <google/protobuf/message.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#ifndef ONNX_ML
#define ONNX_ML 1
#endif
#include <onnx/onnx_pb.h>

namespace halftone::onnx::test {

using ::onnx::AttributeProto;
using ::onnx::GraphProto;
using ::onnx::ModelProto;
using ::onnx::NodeProto;
using ::onnx::TensorProto;

struct Attr {
  Attr(std::string n, int64_t v) : name(std::move(n)) { proto.set_i(v), proto.set_type(AttributeProto::INT); }
  Attr(std::string n, int v) : Attr(std::move(n), static_cast<int64_t>(v)) {}
  Attr(std::string n, float v) : name(std::move(n)) { proto.set_f(v), proto.set_type(AttributeProto::FLOAT); }
  Attr(std::string n, const std::vector<int64_t>& v) : name(std::move(n)) {
    proto.set_type(AttributeProto::INTS);
    for (const int64_t x : v) proto.add_ints(x);
  }
  Attr(std::string n, const char* v) : name(std::move(n)) {
    proto.set_s(v), proto.set_type(AttributeProto::STRING);
  }
  Attr(std::string n, const TensorProto& v) : name(std::move(n)) {
    *proto.mutable_t() = v;
    proto.set_type(AttributeProto::TENSOR);
  }
  std::string name;
  AttributeProto proto;
};

inline TensorProto floats(const std::string& name, const std::vector<int64_t>& dims,
                          const std::vector<float>& values, bool raw = true) {
  TensorProto t;
  t.set_name(name);
  t.set_data_type(TensorProto::FLOAT);
  for (const int64_t d : dims) t.add_dims(d);
  if (raw) {
    t.set_raw_data(values.data(), values.size() * sizeof(float));
  } else {
    for (const float v : values) t.add_float_data(v);
  }
  return t;
}
inline TensorProto int64s(const std::string& name, const std::vector<int64_t>& values, bool scalar = false) {
  TensorProto t;
  t.set_name(name);
  t.set_data_type(TensorProto::INT64);
  if (!scalar) t.add_dims(static_cast<int64_t>(values.size()));
  for (const int64_t v : values) t.add_int64_data(v);
  return t;
}

class ModelBuilder {
 public:
  explicit ModelBuilder(int opset = 17) {
    model.set_ir_version(8);
    auto* o = model.add_opset_import();
    o->set_domain("");
    o->set_version(opset);
    model.mutable_graph()->set_name("test");
  }
  // Dimensions: numbers as text, anything else is a name; "" is unknown.
  static void set_type(::onnx::ValueInfoProto* v, const std::string& name,
                       const std::vector<std::string>& dims, int type = TensorProto::FLOAT) {
    v->set_name(name);
    auto* t = v->mutable_type()->mutable_tensor_type();
    t->set_elem_type(type);
    t->mutable_shape();
    for (const std::string& d : dims) {
      auto* dim = t->mutable_shape()->add_dim();
      if (d.empty()) continue;
      if (d.find_first_not_of("0123456789") == std::string::npos) {
        dim->set_dim_value(std::stoll(d));
      } else {
        dim->set_dim_param(d);
      }
    }
  }
  ModelBuilder& input(const std::string& name, const std::vector<std::string>& dims,
                      int type = TensorProto::FLOAT) {
    set_type(model.mutable_graph()->add_input(), name, dims, type);
    return *this;
  }
  ModelBuilder& output(const std::string& name, const std::vector<std::string>& dims = {"batch"},
                       int type = TensorProto::FLOAT) {
    set_type(model.mutable_graph()->add_output(), name, dims, type);
    return *this;
  }
  // An output without a declared shape.
  ModelBuilder& open_output(const std::string& name) {
    auto* v = model.mutable_graph()->add_output();
    v->set_name(name);
    v->mutable_type()->mutable_tensor_type()->set_elem_type(TensorProto::FLOAT);
    return *this;
  }
  ModelBuilder& initializer(const TensorProto& t) {
    *model.mutable_graph()->add_initializer() = t;
    return *this;
  }
  ModelBuilder& node(const std::string& op, const std::vector<std::string>& inputs,
                     const std::vector<std::string>& outputs, const std::vector<Attr>& attributes = {},
                     const std::string& name = "auto") {
    NodeProto* n = model.mutable_graph()->add_node();
    n->set_op_type(op);
    if (name != "auto") {
      n->set_name(name);
    } else {
      n->set_name("/" + outputs.at(0) + "/" + op);
    }
    for (const auto& i : inputs) n->add_input(i);
    for (const auto& o : outputs) n->add_output(o);
    for (const Attr& a : attributes) {
      AttributeProto* p = n->add_attribute();
      *p = a.proto;
      p->set_name(a.name);
    }
    return *this;
  }
  std::string bytes() const { return model.SerializeAsString(); }

  ModelProto model;
};

// A folder of its own for a test's files, removed afterwards.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    // In memory where that is possible: every file is synchronised, and disks are slow at that.
    std::error_code ignored;
    const bool memory = std::filesystem::is_directory("/dev/shm", ignored) && ::access("/dev/shm", W_OK) == 0;
    const std::filesystem::path base = memory ? "/dev/shm" : std::filesystem::temp_directory_path();
    std::string name = (base / "halftone-onnx-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The message of the halftone::Error that f throws; empty when it throws none.
template <class Function>
std::string error_of(Function&& f) {
  try {
    f();
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return {};
}

}  // namespace halftone::onnx::test
