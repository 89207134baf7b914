#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;

constexpr int64_t kT = 3, kN = 2, kI = 2, kH = 2;  // steps, batch, input, state

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

// One direction by ONNX's equations. Inputs without their first axis (directions): x[T, N, I], w, r, b, h, c,
// p.
struct Layer {
  Numbers x, w, r, b, h, c, p;
  bool reverse = false;
  bool after_product = false;
  Ints lengths = Ints(kN, kT);
  Numbers y = Numbers(kT * kN * kH, 0);

  double product(const Numbers& m, int64_t row, const Numbers& v, int64_t first, int64_t n) const {
    double sum = 0;
    for (int64_t k = 0; k < n; ++k)
      sum += m[static_cast<size_t>(row * n + k)] * v[static_cast<size_t>(first + k)];
    return sum;
  }
  double& at(Numbers& v, int64_t n, int64_t j) { return v[static_cast<size_t>(n * kH + j)]; }

  void run(const std::string& op) {
    const int64_t gates = op == "LSTM" ? 4 : op == "GRU" ? 3 : 1;
    for (int64_t i = 0; i < kT; ++i)
      for (int64_t n = 0; n < kN; ++n) {
        const int64_t t = reverse ? kT - 1 - i : i;
        if (t >= lengths[static_cast<size_t>(n)]) continue;
        Numbers in, state;  // each gate's row: of x with its bias, of h with its bias
        for (int64_t row = 0; row < gates * kH; ++row) {
          in.push_back(product(w, row, x, (t * kN + n) * kI, kI) + b[static_cast<size_t>(row)]);
          state.push_back(product(r, row, h, n * kH, kH) + b[static_cast<size_t>(gates * kH + row)]);
        }
        Numbers next(kH);
        for (int64_t j = 0; j < kH; ++j) {
          const auto gate = [&](int64_t g) {
            return in[static_cast<size_t>(g * kH + j)] + state[static_cast<size_t>(g * kH + j)];
          };
          const auto peep = [&](int64_t g) { return p.empty() ? 0.0 : p[static_cast<size_t>(g * kH + j)]; };
          double& out = next[static_cast<size_t>(j)];
          if (op == "RNN") {
            out = std::tanh(gate(0));
          } else if (op == "LSTM") {
            double& cell = at(c, n, j);
            const double input = sigmoid(gate(0) + peep(0) * cell);
            const double forget = sigmoid(gate(2) + peep(2) * cell);
            cell = forget * cell + input * std::tanh(gate(3));
            out = sigmoid(gate(1) + peep(1) * cell) * std::tanh(cell);
          } else {
            const double z = sigmoid(gate(0));
            double candidate = 0;
            if (after_product) {
              candidate = in[static_cast<size_t>(2 * kH + j)] +
                          sigmoid(gate(1)) * state[static_cast<size_t>(2 * kH + j)];
            } else {
              candidate =
                  in[static_cast<size_t>(2 * kH + j)] + b[static_cast<size_t>(gates * kH + 2 * kH + j)];
              for (int64_t k = 0; k < kH; ++k) {
                const double reset =
                    sigmoid(in[static_cast<size_t>(kH + k)] + state[static_cast<size_t>(kH + k)]);
                candidate += r[static_cast<size_t>((2 * kH + j) * kH + k)] * reset * at(h, n, k);
              }
            }
            out = (1 - z) * std::tanh(candidate) + z * at(h, n, j);
          }
        }
        for (int64_t j = 0; j < kH; ++j) {
          at(h, n, j) = next[static_cast<size_t>(j)];
          y[static_cast<size_t>((t * kN + n) * kH + j)] = next[static_cast<size_t>(j)];
        }
      }
  }
};

// All inputs given, in ONNX's order.
Case make(const std::string& op, const std::string& direction, Ints lengths = {}, bool after_product = false,
          bool peepholes = false) {
  const int64_t gates = op == "LSTM" ? 4 : op == "GRU" ? 3 : 1;
  const int64_t d = direction == "bidirectional" ? 2 : 1;
  OnnxNode n{op, 14, {{"direction", direction}, {"hidden_size", kH}}};
  if (after_product) n.attributes.set("linear_before_reset", int64_t{1});
  n.known[4] = lengths.empty() ? nullptr : ints(lengths, DType::kI32);
  n.outputs = op == "LSTM" ? 3 : 2;
  std::vector<Shape> inputs{
      {kT, kN, kI}, {d, gates * kH, kI}, {d, gates * kH, kH}, {d, 2 * gates * kH}, {d, kN, kH}};
  if (op == "LSTM") inputs.push_back({d, kN, kH});
  if (peepholes) inputs.push_back({d, 3 * kH});
  Case c = onnx_case(n, inputs);
  c.low = -1;
  c.high = 1;
  c.nonzero = 0.4;
  c.y_roundings = 40;  // three steps of a dozen nodes, each rounded
  c.roundings = 120;   // there and back
  c.expected = [=](const std::vector<Numbers>& v) {
    const auto part = [&](size_t i, int64_t dir) {
      const auto size = static_cast<std::ptrdiff_t>(v[i].size()) / d;
      return Numbers(v[i].begin() + dir * size, v[i].begin() + (dir + 1) * size);
    };
    Numbers y(static_cast<size_t>(kT * d * kN * kH));
    Numbers last_h, last_c;
    for (int64_t dir = 0; dir < d; ++dir) {
      Layer layer;
      layer.x = v[0];
      layer.w = part(1, dir);
      layer.r = part(2, dir);
      layer.b = part(3, dir);
      layer.h = part(4, dir);
      if (op == "LSTM") layer.c = part(5, dir);
      if (peepholes) layer.p = part(6, dir);
      layer.reverse = direction == "reverse" || dir == 1;
      layer.after_product = after_product;
      if (!lengths.empty()) layer.lengths = lengths;
      layer.run(op);
      for (int64_t t = 0; t < kT; ++t)
        for (int64_t i = 0; i < kN * kH; ++i)
          y[static_cast<size_t>((t * d + dir) * kN * kH + i)] = layer.y[static_cast<size_t>(t * kN * kH + i)];
      last_h.insert(last_h.end(), layer.h.begin(), layer.h.end());
      last_c.insert(last_c.end(), layer.c.begin(), layer.c.end());
    }
    return op == "LSTM" ? std::vector<Numbers>{y, last_h, last_c} : std::vector<Numbers>{y, last_h};
  };
  return c;
}

