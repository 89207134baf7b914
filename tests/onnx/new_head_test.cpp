// The last layer found, changed and written.
#include "onnx/new_head.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "base/file.h"
#include "build_model.h"
#include "onnx/import.h"
#include "onnx/reset.h"
#include "onnx/save.h"

namespace halftone::onnx {
namespace {

using test::Attr;
using test::error_of;
using test::floats;
using test::int64s;
using test::ModelBuilder;
using test::ModelProto;
using test::TemporaryFolder;
using test::TensorProto;

std::vector<float> numbers(int64_t count) {
  std::vector<float> x;
  for (int64_t i = 0; i < count; ++i) x.push_back(static_cast<float>(i) + 0.5F);
  return x;
}

Model parsed(const ModelBuilder& b) {
  return Model::parse(b.bytes(), "net.onnx");
}

// Row r of a layer's weight, whichever way it is stored.
std::vector<float> row(const Model& model, const LastLayer& layer, int64_t r) {
  Tensor w = converted(model.tensor(layer.weight), DType::kF32);
  if (layer.rows_axis == 1) w = transposed(w, {1, 0});
  const int64_t width = w.size() / w.shape()[0];
  const auto all = w.as<float>();
  return {all.begin() + r * width, all.begin() + (r + 1) * width};
}

const NewHead kFive{"y", 5, {{2, 0}, {0, 4}}, 7};

// Four features, three classes; the layer's last nodes as `end` makes them, from "h" to "y".
ModelBuilder with(const std::function<void(ModelBuilder&)>& end,
                  const std::vector<std::string>& shape = {"N", "3"}) {
  ModelBuilder b;
  b.input("x", {"N", "4"}).output("y", shape);
  b.initializer(floats("w0", {4, 4}, numbers(16)));
  b.node("MatMul", {"x", "w0"}, {"m"}).node("Relu", {"m"}, {"h"});
  end(b);
  return b;
}

// What follows from a new head, whatever the layer.
void check(const ModelBuilder& b, const std::string& what) {
  SCOPED_TRACE(what);
  const Model model = parsed(b);
  const LastLayer before = last_layer(model, "y");
  ASSERT_EQ(before.rows, 3);
  const Model made = with_new_head(model, kFive);
  const LastLayer after = last_layer(made, "y");
  EXPECT_EQ(after.rows, 5);
  EXPECT_EQ(after.fan_in, before.fan_in);
  EXPECT_EQ(row(made, after, 0), row(model, before, 2));
  EXPECT_EQ(row(made, after, 4), row(model, before, 0));
  const double bound = 1 / std::sqrt(static_cast<double>(before.fan_in));
  for (const int64_t r : {1, 2, 3})
    for (const float x : row(made, after, r)) {
      EXPECT_LE(std::abs(x), bound);
      EXPECT_NE(x, 0);
    }
  // The graph is sound for two sizes of a batch, and gives five numbers.
  for (const int64_t batch : {2, 3}) {
    ImportOptions o;
    o.batch = batch;
    o.storage = DType::kF32;
    const ir::Graph graph = import(made, o);
    const Shape& out = graph.value(graph.outputs.at(0)).type.shape;
    EXPECT_EQ(out.at(0), batch);
    EXPECT_EQ(elements(out), 5 * batch);
  }
  const auto& dims = made.outputs().at(0).dims;
  EXPECT_TRUE(std::any_of(dims.begin(), dims.end(), [](const Dimension& d) { return d.value == 5; }));
}

TEST(NewHead, OfEveryLayerAndBehindEveryEnd) {
  const auto weight = [](ModelBuilder& b, bool rows_first) {
    b.initializer(
        floats("w", rows_first ? std::vector<int64_t>{3, 4} : std::vector<int64_t>{4, 3}, numbers(12)));
    b.initializer(floats("b", {3}, {7, 8, 9}));
  };
  check(with([&](ModelBuilder& b) {
          weight(b, true);
          b.node("Gemm", {"h", "w", "b"}, {"y"}, {{"transB", 1}});
        }),
        "Gemm, transB");
  check(with([&](ModelBuilder& b) {
          weight(b, false);
          b.node("Gemm", {"h", "w"}, {"z"}).node("Softmax", {"z"}, {"y"}, {{"axis", -1}});
        }),
        "Gemm without bias, Softmax");
  check(with([&](ModelBuilder& b) {
          weight(b, false);
          b.node("MatMul", {"h", "w"}, {"z"}).node("Add", {"b", "z"}, {"y"});
        }),
        "MatMul, Add");
  check(with([&](ModelBuilder& b) {
          weight(b, true);
          b.node("Transpose", {"w"}, {"wt"}, {{"perm", std::vector<int64_t>{1, 0}}})
              .node("MatMul", {"h", "wt"}, {"z"})
              .node("Sigmoid", {"z"}, {"y"});
        }),
        "MatMul of a transposed weight, Sigmoid");
  const auto conv = [&](ModelBuilder& b) {
    b.initializer(floats("w", {3, 4, 1, 1}, numbers(12))).initializer(floats("b", {3}, {7, 8, 9}));
    b.initializer(int64s("image", {-1, 4, 1, 1}));
    b.node("Reshape", {"h", "image"}, {"i"});
    b.node("Conv", {"i", "w", "b"}, {"c"});
    b.node("GlobalAveragePool", {"c"}, {"p"});
  };
  check(with([&](ModelBuilder& b) {
          conv(b);
          b.node("Flatten", {"p"}, {"z"}).node("LogSoftmax", {"z"}, {"y"}, {{"axis", 1}});
          // Flatten is followed where the file says how many axes there are.
          ModelBuilder::set_type(b.model.mutable_graph()->add_value_info(), "p", {"N", "3", "1", "1"});
        }),
        "Conv, pool, Flatten");
  check(with([&](ModelBuilder& b) {
          conv(b);
          b.initializer(int64s("shape", {-1, 3}));
          b.node("Reshape", {"p", "shape"}, {"y"});
        }),
        "Conv, Reshape that names the classes");
  check(with([&](ModelBuilder& b) {
          conv(b);
          b.initializer(int64s("axes", {2, 3}));
          b.node("Squeeze", {"p", "axes"}, {"y"});
        }),
        "Conv, Squeeze");
  check(with([&](ModelBuilder& b) {
          conv(b);
          b.node("ReduceMean", {"c"}, {"y"}, {{"axes", std::vector<int64_t>{2, 3}}, {"keepdims", 0}});
        }),
        "Conv, ReduceMean");
}

TEST(NewHead, FindsTheLastLayerOfNetworksOfBothExporters) {
  int networks = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(HALFTONE_TESTS_DIR) + "/fixtures/small")) {
    const std::string path = (entry.path() / "model.onnx").string();
    if (!std::filesystem::exists(path)) continue;
    SCOPED_TRACE(path);
    const Model model = Model::load(path);
    const std::string output = model.outputs().at(0).name;
    const Model made = with_new_head(model, {output, 7, {{1, 3}}, 5});
    const LastLayer layer = last_layer(made, output);
    EXPECT_EQ(layer.rows, 7);
    EXPECT_EQ(row(made, layer, 3), row(model, last_layer(model, output), 1));
    ImportOptions o;
    o.batch = 2;
    o.storage = DType::kF32;
    const ir::Graph graph = import(made, o);
    EXPECT_EQ(graph.value(graph.outputs.at(0)).type.shape, (Shape{2, 7}));
    ++networks;
  }
  EXPECT_GT(networks, 15);
}

