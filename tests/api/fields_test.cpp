// Named fields: several inputs, labels for each position, several losses, a loss that is a graph. What they
// give is held against networks and data that say the same with one input, one label a sample and one loss.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "api/npy.h"
#include "api/small_run.h"

namespace halftone {
namespace {

using namespace test;

constexpr int64_t kN = 12;  // samples

std::vector<float> wave(int64_t n, double step) {
  std::vector<float> out(static_cast<size_t>(n));
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<float>(std::sin(step * static_cast<double>(i + 1)));
  return out;
}

class Fields : public testing::Test {
 protected:
  std::string write(const std::string& name, const ModelBuilder& b) const {
    std::ofstream(folder_ / name, std::ios::binary) << b.bytes();
    return folder_ / name;
  }

  static Tensor floats_of(const Shape& shape, double step) {
    Tensor t(DType::kF32, shape);
    const std::vector<float> values = wave(t.size(), step);
    std::copy(values.begin(), values.end(), t.as<float>().begin());
    return t;
  }
  // Numbers below `most`; every fourth is `ignored`, where that is given.
  static Tensor classes_of(const Shape& shape, int64_t most, std::optional<int64_t> ignored = std::nullopt) {
    Tensor t(DType::kI64, shape);
    for (size_t i = 0; i < static_cast<size_t>(t.size()); ++i)
      t.as<int64_t>()[i] = ignored && i % 4 == 3 ? *ignored : static_cast<int64_t>(i * 7 % 11) % most;
    return t;
  }
  std::string data(const std::string& name, std::vector<std::pair<std::string, Tensor>> arrays) const {
    train::Safetensors file;
    for (auto& [key, tensor] : arrays) file.tensors.emplace(key, std::move(tensor));
    train::write_safetensors(folder_ / name, file);
    return folder_ / name;
  }

  EvalOptions eval(const std::string& model, const std::string& samples) const {
    EvalOptions o;
    o.network.model = model;
    o.network.precision = "fp32";
    o.network.batch = 5;  // the last batch has 2
    o.network.threads = 1;
    o.data.data = samples;
    o.data.loader_threads = 1;
    return o;
  }
  static double loss(const EvalOptions& o) { return evaluate_model(o, kSilent).val_loss.value(); }

  // y = a W + b V, and the same with one input that holds both.
  std::string two_inputs(int b_type = TensorProto::FLOAT) const {
    ModelBuilder m;
    m.input("a", {"N", "3"}).input("b", {"M", "2"}, b_type).output("y", {"N", "4"});
    m.initializer(floats("w", {3, 4}, wave(12, 0.7))).initializer(floats("v", {2, 4}, wave(8, 1.3)));
    const bool whole = b_type != TensorProto::FLOAT;
    if (whole) m.node("Cast", {"b"}, {"c"}, {{"to", static_cast<int>(TensorProto::FLOAT)}});
    m.node("MatMul", {"a", "w"}, {"p"})
        .node("MatMul", {whole ? "c" : "b", "v"}, {"q"})
        .node("Add", {"p", "q"}, {"y"});
    return write("two.onnx", m);
  }
  std::string joined() const {
    std::vector<float> both = wave(12, 0.7);
    const std::vector<float> v = wave(8, 1.3);
    both.insert(both.end(), v.begin(), v.end());
    ModelBuilder m;
    m.input("x", {"N", "5"}).output("y", {"N", "4"}).initializer(floats("w", {5, 4}, both));
    m.node("MatMul", {"x", "w"}, {"y"});
    return write("joined.onnx", m);
  }
  // x with the columns of a and b.
  std::string joined_data() const {
    const Tensor a = floats_of({kN, 3}, 0.3);
    const Tensor b = floats_of({kN, 2}, 0.9);
    Tensor x(DType::kF32, {kN, 5});
    for (size_t i = 0; i < kN; ++i)
      for (size_t k = 0; k < 5; ++k)
        x.as<float>()[i * 5 + k] = k < 3 ? a.as<float>()[i * 3 + k] : b.as<float>()[i * 2 + k - 3];
    return data("joined.safetensors", [&] {
      std::vector<std::pair<std::string, Tensor>> arrays;
      arrays.emplace_back("x", std::move(x));
      arrays.emplace_back("y", classes_of({kN}, 4));
      return arrays;
    }());
  }
  std::string two_data(const std::string& a, const std::string& b) const {
    std::vector<std::pair<std::string, Tensor>> arrays;
    arrays.emplace_back(a, floats_of({kN, 3}, 0.3));
    arrays.emplace_back(b, floats_of({kN, 2}, 0.9));
    arrays.emplace_back("labels", classes_of({kN}, 4));
    return data("two.safetensors", std::move(arrays));
  }

  // (N, T, F) W -> (N, T, C).
  std::string tokens() const {
    ModelBuilder m;
    m.input("x", {"N", "T", "3"})
        .output("y", {"N", "T", "4"})
        .initializer(floats("w", {3, 4}, wave(12, 0.7)));
    m.node("MatMul", {"x", "w"}, {"y"});
    return write("tokens.onnx", m);
  }

