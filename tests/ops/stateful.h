// Nodes that work in place on persistent tensors (optimizers, running statistics), as a program of their own.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>

#include "exec/program.h"
#include "gradient_check.h"

namespace halftone::ops::test {

class Stateful {
 public:
  explicit Stateful(DType storage, int threads = 1, kern::Isa isa = kern::Isa::kReference)
      : b(graph_, storage), pool_(threads), isa_(isa) {}

  ValueId state(const std::string& name, DType dtype, const Shape& shape,
                ir::ValueKind kind = ir::ValueKind::kState) {
    ir::Value v;
    v.name = name;
    v.kind = kind;
    v.type = {dtype, shape};
    return graph_.add_value(std::move(v));
  }

  // Keeps a value, to be read with `get`.
  void keep(ValueId id) { graph_.outputs.push_back(id); }

  // After the last node; from here on tensors can be set and read by name.
  void compile() {
    program_.emplace(std::move(graph_), kern::table(isa_), kern::Multiply::kWide, pool_, store_, arena_);
    program_->attach();
  }
  void set(const std::string& name, const Numbers& values) {
    Tensor& t = tensor(name);
    Tensor wide(DType::kF64, t.shape());
    ASSERT_EQ(wide.size(), static_cast<int64_t>(values.size())) << name;
    std::copy(values.begin(), values.end(), wide.as<double>().begin());
    const Tensor narrow = converted(wide, t.dtype());
    std::memcpy(t.data(), narrow.data(), static_cast<size_t>(t.bytes()));
  }
  Numbers get(const std::string& name) {
    const Tensor wide = converted(tensor(name), DType::kF64);
    return {wide.as<double>().begin(), wide.as<double>().end()};
  }
  Numbers get(ValueId id) const {
    const Type& type = program_->graph().value(id).type;
    Tensor t(type.dtype, type.shape);
    std::memcpy(t.data(), program_->data(id), static_cast<size_t>(t.bytes()));
    const Tensor wide = converted(t, DType::kF64);
    return {wide.as<double>().begin(), wide.as<double>().end()};
  }
  void compute() { program_->run(ir::Phase::kCompute, step); }
  void update() { program_->run(ir::Phase::kUpdate, step); }

 private:
  ir::Graph graph_;

 public:
  Builder b;
  StepState step;

 private:
  Tensor& tensor(const std::string& name) {
    Tensor* t = store_.find(name);
    if (t == nullptr) throw std::logic_error("no tensor is named " + name);
    return *t;
  }

  par::Pool pool_;
  kern::Isa isa_;
  exec::Store store_;
  exec::Arena arena_;
  std::optional<exec::Program> program_;
};

}  // namespace halftone::ops::test
