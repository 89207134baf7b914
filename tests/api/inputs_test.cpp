// Samples as a network's input wants them: channels last, sizes that the file leaves open, tables; values
// against the same network with its input as usual.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "api/npy.h"
#include "base/error.h"
#include "base/file.h"
#include "halftone/halftone.h"
#include "onnx/build_model.h"

namespace halftone {
namespace {

using onnx::test::floats;
using onnx::test::ModelBuilder;

std::vector<float> wave(size_t n, double step) {
  std::vector<float> out(n);
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<float>(std::sin(step * static_cast<double>(i + 1)));
  return out;
}

struct Refusal {
  ErrorKind kind = ErrorKind::kInput;
  std::string message;  // empty: none
};

Refusal refusal_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return {e.kind(), e.what()};
  }
  return {};
}

void expect_refusal(const std::function<void()>& call, ErrorKind kind, const std::string& part) {
  const Refusal refusal = refusal_of(call);
  EXPECT_NE(refusal.message.find(part), std::string::npos) << part << ": " << refusal.message;
  EXPECT_EQ(refusal.kind, kind) << refusal.message;
}

class Inputs : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& bytes) const {
    const std::string path = folder / name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  // Convolution, pooling, 3 classes. `dims`: of the input; with channels last a Transpose comes first.
  std::string network(const std::string& name, const std::vector<std::string>& dims, bool last) const {
    ModelBuilder b;
    b.input("x", dims).output("y", {dims[0], "3"});
    b.initializer(floats("w", {4, 3, 3, 3}, wave(4 * 3 * 9, 0.7)))
        .initializer(floats("c", {4}, wave(4, 1.1)));
    b.initializer(floats("v", {4, 3}, wave(12, 2.3)));
    if (last) b.node("Transpose", {"x"}, {"t"}, {{"perm", std::vector<int64_t>{0, 3, 1, 2}}});
    b.node("Conv", {last ? "t" : "x", "w", "c"}, {"h"}, {{"pads", std::vector<int64_t>{1, 1, 0, 0}}});
    b.node("Relu", {"h"}, {"r"}).node("GlobalAveragePool", {"r"}, {"p"}).node("Flatten", {"p"}, {"f"});
    b.node("MatMul", {"f", "v"}, {"y"});
    return write(name, b.bytes());
  }

  // One batch: every number of the samples is 1.5, every label 0.
  GradientsOptions gradients_of(const std::string& model, const Shape& shape) const {
    Tensor x(DType::kF32, shape);
    for (float& v : x.as<float>()) v = 1.5F;
    api::write_npy(folder / "x.npy", x);
    api::write_npy(folder / "y.npy", Tensor(DType::kI64, {shape[0]}));
    GradientsOptions g;
    g.network.model = model;
    g.input = {folder / "x.npy"};
    g.labels = {folder / "y.npy"};
    return g;
  }

  // Class folders: in each the same pictures of different colours and sizes.
  std::string images(const std::vector<std::string>& pictures) const {
    const std::string fixtures = HALFTONE_TESTS_DIR "/fixtures/images/";
    for (const char* c : {"a", "b", "c"})
      for (const std::string& p : pictures)
        write("images/" + std::string(c) + "/" + p, read_file(fixtures + p));
    return folder / "images";
  }

  // Arrays beside each other: 6 samples of 3 x h x w, or h x w x 3, and their classes.
  std::string arrays(const std::string& name, int64_t h, int64_t w, bool last) const {
    Tensor x(DType::kF32, last ? Shape{6, h, w, 3} : Shape{6, 3, h, w});
    Tensor y(DType::kI64, {6});
    for (int64_t n = 0; n < 6; ++n) {
      y.as<int64_t>()[static_cast<size_t>(n)] = n % 3;
      for (int64_t c = 0; c < 3; ++c)
        for (int64_t i = 0; i < h * w; ++i) {
          const int64_t at = last ? (n * h * w + i) * 3 + c : (n * 3 + c) * h * w + i;
          x.as<float>()[static_cast<size_t>(at)] =
              static_cast<float>(std::cos(0.3 * static_cast<double>((n * 3 + c) * h * w + i)));
        }
    }
    std::filesystem::create_directories(folder / name);
    api::write_npy(folder / (name + "/x.npy"), x);
    api::write_npy(folder / (name + "/y.npy"), y);
    return folder / name;
  }

