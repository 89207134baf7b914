// A node that meets a number it cannot go on with stops the program, and the next run is a new one.
#include <gtest/gtest.h>

#include <cstring>
#include <optional>

#include "base/error.h"
#include "exec/program.h"

namespace halftone::exec {
namespace {

using ir::ValueId;

class Fault : public testing::Test {
 protected:
  // y = table[ids], z = table[more]
  Fault() {
    ir::Graph graph;
    ops::Builder b(graph, DType::kF16);
    const auto input = [&](const char* name, const ir::Type& type) {
      ir::Value v;
      v.name = name;
      v.kind = ir::ValueKind::kInput;
      v.type = type;
      graph.inputs.push_back(graph.add_value(std::move(v)));
      return graph.inputs.back();
    };
    table_ = input("table", {DType::kF16, {1000, 4}});
    ids_ = input("ids", {DType::kI64, {100, 500}});
    b.set_origin("embedding");
    const ValueId rows = b.add1("RowIndices", {ids_},
                                {{"sizes", std::vector<int64_t>{1000}},
                                 {"strides", std::vector<int64_t>{1}},
                                 {"axes", std::vector<int64_t>{0}},
                                 {"slots", std::vector<int64_t>{50000}},
                                 {"base", std::vector<int64_t>{0}},
                                 {"table", std::string("'table'")}});
    y_ = b.add1(
        "GatherRows", {table_, rows},
        {{"shape", Shape{50000, 4}}, {"outer", int64_t{1}}, {"rows", int64_t{1000}}, {"run", int64_t{4}}});
    graph.outputs = {y_};
    program_.emplace(std::move(graph), kern::active(), kern::Multiply::kWide, pool_, store_, arena_);
    program_->attach();
    std::memset(program_->data(table_), 0, 8000);
    std::memset(program_->data(ids_), 0, 400000);
  }
  int64_t& id(int64_t i) { return static_cast<int64_t*>(program_->data(ids_))[i]; }
  template <class Run>
  std::string message(const Run& run) {
    try {
      run();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInput);
      EXPECT_EQ(step_.fault, -1);
      return e.what();
    }
    return {};
  }

  par::Pool pool_{3};
  Store store_;
  Arena arena_;
  std::optional<Program> program_;
  ValueId table_ = ir::kNone, ids_ = ir::kNone, y_ = ir::kNone;
  ops::StepState step_;
};

// Whichever thread found it.
TEST_F(Fault, TheFirstElementIsNamed) {
  const auto run = [&] { program_->run(ir::Phase::kCompute, step_); };
  EXPECT_EQ(message(run), "");
  for (int times = 0; times < 20; ++times) {
    id(49999) = -1001;
    id(20017) = 1000;
    id(20018) = 5000;
    EXPECT_EQ(message(run),
              "node embedding: index 1000 is outside [-1000, 1000), axis 0 of 'table'; it stands at [40, 17] "
              "of 'ids' (100x500)");
    id(49999) = id(20017) = id(20018) = 999;
    EXPECT_EQ(message(run), "");
  }
}

TEST_F(Fault, NodeByNodeToo) {
  id(3) = -1001;
  EXPECT_NE(message([&] { program_->run_node(0, step_); }).find("index -1001"), std::string::npos);
  EXPECT_NE(message([&] { program_->find_non_finite(step_); }).find("index -1001"), std::string::npos);
}

}  // namespace
}  // namespace halftone::exec
