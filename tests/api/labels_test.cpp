// How labels are read: every loss with every form of labels and every ending of a network, against double
// precision.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <random>

#include "api/labelling.h"
#include "api/npy.h"
#include "base/file.h"
#include "halftone/halftone.h"
#include "onnx/build_model.h"
#include "train/safetensors.h"

namespace halftone::test {
namespace {

using namespace onnx::test;
using Numbers = std::vector<double>;
using Rows = std::vector<Numbers>;

constexpr int kSamples = 7;  // batches of 3, 3 and 1
constexpr int kFeatures = 4;

// What a network's outputs are, and so what they may be trained with.
enum class Kind { kLogits, kSigmoid, kSoftmax, kLogSoftmax, kProbabilities, kDerived, kWrongAxis, kNoBatch };

struct Network {
  std::string name;
  int outputs;  // a sample
  Kind kind;
  std::function<void(ModelBuilder&)> end;     // from "z" [n, outputs] to "y"
  std::function<Numbers(const Numbers&)> of;  // a sample's outputs from its logits
};

Numbers each(const Numbers& z, double (*f)(double)) {
  Numbers y;
  for (const double x : z) y.push_back(f(x));
  return y;
}
double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}
double clipped(double x) {
  return std::fmin(1, std::fmax(0, x));
}
double hard_sigmoid(double x) {
  return clipped(0.25 * x + 0.5);
}
double relu(double x) {
  return std::fmax(0, x);
}
double silu(double x) {
  return x * sigmoid(x);
}
double centred(double x) {
  return 2 * sigmoid(x) - 1;
}
double rating(double x) {
  return 5 * sigmoid(x);
}
Numbers softmax(const Numbers& z) {
  double sum = 0;
  for (const double x : z) sum += std::exp(x);
  Numbers y;
  for (const double x : z) y.push_back(std::exp(x) / sum);
  return y;
}
Numbers log_softmax(const Numbers& z) {
  return each(softmax(z), [](double p) { return std::log(p); });
}

using End = std::function<void(ModelBuilder&)>;
End nodes(const std::vector<std::pair<std::string, std::vector<Attr>>>& chain) {
  return [chain](ModelBuilder& m) {
    std::string x = "z";
    for (size_t i = 0; i < chain.size(); ++i) {
      const std::string y = i + 1 == chain.size() ? "y" : "e" + std::to_string(i);
      m.node(chain[i].first, {x}, {y}, chain[i].second);
      x = y;
    }
  };
}

std::vector<Network> networks() {
  const auto same = [](const Numbers& z) { return z; };
  const auto sigmoids = [](const Numbers& z) { return each(z, sigmoid); };
  const Attr last("axis", 1);
  const Attr swap("perm", std::vector<int64_t>{1, 0});
  const auto reshaped = [](const std::string& op, const std::vector<Attr>& attributes) {
    return [=](ModelBuilder& m) {
      m.initializer(int64s("wide", {0, 3, 1, 1}));
      m.node("Reshape", {"z", "wide"}, {"e"}).node(op, {"e"}, {"y"}, attributes);
    };
  };
  std::vector<Network> all;
  // Three outputs.
  all.push_back({"plain", 3, Kind::kLogits, nodes({{"Identity", {}}}), same});
  all.push_back(
      {"relu", 3, Kind::kLogits, nodes({{"Relu", {}}}), [](const Numbers& z) { return each(z, relu); }});
  all.push_back({"flatten", 3, Kind::kLogits, nodes({{"Flatten", {}}, {"Identity", {}}}), same});
  all.push_back({"image", 3, Kind::kLogits, reshaped("Identity", {}), same});
  all.push_back({"sigmoid", 3, Kind::kSigmoid, nodes({{"Sigmoid", {}}}), sigmoids});
  all.push_back({"sigmoid_flatten", 3, Kind::kSigmoid, nodes({{"Sigmoid", {}}, {"Flatten", {}}}), sigmoids});
  all.push_back({"sigmoid_turned", 3, Kind::kSigmoid,
                 nodes({{"Transpose", {swap}}, {"Sigmoid", {}}, {"Transpose", {swap}}}), sigmoids});
  all.push_back({"softmax", 3, Kind::kSoftmax, nodes({{"Softmax", {last}}}), softmax});
  all.push_back({"softmax_views", 3, Kind::kSoftmax,
                 nodes({{"Softmax", {last}}, {"Flatten", {}}, {"Identity", {}}, {"Cast", {Attr("to", 1)}}}),
                 softmax});
  all.push_back({"softmax_image", 3, Kind::kSoftmax, reshaped("Softmax", {last}), softmax});
  all.push_back({"softmax_reshaped", 3, Kind::kSoftmax,
                 [](ModelBuilder& m) {
                   m.initializer(int64s("wide", {0, 3, 1, 1}));
                   m.node("Softmax", {"z"}, {"e"}, {Attr("axis", 1)}).node("Reshape", {"e", "wide"}, {"y"});
                 },
                 softmax});
  all.push_back({"softmax_turned", 3, Kind::kSoftmax,
                 nodes({{"Transpose", {swap}}, {"Softmax", {Attr("axis", 0)}}, {"Transpose", {swap}}}),
                 softmax});
  all.push_back({"logsoftmax", 3, Kind::kLogSoftmax, nodes({{"LogSoftmax", {last}}}), log_softmax});
  all.push_back(
      {"log_of_softmax", 3, Kind::kLogSoftmax, nodes({{"Softmax", {last}}, {"Log", {}}}), log_softmax});
  all.push_back({"hard_sigmoid", 3, Kind::kProbabilities,
                 nodes({{"HardSigmoid", {Attr("alpha", 0.25F), Attr("beta", 0.5F)}}}),
                 [](const Numbers& z) { return each(z, hard_sigmoid); }});
  all.push_back(
      {"softmax_in_nodes", 3, Kind::kProbabilities,
       [](ModelBuilder& m) {
         m.initializer(int64s("axes", {1}));
         m.node("Exp", {"z"}, {"e"}).node("ReduceSum", {"e", "axes"}, {"s"}).node("Div", {"e", "s"}, {"y"});
       },
       softmax});
  all.push_back(
      {"softmax_clip", 3, Kind::kProbabilities,
       [](ModelBuilder& m) {
         m.initializer(floats("low", {}, {0})).initializer(floats("high", {}, {1}));
         m.node("Softmax", {"z"}, {"e"}, {Attr("axis", 1)}).node("Clip", {"e", "low", "high"}, {"y"});
       },
       softmax});
  // Computed from probabilities, beyond 0 to 1.
  const auto behind = [last](const std::string& op, const std::string& second, const std::string& constant,
                             float value) {
    return [=](ModelBuilder& m) {
      m.node(op, {"z"}, {"e"}, op == "Softmax" ? std::vector<Attr>{last} : std::vector<Attr>());
      if (!constant.empty()) m.initializer(floats(constant, {}, {value}));
      m.node(second,
             constant.empty() ? std::vector<std::string>{"e"} : std::vector<std::string>{"e", constant},
             {"y"});
    };
  };
  all.push_back({"percent", 3, Kind::kDerived, behind("Softmax", "Mul", "hundred", 100),
                 [](const Numbers& z) { return each(softmax(z), [](double p) { return 100 * p; }); }});
  all.push_back({"softmax_root", 3, Kind::kDerived, behind("Softmax", "Sqrt", "", 0),
                 [](const Numbers& z) { return each(softmax(z), [](double p) { return std::sqrt(p); }); }});
  all.push_back({"minus_log", 3, Kind::kDerived, behind("LogSoftmax", "Neg", "", 0),
                 [](const Numbers& z) { return each(log_softmax(z), [](double p) { return -p; }); }});
  all.push_back({"two_softmaxes", 3, Kind::kDerived,
                 [last](ModelBuilder& m) {
                   m.node("Softmax", {"z"}, {"e0"}, {last})
                       .node("Sigmoid", {"z"}, {"e1"})
                       .node("Add", {"e0", "e1"}, {"y"});
                 },
                 [](const Numbers& z) {
                   Numbers y = softmax(z);
                   for (size_t k = 0; k < y.size(); ++k) y[k] += sigmoid(z[k]);
                   return y;
                 }});
  all.push_back({"sigmoid_centred", 3, Kind::kDerived,
                 [](ModelBuilder& m) {
                   m.initializer(floats("two", {}, {2})).initializer(floats("one", {}, {1}));
                   m.node("Sigmoid", {"z"}, {"e0"})
                       .node("Mul", {"e0", "two"}, {"e1"})
                       .node("Sub", {"e1", "one"}, {"y"});
                 },
                 [](const Numbers& z) { return each(z, centred); }});
  // Logits all the same: a gate, and the logarithm of what is nearly a softmax.
  all.push_back({"silu", 3, Kind::kLogits,
                 [](ModelBuilder& m) {
                   m.node("Sigmoid", {"z"}, {"e"}).node("Mul", {"z", "e"}, {"y"});
                 },
                 [](const Numbers& z) { return each(z, silu); }});
  all.push_back(
      {"log_of_more", 3, Kind::kLogits,
       [last](ModelBuilder& m) {
         m.initializer(floats("little", {}, {0.25F}));
         m.node("Softmax", {"z"}, {"e0"}, {last})
             .node("Add", {"e0", "little"}, {"e1"})
             .node("Log", {"e1"}, {"y"});
       },
       [](const Numbers& z) { return each(softmax(z), [](double p) { return std::log(p + 0.25); }); }});
  all.push_back(
      {"softmax_over_batch", 3, Kind::kWrongAxis, nodes({{"Softmax", {Attr("axis", 0)}}}), nullptr});
  all.push_back({"turned", 3, Kind::kNoBatch, nodes({{"Transpose", {swap}}}), nullptr});
  // One output.
  const auto squeezed = [](const std::string& op, bool axes) {
    return [=](ModelBuilder& m) {
      if (axes) m.initializer(int64s("axes", {1}));
      const std::vector<std::string> inputs =
          axes ? std::vector<std::string>{"e", "axes"} : std::vector<std::string>{"e"};
      m.node(op, {"z"}, {"e"}).node("Squeeze", inputs, {"y"});
    };
  };
  all.push_back({"one", 1, Kind::kLogits, nodes({{"Identity", {}}}), same});
  all.push_back({"one_squeezed", 1, Kind::kLogits, squeezed("Identity", true), same});
  all.push_back({"one_squeezed_all", 1, Kind::kLogits, squeezed("Identity", false), same});
  all.push_back({"one_sigmoid", 1, Kind::kSigmoid, nodes({{"Sigmoid", {}}}), sigmoids});
  all.push_back({"one_sigmoid_squeezed", 1, Kind::kSigmoid, squeezed("Sigmoid", true), sigmoids});
  all.push_back({"one_sigmoid_squeezed_all", 1, Kind::kSigmoid, squeezed("Sigmoid", false), sigmoids});
  all.push_back(
      {"one_sigmoid_in_nodes", 1, Kind::kProbabilities,
       [](ModelBuilder& m) {
         m.initializer(floats("one", {}, {1}));
         m.node("Neg", {"z"}, {"e0"}).node("Exp", {"e0"}, {"e1"}).node("Add", {"e1", "one"}, {"e2"});
         m.node("Reciprocal", {"e2"}, {"y"});
       },
       sigmoids});
  all.push_back({"one_rating", 1, Kind::kDerived, behind("Sigmoid", "Mul", "five", 5),
                 [](const Numbers& z) { return each(z, rating); }});
  all.push_back({"one_softmax", 1, Kind::kWrongAxis, nodes({{"Softmax", {last}}}), nullptr});
  return all;
}

struct Form {
  std::string name;
  bool whole;  // stored as int64
  Shape shape;
  Rows rows;
};

std::vector<Form> forms() {
  std::vector<Form> all;
  const auto add = [&](const std::string& name, bool whole, const Shape& shape, auto value) {
    Form f{name, whole, shape, {}};
    const int width = static_cast<int>(elements(shape)) / kSamples;
    for (int n = 0; n < kSamples; ++n) {
      f.rows.emplace_back();
      for (int k = 0; k < width; ++k) f.rows.back().push_back(value(n, k));
    }
    all.push_back(std::move(f));
  };
  const auto number = [](int n, int) { return n * 5 % 3 * 1.0; };
  add("classes", true, {kSamples}, number);
  add("classes_column", true, {kSamples, 1}, number);
  add("float_classes", false, {kSamples}, number);
  add("halves", false, {kSamples}, [](int n, int) { return n % 2 == 0 ? 0.5 : 3; });
  const auto hot = [](int n, int k) { return n * 5 % 3 == k ? 1.0 : 0.0; };
  add("one_hot", false, {kSamples, 3}, hot);
  add("one_hot_whole", true, {kSamples, 3}, hot);
  add("soft", false, {kSamples, 3}, [](int n, int k) { return k == 2 ? 0.25 : (n % 2 == k ? 0.5 : 0.25); });
  add("several", false, {kSamples, 3}, [](int n, int k) { return (n + k) % 2 * 1.0; });
  add("targets", false, {kSamples, 3}, [](int n, int k) { return n - 2.5 * k; });
  add("wide", false, {kSamples, 4}, [](int n, int k) { return n - 2.5 * k; });
  add("narrow", false, {kSamples, 2}, [](int n, int k) { return n - 2.5 * k; });
  add("two", true, {kSamples}, [](int n, int) { return n % 2 * 1.0; });
  add("float_two", false, {kSamples, 1}, [](int n, int) { return n % 2 * 1.0; });
  add("share", false, {kSamples}, [](int n, int) { return n / 8.0; });
  add("age", true, {kSamples}, [](int n, int) { return 3 + 11.0 * n; });
  return all;
}

// What is right, one letter for each kind of output in the order of Kind, of five: C classes and D
// distributions with cross-entropy, M squared error, B binary cross-entropy, with accuracy b; x a refusal.
struct Expected {
  const char* automatic;
  const char* cross_entropy;
  const char* mse;
  const char* bce;
  const char* with_logits;
};
const std::map<std::string, Expected> kThree{
    {"classes", {"CxCCx", "CxCCx", "xxxxx", "xxxxx", "xxxxx"}},
    {"classes_column", {"CxCCx", "CxCCx", "xxxxx", "xxxxx", "xxxxx"}},
    {"float_classes", {"xxCCx", "CxCCx", "xxxxx", "xxxxx", "xxxxx"}},
    {"halves", {"xxxxx", "xxxxx", "xxxxx", "xxxxx", "xxxxx"}},
    {"one_hot", {"CBCCx", "CxCCx", "MMMMM", "xBBxB", "BBxxx"}},
    {"one_hot_whole", {"CBCCx", "CxCCx", "MMMMM", "xBBxB", "BBxxx"}},
    {"soft", {"DBDDx", "DxDDx", "MMMMM", "xBBxB", "BBxxx"}},
    {"several", {"MBxxM", "xxxxx", "MMMMM", "xBBxB", "BBxxx"}},
    {"targets", {"MxxxM", "xxxxx", "MMMMM", "xxxxx", "xxxxx"}},
    {"wide", {"xxxxx", "xxxxx", "xxxxx", "xxxxx", "xxxxx"}},
    {"narrow", {"xxxxx", "xxxxx", "xxxxx", "xxxxx", "xxxxx"}},
    {"two", {"CxCCx", "CxCCx", "xxxxx", "xxxxx", "xxxxx"}},
    {"float_two", {"xxCCx", "CxCCx", "xxxxx", "xxxxx", "xxxxx"}},
    {"share", {"xxxxx", "xxxxx", "xxxxx", "xxxxx", "xxxxx"}},
    {"age", {"xxxxx", "xxxxx", "xxxxx", "xxxxx", "xxxxx"}},
};
// Of one output there is no softmax: its places are not looked at.
const std::map<std::string, Expected> kOne{
    {"classes", {"Mx..M", "xx..x", "MM..M", "xx..x", "xx..x"}},
    {"classes_column", {"Mx..M", "xx..x", "MM..M", "xx..x", "xx..x"}},
    {"float_classes", {"Mx..M", "xx..x", "MM..M", "xx..x", "xx..x"}},
    {"halves", {"Mx..M", "xx..x", "MM..M", "xx..x", "xx..x"}},
    {"one_hot", {"xx..x", "xx..x", "xx..x", "xx..x", "xx..x"}},
    {"one_hot_whole", {"xx..x", "xx..x", "xx..x", "xx..x", "xx..x"}},
    {"soft", {"xx..x", "xx..x", "xx..x", "xx..x", "xx..x"}},
    {"several", {"xx..x", "xx..x", "xx..x", "xx..x", "xx..x"}},
    {"targets", {"xx..x", "xx..x", "xx..x", "xx..x", "xx..x"}},
    {"wide", {"xx..x", "xx..x", "xx..x", "xx..x", "xx..x"}},
    {"narrow", {"xx..x", "xx..x", "xx..x", "xx..x", "xx..x"}},
    {"two", {"bb..b", "xx..x", "MM..M", "xb..b", "bb..x"}},
    {"float_two", {"Mb..M", "xx..x", "MM..M", "xb..b", "bb..x"}},
    {"share", {"MB..M", "xx..x", "MM..M", "xB..B", "BB..x"}},
    {"age", {"Mx..M", "xx..x", "MM..M", "xx..x", "xx..x"}},
};

const std::vector<std::string> kLosses{"auto", "cross-entropy", "mse", "bce", "bce-with-logits"};

char expected(const Network& net, const Form& form, size_t loss) {
  if (net.kind == Kind::kNoBatch || (net.kind == Kind::kWrongAxis && net.outputs == 1)) return 'x';
  const auto& table = net.outputs == 1 ? kOne : kThree;
  const Expected& e = table.at(form.name);
  const char* const columns[] = {e.automatic, e.cross_entropy, e.mse, e.bce, e.with_logits};
  // Probabilities of something else than the sample's classes can only be compared as they are.
  if (net.kind == Kind::kWrongAxis) return 'x';
  // With what is computed from probabilities only targets can be compared.
  if (net.kind == Kind::kDerived) {
    const char logits = columns[loss][0];
    return kLosses[loss] == "mse" || (kLosses[loss] == "auto" && logits == 'M') ? logits : 'x';
  }
  return columns[loss][static_cast<size_t>(net.kind)];
}

double log_sum_exp(const Numbers& z) {
  double sum = 0;
  for (const double x : z) sum += std::exp(x);
  return std::log(sum);
}

double sample_loss(const Network& net, char how, const Numbers& z, const Numbers& t) {
  double loss = 0;
  if (how == 'C' || how == 'D') {
    const Numbers x = net.kind == Kind::kLogits ? net.of(z) : z;
    if (t.size() == 1) return log_sum_exp(x) - x[static_cast<size_t>(t[0])];
    for (size_t k = 0; k < t.size(); ++k) loss += t[k] * (log_sum_exp(x) - x[k]);
    return loss;
  }
  const Numbers y = net.of(z);
  for (size_t k = 0; k < y.size(); ++k) {
    if (how == 'M') {
      loss += (y[k] - t[k]) * (y[k] - t[k]);
    } else {
      const double p = net.kind == Kind::kLogits ? sigmoid(y[k]) : y[k];
      loss -= t[k] * std::fmax(-100, std::log(p)) + (1 - t[k]) * std::fmax(-100, std::log(1 - p));
    }
  }
  return loss / static_cast<double>(y.size());
}

class Case {
 public:
  Case() {
    std::mt19937_64 random(3);
    const auto next = [&] { return static_cast<float>(static_cast<int>(random() % 257) - 128) / 64; };
    for (int i = 0; i < 3 * kFeatures; ++i) w_.push_back(next());
    for (int i = 0; i < 3; ++i) b_.push_back(next());
    for (int i = 0; i < kSamples * kFeatures; ++i) x_.push_back(next());
    for (const Form& form : forms()) {
      const Tensor y = labels(form);
      train::Safetensors data;
      data.tensors["x"] = samples();
      data.tensors["y"] = y.reshaped(y.shape());
      train::write_safetensors(folder_ / (form.name + ".safetensors"), data);
      api::write_npy(folder_ / (form.name + ".npy"), y);
    }
    api::write_npy(folder_ / "x.npy", samples());
    for (const Network& net : networks()) write(net);
  }