TEST(NewHead, DrawsTheSameNumbersHoweverTheFileStoresThem) {
  std::vector<float> rows[2];
  for (const bool rows_first : {false, true}) {
    const Model made = with_new_head(
        parsed(with([&](ModelBuilder& b) {
          b.initializer(
              floats("w", rows_first ? std::vector<int64_t>{3, 4} : std::vector<int64_t>{4, 3}, numbers(12)));
          b.node("Gemm", {"h", "w"}, {"y"}, {{"transB", rows_first ? 1 : 0}});
        })),
        kFive);
    rows[rows_first ? 1 : 0] = row(made, last_layer(made, "y"), 3);
  }
  EXPECT_EQ(rows[0], rows[1]);
  EXPECT_FALSE(rows[0].empty());
}

ModelBuilder plain() {
  ModelBuilder b = with([](ModelBuilder& m) {
    m.initializer(floats("w", {4, 3}, numbers(12))).initializer(floats("b", {3}, {7, 8, 9}));
    m.node("Gemm", {"h", "w", "b"}, {"y"}, {}, "fc");
  });
  ModelBuilder::set_type(b.model.mutable_graph()->add_value_info(), "y", {"N", "3"});
  auto* names = b.model.add_metadata_props();
  names->set_key("names");
  names->set_value("['a', 'b', 'c']");
  return b;
}

