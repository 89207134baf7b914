#include "exec/work.h"

#include <gtest/gtest.h>

#include <optional>
#include <utility>
#include <vector>

namespace halftone::exec {
namespace {

constexpr double kSmall = kLeastSharedNs / 2;

TEST(SharedSteps, SmallStepsAreNotHoweverMany) {
  EXPECT_EQ(shared_steps(std::vector<double>(1000, kSmall)), std::vector<bool>(1000, false));
}

TEST(SharedSteps, OneStepThatIsWorthWakingAThread) {
  EXPECT_EQ(shared_steps(std::vector<double>{kSmall, kLeastGroupNs, kSmall}),
            (std::vector<bool>{false, true, false}));
}

TEST(SharedSteps, MiddlingStepsAreWhenTogetherTheyAreWorthIt) {
  const double middling = kLeastGroupNs / 3;
  EXPECT_EQ(shared_steps(std::vector<double>{middling, middling}), (std::vector<bool>{false, false}));
  EXPECT_EQ(shared_steps(std::vector<double>{middling, kSmall, middling, middling * 1.1}),
            (std::vector<bool>{true, false, true, true}));
}

TEST(SharedSteps, WhatAThreadCannotStayAwakeForEndsAGroup) {
  const double middling = kLeastGroupNs / 2;
  std::vector<double> work{middling};
  work.insert(work.end(), static_cast<size_t>(par::kAwakeNs / kSmall) + 1, kSmall);
  work.push_back(middling);
  EXPECT_EQ(shared_steps(work), std::vector<bool>(work.size(), false));
  work.push_back(middling);  // the second group is worth it
  std::vector<bool> expected(work.size(), false);
  expected[work.size() - 1] = expected[work.size() - 2] = true;
  EXPECT_EQ(shared_steps(work), expected);
}

TEST(SharedSteps, NoSteps) {
  EXPECT_TRUE(shared_steps({}).empty());
}

TEST(WorkNs, CountsBytesAndMultiplyAdds) {
  ir::Graph graph;
  const auto value = [&](DType dtype) {
    ir::Value v;
    v.type = {dtype, {8, 1000}};
    return graph.add_value(std::move(v));
  };
  const ir::ValueId x = value(DType::kF16);
  const ir::ValueId y = value(DType::kF32);
  ir::Node node;
  node.inputs = {x, ir::kNone};
  node.outputs = {y};
  const double moved = work_ns(graph, node, std::nullopt);
  EXPECT_DOUBLE_EQ(moved, 8000 * (2 + 4) / kBytesPerNs);
  kern::MatMulGeometry g{};
  g.m = 100, g.k = 20, g.n = 30;
  const auto products = [&] {
    return work_ns(graph, node, kern::matmul_product(DType::kF16, kern::Multiply::kBlock, false, g)) - moved;
  };
  const double one = products();
  EXPECT_GT(one, 0);
  g.batch_rank = 2;
  g.batch[0] = 3, g.batch[1] = 4;
  EXPECT_DOUBLE_EQ(products(), 12 * one);
}

}  // namespace
}  // namespace halftone::exec