  Numbers logits(int sample, const Network& net, double shift) const {
    Numbers z;
    for (int k = 0; k < net.outputs; ++k) {
      double sum = b_[static_cast<size_t>(k)] + (k == 0 ? shift : 0);
      for (int i = 0; i < kFeatures; ++i)
        sum += static_cast<double>(w_[static_cast<size_t>(k * kFeatures + i)]) *
               static_cast<double>(x_[static_cast<size_t>(sample * kFeatures + i)]);
      z.push_back(sum);
    }
    return z;
  }
  // `shift`: of the first bias.
  double loss(const Network& net, const Form& form, char how, double shift = 0) const {
    double sum = 0;
    for (int n = 0; n < kSamples; ++n)
      sum +=
          sample_loss(net, how == 'b' ? 'B' : how, logits(n, net, shift), form.rows[static_cast<size_t>(n)]);
    return sum / kSamples;
  }
  double accuracy(const Network& net, const Form& form, char how) const {
    int right = 0;
    for (int n = 0; n < kSamples; ++n) {
      const Numbers y = net.of(logits(n, net, 0));
      const Numbers& t = form.rows[static_cast<size_t>(n)];
      if (how == 'b') {
        right += (net.kind == Kind::kLogits ? y[0] > 0 : y[0] > 0.5) == (t[0] == 1) ? 1 : 0;
      } else {
        const auto best = std::max_element(y.begin(), y.end()) - y.begin();
        const auto label = t.size() == 1 ? static_cast<std::ptrdiff_t>(t[0])
                                         : std::max_element(t.begin(), t.end()) - t.begin();
        right += best == label ? 1 : 0;
      }
    }
    return right / static_cast<double>(kSamples);
  }