TEST(NewHead, AnotherSeedDrawsOthers) {
  const auto first = [](uint64_t seed) {
    const Model made = with_new_head(parsed(plain()), {"y", 5, {}, seed});
    return row(made, last_layer(made, "y"), 0);
  };
  EXPECT_EQ(first(1), first(1));
  EXPECT_NE(first(1), first(2));
}

TEST(NewHead, IsWrittenWithNothingElseChanged) {
  const TemporaryFolder folder;
  ModelBuilder b = plain();
  write_file_atomically(folder / "net.onnx", b.bytes());
  const Model model = Model::load(folder / "net.onnx");
  const Model made = with_new_head(model, kFive);
  EXPECT_EQ(made.metadata("names"), std::nullopt);
  std::map<std::string, Tensor> trained;
  trained.emplace("w", made.tensor("w"));
  save(made, trained, folder / "new.onnx");
  ModelProto written;
  ASSERT_TRUE(written.ParseFromString(read_file(folder / "new.onnx")));
  const auto& graph = written.graph();
  EXPECT_EQ(graph.output(0).type().tensor_type().shape().dim(1).dim_value(), 5);
  EXPECT_EQ(graph.value_info(0).type().tensor_type().shape().dim(1).dim_value(), 5);
  const Model again = Model::load(folder / "new.onnx");
  for (const char* name : {"w", "b"}) {
    const Tensor have = again.tensor(name);
    const Tensor want = made.tensor(name);
    EXPECT_EQ(have.shape(), want.shape());
    EXPECT_EQ(std::memcmp(have.data(), want.data(), static_cast<size_t>(want.bytes())), 0) << name;
  }
  EXPECT_EQ(again.tensor("b").as<float>()[0], 9);
  // The rest of the message.
  for (auto* tensor :
       {written.mutable_graph()->mutable_initializer(1), written.mutable_graph()->mutable_initializer(2)})
    *tensor = b.model.graph().initializer(tensor->name() == "w" ? 1 : 2);
  for (auto* v : {written.mutable_graph()->mutable_output(0), written.mutable_graph()->mutable_value_info(0)})
    v->mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(1)->set_dim_value(3);
  b.model.clear_metadata_props();
  EXPECT_EQ(written.SerializeAsString(), b.bytes());
}

TEST(NewHead, RefusesByName) {
  const auto refusal = [](const std::function<void(ModelBuilder&)>& end) {
    return error_of([&] { last_layer(parsed(with(end)), "y"); });
  };
  const auto weight = [](ModelBuilder& b) { b.initializer(floats("w", {4, 3}, numbers(12))); };
  const auto expect = [](const std::string& message, const std::string& part) {
    EXPECT_NE(message.find(part), std::string::npos) << message << "\n  lacks: " << part;
  };
  expect(refusal([&](ModelBuilder& b) {
           weight(b);
           b.node("Gemm", {"h", "w"}, {"y"}, {}, "fc").node("MatMul", {"h", "w"}, {"other"});
         }),
         "the weight of Gemm 'fc', 'w', is shared");
  expect(refusal([&](ModelBuilder& b) {
           TensorProto q;
           q.set_name("q");
           q.set_data_type(TensorProto::UINT8);
           q.add_dims(4), q.add_dims(3);
           q.set_raw_data(std::string(12, '\1'));
           b.initializer(q).initializer(floats("scale", {}, {0.5F}));
           b.node("DequantizeLinear", {"q", "scale"}, {"w"}, {}, "dq").node("Gemm", {"h", "w"}, {"y"});
         }),
         "is quantised (DequantizeLinear 'dq')");
  expect(refusal([&](ModelBuilder& b) {
           weight(b);
           b.initializer(floats("per_class", {3}, {1, 2, 3}));
           b.node("Gemm", {"h", "w"}, {"z"}).node("Mul", {"z", "per_class"}, {"y"}, {}, "scale");
         }),
         "Mul 'scale' reads what");
  expect(refusal([&](ModelBuilder& b) {
           weight(b);
           b.node("Gemm", {"h", "w"}, {"z"}, {{"alpha", 0.5F}}, "fc").node("Relu", {"z"}, {"y"});
         }),
         "Gemm 'fc' has alpha = 0.5");
  expect(refusal([&](ModelBuilder& b) {
           b.node("LSTM", {"h", "h", "h"}, {"y"}, {}, "rnn");
         }),
         "LSTM 'rnn' stands");
  expect(refusal([&](ModelBuilder& b) {
           weight(b);
           b.initializer(int64s("shape", {3, -1, 3}));
           b.node("Gemm", {"h", "w"}, {"z"}).node("Reshape", {"z", "shape"}, {"y"}, {}, "view");
         }),
         "2 sizes of 3");
}