  EvalOptions options(const std::string& model, const std::string& data) const {
    EvalOptions o;
    o.network.model = model;
    o.network.precision = "fp32";
    o.network.batch = 4;
    o.network.threads = 1;
    o.data.data = data;
    o.data.loader_threads = 1;
    return o;
  }
  double loss(const EvalOptions& o) {
    said.clear();
    const RunResult r = evaluate_model(o, [&](const std::string& line) { said += line + "\n"; });
    EXPECT_TRUE(r.val_loss && std::isfinite(*r.val_loss) && *r.val_loss > 0);
    return r.val_loss.value_or(-1);
  }
  double loss(const std::string& model, const std::string& data) { return loss(options(model, data)); }

  onnx::test::TemporaryFolder folder;
  std::string said;
};

TEST_F(Inputs, ChannelsLastNetworksSeeTheSameImages) {
  const std::string data = images({"photo.jpg", "cmyk.jpg", "grey.png"});
  const std::string first = network("first.onnx", {"N", "3", "8", "9"}, false);
  const std::string last = network("last.onnx", {"N", "8", "9", "3"}, true);
  EvalOptions usual = options(first, data);
  usual.data.normalize = "imagenet";
  const double expected = loss(usual);
  EXPECT_EQ(said.find("height, width, channels"), std::string::npos) << said;
  EvalOptions o = usual;
  o.network.model = last;
  EXPECT_EQ(loss(o), expected);
  EXPECT_NE(said.find("8x9x3 as height, width, channels: the network transposes them first"),
            std::string::npos)
      << said;
  // Augmented the same, too: flips, crops.
  const auto trained = [&](const std::string& model, const std::string& out) {
    TrainOptions t;
    t.network = usual.network;
    t.network.model = model;
    t.data = usual.data;
    t.data.val = data;
    t.data.flip = true;
    t.data.crop_padding = 2;
    t.epochs = 2;
    t.quiet = true;
    t.out = folder / out;
    return *train_model(t, [](const std::string&) {}).val_loss;
  };
  const double moved = trained(first, "out-first");
  EXPECT_NE(moved, expected);
  EXPECT_EQ(trained(last, "out-last"), moved);
}

TEST_F(Inputs, ArraysOfEitherLayoutGoIntoNetworksOfEither) {
  const std::string first = network("first.onnx", {"N", "3", "8", "9"}, false);
  const std::string last = network("last.onnx", {"N", "8", "9", "3"}, true);
  const std::string chw = arrays("chw", 8, 9, false);
  const double expected = loss(first, chw);
  EXPECT_EQ(loss(first, arrays("hwc", 8, 9, true)), expected);
  EXPECT_EQ(loss(last, chw), expected);
  EXPECT_EQ(loss(last, folder / "hwc"), expected);
  EvalOptions o = options(first, chw);
  o.data.mean = {0.1, 0.2, 0.3};
  const double normalized = loss(o);
  EXPECT_NE(normalized, expected);
  for (const char* data : {"chw", "hwc"}) {
    o.network.model = last;
    o.data.data = folder / data;
    EXPECT_EQ(loss(o), normalized) << data;
  }
  // As many numbers in another order are no sample.
  expect_refusal([&] { loss(first, arrays("turned", 9, 8, false)); }, ErrorKind::kInput, "in another order");
}

