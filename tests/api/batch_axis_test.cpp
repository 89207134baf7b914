// Networks whose results for a sample depend on the other samples of its batch.
#include <gtest/gtest.h>

#include "api/small_networks.h"
#include "base/file.h"
#include "train/safetensors.h"

namespace halftone::api::test {
namespace {

using onnx::test::Attr;
using Nodes = std::function<void(ModelBuilder&)>;

constexpr int64_t kSide = 4;  // features, so that samples and features can be mistaken for each other

std::string log_of(const std::vector<std::string>& dims, int64_t batch, const Nodes& nodes) {
  TemporaryFolder folder;
  Normal normal(3);
  ModelBuilder m;
  m.input("x", dims).open_output("y");
  m.initializer(floats("w", {kSide, 3}, normal.many(kSide * 3, 1)));
  nodes(m);
  write_file_atomically(folder / "m.onnx", m.bytes());
  train::Safetensors data;
  data.tensors["x"] = Tensor(DType::kF32, {9, kSide});
  data.tensors["y"] = Tensor(DType::kI64, {9});
  for (float& x : data.tensors["x"].as<float>()) x = static_cast<float>(normal());
  for (int64_t& y : data.tensors["y"].as<int64_t>()) y = 1;
  train::write_safetensors(folder / "d.safetensors", data);
  EvalOptions o;
  o.network.model = folder / "m.onnx";
  o.network.precision = "fp32";
  o.network.batch = batch;
  o.network.threads = 1;
  o.data.data = folder / "d.safetensors";
  const Ended e = eval(o);
  EXPECT_TRUE(e.done) << e.message;
  return e.log;
}

TEST(BatchAxis, ThatIsNotTheFirstOrIsComputedOverIsReported) {
  const Attr swap("perm", std::vector<int64_t>{1, 0});
  const Attr first("axes", std::vector<int64_t>{0});
  const char* const kWarning = "warning: ";
  const auto product = [](ModelBuilder& m, const std::string& x) { m.node("MatMul", {x, "w"}, {"y"}); };
  const Nodes turned = [&](ModelBuilder& m) {
    m.node("Transpose", {"x"}, {"t"}, {swap});
    product(m, "t");
  };
  const Nodes centred = [&](ModelBuilder& m) {
    m.node("ReduceMean", {"x"}, {"mean"}, {first}).node("Sub", {"x", "mean"}, {"c"});
    product(m, "c");
  };
  for (const auto& dims : {std::vector<std::string>{"4", "n"}, {"f", "n"}, {"4", "4"}})
    EXPECT_TRUE(has(log_of(dims, 4, turned), kWarning)) << dims[0] << dims[1];
  EXPECT_TRUE(
      has(log_of({"n", "4"}, 8, centred), "a sample's result depends on the other samples of its batch"));
  // Nothing of the kind.
  EXPECT_EQ(log_of({"n", "4"}, 8, [&](ModelBuilder& m) { product(m, "x"); }).find(kWarning),
            std::string::npos);
  EXPECT_EQ(log_of({"n", "4"}, 8,
                   [&](ModelBuilder& m) {
                     m.node("Transpose", {"x"}, {"t"}, {swap}).node("Transpose", {"t"}, {"u"}, {swap});
                     product(m, "u");
                   })
                .find(kWarning),
            std::string::npos);
  EXPECT_EQ(log_of({"n", "4"}, 8,
                   [&](ModelBuilder& m) {
                     m.node("ReduceMean", {"x"}, {"mean"}, {{"axes", std::vector<int64_t>{1}}})
                         .node("Sub", {"x", "mean"}, {"c"});
                     product(m, "c");
                   })
                .find(kWarning),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::api::test