  NetworkOptions network(const Network& net, const std::string& loss) const {
    NetworkOptions o;
    o.model = folder_ / (net.name + ".onnx");
    o.precision = "fp64";
    o.batch = 3;
    o.threads = 1;
    o.loss = {loss};
    return o;
  }
  std::string data(const Form& form) const { return folder_ / (form.name + ".safetensors"); }
  const TemporaryFolder& folder() const { return folder_; }

 private:
  Tensor samples() const {
    Tensor x(DType::kF32, {kSamples, kFeatures});
    std::copy(x_.begin(), x_.end(), x.as<float>().begin());
    return x;
  }
  static Tensor labels(const Form& form) {
    Tensor y(form.whole ? DType::kI64 : DType::kF32, form.shape);
    size_t i = 0;
    for (const Numbers& row : form.rows)
      for (const double t : row) {
        if (form.whole) {
          y.as<int64_t>()[i++] = static_cast<int64_t>(t);
        } else {
          y.as<float>()[i++] = static_cast<float>(t);
        }
      }
    return y;
  }
  void write(const Network& net) const {
    ModelBuilder m;
    const auto outputs = static_cast<size_t>(net.outputs);
    m.input("x", {"n", std::to_string(kFeatures)});
    m.initializer(floats("w", {net.outputs, kFeatures},
                         {w_.begin(), w_.begin() + static_cast<std::ptrdiff_t>(outputs * kFeatures)}));
    m.initializer(
        floats("b", {net.outputs}, {b_.begin(), b_.begin() + static_cast<std::ptrdiff_t>(outputs)}));
    m.node("Gemm", {"x", "w", "b"}, {"z"}, {Attr("transB", 1)});
    net.end(m);
    m.open_output("y");
    write_file_atomically(folder_ / (net.name + ".onnx"), m.bytes());
  }