TEST_F(Inputs, WhereChannelsMayBeAtEitherEndTheNetworkOrAnOptionSays) {
  const std::string data = images({"rgb.png"});
  const double expected = loss(network("first.onnx", {"N", "3", "3", "3"}, false), data);
  EXPECT_EQ(loss(network("last.onnx", {"N", "3", "3", "3"}, true), data), expected);
  ModelBuilder b;
  b.input("x", {"N", "3", "4", "3"})
      .output("y", {"N", "3"})
      .initializer(floats("w", {36, 3}, wave(108, 0.9)));
  b.node("Flatten", {"x"}, {"f"}).node("MatMul", {"f", "w"}, {"y"});
  EvalOptions o = options(write("flat.onnx", b.bytes()), data);
  expect_refusal([&] { loss(o); }, ErrorKind::kInput, "--layout channels-first or --layout channels-last");
  o.data.layout = "channels-first";
  const double as_first = loss(o);
  o.data.layout = "channels-last";
  EXPECT_NE(loss(o), as_first);
  o.data.layout = "sideways";
  expect_refusal([&] { loss(o); }, ErrorKind::kUsage, "--layout sideways is not known");
}

TEST_F(Inputs, OpenSizesAreTheDatas) {
  const std::string data = arrays("chw", 8, 9, false);
  const double expected = loss(network("fixed.onnx", {"N", "3", "8", "9"}, false), data);
  const std::string open = network("open.onnx", {"N", "3", "h", ""}, false);
  EXPECT_EQ(loss(open, data), expected);
  EXPECT_NE(said.find("input x: h = 8, x:3 = 9"), std::string::npos) << said;
  EXPECT_EQ(loss(network("open-last.onnx", {"N", "h", "w", "3"}, true), data), expected);
  EvalOptions o = options(open, data);
  o.network.dims = {"h=8", "x:3=9"};
  EXPECT_EQ(loss(o), expected);
  o.network.dims = {"h=9"};
  expect_refusal([&] { loss(o); }, ErrorKind::kInput, "(h = 9, from --dim");
  // One name is one size.
  expect_refusal(
      [&] {
        loss(network("square.onnx", {"N", "3", "s", "s"}, false), data);
      },
      ErrorKind::kInput, "input x uses the size s for two axes, but here they are 8 and 9");
  // Training, and inspect.
  TrainOptions t;
  t.network = options(open, data).network;
  t.data = options(open, data).data;
  t.quiet = true;
  t.out = folder / "out";
  const RunResult r = train_model(t, [](const std::string&) {});
  EXPECT_EQ(r.steps, 1);
  EXPECT_NE(loss(r.model_path, data), expected);
  InspectOptions i;
  i.network = options(open, data).network;
  i.data = options(open, data).data;
  EXPECT_NE(inspect_model(i, [](const std::string&) {}).text.find("all supported"), std::string::npos);
  i.data.data.clear();
  EXPECT_NE(inspect_model(i, [](const std::string&) {}).refusal.find("--dim h=SIZE"), std::string::npos);
  i.network.dims = {"h=8", "x:3=9"};
  EXPECT_NE(inspect_model(i, [](const std::string&) {}).text.find("all supported"), std::string::npos);
}

TEST_F(Inputs, OpenSizesOfImagesMustBeOne) {
  const std::string open = network("open.onnx", {"N", "3", "h", "w"}, false);
  const std::string data = images({"photo.jpg"});
  const double expected = loss(network("fixed.onnx", {"N", "3", "37", "53"}, false), data);
  EXPECT_EQ(loss(open, data), expected);
  EvalOptions o = options(open, images({"photo.jpg", "cmyk.jpg"}));
  expect_refusal([&] { loss(o); }, ErrorKind::kInput, "--dim h=SIZE --dim w=SIZE scales all images to it");
  o.network.dims = {"h=8", "w=9"};
  EXPECT_EQ(loss(o), loss(network("small.onnx", {"N", "3", "8", "9"}, false), o.data.data));
}

