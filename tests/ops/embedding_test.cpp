// Embeddings of texts, and the losses that compare them: against their formulas in double, and central differences.
#include "pass/embedding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "exec/program.h"
#include "gradient_check.h"
#include "ops/effects.h"
#include "pass/embedding_loss.h"

namespace halftone::ops::test {
namespace {

constexpr int64_t kBatch = 4;
constexpr int64_t kWidth = 5;

Case loss_case(pass::Loss loss, int64_t texts) {
  Case c;
  c.inputs = {{kBatch, texts, kWidth}};
  if (loss == pass::Loss::kCosine) c.inputs.push_back({kBatch});
  c.build = [=](Builder& b, const std::vector<ValueId>& x) {
    pass::LossOptions options;
    options.loss = loss;
    options.similarity_scale = 4;
    options.margin = 1;
    const pass::LossOfTexts made =
        pass::add_loss_of_texts(b, x[0], loss == pass::Loss::kCosine ? x[1] : ir::kNone, options);
    return std::vector<ValueId>{made.loss, made.slope};
  };
  return c;
}

double dot(const double* x, const double* y) {
  return std::inner_product(x, x + kWidth, y, 0.0);
}
double cosine(const double* x, const double* y) {
  return dot(x, y) / std::sqrt(dot(x, x) * dot(y, y));
}
double distance(const double* x, const double* y) {
  double sum = 0;
  for (int64_t i = 0; i < kWidth; ++i) sum += (x[i] - y[i]) * (x[i] - y[i]);
  return std::sqrt(sum);
}

Numbers formula(pass::Loss loss, int64_t texts, const std::vector<Numbers>& x) {
  const auto text = [&](int64_t i, int64_t t) { return x[0].data() + (i * texts + t) * kWidth; };
  Numbers losses;
  for (int64_t i = 0; i < kBatch; ++i) {
    if (loss == pass::Loss::kTriplet) {
      losses.push_back(
          std::max(0.0, distance(text(i, 0), text(i, 1)) - distance(text(i, 0), text(i, 2)) + 1));
    } else if (loss == pass::Loss::kCosine) {
      const double off = cosine(text(i, 0), text(i, 1)) - x[1][static_cast<size_t>(i)];
      losses.push_back(off * off);
    } else {
      double sum = 0;
      for (int64_t j = 0; j < kBatch; ++j)
        for (int64_t t = 1; t < texts; ++t) sum += std::exp(4 * cosine(text(i, 0), text(j, t)));
      losses.push_back(std::log(sum) - 4 * cosine(text(i, 0), text(i, 1)));
    }
  }
  return losses;
}

TEST(LossOfTexts, IsTheFormulaAndItsSlope) {
  const struct {
    pass::Loss loss;
    int64_t texts;
  } cases[] = {{pass::Loss::kInBatchNegatives, 2},
               {pass::Loss::kInBatchNegatives, 3},
               {pass::Loss::kCosine, 2},
               {pass::Loss::kTriplet, 3}};
  for (const auto& k : cases) {
    SCOPED_TRACE(pass::name_of(k.loss) + " of " + std::to_string(k.texts));
    const Case c = loss_case(k.loss, k.texts);
    const std::vector<Numbers> x = random_inputs(c, DType::kF32);
    const std::vector<Numbers> y = forward(c, DType::kF64, x);
    const Numbers expected = formula(k.loss, k.texts, x);
    for (size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(y[0][i], expected[i], 1e-12);
    constexpr double kStep = 0x1p-17;
    double largest = 0;
    for (size_t j = 0; j < x[0].size(); ++j) {
      const auto at = [&](double step) {
        std::vector<Numbers> moved = x;
        moved[0][j] += step;
        const Numbers losses = formula(k.loss, k.texts, moved);
        return std::accumulate(losses.begin(), losses.end(), 0.0);
      };
      // step^2 = 2^-34 times a third derivative, which is below 2^9 for cosines times 4 of vectors longer than 1/4.
      ASSERT_NEAR(y[1][j], (at(kStep) - at(-kStep)) / (2 * kStep) / kBatch, 0x1p-25) << j;
      largest = std::max(largest, std::fabs(y[1][j]));
    }
    EXPECT_GT(largest, 0.01);
    // In fp32 sums of up to 16 terms a dozen nodes deep; the same bits by each instruction set and number of threads.
    const std::vector<Numbers> narrow = forward(c, DType::kF32, x, 3);
    for (size_t j = 0; j < x[0].size(); ++j) EXPECT_NEAR(narrow[1][j], y[1][j], 256 * 0x1p-24) << j;
  }
}

TEST(LossOfTexts, EqualTextsOfATripletHaveNoSlope) {
  const Case c = loss_case(pass::Loss::kTriplet, 3);
  std::vector<Numbers> x = random_inputs(c, DType::kF32);
  std::copy_n(x[0].begin(), kWidth, x[0].begin() + kWidth);  // the first text of sample 0 again
  const std::vector<Numbers> y = forward(c, DType::kF32, x);
  for (const double slope : y[1]) EXPECT_TRUE(std::isfinite(slope));
}

// [2 texts a sample] of a network that gives its tokens as they come, in fp16.
struct Tokens {
  explicit Tokens(int64_t samples, int64_t texts, bool masked = true) {
    const int64_t rows = samples * texts;
    const auto input = [&](const char* name, DType dtype, const Shape& shape) {
      ir::Value value;
      value.name = name;
      value.kind = ir::ValueKind::kInput;
      value.type = {dtype, shape};
      graph.inputs.push_back(graph.add_value(value));
      return graph.inputs.back();
    };
    const ValueId x = input("tokens", DType::kF32, {rows, 3, 2});
    if (masked) input("attention_mask", DType::kI64, {rows, 3});
    Builder b(graph, DType::kF32);
    graph.outputs = {b.add1("Relu", {x})};
    graph.value(graph.outputs[0]).name = "hidden";
  }
  ir::Graph graph;
};

Numbers embedded(Tokens& net, const pass::Embedding& e, int64_t samples, const std::vector<float>& x,
                 const std::vector<int64_t>& mask) {
  pass::embed(net.graph, DType::kF32, e, samples);
  ops::remove_dead_nodes(net.graph);
  par::Pool pool(1);
  exec::Store store;
  exec::Arena arena;
  exec::Program program(net.graph, kern::active(), kern::Multiply::kWide, pool, store, arena);
  program.attach();
  for (const ValueId id : program.graph().inputs) {
    if (program.data(id) == nullptr) continue;
    const bool ids = program.graph().value(id).name == "attention_mask";
    std::memcpy(program.data(id), ids ? static_cast<const void*>(mask.data()) : x.data(),
                ids ? mask.size() * 8 : x.size() * 4);
  }
  StepState state;
  program.run(ir::Phase::kCompute, state);
  const ValueId out = program.graph().outputs[0];
  EXPECT_EQ(program.graph().value(out).name, "hidden");
  const auto* y = static_cast<const float*>(program.data(out));
  return {y, y + elements(program.graph().value(out).type.shape)};
}

TEST(Embedding, PoolsTheTokensThatTheMaskHas) {
  const std::vector<float> x{1,      8, 3, 2, 90, 90, /**/ 5, 5, 70, 70, 80, 80,
                             /**/ 2, 0, 4, 1, 3,  6,  /**/ 0, 0, 1,  9,  60, 60};
  const std::vector<int64_t> mask{1, 1, 0, 1, 0, 0, 1, 1, 1, 1, 1, 0};
  pass::Embedding e;
  e.texts = 2;
  e.unit = false;
  e.mask = "attention_mask";
  const auto of = [&](pass::Pooling pooling) {
    Tokens net(2, 2);
    e.pooling = pooling;
    const Numbers y = embedded(net, e, 2, x, mask);
    const ir::Graph& g = net.graph;
    EXPECT_EQ(g.value(g.outputs[0]).type.shape, (Shape{2, 2, 2}));
    EXPECT_EQ(g.value(g.inputs[0]).type.shape, (Shape{2, 2, 3, 2}));
    return y;
  };
  EXPECT_EQ(of(pass::Pooling::kMean), (Numbers{2, 5, 5, 5, 3, 7.0F / 3, 0.5, 4.5}));
  EXPECT_EQ(of(pass::Pooling::kCls), (Numbers{1, 8, 5, 5, 2, 0, 0, 0}));
  EXPECT_EQ(of(pass::Pooling::kMax), (Numbers{3, 8, 5, 5, 4, 6, 1, 9}));
}

TEST(Embedding, HasLengthOneWhereAskedFor) {
  pass::Embedding e;
  e.texts = 1;
  e.pooling = pass::Pooling::kCls;
  e.mask = "attention_mask";
  Tokens net(2, 1);
  const Numbers y = embedded(net, e, 2, {3, 4, 9, 9, 9, 9, 0, 0, 9, 9, 9, 9}, {1, 1, 1, 1, 1, 1});
  EXPECT_EQ(y, (Numbers{0.6F, 0.8F, 0, 0}));
  EXPECT_EQ(net.graph.value(net.graph.outputs[0]).type.shape, (Shape{2, 2}));
}

TEST(Embedding, RefusesWhatIsNoVectorATextOrHasNoMask) {
  const auto refusal_of = [](pass::Pooling pooling, bool masked) {
    Tokens net(2, 2, masked);
    pass::Embedding e;
    e.texts = 2;
    e.pooling = pooling;
    if (masked) e.mask = "attention_mask";
    try {
      pass::embed(net.graph, DType::kF32, e, 2);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(refusal_of(pass::Pooling::kInside, true).find("--pooling mean, cls or max"), std::string::npos);
  EXPECT_NE(refusal_of(pass::Pooling::kMean, false).find("attention mask"), std::string::npos);
  EXPECT_NE(refusal_of(pass::Pooling::kMax, false).find("attention mask"), std::string::npos);
  EXPECT_EQ(refusal_of(pass::Pooling::kCls, false), "");
}

}  // namespace
}  // namespace halftone::ops::test
