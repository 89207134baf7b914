// Links and chains: what a pass sees of a graph, and rows of pattern, guard and replacement.
#include "ir/chains.h"

#include <gtest/gtest.h>

#include "ir/links.h"

namespace halftone::ir {
namespace {

struct Net {
  Graph g;
  ValueId input() {
    Value v;
    v.name = "x";
    v.kind = ValueKind::kInput;
    v.type = {DType::kF32, {2}};
    g.inputs.push_back(g.add_value(v));
    return g.inputs.back();
  }
  ValueId add(std::string op, std::vector<ValueId> inputs, size_t outputs = 1) {
    Node n;
    n.op = std::move(op);
    n.inputs = std::move(inputs);
    for (size_t i = 0; i < outputs; ++i) {
      Value v;
      v.type = {DType::kF32, {2}};
      n.outputs.push_back(g.add_value(v));
    }
    g.nodes.push_back(std::move(n));
    return g.nodes.back().outputs.empty() ? kNone : g.nodes.back().outputs[0];
  }
  std::string ops() const {
    std::string out;
    for (const Node& n : g.nodes) out += n.op + " ";
    return out;
  }
};

TEST(Links, TellMakersAndReaders) {
  Net n;
  const ValueId x = n.input();
  const ValueId split = n.add("Split", {x}, 2);
  const ValueId other = n.g.nodes[0].outputs[1];
  const ValueId sum = n.add("Add", {split, split});
  const ValueId last = n.add("Neg", {other});
  n.add("Update", {sum, kNone}, 0);
  n.g.outputs = {last};
  const Links links(n.g);
  EXPECT_EQ(links.producer(x), nullptr);
  EXPECT_EQ(links.producer(other), &n.g.nodes[0]);
  EXPECT_EQ(links.producer(split, "Split"), &n.g.nodes[0]);
  EXPECT_EQ(links.producer(other, "Split"), nullptr) << "not the first output";
  EXPECT_EQ(links.producer(split, "Concat"), nullptr);
  EXPECT_EQ(links.only_reader(x), 0);
  EXPECT_EQ(links.only_reader(split), -1) << "read twice";
  EXPECT_EQ(links.only_reader(other), 2);
  EXPECT_EQ(links.only_reader(sum), 3);
  EXPECT_EQ(links.only_reader(last), -1) << "an output of the graph";
}

bool any(const Chain&) {
  return true;
}
void name_it(const Chain& c) {
  std::string all;
  for (size_t i = 0; i < c.size(); ++i) all += c.node(i).op;
  c.node(c.size() - 1).op = all;
  c.node(c.size() - 1).inputs = c.node(0).inputs;
}
const ChainRow kRows[] = {
    {.pattern = {"A", "B", "C"}, .guard = any, .keeps = 2, .replace = name_it},
    {.pattern = {"A", "B"}, .guard = any, .keeps = 1, .replace = name_it},
};

TEST(Chains, TheFirstRowThatFitsIsTaken) {
  Net n;
  const ValueId x = n.input();
  const ValueId c = n.add("C", {n.add("B", {n.add("A", {x})})});
  const ValueId b = n.add("B", {n.add("A", {c})});
  n.g.outputs = {b};
  EXPECT_EQ(rewrite_chains(n.g, kRows), 2);
  EXPECT_EQ(n.ops(), "ABC AB ");
  EXPECT_EQ(n.g.nodes[0].inputs[0], x);
  EXPECT_EQ(n.g.nodes[0].outputs[0], c) << "its readers find it where it was";
  EXPECT_EQ(n.g.nodes[1].outputs[0], b);
  EXPECT_NO_THROW(verify(n.g, "chains"));
}

TEST(Chains, WhatSomebodyElseReadsStays) {
  Net twice;
  const ValueId a = twice.add("A", {twice.input()});
  twice.g.outputs = {twice.add("B", {a}), twice.add("D", {a})};
  EXPECT_EQ(rewrite_chains(twice.g, kRows), 0);
  EXPECT_EQ(twice.ops(), "A B D ");

  Net output;
  const ValueId first = output.add("A", {output.input()});
  output.g.outputs = {output.add("B", {first}), first};
  EXPECT_EQ(rewrite_chains(output.g, kRows), 0);

  Net second;  // B reads A's second output
  second.add("A", {second.input()}, 2);
  second.g.outputs = {second.add("B", {second.g.nodes[0].outputs[1]})};
  EXPECT_EQ(rewrite_chains(second.g, kRows), 0);

  Net nothing;  // a node without outputs begins no chain
  nothing.add("A", {nothing.input()}, 0);
  EXPECT_EQ(rewrite_chains(nothing.g, kRows), 0);
}

// Two chains end in one node: the first takes it.
TEST(Chains, NoNodeIsTakenTwice) {
  const ChainRow rows[] = {{.pattern = {"A", "Sum"},
                            .guard = [](const Chain& c) { return c.other(1) != kNone; },
                            .keeps = 0,
                            .replace = [](const Chain& c) { c.node(0).inputs.push_back(c.other(1)); }}};
  Net n;
  const ValueId x = n.input();
  const ValueId left = n.add("A", {x});
  const ValueId right = n.add("A", {x});
  const ValueId sum = n.add("Sum", {left, right});
  n.g.outputs = {sum};
  EXPECT_EQ(rewrite_chains(n.g, rows), 1);
  ASSERT_EQ(n.ops(), "A A ");
  EXPECT_EQ(n.g.nodes[0].inputs, (std::vector<ValueId>{x, right}));
  EXPECT_EQ(n.g.nodes[0].outputs[0], sum);
}

TEST(Chains, TheGuardDecides) {
  static bool allowed;
  const ChainRow rows[] = {
      {.pattern = {"", "B"}, .guard = [](const Chain&) { return allowed; }, .keeps = 1, .replace = name_it}};
  for (const bool yes : {false, true}) {
    allowed = yes;
    Net n;
    n.g.outputs = {n.add("B", {n.add("Z", {n.input()})})};
    EXPECT_EQ(rewrite_chains(n.g, rows), yes ? 1 : 0);
    EXPECT_EQ(n.ops(), yes ? "ZB " : "Z B ");
  }
}

}  // namespace
}  // namespace halftone::ir