TEST_F(Inputs, DimsThatTheNetworkDoesNotHaveAreUsageErrors) {
  EvalOptions o = options(network("open.onnx", {"N", "3", "h", "w"}, false), arrays("chw", 8, 9, false));
  const auto refused = [&](const std::vector<std::string>& dims, const std::string& part) {
    o.network.dims = dims;
    expect_refusal([&] { loss(o); }, ErrorKind::kUsage, part);
  };
  refused({"height=8"}, "no input has an open size called height; ");
  refused({"height=8"}, "leaves open h, w");
  refused({"h=8", "w=9", "h=8"}, "h is given twice");
  refused({"N=4"}, "N is the batch");
  for (const char* dim : {"h", "h=", "=8", "h=0", "h=-1", "h=8x", "h=99999999999999999999"})
    refused({dim}, "expected NAME=SIZE");
  o.network.model = network("fixed.onnx", {"N", "3", "8", "9"}, false);
  refused({"h=8"}, "leaves no size open but the batch");
}

TEST_F(Inputs, RunAndGradientsTakeTheSizesOfTheirArrays) {
  arrays("chw", 8, 9, false);
  NetworkOptions n;
  n.precision = "fp32";
  const auto outputs = [&](const std::string& model) {
    n.model = model;
    run_model(n, {folder / "chw/x.npy"}, folder / "run");
    GradientsOptions g;
    g.network = n;
    g.input = {folder / "chw/x.npy"};
    g.labels = {folder / "chw/y.npy"};
    g.output_dir = folder / "gradients";
    write_gradients(g);
    return read_file(folder / "run/0.npy") + read_file(folder / "gradients/w.npy");
  };
  const std::string expected = outputs(network("fixed.onnx", {"N", "3", "8", "9"}, false));
  EXPECT_EQ(outputs(network("open.onnx", {"N", "3", "h", "w"}, false)), expected);
  n.dims = {"h=9"};
  expect_refusal([&] { outputs(folder / "open.onnx"); }, ErrorKind::kInput, "the network wants 6x3x9x9");
}

// An overflow of the forward pass in fp16 alone, and what is not finite in fp32 either.
TEST_F(Inputs, RunAndGradientsNameWhatOverflows) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).output("y", {"N", "2"}).initializer(floats("w", {2, 2}, {300, 1, 1, 300}));
  b.node("MatMul", {"x", "w"}, {"h"}).node("Mul", {"h", "h"}, {"q"}).node("Neg", {"q"}, {"y"});
  ModelBuilder log;
  log.input("x", {"N", "2"})
      .output("y", {"N", "2"})
      .node("Sub", {"x", "x"}, {"zero"})
      .node("Log", {"zero"}, {"y"});
  GradientsOptions g = gradients_of(write("square.onnx", b.bytes()), {2, 2});
  g.network.precision = "fp16";
  g.output_dir = folder / "out";
  expect_refusal([&] { write_gradients(g); }, ErrorKind::kNumerical, "tensor q of node");
  expect_refusal([&] { write_gradients(g); }, ErrorKind::kNumerical, "--precision bf16");
  expect_refusal([&] { run_model(g.network, g.input, folder / "out"); }, ErrorKind::kNumerical,
                 "tensor q of node");
  EXPECT_FALSE(std::filesystem::exists(folder / "out"));
  g.network.model = write("log.onnx", log.bytes());
  for (const char* precision : {"fp16", "fp32"}) {
    g.network.precision = precision;
    std::string warnings;
    run_model(g.network, g.input, folder / "out", [&](const std::string& line) { warnings += line; });
    EXPECT_NE(warnings.find("warning: output 'y': 4 of 4 values are not finite"), std::string::npos)
        << warnings;
    EXPECT_TRUE(std::filesystem::exists(folder / "out/0.npy"));
  }
}

// --mode train drops half of the numbers, eval none.
TEST_F(Inputs, GradientsInEvaluationDropNothing) {
  const auto gradient = [&](bool dropout, const std::string& mode) {
    ModelBuilder b;
    b.input("x", {"N", "6"}).output("y", {"N", "4"}).initializer(floats("w", {6, 4}, wave(24, 0.7)));
    if (dropout) b.node("Dropout", {"x"}, {"d"});
    b.node("MatMul", {dropout ? "d" : "x", "w"}, {"y"});
    GradientsOptions g = gradients_of(write("dropout.onnx", b.bytes()), {8, 6});
    g.network.precision = "fp32";
    g.mode = mode;
    g.output_dir = folder / "dropout";
    write_gradients(g);
    return read_file(folder / "dropout/w.npy");
  };
  EXPECT_EQ(gradient(true, "eval"), gradient(false, "train"));
  EXPECT_NE(gradient(true, "train"), gradient(false, "train"));
}

