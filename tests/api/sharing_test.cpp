// Random small networks whose nodes share tensors: refused by name before the first step, or the written file
// computes what training said.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "api/small_run.h"

namespace halftone {
namespace {

using namespace test;

// A network of random nodes. Vectors are positive, so that each may be a variance.
class RandomNetwork {
 public:
  explicit RandomNetwork(uint64_t seed) : random_(seed), external_(chance(0.3)) {
    b_.input("x", {"N", std::to_string(kChannels), std::to_string(kSide), std::to_string(kSide)});
    std::string y = convolution("x");
    std::string earlier = y;
    const int count = 1 + below(5);
    for (int i = 0; i < count; ++i) {
      switch (below(6)) {
        case 0:
          y = convolution(y);
          break;
        case 1:
        case 2:
          y = node("BatchNormalization", {y, vector(), vector(), vector(), vector()});
          break;
        case 3:
          y = node("Relu", {y});
          break;
        case 4:
          y = node(
              "MaxPool", {y},
              {{"kernel_shape", std::vector<int64_t>{3, 3}}, {"pads", std::vector<int64_t>{1, 1, 1, 1}}});
          break;
        default:
          y = chance(0.5) ? node("Add", {y, earlier})
                          : node(chance(0.5) ? "Add" : "Mul", {y, node("Reshape", {vector(), columns()})});
      }
      if (chance(0.3)) earlier = y;
    }
    y = node("Flatten", {node("GlobalAveragePool", {y})});
    if (chance(0.5)) y = node("Relu", {linear(y)});
    if (chance(0.3)) y = node("BatchNormalization", {y, vector(), vector(), vector(), vector()});
    y = linear(y);
    b_.open_output(y);
    if (chance(0.15)) b_.model.set_ir_version(3);
    if (b_.model.ir_version() == 3)
      for (const TensorProto& t : b_.model.graph().initializer()) {
        Names dims;
        for (const int64_t d : t.dims()) dims.push_back(std::to_string(d));
        b_.input(t.name(), dims, t.data_type());
      }
  }

  // Writes the model, and its data beside it where that is external.
  void write(const std::string& folder) {
    // Vectors have a file of their own: what they overlap with must be positive too.
    std::map<std::string, std::string> data;
    std::map<size_t, int64_t> place;  // of tensors of this size: a later one may lie in an earlier one's
    if (external_)
      for (TensorProto& t : *b_.model.mutable_graph()->mutable_initializer()) {
        if (t.data_type() != TensorProto::FLOAT || chance(0.2)) continue;
        const std::string bytes = t.raw_data();
        const std::string file = bytes.size() == kChannels * sizeof(float) ? "v.bin" : "w.bin";
        auto it = place.find(bytes.size());
        if (it == place.end() || chance(0.4)) {
          it = place.insert_or_assign(bytes.size(), static_cast<int64_t>(data[file].size())).first;
          data[file] += bytes;
        } else if (it->second >= 4 && chance(0.3)) {
          it->second -= 4;  // overlaps with it, and with what lies before
        }
        t.clear_raw_data();
        t.set_data_location(TensorProto::EXTERNAL);
        for (const auto& [key, value] :
             {std::pair<std::string, std::string>{"location", chance(0.5) ? file : "./" + file},
              {"offset", std::to_string(it->second)},
              {"length", std::to_string(bytes.size())}}) {
          auto* entry = t.add_external_data();
          entry->set_key(key);
          entry->set_value(value);
        }
      }
    for (const auto& [file, content] : data) write_file_atomically(folder + "/" + file, content);
    write_file_atomically(folder + "/net.onnx", b_.bytes());
  }