TEST(Reset, BeginsAsPyTorchsLayersDo) {
  ModelBuilder b;
  b.input("x", {"N", "2", "4", "4"}).open_output("y");
  b.initializer(floats("conv.weight", {3, 2, 3, 3}, numbers(54)))
      .initializer(floats("conv.bias", {3}, numbers(3)));
  for (const char* name : {"bn.weight", "bn.bias", "bn.mean", "bn.var"})
    b.initializer(floats(name, {3}, numbers(3)));
  b.initializer(floats("slope", {3, 1, 1}, numbers(3)));
  b.node("Conv", {"x", "conv.weight", "conv.bias"}, {"c"}, {}, "conv");
  b.node("BatchNormalization", {"c", "bn.weight", "bn.bias", "bn.mean", "bn.var"}, {"n"}, {}, "bn");
  b.node("PRelu", {"n", "slope"}, {"y"});
  const Model model = parsed(b);
  std::vector<std::string> drawn;
  const Model made = with_reset(model, {"*"}, 3, &drawn);
  EXPECT_EQ(drawn.size(), 7U);
  const auto all = [&](const char* name) {
    const Tensor t = made.tensor(name);
    return std::vector<float>(t.as<float>().begin(), t.as<float>().end());
  };
  EXPECT_EQ(all("bn.weight"), (std::vector<float>{1, 1, 1}));
  EXPECT_EQ(all("bn.bias"), (std::vector<float>{0, 0, 0}));
  EXPECT_EQ(all("bn.mean"), (std::vector<float>{0, 0, 0}));
  EXPECT_EQ(all("bn.var"), (std::vector<float>{1, 1, 1}));
  EXPECT_EQ(all("slope"), (std::vector<float>{0.25F, 0.25F, 0.25F}));
  const double bound = 1 / std::sqrt(18.0);
  double largest = 0;
  double sum = 0;
  for (const char* name : {"conv.weight", "conv.bias"})
    for (const float x : all(name)) {
      largest = std::max<double>(largest, std::abs(x));
      sum += x;
    }
  EXPECT_LE(largest, bound);
  EXPECT_GT(largest, 0.8 * bound);
  // Of 57 even numbers the mean is off by bound / sqrt(3 * 57), and by four times that in one of 15000 seeds.
  EXPECT_LT(std::abs(sum / 57), 4 * bound / std::sqrt(3.0 * 57));
  EXPECT_NE(error_of([&] { with_reset(model, {"fc*"}, 3); }).find("--reset fc* matches no parameter"),
            std::string::npos);
}

TEST(Reset, KnowsPytorchsNames) {
  ModelBuilder b;
  b.input("x", {"N", "4"}).open_output("y");
  b.initializer(floats("onnx::MatMul_7", {4, 4}, numbers(16)))
      .initializer(floats("fc.bias", {4}, numbers(4)));
  b.node("MatMul", {"x", "onnx::MatMul_7"}, {"m"}, {}, "/fc/MatMul")
      .node("Add", {"fc.bias", "m"}, {"y"}, {}, "/fc/Add");
  std::vector<std::string> drawn;
  with_reset(parsed(b), {"fc.*"}, 3, &drawn);
  EXPECT_EQ(drawn, (std::vector<std::string>{"onnx::MatMul_7", "fc.bias"}));
}

TEST(Reset, RefusesWhatHasNoRule) {
  ModelBuilder b;
  b.input("x", {"N", "4"}).open_output("y");
  b.initializer(floats("w", {4, 4}, numbers(16))).initializer(floats("scale", {4}, numbers(4)));
  b.node("MatMul", {"x", "w"}, {"m"}).node("Mul", {"m", "scale"}, {"y"}, {}, "times");
  EXPECT_NE(error_of([&] { with_reset(parsed(b), {"scale"}, 3); }).find("Mul 'times'"), std::string::npos);
}

}  // namespace
}  // namespace halftone::onnx