  TemporaryFolder folder_;
  std::vector<float> w_, b_, x_;
};

const Log kSilent = [](const std::string&) {};

TEST(Labels, EveryLossWithEveryFormAndEveryEndingIsRightOrRefused) {
  const Case c;
  int right = 0;
  int refused = 0;
  int advised = 0;
  for (const Network& net : networks())
    for (const Form& form : forms())
      for (size_t l = 0; l < kLosses.size(); ++l) {
        const char how = expected(net, form, l);
        const std::string what = net.name + ", " + form.name + ", " + kLosses[l] + ": expected " + how;
        EvalOptions o;
        o.network = c.network(net, kLosses[l]);
        o.data.data = c.data(form);
        o.data.loader_threads = 1;
        std::string message;
        RunResult r;
        try {
          r = evaluate_model(o, kSilent);
        } catch (const Error& e) {
          message = e.what();
          EXPECT_EQ(e.kind(), ErrorKind::kInput) << what << ": " << message;
        }
        ASSERT_EQ(message.empty(), how != 'x') << what << ": " << message;
        if (how == 'x') {
          ++refused;
          // Another loss is advised only where it is right.
          const std::string advice = "; --loss ";
          const size_t at = message.find(advice);
          const size_t end = message.find(" fits", at);
          if (at == std::string::npos || end == std::string::npos) continue;
          const std::string name = message.substr(at + advice.size(), end - at - advice.size());
          const auto it = std::find(kLosses.begin(), kLosses.end(), name);
          ASSERT_NE(it, kLosses.end()) << what << ": " << message;
          ASSERT_NE(expected(net, form, static_cast<size_t>(it - kLosses.begin())), 'x')
              << what << ": " << message;
          ++advised;
          continue;
        }
        ++right;
        const double loss = c.loss(net, form, how);
        // Logarithms of probabilities near 1 lose digits on both sides.
        ASSERT_NEAR(*r.val_loss, loss, 1e-9 * (1 + std::fabs(loss))) << what;
        const bool counts = how == 'C' || how == 'b';
        ASSERT_EQ(r.val_accuracy.has_value(), counts) << what;
        if (counts) {
          ASSERT_NEAR(*r.val_accuracy, c.accuracy(net, form, how), 1e-12) << what;
        }
        // The gradient of the first bias is the central difference of the loss, all samples in one batch.
        GradientsOptions g;
        g.network = o.network;
        g.network.batch = kSamples;
        g.input = {c.folder() / "x.npy"};
        g.labels = {c.folder() / (form.name + ".npy")};
        g.loss_scale = "1";
        g.output_dir = c.folder() / "gradients";
        write_gradients(g);
        constexpr double kStep = 0x1p-16;
        const double slope = (c.loss(net, form, how, kStep) - c.loss(net, form, how, -kStep)) / (2 * kStep);
        const Tensor gradient = api::read_npy(g.output_dir + "/b.npy");
        ASSERT_NEAR(gradient.as<double>()[0], slope, 1e-6 * (1 + std::fabs(slope))) << what;
        ASSERT_NEAR(api::read_npy(g.output_dir + "/loss.npy").as<double>()[0], loss,
                    1e-9 * (1 + std::fabs(loss)))
            << what;
      }
  EXPECT_GT(right, 300);
  EXPECT_GT(refused, 1000);
  EXPECT_GT(advised, 100);
}

// Targets with several axes: those of the output, or a flat row.
TEST(Labels, AxesOfTargetsAreThoseOfTheOutput) {
  const TemporaryFolder folder;
  ModelBuilder m;
  m.input("x", {"n", "12"})
      .initializer(floats("b", {12}, std::vector<float>(12, 0.5F)))
      .initializer(int64s("shape", {0, 2, 3, 2}));
  m.node("Add", {"x", "b"}, {"z"}).node("Reshape", {"z", "shape"}, {"y"}).open_output("y");
  write_file_atomically(folder / "m.onnx", m.bytes());
  Tensor x(DType::kF32, {2, 12});
  for (size_t i = 0; i < 24; ++i) x.as<float>()[i] = static_cast<float>(i);
  const auto message = [&](const Shape& shape, const std::string& loss) -> std::string {
    train::Safetensors data;
    data.tensors["x"] = x.reshaped({2, 12});
    data.tensors["y"] = x.reshaped(shape);
    train::write_safetensors(folder / "d.safetensors", data);
    EvalOptions o;
    o.network.model = folder / "m.onnx";
    o.network.precision = "fp64";
    o.network.threads = 1;
    o.network.loss = {loss};
    o.data.data = folder / "d.safetensors";
    try {
      EXPECT_NEAR(*evaluate_model(o, kSilent).val_loss, 0.25, 1e-12);
      return {};
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInput);
      return e.what();
    }
  };
  for (const char* loss : {"auto", "mse"}) {
    for (const Shape& shape : {Shape{2, 2, 3, 2}, Shape{2, 12}, Shape{2, 1, 2, 3, 2}, Shape{2, 12, 1}})
      EXPECT_EQ(message(shape, loss), "") << to_string(shape);
    for (const Shape& shape :
         {Shape{2, 3, 2, 2}, Shape{2, 2, 2, 3}, Shape{2, 6, 2}, Shape{2, 2, 6}, Shape{2, 3, 4}})
      EXPECT_NE(message(shape, loss).find("the same axes in the same order"), std::string::npos)
          << to_string(shape);
  }
}