  bool chance(double p) { return static_cast<double>(random_() % 10000) < p * 10000; }
  int below(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  const ModelProto& model() const { return b_.model; }

 private:
  std::string fresh(const std::string& stem) { return stem + std::to_string(++count_); }

  std::string node(const std::string& op, const Names& inputs, const std::vector<Attr>& attributes = {}) {
    const std::string y = fresh("v");
    b_.node(op, inputs, {y}, attributes);
    return y;
  }

  std::string columns() {
    const std::string name = fresh("shape");
    b_.initializer(int64s(name, {1, kChannels, 1, 1}));
    return name;
  }

  // A new tensor or one that is there, perhaps through Identity.
  std::string tensor(const std::string& stem, const std::vector<int64_t>& dims, double low, double high) {
    Names& same = made_[dims];
    std::string name;
    if (same.empty() || chance(0.4)) {
      name = fresh(stem);
      int64_t size = 1;
      for (const int64_t d : dims) size *= d;
      std::vector<float> values;
      for (int64_t i = 0; i < size; ++i)
        values.push_back(
            static_cast<float>(low + (high - low) * static_cast<double>(random_() % 1000) / 1000));
      b_.initializer(floats(name, dims, values));
      same.push_back(name);
    } else {
      name = same[static_cast<size_t>(below(static_cast<int>(same.size())))];
    }
    for (int i = below(3); i > 0 && chance(0.5); --i) name = node("Identity", {name});
    return name;
  }
  std::string vector() { return tensor(chance(0.5) ? "onnx::vector_" : "vector_", {kChannels}, 0.5, 1.5); }

  std::string convolution(const std::string& x) {
    const int64_t side = chance(0.5) ? 3 : 1;
    const double bound = std::sqrt(2.0 / static_cast<double>(kChannels * side * side));
    Names inputs{x, tensor(chance(0.7) ? "onnx::Conv_" : "weight_", {kChannels, kChannels, side, side},
                           -bound, bound)};
    if (chance(0.8)) inputs.push_back(vector());
    return node("Conv", inputs, {{"pads", std::vector<int64_t>(4, side / 2)}});
  }

  std::string linear(const std::string& x) {
    std::string w = tensor("matrix_", {kChannels, kChannels}, -1, 1);
    if (chance(0.3)) w = node("Transpose", {w}, {{"perm", std::vector<int64_t>{1, 0}}});
    if (chance(0.5)) return node("Gemm", {x, w, vector()}, {{"transB", chance(0.5) ? 1 : 0}});
    return node("Add", {node("MatMul", {x, w}), vector()});
  }

  std::mt19937_64 random_;
  bool external_;
  ModelBuilder b_;
  int count_ = 0;
  std::map<std::vector<int64_t>, Names> made_;
};

// The same network in which each input of each node has a tensor of its own, all in one file: nothing is
// shared any more.
void write_apart(const std::string& folder, const std::string& to) {
  ModelProto proto = proto_of(folder + "/model.onnx");
  auto& graph = *proto.mutable_graph();
  std::map<std::string, TensorProto> tensors;
  for (const TensorProto& t : graph.initializer()) tensors[t.name()] = t;
  std::map<std::string, std::string> identity;
  for (const NodeProto& n : graph.node())
    if (n.op_type() == "Identity") identity[n.output(0)] = n.input(0);
  graph.clear_initializer();
  int count = 0;
  for (NodeProto& n : *graph.mutable_node()) {
    if (n.op_type() == "Identity") continue;
    for (std::string& input : *n.mutable_input()) {
      std::string name = input;
      while (identity.count(name) != 0) name = identity[name];
      if (tensors.count(name) == 0) continue;
      TensorProto own = tensors[name];
      if (own.data_type() == TensorProto::FLOAT) {
        own.set_raw_data(bytes_of(tensors[name], folder));
        own.clear_external_data();
        own.clear_data_location();
      }
      input = "own" + std::to_string(++count);
      own.set_name(input);
      *graph.add_initializer() = own;
    }
  }
  google::protobuf::RepeatedPtrField<NodeProto> kept;
  for (const NodeProto& n : graph.node())
    if (n.op_type() != "Identity") *kept.Add() = n;
  graph.mutable_node()->Swap(&kept);
  const auto x = graph.input(0);
  graph.clear_input();
  *graph.add_input() = x;
  write_file_atomically(to, proto.SerializeAsString());
}

// What the written file gives in fp32 once nothing in it is shared.
double loss_apart(const std::string& folder, const std::string& run) {
  write_apart(run, folder + "/apart.onnx");
  EvalOptions e;
  e.network.model = folder + "/apart.onnx";
  e.network.precision = "fp32";
  e.network.batch = 8;
  e.network.threads = 1;
  e.data.data = folder + "/data.safetensors";
  e.data.loader_threads = 1;
  return evaluate_model(e, kSilent).val_loss.value();
}

// Of the loss, which is a mean over samples: three epsilons of the 16-bit types, 80 of fp32
// (tests/long/sharing.py has the largest differences seen).
double tolerance(const std::string& precision) {
  return precision == "fp32" ? 1e-5 : precision == "fp16" ? 3e-3 : 2.4e-2;
}

TEST(RandomSharing, TheWrittenFileIsWhatTrainingSaid) {
  int trained = 0;
  int frozen_runs = 0;
  std::map<std::string, int> refused;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    RandomNetwork net(seed);
    for (const std::string precision : {"fp32", "bf16", "fp16"}) {
      SCOPED_TRACE(fmt::format("network {}, {}", seed, precision));
      TemporaryFolder folder;
      RandomNetwork network(seed);
      network.write(folder.path());
      write_data(folder / "data.safetensors");
      TrainOptions o = options_for(folder.path(), precision);
      o.network.batchnorm = Names{"auto", "auto", "restore", "keep", "freeze"}[seed % 5];
      const auto before = elements_of(folder.path(), "net.onnx");
      std::string frozen;
      if (seed % 3 == 0) {
        auto it = before.begin();
        std::advance(it, static_cast<int>(seed % before.size()));
        frozen = it->first;
        if (frozen.substr(0, 5) != "shape") o.freeze = {frozen};
      }
      try {
        const RunResult result = train_model(o, kSilent);
        const double said = result.val_loss.value();
        const double written = loss_apart(folder.path(), o.out);
        EXPECT_NEAR(said, written, tolerance(precision) * (1 + std::abs(said)));
        const auto after = elements_of(o.out, "model.onnx");
        if (!o.freeze.empty()) {
          EXPECT_TRUE(before.at(frozen) == after.at(frozen)) << frozen << " was to stay";
          ++frozen_runs;
        }
        EXPECT_FALSE(before == after);
        ++trained;
      } catch (const Error& e) {
        const std::string what = e.what();
        EXPECT_FALSE(std::filesystem::exists(o.out + "/model.onnx")) << what;
        EXPECT_EQ(what.find("step"), std::string::npos) << what;
        ++refused[what.substr(what.rfind("net.onnx") == std::string::npos ? 0 : what.rfind("net.onnx"), 90)];
      }
    }
  }
  for (const auto& [what, count] : refused) std::printf("refused %d: %s\n", count, what.c_str());
  std::printf("%d trained, %d with --freeze\n", trained, frozen_runs);
  EXPECT_GE(trained, 120) << "a refusal proves little";
  EXPECT_GE(frozen_runs, 20);
}

}  // namespace
}  // namespace halftone