  TemporaryFolder folder_;
};

TEST_F(Fields, SeveralInputsAreFedByName) {
  const double expected = loss(eval(joined(), joined_data()));
  const std::string model = two_inputs();
  EXPECT_NEAR(loss(eval(model, two_data("a", "b"))), expected, 1e-6);           // the same names
  EXPECT_NEAR(loss(eval(model, two_data("first", "second"))), expected, 1e-6);  // shapes leave no choice
  EvalOptions o = eval(model, two_data("first", "b"));
  o.network.inputs = {"a=first"};
  EXPECT_NEAR(loss(o), expected, 1e-6);
}

TEST_F(Fields, InputsThatCannotBeFedAreRefusedByName) {
  const std::string model = two_inputs();
  const auto refused = [&](const EvalOptions& o, const std::string& part) {
    const std::string message = error_of([&] { loss(o); });
    EXPECT_NE(message.find(part), std::string::npos) << part << ": " << message;
  };
  std::vector<std::pair<std::string, Tensor>> arrays;
  arrays.emplace_back("p", floats_of({kN, 3}, 0.3));
  arrays.emplace_back("q", floats_of({kN, 3}, 0.4));
  arrays.emplace_back("b", floats_of({kN, 2}, 0.9));
  arrays.emplace_back("y", classes_of({kN}, 4));
  const std::string ambiguous = data("ambiguous.safetensors", std::move(arrays));
  refused(eval(model, ambiguous), "p and q could be; give --input a=FIELD");
  EvalOptions o = eval(model, ambiguous);
  o.network.inputs = {"a=r"};
  refused(o, "there is no field r");
  o.network.inputs = {"c=p"};
  refused(o, "expected NAME=FIELD, or NAME=NUMBER, with an input of the network");
  o.network.inputs = {"a=p", "a=q"};
  refused(o, "a is given twice");
  o.network.inputs = {"a=b"};
  refused(o, "input 'a' takes float [3] a sample, but the field b has");
  refused(eval(two_inputs(TensorProto::INT64), two_data("a", "b")), "save it as whole numbers");
  refused(eval(two_inputs(), joined_data()), "which field feeds the input 'a'");
  // Another number of samples.
  arrays.clear();
  arrays.emplace_back("a", floats_of({kN, 3}, 0.3));
  arrays.emplace_back("b", floats_of({kN - 1, 2}, 0.9));
  arrays.emplace_back("y", classes_of({kN}, 4));
  refused(eval(two_inputs(), data("short.safetensors", std::move(arrays))), "b has 11 samples");
  // No batch in front of the second.
  ModelBuilder m;
  m.input("a", {"N", "3"}).input("b", {"1", "4"}).output("y", {"N", "4"});
  m.initializer(floats("w", {3, 4}, wave(12, 0.7)));
  m.node("MatMul", {"a", "w"}, {"p"}).node("Add", {"p", "b"}, {"y"});
  refused(eval(write("fixed.onnx", m), two_data("a", "b")), "input 'b' has no batch axis");
}

TEST_F(Fields, AnInputMayBeOneNumberForAllSamples) {
  const auto network = [&](int b_type = TensorProto::FLOAT) {
    ModelBuilder m;
    m.input("a", {"N", "3"}).input("b", {"N", "2"}, b_type).output("y", {"N", "4"});
    m.initializer(floats("w", {3, 4}, wave(12, 0.7))).initializer(floats("v", {2, 4}, wave(8, 1.3)));
    m.node("Cast", {"b"}, {"c"}, {{"to", static_cast<int>(TensorProto::FLOAT)}});
    m.node("MatMul", {"a", "w"}, {"p"}).node("MatMul", {"c", "v"}, {"q"}).node("Add", {"p", "q"}, {"y"});
    return write("net.onnx", m);
  };
  const auto samples = [&](const std::string& name, const std::string& field) {
    Tensor b(DType::kF32, {kN, 2});
    std::fill(b.as<float>().begin(), b.as<float>().end(), 0.75F);
    std::vector<std::pair<std::string, Tensor>> arrays;
    arrays.emplace_back("a", floats_of({kN, 3}, 0.3));
    if (!field.empty()) arrays.emplace_back(field, std::move(b));
    arrays.emplace_back("y", classes_of({kN}, 4));
    return data(name, std::move(arrays));
  };
  const double expected = loss(eval(network(), samples("both.safetensors", "b")));
  const std::string alone = samples("alone.safetensors", "");
  EvalOptions o = eval(network(), alone);
  o.network.inputs = {"b=0.75"};
  EXPECT_EQ(loss(o), expected);
  o.network.inputs = {"b=0"};
  EXPECT_NE(loss(o), expected);

  // Trained, read back, and evaluated again: the file has the input as before.
  TrainOptions t = options_for(folder_.path(), "fp32");
  t.data.data = t.data.val = alone;
  t.network.inputs = {"b=0.75"};
  const double after = train_model(t, kSilent).val_loss.value();
  ASSERT_EQ(proto_of(t.out + "/model.onnx").graph().input_size(), 2);
  EXPECT_NE(elements_of(folder_.path(), "net.onnx").at("v"), elements_of(t.out, "model.onnx").at("v"));
  EvalOptions written = eval(t.out + "/model.onnx", alone);
  EXPECT_NE(error_of([&] { loss(written); }).find("which field feeds the input 'b'"), std::string::npos);
  written.network.inputs = {"b=0.75"};
  EXPECT_NEAR(loss(written), after, 1e-6);

  const auto refused = [&](const std::string& model, const std::string& set, Names inputs,
                           const std::string& why) {
    EvalOptions wrong = eval(model, set);
    wrong.network.inputs = std::move(inputs);
    const std::string error = error_of([&] { loss(wrong); });
    EXPECT_NE(error.find(why), std::string::npos) << why << ": " << error;
  };
  const std::string both = folder_ / "both.safetensors";
  refused(network(), both, {"b=0.75", "b=1"}, "b is given twice");
  refused(network(), both, {"b=0.75", "b=b"}, "b is given twice");
  refused(network(), both, {"b=b", "b=0.75"}, "b is given twice");
  refused(network(), samples("number.safetensors", "1"), {"b=1"}, "1 is a number, and also a field of");
  for (const std::string number : {"nan", "inf", "1e999"})
    refused(network(), both, {"b=" + number}, "there is no field " + number);
  // A loss graph that takes this input would get the field.
  ModelBuilder g;
  g.input("y", {"N", "4"}).input("b", {"N", "2"}).open_output("loss");
  g.node("ReduceMean", {"y"}, {"m"}, {{"keepdims", 0}})
      .node("ReduceMean", {"b"}, {"k"}, {{"keepdims", 0}})
      .node("Mul", {"m", "k"}, {"loss"});
  EvalOptions with_graph = eval(network(), both);
  with_graph.network.loss_graph = write("loss.onnx", g);
  EXPECT_NE(loss(with_graph), 0);
  with_graph.network.inputs = {"b=2"};
  const std::string error = error_of([&] { loss(with_graph); });
  EXPECT_NE(error.find("its input 'b' is the network's, which --input gives the number 2"), std::string::npos)
      << error;
  refused(network(TensorProto::INT64), alone, {"b=1.5"}, "input 'b' takes int64, and cannot be 1.5");
  refused(network(TensorProto::BOOL), alone, {"b=2"}, "input 'b' takes bool, and cannot be 2");
}

TEST_F(Fields, EachTokenHasAClassAndWhatIsIgnoredDoesNotCount) {
  constexpr int64_t kT = 6;
  const Tensor x = floats_of({kN, kT, 3}, 0.3);
  const Tensor y = classes_of({kN, kT}, 4, -100);
  // The tokens that count, each a sample of its own.
  std::vector<float> kept;
  std::vector<int64_t> labels;
  for (size_t i = 0; i < static_cast<size_t>(kN * kT); ++i) {
    if (y.as<int64_t>()[i] < 0) continue;
    labels.push_back(y.as<int64_t>()[i]);
    for (size_t k = 0; k < 3; ++k) kept.push_back(x.as<float>()[i * 3 + k]);
  }
  const auto count = static_cast<int64_t>(labels.size());
  ASSERT_LT(count, kN * kT);
  Tensor flat(DType::kF32, {count, 3});
  std::copy(kept.begin(), kept.end(), flat.as<float>().begin());
  Tensor flat_labels(DType::kI64, {count});
  std::copy(labels.begin(), labels.end(), flat_labels.as<int64_t>().begin());
  std::vector<std::pair<std::string, Tensor>> arrays;
  arrays.emplace_back("x", std::move(flat));
  arrays.emplace_back("y", std::move(flat_labels));
  const std::string flat_data = data("flat.safetensors", std::move(arrays));
  ModelBuilder m;
  m.input("x", {"N", "3"}).output("y", {"N", "4"}).initializer(floats("w", {3, 4}, wave(12, 0.7)));
  m.node("MatMul", {"x", "w"}, {"y"});
  const RunResult expected = evaluate_model(eval(write("flat.onnx", m), flat_data), kSilent);

  const auto sequences = [&](const Tensor& given) {
    std::vector<std::pair<std::string, Tensor>> two;
    two.emplace_back("x", x.clone());
    two.emplace_back("y", given.clone());
    return data("sequences.safetensors", std::move(two));
  };
  const RunResult found = evaluate_model(eval(tokens(), sequences(y)), kSilent);
  EXPECT_NEAR(*found.val_loss, *expected.val_loss, 1e-6);
  EXPECT_DOUBLE_EQ(*found.val_accuracy, *expected.val_accuracy);

  EvalOptions other = eval(tokens(), sequences(classes_of({kN, kT}, 4, 77)));
  EXPECT_NE(error_of([&] { loss(other); }).find("the label 77 is out of range"), std::string::npos);
  other.network.ignore_index = 77;
  EXPECT_NEAR(loss(other), *expected.val_loss, 1e-6);
  // A class without weight counts as little.
  EvalOptions weighted = eval(tokens(), sequences(y));
  weighted.network.class_weights = "1,1,1,1";
  EXPECT_NEAR(loss(weighted), *expected.val_loss, 1e-6);
  weighted.network.class_weights = "1,0,1,1";
  EXPECT_GT(std::abs(loss(weighted) - *expected.val_loss), 1e-4);
  weighted.network.class_weights = "1,2";
  EXPECT_NE(error_of([&] { loss(weighted); }).find("has 2 numbers, but output 'y' has 4 classes"),
            std::string::npos);
}

TEST_F(Fields, EachPixelHasAClassWhichAugmentationWouldLeaveBehind) {
  ModelBuilder m;
  m.input("x", {"N", "3", "5", "6"})
      .output("y", {"N", "4", "5", "6"})
      .initializer(floats("w", {4, 3, 1, 1}, wave(12, 0.7)));
  m.node("Conv", {"x", "w"}, {"y"});
  const std::string model = write("pixels.onnx", m);
  std::vector<std::pair<std::string, Tensor>> arrays;
  arrays.emplace_back("x", floats_of({kN, 3, 5, 6}, 0.3));
  arrays.emplace_back("y", classes_of({kN, 5, 6}, 4, -100));
  TrainOptions t = options_for(folder_.path(), "fp16");
  t.network.model = model;
  t.data.data = t.data.val = data("pixels.safetensors", std::move(arrays));
  const RunResult r = train_model(t, kSilent);
  EXPECT_LT(*r.val_loss, loss(eval(model, t.data.data)));
  t.overwrite = true;
  t.data.flip = true;
  EXPECT_NE(error_of([&] { train_model(t, kSilent); }).find("--flip would move the pixels"),
            std::string::npos);
}

TEST_F(Fields, TheSumOfSeveralLossesIsTrained) {
  ModelBuilder m;
  m.input("x", {"N", "3"}).output("a", {"N", "4"}).output("b", {"N", "2"}).output("c", {"N", "2"});
  m.initializer(floats("w", {3, 4}, wave(12, 0.7)))
      .initializer(floats("v", {3, 2}, wave(6, 1.3)))
      .initializer(floats("u", {3, 2}, wave(6, 1.9)));
  m.node("MatMul", {"x", "w"}, {"a"}).node("MatMul", {"x", "v"}, {"b"}).node("MatMul", {"x", "u"}, {"c"});
  const std::string model = write("net.onnx", m);
  std::vector<std::pair<std::string, Tensor>> arrays;
  arrays.emplace_back("x", floats_of({kN, 3}, 0.3));
  arrays.emplace_back("kind", classes_of({kN}, 4));
  arrays.emplace_back("place", floats_of({kN, 2}, 0.5));
  const std::string samples = data("data.safetensors", std::move(arrays));
  EvalOptions o = eval(model, samples);
  o.network.loss = {"a=cross-entropy:kind"};
  const double first = loss(o);
  o.network.loss = {"b=mse:place"};
  const double second = loss(o);
  o.network.loss = {"a=cross-entropy:kind", "b=mse:place*0.5"};
  EXPECT_NEAR(loss(o), first + 0.5 * second, 1e-6);

  TrainOptions t = options_for(folder_.path(), "fp32");
  t.network.loss = o.network.loss;
  t.data.data = t.data.val = samples;
  std::string log;
  const RunResult r = train_model(t, [&](const std::string& line) { log += line + "\n"; });
  EXPECT_LT(*r.val_loss, first + 0.5 * second);
  const nlohmann::json summary = nlohmann::json::parse(r.summary_json);
  ASSERT_EQ(summary["losses"].size(), 2U);
  EXPECT_EQ(summary["losses"][1]["output"], "b");
  EXPECT_NEAR(
      summary["losses"][0]["val_loss"].get<double>() + 0.5 * summary["losses"][1]["val_loss"].get<double>(),
      *r.val_loss, 1e-9);
  EXPECT_NE(log.find("1 more are frozen"), std::string::npos) << log;
  const auto before = elements_of(folder_.path(), "net.onnx");
  const auto after = elements_of(t.out, "model.onnx");
  EXPECT_NE(before.at("w"), after.at("w"));
  EXPECT_NE(before.at("v"), after.at("v"));
  EXPECT_EQ(before.at("u"), after.at("u"));

  o.network.loss = {"a=cross-entropy:kind*0"};
  EXPECT_NE(error_of([&] { loss(o); }).find("expected a number above 0"), std::string::npos);
  o.network.loss = {"d=mse:place"};
  EXPECT_NE(error_of([&] { loss(o); }).find("has no tensor of that name"), std::string::npos);
  o.network.loss = {"hinge"};
  EXPECT_NE(error_of([&] { loss(o); }).find("is not known"), std::string::npos);
}

TEST_F(Fields, ALossMayBeAGraph) {
  ModelBuilder m;
  m.input("x", {"N", "3"}).output("y", {"N", "2"}).initializer(floats("w", {3, 2}, wave(6, 0.7)));
  m.node("MatMul", {"x", "w"}, {"y"});
  write("net.onnx", m);
  std::vector<std::pair<std::string, Tensor>> arrays;
  arrays.emplace_back("x", floats_of({kN, 3}, 0.3));
  arrays.emplace_back("target", floats_of({kN, 2}, 0.5));
  const std::string samples = data("data.safetensors", std::move(arrays));
  // The mean over all numbers, and over each sample's.
  const auto graph = [&](const std::string& name, bool each) {
    ModelBuilder g;
    g.input("y", {"N", "2"}).input("target", {"N", "2"}).open_output("loss");
    g.node("Sub", {"y", "target"}, {"d"}).node("Mul", {"d", "d"}, {"s"});
    if (each) {
      g.node("ReduceMean", {"s"}, {"loss"}, {{"axes", std::vector<int64_t>{1}}, {"keepdims", 0}});
    } else {
      g.node("ReduceMean", {"s"}, {"loss"}, {{"keepdims", 0}});
    }
    return write(name, g);
  };
  for (const std::string precision : {"fp32", "bf16", "fp16"}) {
    TrainOptions t = options_for(folder_.path(), precision);
    t.data.data = t.data.val = samples;
    t.network.batch = 4;
    t.rounding = "nearest";
    t.overwrite = true;
    t.network.loss = {"mse:target"};
    const double expected = *train_model(t, kSilent).val_loss;
    const auto weights = elements_of(t.out, "model.onnx").at("w");
    t.network.loss = {"auto"};
    for (const bool each : {false, true}) {
      t.network.loss_graph = graph(each ? "each.onnx" : "all.onnx", each);
      const double found = *train_model(t, kSilent).val_loss;
      // Gradients are rounded in other places.
      const double roundoff = precision == "fp32" ? 0x1p-20 : precision == "fp16" ? 0x1p-8 : 0x1p-5;
      EXPECT_NEAR(found, expected, roundoff * expected) << precision;
      if (precision == "fp32") {
        const std::string other = elements_of(t.out, "model.onnx").at("w");
        for (size_t i = 0; i < 6; ++i) {
          float a = 0;
          float b = 0;
          std::memcpy(&a, weights.data() + i * 4, 4);
          std::memcpy(&b, other.data() + i * 4, 4);
          EXPECT_NEAR(a, b, 0x1p-20);
        }
      }
    }
  }
  EvalOptions o = eval(folder_ / "net.onnx", samples);
  ModelBuilder g;
  g.input("z", {"N", "2"}).open_output("loss").node("ReduceMean", {"z"}, {"loss"}, {{"keepdims", 0}});
  o.network.loss_graph = write("other.onnx", g);
  EXPECT_NE(error_of([&] { loss(o); }).find("none of its inputs (z) is an output of"), std::string::npos);
}

TEST_F(Fields, ABatchLargerThanTheDataShrinksAndTheLastOneMayBeKept) {
  write("net.onnx", [&] {
    ModelBuilder m;
    m.input("x", {"N", "5"}).output("y", {"N", "4"}).initializer(floats("w", {5, 4}, wave(20, 0.7)));
    m.node("MatMul", {"x", "w"}, {"y"});
    return m;
  }());
  TrainOptions t = options_for(folder_.path(), "fp16");
  t.data.data = joined_data();
  t.data.val = "none";
  t.steps = 0;
  t.overwrite = true;
  std::string log;
  const auto run = [&] {
    log.clear();
    return train_model(t, [&](const std::string& line) { log += line + "\n"; });
  };
  t.network.batch = 128;
  EXPECT_EQ(run().steps, 1);
  EXPECT_NE(log.find("--batch 128: the data has 12 samples, so batches have 12"), std::string::npos) << log;
  t.network.batch = 5;
  EXPECT_EQ(run().steps, 2);
  EXPECT_NE(log.find("2 of 12 samples, others in each epoch, fill no batch"), std::string::npos) << log;
  t.last = "keep";
  RunResult r = run();
  EXPECT_EQ(r.steps, 3);
  EXPECT_EQ(nlohmann::json::parse(r.summary_json)["samples"], 12);
  t.accumulate = 2;
  EXPECT_NE(error_of([&] { run(); }).find("--last keep goes with --accumulate 1"), std::string::npos);
  t.last = "drop";
  run();
  EXPECT_NE(log.find("2 of 12 samples, others in each epoch, fill no step and are left out of it\n"),
            std::string::npos)
      << log;
}

TEST_F(Fields, GradientsTakeTheFilesOfALossGraphByName) {
  ModelBuilder m;
  m.input("x", {"N", "3"}).output("y", {"N", "2"}).initializer(floats("w", {3, 2}, wave(6, 0.7)));
  m.node("MatMul", {"x", "w"}, {"y"});
  // An equals sign may be part of a name, and the shorter name another input's.
  ModelBuilder g;
  g.input("y", {"N", "2"}).input("t", {"N", "2"}).input("t=0", {"N", "2"}).open_output("loss");
  g.node("Sub", {"y", "t"}, {"d"})
      .node("Mul", {"d", "t=0"}, {"s"})
      .node("ReduceMean", {"s"}, {"loss"}, {{"keepdims", 0}});
  api::write_npy(folder_ / "x.npy", floats_of({kN, 3}, 0.3));
  const std::string zeros = folder_ / "zeros.npy";
  const std::string twos = folder_ / "twos.npy";
  api::write_npy(zeros, Tensor(DType::kF32, {kN, 2}));
  Tensor two(DType::kF32, {kN, 2});
  std::fill(two.as<float>().begin(), two.as<float>().end(), 2.0F);
  api::write_npy(twos, two);
  GradientsOptions o;
  o.network.model = write("net.onnx", m);
  o.network.precision = "fp32";
  o.network.loss_graph = write("loss.onnx", g);
  o.input = {folder_ / "x.npy"};
  o.output_dir = folder_ / "gradients";
  const auto mean = [&](const std::vector<std::string>& labels) {
    o.labels = labels;
    write_gradients(o);
    return api::read_npy(o.output_dir + "/loss.npy").as<double>()[0];
  };
  double sum = 0;
  const Tensor x = floats_of({kN, 3}, 0.3);
  const std::vector<float> w = wave(6, 0.7);
  for (size_t i = 0; i < kN; ++i)
    for (size_t k = 0; k < 6; ++k)
      sum += static_cast<double>(x.as<float>()[i * 3 + k / 2]) * static_cast<double>(w[k]);
  EXPECT_NEAR(mean({"t=" + zeros, "t=0=" + twos}), 2 * sum / (2 * kN), 1e-6);
  EXPECT_NEAR(mean({"t=0=" + twos, "t=" + twos}), 2 * sum / (2 * kN) - 4, 1e-6);
  const auto refused = [&](const std::vector<std::string>& labels, const std::string& part) {
    const std::string why = error_of([&] { mean(labels); });
    EXPECT_NE(why.find(part), std::string::npos) << part << ": " << why;
  };
  refused({"t=" + zeros, "t=0=" + twos, "t=" + twos}, "t is given twice");
  refused({"t=" + zeros, "t=0=" + twos, "y=" + twos}, "the network gives y to the loss graph");
  refused({"t=" + zeros, "t=0="}, "expected NAME=FILE");
  refused({"t=" + zeros}, "the loss graph's input t=0 needs --labels t=0=FILE");
  o.input = {"x="};
  refused({"t=" + zeros, "t=0=" + twos}, "--input x=: expected NAME=FILE");
}

TEST_F(Fields, OneArrayMayBeAnInputAndTargets) {
  // y = a W + ids V, held against the ids.
  ModelBuilder m;
  m.input("a", {"N", "3"}).input("ids", {"N", "2"}, TensorProto::INT64).output("y", {"N", "2"});
  m.initializer(floats("w", {3, 2}, wave(6, 0.7))).initializer(floats("v", {2, 2}, wave(4, 1.3)));
  m.node("Cast", {"ids"}, {"c"}, {{"to", static_cast<int>(TensorProto::FLOAT)}});
  m.node("MatMul", {"a", "w"}, {"p"}).node("MatMul", {"c", "v"}, {"q"}).node("Add", {"p", "q"}, {"y"});
  const std::string both = write("both.onnx", m);
  const auto found = [&](const std::string& target) {
    std::vector<std::pair<std::string, Tensor>> arrays;
    arrays.emplace_back("a", floats_of({kN, 3}, 0.3));
    arrays.emplace_back("ids", classes_of({kN, 2}, 9));
    if (target != "ids") arrays.emplace_back(target, classes_of({kN, 2}, 9));
    EvalOptions o = eval(both, data("both.safetensors", std::move(arrays)));
    o.network.loss = {"mse:" + target};
    return loss(o);
  };
  const double expected = found("target");
  EXPECT_GT(expected, 0);
  EXPECT_EQ(found("ids"), expected);
  // Whole numbers alone: the labels, in one row, are the first field of the batch.
  ModelBuilder t;
  t.input("ids", {"N", "2", "4"}, TensorProto::INT64)
      .output("y", {"N", "2", "4"})
      .initializer(floats("w", {4, 4}, wave(16, 0.7)));
  t.node("Cast", {"ids"}, {"x"}, {{"to", static_cast<int>(TensorProto::FLOAT)}})
      .node("MatMul", {"x", "w"}, {"y"});
  std::vector<std::pair<std::string, Tensor>> arrays;
  arrays.emplace_back("ids", classes_of({kN, 2, 4}, 4));
  arrays.emplace_back("copy", classes_of({kN, 2, 4}, 4));
  EvalOptions o = eval(write("ids.onnx", t), data("ids.safetensors", std::move(arrays)));
  o.network.loss = {"mse:copy"};
  const double of_copy = loss(o);
  EXPECT_GT(of_copy, 0);
  o.network.loss = {"mse:ids"};
  EXPECT_EQ(loss(o), of_copy);
}

TEST_F(Fields, LossesThatReadOneArrayReadItEachInItsOwnWay) {
  ModelBuilder m;
  m.input("x", {"N", "3"}).output("a", {"N", "4"}).output("b", {"N", "1"});
  m.initializer(floats("w", {3, 4}, wave(12, 0.7))).initializer(floats("v", {3, 1}, wave(3, 1.3)));
  m.node("MatMul", {"x", "w"}, {"a"}).node("MatMul", {"x", "v"}, {"b"});
  std::vector<std::pair<std::string, Tensor>> arrays;
  arrays.emplace_back("x", floats_of({kN, 3}, 0.3));
  arrays.emplace_back("y", classes_of({kN}, 4));
  EvalOptions o = eval(write("net.onnx", m), data("data.safetensors", std::move(arrays)));
  o.data.y_key = "y";
  o.network.loss = {"b=mse"};
  const double second = loss(o);
  o.network.ignore_index = 2;  // a class of the first loss, a number of the second
  o.network.loss = {"a=cross-entropy"};
  const double first = loss(o);
  EXPECT_GT(first, 0);
  EXPECT_GT(second, 0);
  for (const std::string& which : Names{"", ":y"})
    for (const std::string& other : Names{"", ":y"}) {
      o.data.y_key = which.empty() || other.empty() ? "y" : "";
      o.network.loss = {"a=cross-entropy" + which, "b=mse" + other};
      EXPECT_NEAR(loss(o), first + second, 1e-6) << which << other;
    }
}

TEST_F(Fields, ArraysMayBeCalledAsFieldsThatAreMade) {
  ModelBuilder m;
  m.input("x", {"N", "3"}).input("y (weights)", {"N", "3"}).output("a", {"N", "4"}).output("b", {"N", "4"});
  m.initializer(floats("w", {3, 4}, wave(12, 0.7))).initializer(floats("v", {3, 4}, wave(12, 1.3)));
  m.node("MatMul", {"x", "w"}, {"a"}).node("MatMul", {"y (weights)", "v"}, {"b"});
  const std::string model = write("net.onnx", m);
  ModelBuilder g;
  g.input("a", {"N", "4"})
      .input("t", {"N", "4"})
      .input("u", {"N", "4"}, TensorProto::INT64)
      .open_output("loss");
  g.node("Cast", {"u"}, {"f"}, {{"to", static_cast<int>(TensorProto::FLOAT)}});
  g.node("Sub", {"a", "t"}, {"d"})
      .node("Mul", {"d", "f"}, {"s"})
      .node("ReduceMean", {"s"}, {"loss"}, {{"keepdims", 0}});
  const std::string graph = write("loss.onnx", g);
  const auto found = [&](const Names& names) {
    std::vector<std::pair<std::string, Tensor>> arrays;
    arrays.emplace_back("x", floats_of({kN, 3}, 0.3));
    arrays.emplace_back("y (weights)", floats_of({kN, 3}, 0.9));
    arrays.emplace_back(names[0], classes_of({kN}, 4));
    arrays.emplace_back(names[1], classes_of({kN}, 3));
    Tensor weights(DType::kF32, {kN});
    for (size_t i = 0; i < kN; ++i) weights.as<float>()[i] = static_cast<float>(1 + i % 3);
    arrays.emplace_back(names[2], std::move(weights));
    arrays.emplace_back(names[3], classes_of({kN, 4}, 5));
    EvalOptions o = eval(model, data("data.safetensors", std::move(arrays)));
    o.network.loss = {"a=cross-entropy:" + names[0], "b=cross-entropy:" + names[1]};
    o.network.sample_weight = names[2];
    const double of_two = loss(o);
    // One array for two inputs of the loss graph, which have two types.
    o.network.loss_graph = graph;
    o.network.inputs = {"t=" + names[3], "u=" + names[3]};
    std::string log;
    const double of_three =
        evaluate_model(o, [&](const std::string& line) { log += line + "\n"; }).val_loss.value();
    // The arrays, not the names that fields have inside.
    EXPECT_NE(log.find("'t' takes " + names[3] + ", 'u' takes " + names[3]), std::string::npos) << log;
    return std::pair(of_two, of_three);
  };
  const auto [of_two, of_three] = found({"k", "l", "c", "n"});
  EXPECT_GT(of_two, 0);
  EXPECT_NE(of_three, of_two);
  EXPECT_EQ(found({"y (loss 2)", "y", "y (weights) (weights)", "n"}), std::pair(of_two, of_three));
  EXPECT_EQ(found({"y", "l", "l (loss 2) (weights)", "t (loss graph)"}), std::pair(of_two, of_three));
}

TEST_F(Fields, FurtherLossesReadTheLabelsOfDataThatHasNoOthers) {
  const auto net = [&](const std::string& name, int64_t second) {
    ModelBuilder m;
    m.input("x", {"N", "3"}).output("a", {"N", "4"}).output("b", {"N", std::to_string(second)});
    m.initializer(floats("w", {3, 4}, wave(12, 0.7)))
        .initializer(floats("v", {3, second}, wave(3 * second, 1.3)));
    m.node("MatMul", {"x", "w"}, {"a"}).node("MatMul", {"x", "v"}, {"b"});
    return write(name, m);
  };
  const std::string model = net("net.onnx", 4);
  {
    std::ofstream csv(folder_ / "data.csv");
    csv << "p,q,r,label\n";
    const std::vector<float> x = wave(3 * kN, 0.3);
    for (size_t i = 0; i < kN; ++i)
      csv << x[3 * i] << "," << x[3 * i + 1] << "," << x[3 * i + 2] << "," << i * 7 % 4 << "\n";
  }
  EvalOptions o = eval(model, folder_ / "data.csv");
  o.network.loss = {"a=cross-entropy"};
  const double first = loss(o);
  o.network.loss = {"b=cross-entropy"};
  const double second = loss(o);
  ASSERT_GT(std::abs(first - second), 0.01);
  o.network.loss = {"a=cross-entropy", "b=cross-entropy*0.5"};
  EXPECT_NEAR(loss(o), first + 0.5 * second, 1e-6);

  TrainOptions t = options_for(folder_.path(), "fp32");
  t.data.data = t.data.val = o.data.data;
  t.network.loss = o.network.loss;
  train_model(t, kSilent);
  const auto before = elements_of(folder_.path(), "net.onnx");
  const auto after = elements_of(t.out, "model.onnx");
  EXPECT_NE(before.at("w"), after.at("w"));
  EXPECT_NE(before.at("v"), after.at("v"));

  o.network.model = net("other.onnx", 5);
  const std::string message = error_of([&] { loss(o); });
  EXPECT_NE(
      message.find("output 'a' would read these labels as one of 4 classes, output 'b' as one of 5 classes"),
      std::string::npos)
      << message;
}

TEST_F(Fields, ValidationDataMayHaveOtherNames) {
  ModelBuilder m;
  m.input("a", {"N", "3"}).input("b", {"N", "2"}).output("y", {"N", "4"}).output("z", {"N", "4"});
  m.initializer(floats("w", {3, 4}, wave(12, 0.7))).initializer(floats("v", {2, 4}, wave(8, 1.3)));
  m.node("MatMul", {"a", "w"}, {"y"}).node("MatMul", {"b", "v"}, {"z"});
  write("net.onnx", m);
  ModelBuilder g;
  g.input("y", {"N", "4"}).input("t", {"N", "4"}).open_output("loss");
  g.node("Mul", {"y", "t"}, {"s"}).node("ReduceMean", {"s"}, {"loss"}, {{"keepdims", 0}});
  TrainOptions t = options_for(folder_.path(), "fp32");
  t.overwrite = true;
  t.network.loss = {"y=cross-entropy", "z=cross-entropy"};
  t.data.y_key = "labels";
  t.network.loss_graph = write("loss.onnx", g);
  const auto samples = [&](const std::string& name, const Names& names) {
    std::vector<std::pair<std::string, Tensor>> arrays;
    arrays.emplace_back(names[0], floats_of({kN, 3}, 0.3));
    arrays.emplace_back(names[1], floats_of({kN, 2}, 0.9));
    arrays.emplace_back("labels", classes_of({kN}, 4));
    arrays.emplace_back("t", floats_of({kN, 4}, 0.4));
    // Of this name a field is made, but where an array has it.
    if (names.size() > 2) arrays.emplace_back(names[2], floats_of({kN, 7}, 0.4));
    return data(name, std::move(arrays));
  };
  t.data.data = t.data.val = samples("data.safetensors", {"a", "b"});
  const double expected = *train_model(t, kSilent).val_loss;
  for (const std::string made : {"labels (loss 2)", "t (loss graph)"}) {
    t.data.val = samples("val.safetensors", {"p", "q", made});
    EXPECT_EQ(*train_model(t, kSilent).val_loss, expected) << made;
  }
}

TEST_F(Fields, ALossGraphTakesBytesAsTheyAre) {
  ModelBuilder m;
  m.input("x", {"N", "3"}).output("y", {"N", "2"}).initializer(floats("w", {3, 2}, wave(6, 0.7)));
  m.node("MatMul", {"x", "w"}, {"y"});
  const auto samples = [&](const Shape& shape) {
    Tensor mask(DType::kU8, shape);
    for (size_t i = 0; i < static_cast<size_t>(mask.size()); ++i)
      mask.as<uint8_t>()[i] = static_cast<uint8_t>(i % 4);
    std::vector<std::pair<std::string, Tensor>> arrays;
    arrays.emplace_back("x", floats_of({kN, 3}, 0.3));
    arrays.emplace_back("mask", std::move(mask));
    return data("data.safetensors", std::move(arrays));
  };
  // The mean of y times the largest number of the mask.
  const auto graph = [&](const Names& mask) {
    ModelBuilder g;
    g.input("y", {"N", "2"}).input("mask", mask).open_output("loss");
    g.node("ReduceMax", {"mask"}, {"r"}, {{"axes", std::vector<int64_t>{1, 2, 3}}, {"keepdims", 0}});
    g.node("ReduceMean", {"y"}, {"p"}, {{"axes", std::vector<int64_t>{1}}, {"keepdims", 0}});
    g.node("Mul", {"p", "r"}, {"loss"});
    return write("loss.onnx", g);
  };
  EvalOptions o = eval(write("net.onnx", m), samples({kN, 1, 2, 2}));
  o.network.loss_graph = graph({"N", "1", "2", "2"});
  const double expected = loss(o);  // three times y: bytes are not scaled
  double sum = 0;
  const Tensor x = floats_of({kN, 3}, 0.3);
  const std::vector<float> w = wave(6, 0.7);
  for (size_t i = 0; i < kN; ++i)
    for (size_t k = 0; k < 6; ++k)
      sum += static_cast<double>(x.as<float>()[i * 3 + k / 2]) * static_cast<double>(w[k]);
  EXPECT_NEAR(expected, 3 * sum / (2 * kN), 1e-6);
  o.data.data = samples({kN, 2, 2});
  for (const Names& shape :
       {Names{"N", "1", "2", "2"}, Names{"N", "2", "2", "1"}, Names{"N", "1", "h", "w"}}) {
    o.network.loss_graph = graph(shape);
    EXPECT_EQ(loss(o), expected);
  }
  // What images that are prepared would be brought to.
  for (const Names& shape :
       {Names{"N", "1", "4", "4"}, Names{"N", "2", "1", "2"}, Names{"N", "1", "1", "4"}}) {
    o.network.loss_graph = graph(shape);
    const std::string message = error_of([&] { loss(o); });
    EXPECT_NE(message.find("a sample, but the field mask has uint8 2x2"), std::string::npos) << message;
  }
}

TEST_F(Fields, AnotherLossGraphIsAnotherRun) {
  ModelBuilder m;
  m.input("x", {"N", "3"}).output("y", {"N", "2"}).initializer(floats("w", {3, 2}, wave(6, 0.7)));
  m.node("MatMul", {"x", "w"}, {"y"});
  std::vector<std::pair<std::string, Tensor>> arrays;
  arrays.emplace_back("x", floats_of({kN, 3}, 0.3));
  arrays.emplace_back("labels", classes_of({kN}, 2));
  write("net.onnx", m);
  const auto graph = [&](const std::string& name, double weight) {
    ModelBuilder g;
    g.input("y", {"N", "2"}).open_output("loss").initializer(floats("c", {1}, {static_cast<float>(weight)}));
    g.node("Mul", {"y", "y"}, {"s"})
        .node("Mul", {"s", "c"}, {"t"})
        .node("ReduceMean", {"t"}, {"loss"}, {{"keepdims", 0}});
    return write(name, g);
  };
  TrainOptions t = options_for(folder_.path(), "fp32");
  t.data.data = t.data.val = data("data.safetensors", std::move(arrays));
  t.network.loss = {"cross-entropy"};
  const auto changed = [&](const std::string& first, const std::string& second) {
    t.network.loss_graph = first;
    t.steps = 3;
    t.resume = false;
    t.overwrite = true;
    train_model(t, kSilent);
    t.network.loss_graph = second;
    t.steps = 5;
    t.resume = true;
    t.overwrite = false;
    return error_of([&] { train_model(t, kSilent); });
  };
  const std::string one = graph("one.onnx", 1);
  EXPECT_EQ(changed("", ""), "");
  EXPECT_EQ(changed(one, graph("copy.onnx", 1)), "");
  EXPECT_NE(changed("", one).find("--loss-graph was not given and is"), std::string::npos);
  EXPECT_NE(changed(one, graph("two.onnx", 2)).find("--loss-graph was"), std::string::npos);
  EXPECT_NE(changed(one, "").find("and is not given"), std::string::npos);
}

TEST_F(Fields, ANetworkOfIdsThatCannotBeImportedIsLookedAtAllTheSame) {
  ModelBuilder m;
  m.input("ids", {"N", "L"}, TensorProto::INT64).output("y", {"N", "L", "4"});
  m.initializer(floats("table", {6, 4}, wave(24, 0.7)));
  m.node("Gather", {"table", "ids"}, {"e"}).node("NoSuchOperator", {"e"}, {"y"});
  std::vector<std::pair<std::string, Tensor>> arrays;
  arrays.emplace_back("ids", classes_of({kN, 5}, 6));
  arrays.emplace_back("y", classes_of({kN, 5}, 4));
  InspectOptions o;
  o.network.model = write("ids.onnx", m);
  o.data.data = data("ids.safetensors", std::move(arrays));
  const InspectResult r = inspect_model(o, kSilent);
  EXPECT_NE(r.refusal.find("NoSuchOperator"), std::string::npos) << r.refusal;
}

TEST_F(Fields, AStepOfMicroBatchesWeighsItsTargetsAsOneBatch) {
  constexpr int64_t kT = 6;
  // Micro-batches have between no target that counts and all of them.
  Tensor y = classes_of({kN, kT}, 4);
  for (int64_t i = 0; i < kN * kT; ++i)
    if (i % kT > i / kT - 4) y.as<int64_t>()[static_cast<size_t>(i)] = -100;
  Tensor weight(DType::kF32, {kN});
  for (size_t i = 0; i < kN; ++i) weight.as<float>()[i] = static_cast<float>(1 + i % 3);
  std::vector<std::pair<std::string, Tensor>> arrays;
  arrays.emplace_back("x", floats_of({kN, kT, 3}, 0.3));
  arrays.emplace_back("y", std::move(y));
  arrays.emplace_back("weight", std::move(weight));
  tokens();
  TrainOptions t = options_for(folder_.path(), "fp32");
  t.network.model = folder_ / "tokens.onnx";
  t.data.data = data("data.safetensors", std::move(arrays));
  t.data.val = "none";
  t.network.class_weights = "1,2,0.5,1";
  t.network.sample_weight = "weight";
  t.network.loss = {"cross-entropy*0.5"};
  t.steps = 2;
  t.momentum = 0;
  t.lr = 1;
  t.overwrite = true;
  const auto weights = [&](int64_t batch, int64_t accumulate) {
    t.network.batch = batch;
    t.accumulate = accumulate;
    const RunResult r = train_model(t, kSilent);
    const std::string bytes = elements_of(t.out, "model.onnx").at("w");
    std::vector<float> w(12);
    std::memcpy(w.data(), bytes.data(), 48);
    return std::pair(w, nlohmann::json::parse(r.summary_json)["train_loss"].get<double>());
  };
  const auto [whole, loss_of_whole] = weights(kN, 1);
  const std::vector<float> before = wave(12, 0.7);
  for (const int64_t accumulate : {2, 4, 12}) {
    const auto [parts, loss_of_parts] = weights(kN / accumulate, accumulate);
    EXPECT_NEAR(loss_of_parts, loss_of_whole, 1e-6);
    for (size_t i = 0; i < 12; ++i) {
      EXPECT_NEAR(parts[i], whole[i], 0x1p-20) << accumulate << " micro-batches";
      EXPECT_GT(std::abs(whole[i] - before[i]), 1e-4);
    }
  }
}

TEST_F(Fields, DataOfWhichNoTargetCountsIsRefused) {
  constexpr int64_t kT = 6;
  const auto samples = [&](const std::string& name, int64_t ignored) {
    Tensor y(DType::kI64, {kN, kT});
    for (int64_t& label : y.as<int64_t>()) label = -100;
    y.as<int64_t>()[kN * kT - 1] = ignored;
    std::vector<std::pair<std::string, Tensor>> arrays;
    arrays.emplace_back("x", floats_of({kN, kT, 3}, 0.3));
    arrays.emplace_back("y", std::move(y));
    arrays.emplace_back("none", Tensor(DType::kF32, {kN}));
    return data(name, std::move(arrays));
  };
  const std::string model = tokens();
  const auto refused = [&](const EvalOptions& o) { return error_of([&] { loss(o); }); };
  EvalOptions o = eval(model, samples("some.safetensors", 2));
  EXPECT_GT(loss(o), 0);
  o.network.class_weights = "1,1,0,1";
  EXPECT_NE(refused(o).find("none of the targets in labels counts: each is the ignored number -100, or is of "
                            "a class without weight"),
            std::string::npos)
      << refused(o);
  o.network.class_weights.clear();
  o.network.sample_weight = "none";
  EXPECT_NE(refused(o).find("is of a sample without weight (--sample-weight none)"), std::string::npos)
      << refused(o);
  const EvalOptions all = eval(model, samples("all.safetensors", -100));
  EXPECT_NE(refused(all).find("each is the ignored number -100; expected at least one"), std::string::npos)
      << refused(all);

  TrainOptions t = options_for(folder_.path(), "fp32");
  t.network.model = model;
  t.data.data = folder_ / "some.safetensors";
  t.data.val = folder_ / "all.safetensors";
  const auto training_refused = [&] {
    const std::string error = error_of([&] { train_model(t, kSilent); });
    EXPECT_NE(error.find("all.safetensors"), std::string::npos) << error;
    EXPECT_NE(error.find("none of the targets in labels counts"), std::string::npos) << error;
  };
  training_refused();
  std::swap(t.data.data, t.data.val);
  training_refused();
}

TEST_F(Fields, WeightsOfSamplesMayBeNamedWithTheirSplit) {
  ModelBuilder m;
  m.input("x", {"N", "3"}).output("y", {"N", "4"}).initializer(floats("w", {3, 4}, wave(12, 0.7)));
  m.node("MatMul", {"x", "w"}, {"y"});
  std::vector<std::pair<std::string, Tensor>> arrays;
  arrays.emplace_back("x_train", floats_of({kN, 3}, 0.3));
  arrays.emplace_back("y_train", classes_of({kN}, 4));
  Tensor weights(DType::kF32, {kN});
  for (size_t i = 0; i < kN; ++i) weights.as<float>()[i] = static_cast<float>(1 + i % 3);
  arrays.emplace_back("heavy_train", std::move(weights));
  EvalOptions o = eval(write("net.onnx", m), data("data.safetensors", std::move(arrays)) + "[train]");
  const double plain = loss(o);
  o.network.sample_weight = "heavy";
  const double expected = loss(o);
  EXPECT_NE(expected, plain);
  o.network.sample_weight = "heavy_train";
  EXPECT_EQ(loss(o), expected);
}

TEST_F(Fields, AnOutputOfWholeNumbersHasNoLoss) {
  ModelBuilder m;
  m.input("x", {"N", "3"})
      .output("y", {"N", "4"})
      .open_output("best")
      .initializer(floats("w", {3, 4}, wave(12, 0.7)));
  m.node("MatMul", {"x", "w"}, {"y"}).node("ArgMax", {"y"}, {"best"}, {{"axis", 1}, {"keepdims", 0}});
  std::vector<std::pair<std::string, Tensor>> arrays;
  arrays.emplace_back("x", floats_of({kN, 3}, 0.3));
  arrays.emplace_back("y", floats_of({kN}, 0.5));
  EvalOptions o = eval(write("net.onnx", m), data("data.safetensors", std::move(arrays)));
  o.network.loss = {"best=mse"};
  EXPECT_NE(error_of([&] { loss(o); }).find("output 'best' is of type int64, of which there is no loss"),
            std::string::npos)
      << error_of([&] { loss(o); });
}

TEST_F(Fields, ALossGraphSaysWhichOutputsAreTrained) {
  ModelBuilder m;
  m.input("x", {"N", "3"}).output("a", {"N", "2"}).output("b", {"N", "2"});
  m.initializer(floats("w", {3, 2}, wave(6, 0.7))).initializer(floats("v", {3, 2}, wave(6, 1.3)));
  m.node("MatMul", {"x", "w"}, {"a"}).node("MatMul", {"x", "v"}, {"b"});
  write("net.onnx", m);
  ModelBuilder g;
  g.input("a", {"N", "2"}).input("target", {"N", "2"}).open_output("loss");
  g.node("Sub", {"a", "target"}, {"d"})
      .node("Mul", {"d", "d"}, {"s"})
      .node("ReduceMean", {"s"}, {"loss"}, {{"keepdims", 0}});
  std::vector<std::pair<std::string, Tensor>> arrays;
  arrays.emplace_back("x", floats_of({kN, 3}, 0.3));
  arrays.emplace_back("target", floats_of({kN, 2}, 0.5));
  TrainOptions t = options_for(folder_.path(), "fp32");
  t.data.data = t.data.val = data("data.safetensors", std::move(arrays));
  t.network.loss_graph = write("loss.onnx", g);
  std::string log;
  train_model(t, [&](const std::string& line) { log += line + "\n"; });
  EXPECT_NE(log.find("1 more are frozen, because output 'a' does not depend on them: v"), std::string::npos)
      << log;
  const auto before = elements_of(folder_.path(), "net.onnx");
  const auto after = elements_of(t.out, "model.onnx");
  EXPECT_NE(before.at("w"), after.at("w"));
  EXPECT_EQ(before.at("v"), after.at("v"));
}

TEST_F(Fields, OptionsThatChooseNothingAreRefused) {
  ModelBuilder m;
  m.input("x", {"N", "3"}).output("y", {"N", "4"}).initializer(floats("w", {3, 4}, wave(12, 0.7)));
  m.node("MatMul", {"x", "w"}, {"y"});
  ModelBuilder g;
  g.input("y", {"N", "4"}).input("hot", {"N", "4"}).open_output("loss");
  g.node("Sub", {"y", "hot"}, {"d"})
      .node("Mul", {"d", "d"}, {"s"})
      .node("ReduceMean", {"s"}, {"loss"}, {{"keepdims", 0}});
  const std::string graph = write("loss.onnx", g);
  Tensor hot(DType::kF32, {kN, 4});
  for (size_t i = 0; i < kN; ++i) hot.as<float>()[i * 4 + i % 4] = 1;
  std::vector<std::pair<std::string, Tensor>> arrays;
  arrays.emplace_back("x", floats_of({kN, 3}, 0.3));
  arrays.emplace_back("hot", std::move(hot));
  const EvalOptions plain = eval(write("net.onnx", m), data("data.safetensors", std::move(arrays)));
  const auto refused = [&](const EvalOptions& o, const std::string& why) {
    const std::string error = error_of([&] { loss(o); });
    EXPECT_NE(error.find(why), std::string::npos) << error;
  };
  EvalOptions o = plain;
  o.network.loss_graph = graph;
  EXPECT_GT(loss(o), 0);
  o.data.y_key = "hot";
  refused(o, "--y-key hot: no loss reads it");
  o.data.y_key.clear();
  std::ofstream(folder_ / "classes.txt") << "a\nb\nc\nd\n";
  o.data.classes_file = folder_ / "classes.txt";
  refused(o, "a loss graph reads numbers, which have no names");
  o = plain;
  o.network.loss = {"cross-entropy:hot"};
  EXPECT_GT(loss(o), 0);
  o.data.y_key = "x";
  refused(o, "--y-key x: no loss reads it");
  o.data.y_key.clear();
  o.network.inputs = {"x=x"};
  o.data.x_key = "hot";
  refused(o, "--x-key hot: no input takes it");
  o.data.x_key.clear();
  o.network.ignore_index = 1;
  refused(o, "--ignore-index 1 is the number of a class, but the labels are one-hot");
  arrays.clear();
  arrays.emplace_back("x", floats_of({kN, 6, 3}, 0.3));
  arrays.emplace_back("y", classes_of({kN, 6}, 4));
  o = eval(tokens(), data("tokens.safetensors", std::move(arrays)));
  EXPECT_GT(loss(o), 0);
  std::ofstream(folder_ / "two.txt") << "a\nb\n";
  o.data.classes_file = folder_ / "two.txt";
  refused(o, "it names the classes of samples; those of positions");
}

TEST_F(Fields, WeightsOfLossesAreInTheRangeOfFp32) {
  EvalOptions o = eval(joined(), joined_data());
  const double plain = loss(o);
  EXPECT_GT(plain, 0);
  o.network.loss = {"cross-entropy*0.5"};
  EXPECT_NEAR(loss(o), 0.5 * plain, 1e-6);
  for (const std::string weight : {"nan", "inf", "-1", "0", "1e300", "1e-300", "1e400", "1e-400"}) {
    o.network.loss = {"cross-entropy*" + weight};
    const std::string error = error_of([&] { loss(o); });
    EXPECT_NE(error.find("the weight " + weight + " is not possible: expected a number above 0"),
              std::string::npos)
        << error;
  }
  o.network.loss = {"nobody=cross-entropy"};
  const std::string error = error_of([&] { loss(o); });
  EXPECT_EQ(error.find("--loss nobody=...: "), 0U) << error;
}

TEST_F(Fields, LabelsOfOtherPositionsAreRefusedWithTheShapesThatFit) {
  std::vector<std::pair<std::string, Tensor>> arrays;
  arrays.emplace_back("x", floats_of({kN, 6, 3}, 0.3));
  arrays.emplace_back("y", classes_of({kN, 5}, 4));
  const EvalOptions o = eval(tokens(), data("data.safetensors", std::move(arrays)));
  EXPECT_NE(error_of([&] {
              loss(o);
            }).find("of shape 4 a sample (classes at axis 1) or 6 (classes last), where these labels have 5"),
            std::string::npos)
      << error_of([&] { loss(o); });
}

TEST_F(Fields, ALastBatchOfOneSampleHasNoVariance) {
  ModelBuilder m;
  m.input("x", {"N", "5"}).output("y", {"N", "4"}).initializer(floats("w", {5, 4}, wave(20, 0.7)));
  m.initializer(floats("g", {5}, {1, 1, 1, 1, 1})).initializer(floats("s", {5}, {1, 1, 1, 1, 1}));
  m.initializer(floats("b", {5}, wave(5, 0.4))).initializer(floats("m", {5}, wave(5, 0.2)));
  m.node("BatchNormalization", {"x", "g", "b", "m", "s"}, {"h"}).node("MatMul", {"h", "w"}, {"y"});
  write("net.onnx", m);
  TrainOptions t = options_for(folder_.path(), "fp32");
  t.data.data = joined_data();
  t.data.val = "none";
  t.network.batch = 11;
  t.last = "keep";
  const std::string error = error_of([&] { train_model(t, kSilent); });
  EXPECT_NE(error.find("--last keep: the last batch of an epoch has 1 of 11 samples"), std::string::npos)
      << error;
  EXPECT_NE(error.find("at least two values a channel"), std::string::npos) << error;
}

TEST_F(Fields, ASampleThatOverflowsIsNamedBesidesAnInputThatNobodyReads) {
  ModelBuilder m;
  m.input("idle", {"N", "2"})
      .input("x", {"N", "3"})
      .output("y", {"N", "4"})
      .initializer(floats("w", {3, 4}, wave(12, 0.7)));
  m.node("MatMul", {"x", "w"}, {"y"});
  Tensor x = floats_of({kN, 3}, 0.3);
  x.as<float>()[3 * 7 + 1] = 1e6F;  // beyond fp16
  std::vector<std::pair<std::string, Tensor>> arrays;
  arrays.emplace_back("idle", floats_of({kN, 2}, 0.9));
  arrays.emplace_back("x", std::move(x));
  arrays.emplace_back("y", classes_of({kN}, 4));
  EvalOptions o = eval(write("net.onnx", m), data("data.safetensors", std::move(arrays)));
  EXPECT_GT(loss(o), 0);
  o.network.precision = "fp16";
  o.network.check_precision = "off";
  const std::string error = error_of([&] { loss(o); });
  EXPECT_NE(error.find("sample 7"), std::string::npos) << error;
}

}  // namespace
}  // namespace halftone