std::string refusal(const std::function<void()>& call, ErrorKind kind = ErrorKind::kInput) {
  try {
    call();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    return e.what();
  }
  return "no error";
}
bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A perfect network for three classes: the class is the column that is 1.
class Perfect {
 public:
  Perfect() {
    write("m.onnx", false);
    file("train.csv", "a,b,c,label\n1,0,0,ant\n0,1,0,bee\n0,0,1,cat\n1,0,0,ant\n");
    file("val.csv", "a,b,c,label\n0,1,0,bee\n0,0,1,cat\n");
  }
  void write(const std::string& name, bool second_head) {
    ModelBuilder m;
    m.input("x", {"n", "3"}).initializer(floats("w", {3, 3}, {4, 0, 0, 0, 4, 0, 0, 0, 4}));
    m.node("MatMul", {"x", "w"}, {"y"}).output("y", {"n", "3"});
    if (second_head) {
      m.initializer(floats("w1", {3, 2}, {1, 2, 3, 4, 5, 6}))
          .initializer(floats("w2", {2, 3}, {1, 2, 3, 4, 5, 6}));
      m.node("MatMul", {"x", "w1"}, {"h"}).node("MatMul", {"h", "w2"}, {"aux"}).output("aux", {"n", "3"});
    }
    write_file_atomically(folder / name, m.bytes());
  }
  std::string file(const std::string& name, const std::string& text) const {
    write_file_atomically(folder / name, text);
    return folder / name;
  }
  double accuracy(const std::string& model, const std::string& data, const std::string& classes = {}) {
    EvalOptions o;
    o.network.model = folder / model;
    o.network.precision = "fp32";
    o.network.threads = 1;
    o.data.data = folder / data;
    o.data.classes_file = classes;
    lines.clear();
    return evaluate_model(o, log()).val_accuracy.value();
  }
  TrainOptions training(const std::string& model = "m.onnx") const {
    TrainOptions o;
    o.network.model = folder / model;
    o.network.precision = "fp32";
    o.network.threads = 1;
    o.network.batch = 2;
    o.data.data = folder / "train.csv";
    o.data.val = folder / "val.csv";
    o.steps = 2;
    o.lr = 0;
    o.out = folder / "run";
    o.quiet = true;
    return o;
  }
  Log log() {
    return [this](const std::string& line) { lines += line + "\n"; };
  }
  TemporaryFolder folder;
  std::string lines;
};