TEST(Lstm, ForwardAndGradient) {
  check(make("LSTM", "forward"));
  check(make("LSTM", "bidirectional"));
  check(make("LSTM", "reverse", {}, false, true));
}
TEST(Gru, ForwardAndGradient) {
  check(make("GRU", "bidirectional"));
  check(make("GRU", "forward", {}, true));
}
TEST(Rnn, ForwardAndGradient) {
  check(make("RNN", "bidirectional"));
}

TEST(Recurrent, ShorterSequencesKeepTheirState) {
  for (const char* op : {"LSTM", "GRU", "RNN"}) {
    SCOPED_TRACE(op);
    Case c = make(op, "bidirectional", {2, 3});
    c.nonzero = 0.3;
    ASSERT_NO_FATAL_FAILURE(check(c));
  }
}

TEST(Recurrent, LayoutOneHasTheBatchFirst) {
  OnnxNode n{
      "LSTM", 14, {{"layout", int64_t{1}}, {"direction", std::string("bidirectional")}}, {{3, nullptr}}};
  n.outputs = 3;
  EXPECT_EQ(imported_shapes(n, {{kN, 5, kI}, {2, 4 * kH, kI}, {2, 4 * kH, kH}}),
            (std::vector<Shape>{{kN, 5, 2, kH}, {kN, 2, kH}, {kN, 2, kH}}));
}

TEST(Recurrent, InputsOfAllStepsAreOneProduct) {
  const std::vector<std::string> ops =
      imported_ops({"LSTM", 14, {}, {{3, nullptr}}}, {{7, kN, kI}, {1, 4 * kH, kI}, {1, 4 * kH, kH}});
  EXPECT_EQ(std::count(ops.begin(), ops.end(), "MatMul"), 1 + 7);
}

TEST(Recurrent, RefusesWhatItDoesNotUnderstand) {
  const auto says = [](const std::string& part, const OnnxNode& n, std::vector<Shape> inputs = {}) {
    if (inputs.empty()) inputs = {{kT, kN, kI}, {1, 4 * kH, kI}, {1, 4 * kH, kH}};
    const std::string message = refusal(n, inputs);
    EXPECT_NE(message.find(part), std::string::npos) << "'" << message << "' does not say '" << part << "'";
  };
  const auto lstm = [](const char* name, ir::Attribute value) {
    return OnnxNode{"LSTM", 14, {{name, value}}, {{3, nullptr}}};
  };
  says("clip", lstm("clip", 3.0));
  says("input_forget", lstm("input_forget", int64_t{1}));
  says("activation_alpha", lstm("activation_alpha", std::vector<double>{1}));
  says("the activation 'Affine'", lstm("activations", std::string("Sigmoid\nAffine\nTanh\n")));
  says("there are 2 activations, expected 3", lstm("activations", std::string("Sigmoid\nTanh\n")));
  says("direction is 'both'", lstm("direction", std::string("both")));
  says("hidden_size is 3", lstm("hidden_size", int64_t{3}));
  OnnxNode old = lstm("layout", int64_t{1});
  old.opset = 13;
  says("layout since opset 14", old);
  says("W is 1x8x3, expected 1x8x2", lstm("direction", std::string("forward")),
       {{kT, kN, kI}, {1, 8, 3}, {1, 8, 2}});
  says("X must have 3 dimensions", lstm("direction", std::string("forward")),
       {{kT, kN}, {1, 8, 2}, {1, 8, 2}});
  says("a sequence of 5000 steps is longer than 4096", lstm("direction", std::string("forward")),
       {{5000, kN, kI}, {1, 8, 2}, {1, 8, 2}});
  OnnxNode lengths = lstm("direction", std::string("forward"));
  lengths.known[4] = ints({1, 9}, DType::kI32);
  says("a sequence of 9 in 3 steps", lengths);
  lengths.known[4] = ints({3}, DType::kI32);
  says("sequence_lens has 1 numbers for a batch of 2", lengths);
  says("depends on the samples", {"LSTM", 14, {}, {{3, nullptr}}},
       {{kT, kN, kI}, {1, 8, 2}, {1, 8, 2}, {kN}});
}

}  // namespace
}  // namespace halftone::ops::test