TEST_F(Inputs, EveryParameterHasAGradientFileOfItsOwn) {
  const std::vector<std::string> names = {"a/b", "a_b", "a%2Fb", "loss", "..", "new\nline"};
  ModelBuilder b;
  b.input("x", {"N", "2"}).output("y", {"N", "2"});
  std::string last = "x";
  for (size_t i = 0; i < names.size(); ++i) {
    b.initializer(floats(names[i], {2, 2}, wave(4, 0.5 + static_cast<double>(i))));
    const std::string next = i + 1 == names.size() ? "y" : "v" + std::to_string(i);
    b.node("MatMul", {last, names[i]}, {next});
    last = next;
  }
  GradientsOptions g = gradients_of(write("names.onnx", b.bytes()), {2, 2});
  g.network.precision = "fp32";
  g.output_dir = folder / "out";
  write_gradients(g);
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "out"))
    files.insert(entry.path().filename().string());
  EXPECT_EQ(files, (std::set<std::string>{"a%2Fb.npy", "a_b.npy", "a%252Fb.npy", "%6Coss.npy", "loss.npy",
                                          "%2E..npy", "new%0Aline.npy"}));
  EXPECT_TRUE(api::read_npy(folder / "out/loss.npy").shape().empty());
  EXPECT_EQ(api::read_npy(folder / "out/%6Coss.npy").shape(), (Shape{2, 2}));
  EXPECT_EQ(api::gradient_file("conv1.weight"), "conv1.weight");
  expect_refusal([] { api::gradient_file(std::string(300, 'n')); }, ErrorKind::kInput, "too long for a file");
}

TEST_F(Inputs, TablesAreReadOrRefusedByLineAndColumn) {
  ModelBuilder b;
  b.input("x", {"N", "4"}).output("y", {"N", "3"}).initializer(floats("w", {4, 3}, wave(12, 0.9)));
  b.node("MatMul", {"x", "w"}, {"y"});
  const std::string model = write("m.onnx", b.bytes());
  const std::string rows = "0.5,1,-1,0,2\n1,0.25,0,3,0\n-1,2,1,0,1\n";
  const double expected = loss(model, write("plain.csv", rows));
  EXPECT_NE(said.find("no header, the first line is a sample"), std::string::npos) << said;
  EXPECT_EQ(loss(model, write("header.csv", "a,b,c,d,kind\n" + rows)), expected);
  EXPECT_NE(said.find("line 1 is the header: a, b, c, d, kind"), std::string::npos) << said;
  EXPECT_EQ(loss(model, write("comma.csv", "0,5;1;-1;0;2\n1;0,25;0;3;0\n-1;2;1;0;1\n")), expected);
  const std::string label_first =
      write("first.csv", "label,a,b,c,d\n2,0.5,1,-1,0.5\n0,1,0.25,0,3\n1,-1,2,1,0\n");
  expect_refusal([&] { loss(model, label_first); }, ErrorKind::kInput, "--label-column");
  expect_refusal([&] { loss(model, write("odd.csv", "0,N/A,0,0,1\n" + rows)); }, ErrorKind::kInput,
                 "odd.csv, line 1, column 2: the value is missing (\"N/A\")");
  EvalOptions o = options(model, write("years.csv", "2019,2020,2021,2022,target\n" + rows));
  expect_refusal([&] { loss(o); }, ErrorKind::kInput, "--csv-header yes");
  o.data.csv_header = "yes";
  EXPECT_EQ(loss(o), expected);
}

}  // namespace
}  // namespace halftone