TEST(Classes, AValidationSetIsNumberedByTheTrainingData) {
  Perfect p;
  const RunResult r = train_model(p.training(), p.log());
  EXPECT_EQ(r.val_accuracy, 1.0) << p.lines;
  EXPECT_TRUE(contains(p.lines, "classes: 0 ant, 1 bee, 2 cat")) << p.lines;
  EXPECT_TRUE(contains(p.lines, "no sample of 1 of the 3 classes: ant")) << p.lines;
  EXPECT_EQ(read_file(p.folder / "run/classes.txt"), "ant\nbee\ncat\n");
  // The written model has them, and nothing else was changed.
  ModelProto before;
  ModelProto after;
  ASSERT_TRUE(before.ParseFromString(read_file(p.folder / "m.onnx")));
  ASSERT_TRUE(after.ParseFromString(read_file(p.folder / "run/model.onnx")));
  ASSERT_EQ(after.metadata_props_size(), 1);
  EXPECT_EQ(after.metadata_props(0).key(), "halftone.classes");
  EXPECT_EQ(after.metadata_props(0).value(), "[\"ant\",\"bee\",\"cat\"]");
  after.clear_metadata_props();
  EXPECT_EQ(after.SerializeAsString(), before.SerializeAsString());
  // They count in its evaluation.
  EXPECT_EQ(p.accuracy("run/model.onnx", "val.csv"), 1.0);
  EXPECT_TRUE(contains(p.lines, "numbered by " + p.folder / "run/model.onnx")) << p.lines;
  p.file("dog.csv", "a,b,c,label\n0,1,0,bee\n0,0,1,dog\n");
  const std::string message = refusal([&] { p.accuracy("run/model.onnx", "dog.csv"); });
  EXPECT_TRUE(contains(message, "unknown class dog") && contains(message, "ant, bee, cat")) << message;
  // Trained again, the model keeps them: the file is the same message.
  TrainOptions again = p.training("run/model.onnx");
  again.out = p.folder / "again";
  again.data.data = p.folder / "val.csv";
  EXPECT_EQ(train_model(again, p.log()).val_accuracy, 1.0);
  EXPECT_EQ(read_file(p.folder / "again/model.onnx"), read_file(p.folder / "run/model.onnx"));
}

TEST(Classes, ABareModelIsNotGuessedAt) {
  Perfect p;
  EXPECT_EQ(p.accuracy("m.onnx", "train.csv"), 1.0);
  EXPECT_TRUE(contains(p.lines, "classes: 0 ant, 1 bee, 2 cat (numbered in the order of their names)"))
      << p.lines;
  const std::string message = refusal([&] { p.accuracy("m.onnx", "val.csv"); });
  EXPECT_TRUE(contains(message, "2 of the network's 3 classes") && contains(message, "--classes-file"))
      << message;
  EXPECT_EQ(p.accuracy("m.onnx", "val.csv", p.file("c", "ant\nbee\ncat\n")), 1.0);
  EXPECT_EQ(p.accuracy("m.onnx", "val.csv", p.file("c", "cat\nbee\nant\n")), 0.5);
  EXPECT_TRUE(
      contains(refusal([&] { p.accuracy("m.onnx", "val.csv", p.file("c", "a\nb\nc\nd\n")); }), "4 classes"));
}

TEST(Classes, NamesOfAnExporterCount) {
  Perfect p;
  ModelProto m;
  ASSERT_TRUE(m.ParseFromString(read_file(p.folder / "m.onnx")));
  auto* entry = m.add_metadata_props();
  entry->set_key("names");
  entry->set_value("{0: 'ant', 1: 'bee', 2: 'cat'}");
  write_file_atomically(p.folder / "named.onnx", m.SerializeAsString());
  EXPECT_EQ(p.accuracy("named.onnx", "val.csv"), 1.0);
  train_model(p.training("named.onnx"), kSilent);
  EXPECT_EQ(read_file(p.folder / "run/model.onnx"), read_file(p.folder / "named.onnx"));
}

// The file's names are those of labels that are numbers too, in training and in the file that is written.
TEST(Classes, AFileNamesNumbers) {
  Perfect p;
  const std::string names = p.file("c", "ant\nbee\ncat\n");
  const std::string data = p.file("n.csv", "a,b,c,y\n1,0,0,0\n0,1,0,1\n0,0,1,2\n");
  EXPECT_EQ(p.accuracy("m.onnx", "n.csv", names), 1);
  EXPECT_TRUE(
      contains(p.lines, "classes: 0 ant, 1 bee, 2 cat (the labels are class numbers, with the names in"))
      << p.lines;
  TrainOptions o = p.training();
  o.data.data = o.data.val = data;
  o.data.classes_file = names;
  train_model(o, kSilent);
  EXPECT_EQ(read_file(p.folder / "run/classes.txt"), "ant\nbee\ncat\n");
  EXPECT_EQ(api::class_map_of(onnx::Model::load(p.folder / "run/model.onnx")).names,
            (std::vector<std::string>{"ant", "bee", "cat"}));
  const auto refused = [&](const std::string& text, const std::string& set) {
    return refusal([&] { p.accuracy("m.onnx", set, p.file("c", text)); });
  };
  EXPECT_TRUE(contains(refused("ant\nbee\n", "n.csv"), "it has 2 names; labels that are numbers"));
  // Names that are numbers: then the labels are names, whether all of these are there or not.
  p.file("tens.csv", "a,b,c,y\n1,0,0,30\n0,1,0,10\n0,0,1,20\n");
  EXPECT_EQ(p.accuracy("m.onnx", "tens.csv", p.file("c", "30\n10\n20\n")), 1);
  EXPECT_TRUE(contains(refused("1\n2\n3\n", "n.csv"), "unknown class 0"));
  p.file("targets.csv", "a,b,c,y\n1,0,0,0.5\n0,1,0,1.5\n");
  EXPECT_TRUE(contains(refused("ant\nbee\ncat\n", "targets.csv"), "expected 3 numbers a sample"));
}

TEST(Classes, NamesInAModelThatSayNothingAreSaid) {
  Perfect p;
  onnx::test::ModelProto m;
  ASSERT_TRUE(m.ParseFromString(read_file(p.folder / "m.onnx")));
  auto* entry = m.add_metadata_props();
  entry->set_key("names");
  entry->set_value("{0: 'bee', 1: 'ant', 3: 'cat'}");
  write_file_atomically(p.folder / "gap.onnx", m.SerializeAsString());
  p.accuracy("gap.onnx", "train.csv");
  EXPECT_TRUE(contains(p.lines, "warning: ") && contains(p.lines, "3 where 2 is expected")) << p.lines;
}

TEST(Classes, AResumedRunKeepsThem) {
  Perfect p;
  TrainOptions o = p.training();
  train_model(o, kSilent);
  o.resume = true;
  o.steps = 4;
  EXPECT_EQ(train_model(o, p.log()).val_accuracy, 1.0);
  EXPECT_TRUE(contains(p.lines, "numbered by " + p.folder / "run/classes.txt")) << p.lines;
  o.data.classes_file = p.file("c", "cat\nbee\nant\n");
  EXPECT_TRUE(contains(refusal([&] { train_model(o, kSilent); }), "other classes than the run"));
  // The checkpoint knows them too, whatever else is accepted.
  o.data.classes_file.clear();
  o.accept_changes = true;
  p.file("run/classes.txt", "cat\nbee\nant\n");
  const std::string message = refusal([&] { train_model(o, kSilent); });
  EXPECT_TRUE(contains(message, "was trained with the classes ant, bee, cat")) << message;
}

TEST(Classes, NamesThatCannotBeKeptAreRefusedBeforeTraining) {
  Perfect p;
  const std::map<std::string, std::string> names{
      {"c\xE9t", "is not UTF-8"}, {"\"cat\nbig\"", "has a line break"}, {"\"cat\rbig\"", "has a line break"}};
  for (const auto& [name, why] : names) {
    p.file("train.csv", "a,b,c,label\n1,0,0,ant\n0,1,0,bee\n0,0,1," + name + "\n1,0,0,ant\n");
    TrainOptions o = p.training();
    o.out = p.folder / ("run" + std::to_string(name.size()) + why);
    const std::string message = refusal([&] { train_model(o, kSilent); });
    EXPECT_TRUE(contains(message, why)) << message;
    EXPECT_FALSE(std::filesystem::exists(o.out + "/model.onnx"));
    if (name[0] == '"') {
      EXPECT_EQ(p.accuracy("m.onnx", "train.csv"), 1.0) << name;  // nothing is kept there
    }
  }
}

TEST(Classes, NumbersInATableAreClassNumbersUnlessTheMapNamesThem) {
  Perfect p;
  p.file("numbers.csv", "a,b,c,label\n0,1,0,1\n0,0,1,2\n");
  EXPECT_EQ(p.accuracy("m.onnx", "numbers.csv"), 1.0);
  EXPECT_EQ(p.accuracy("m.onnx", "numbers.csv", p.file("c", "3\n1\n2\n")), 1.0);
  EXPECT_EQ(p.accuracy("m.onnx", "numbers.csv", p.file("c", "1\n2\n3\n")), 0.0);
  p.file("far.csv", "a,b,c,label\n0,1,0,1\n0,0,1,3\n");
  EXPECT_TRUE(contains(refusal([&] { p.accuracy("m.onnx", "far.csv"); }), "the label 3 is out of range"));
}

TEST(Outputs, OneMessageNamesThemAllAndWhatWouldStay) {
  Perfect p;
  p.write("heads.onnx", true);
  TrainOptions o = p.training("heads.onnx");
  o.lr = 0.5;
  const std::string message = refusal([&] { train_model(o, kSilent); });
  for (const char* part : {"'y' (float nx3)", "'aux' (float nx3)", "--output y", "w1, w2"})
    EXPECT_TRUE(contains(message, part)) << part << ": " << message;
  o.network.output = "y";
  train_model(o, p.log());
  EXPECT_TRUE(contains(p.lines, "2 more are frozen, because output 'y' does not depend on them: w1, w2"))
      << p.lines;
  const auto initializers = [&](const std::string& path) {
    ModelProto m;
    EXPECT_TRUE(m.ParseFromString(read_file(path)));
    std::map<std::string, std::string> bytes;
    for (const auto& t : m.graph().initializer()) bytes[t.name()] = t.raw_data();
    return bytes;
  };
  auto before = initializers(p.folder / "heads.onnx");
  auto after = initializers(p.folder / "run/model.onnx");
  EXPECT_NE(after["w"], before["w"]);
  EXPECT_EQ(after["w1"], before["w1"]);
  o.network.output = "aux";
  o.out = p.folder / "aux";
  train_model(o, kSilent);
  after = initializers(p.folder / "aux/model.onnx");
  EXPECT_EQ(after["w"], before["w"]);
  EXPECT_NE(after["w1"], before["w1"]);
  EXPECT_NE(after["w2"], before["w2"]);
  o.network.output = "nothing";
  o.out = p.folder / "nothing";
  const std::string unknown = refusal([&] { train_model(o, kSilent); }, ErrorKind::kUsage);
  EXPECT_TRUE(contains(unknown, "'aux'")) << unknown;
}

TEST(Outputs, WholeNumbersAreNoneToTrain) {
  Perfect p;
  ModelProto m;
  ASSERT_TRUE(m.ParseFromString(read_file(p.folder / "m.onnx")));
  auto* node = m.mutable_graph()->add_node();
  node->set_op_type("ArgMax");
  node->add_input("y");
  node->add_output("label");
  const auto y = m.graph().output(0);
  m.mutable_graph()->clear_output();
  ModelBuilder::set_type(m.mutable_graph()->add_output(), "label", {"n"}, TensorProto::INT64);
  write_file_atomically(p.folder / "argmax.onnx", m.SerializeAsString());
  *m.mutable_graph()->add_output() = y;
  write_file_atomically(p.folder / "both.onnx", m.SerializeAsString());
  EXPECT_EQ(p.accuracy("both.onnx", "train.csv"), 1.0);
  EXPECT_TRUE(contains(p.lines, "'y' is used, of the network's 'label' (int64 n), 'y' (float nx3)"))
      << p.lines;
  TrainOptions o = p.training("argmax.onnx");
  const std::string message = refusal([&] { train_model(o, kSilent); });
  EXPECT_TRUE(contains(message, "'label' (int64 n)") && contains(message, "--output NAME")) << message;
  o.network.output = "y";  // a tensor inside
  EXPECT_EQ(train_model(o, kSilent).val_accuracy, 1.0);
}

}  // namespace
}  // namespace halftone::test
