// What predictions are made of, and how their rows look.
#include "api/output_meaning.h"

#include <gtest/gtest.h>

#include <cmath>

#include "api/prediction_rows.h"
#include "base/error.h"

namespace halftone::api {
namespace {

using Kind = OutputMeaning::Kind;
using Making = OutputMeaning::Making;
using pass::Ending;

pass::Head head(Ending ending, const Shape& shape) {
  pass::Head h;
  h.ending = ending;
  h.output = "y";
  h.op = ending == Ending::kSigmoid ? "Sigmoid" : "Softmax";
  h.shape = shape;
  h.batch = shape[0];
  h.per_sample = elements(shape) / shape[0];
  for (size_t i = 1; i < shape.size(); ++i)
    if (shape[i] != 1) h.sample.push_back(shape[i]);
  h.classes = h.sample.size() == 1 ? h.sample[0] : 0;
  return h;
}

OutputMeaning meaning(const pass::Head& h, const std::string& asked = "auto", const RunFacts& run = {},
                      const std::vector<std::string>& names = {}, const Shape& sample = {3, 8, 6},
                      const std::string& axis = "auto") {
  data::DataInfo info;
  info.shape = sample;
  if (sample.size() == 3) info.geometry = sample;
  return meaning_of(h, asked, axis, run, names, info);
}

template <class Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

RunFacts run_with(const std::string& loss) {
  RunFacts run;
  run.folder = "run";
  run.loss = loss;
  return run;
}

TEST(OutputMeaning, IsWhatTheNetworkEndsIn) {
  EXPECT_EQ(meaning(head(Ending::kSoftmax, {2, 4})).kind, Kind::kClasses);
  EXPECT_EQ(meaning(head(Ending::kSoftmax, {2, 4})).making, Making::kNone);
  EXPECT_EQ(meaning(head(Ending::kLogSoftmax, {2, 4})).making, Making::kExp);
  EXPECT_EQ(meaning(head(Ending::kSigmoid, {2, 1})).kind, Kind::kTwoClasses);
  EXPECT_EQ(meaning(head(Ending::kSigmoid, {2, 4})).kind, Kind::kLabels);
  EXPECT_EQ(meaning(head(Ending::kLogits, {2, 1})).kind, Kind::kNumbers);
}

TEST(OutputMeaning, OfLogitsIsWhatTheRunOrTheNamesSay) {
  const pass::Head logits = head(Ending::kLogits, {2, 4});
  EXPECT_NE(message_of([&] { meaning(logits); }).find("--as classes"), std::string::npos);
  EXPECT_EQ(meaning(logits, "auto", {}, {"a", "b", "c", "d"}).making, Making::kSoftmax);
  EXPECT_EQ(meaning(logits, "auto", run_with("cross-entropy")).kind, Kind::kClasses);
  EXPECT_EQ(meaning(logits, "auto", run_with("mse"), {"a", "b", "c", "d"}).kind, Kind::kNumbers);
  EXPECT_EQ(meaning(logits, "auto", run_with("bce-with-logits")).making, Making::kSigmoid);
  EXPECT_EQ(meaning(logits, "numbers", run_with("cross-entropy")).kind, Kind::kNumbers);
  EXPECT_NE(message_of([&] {
              meaning(head(Ending::kSigmoid, {2, 4}), "classes");
            }).find("cannot be read"),
            std::string::npos);
}

TEST(OutputMeaning, FindsTheAxisOfTheClasses) {
  const RunFacts run = run_with("cross-entropy");
  EXPECT_TRUE(meaning(head(Ending::kLogits, {2, 5, 4, 3}), "auto", run).classes_first);
  EXPECT_FALSE(meaning(head(Ending::kLogits, {2, 8, 6, 5}), "auto", run).classes_first);
  EXPECT_FALSE(meaning(head(Ending::kLogits, {2, 7, 5}), "auto", run, {}, {7}).classes_first);
  EXPECT_NE(message_of([&] {
              meaning(head(Ending::kLogits, {2, 7, 7}), "auto", run, {}, {7});
            }).find("--class-axis"),
            std::string::npos);
  EXPECT_TRUE(meaning(head(Ending::kLogits, {2, 7, 7}), "auto", run, {}, {7}, "first").classes_first);
}

Tensor tensor(const Shape& shape, const std::vector<float>& values) {
  Tensor t(DType::kF32, shape);
  std::copy(values.begin(), values.end(), t.as<float>().begin());
  return t;
}

std::string rows(const OutputMeaning& m, Tensor output, const RowOptions& options,
                 const std::vector<std::string>& names = {}) {
  const int64_t samples = output.shape()[0];
  const PredictionRows writer(m, names, options, output.size() / samples);
  std::string text = writer.header();
  const std::vector<std::string> all{"0", "1", "2"};
  writer.append(output, std::span(all).first(static_cast<size_t>(samples)), {}, text);
  return text;
}

TEST(PredictionRows, OfClassesAreRankedByTheLogits) {
  const OutputMeaning m = meaning(head(Ending::kLogits, {2, 3}), "classes");
  // Equal probabilities by rounding: the larger logit is first.
  const Tensor logits = tensor({2, 3}, {0, 0, 0, -200, 100, 100.00001F});
  const std::string text = rows(m, logits.clone(), {.top = 2}, {"a", "b,c", "d"});
  EXPECT_EQ(text, "sample,class,probability,class_2,probability_2\n0,a,0.33333334,\"b,c\",0.33333334\n1,d," +
                      text.substr(text.rfind("1,d,") + 4));
  EXPECT_EQ(rows(m, tensor({1, 3}, {0, 0, 0}), {.json = true, .probabilities = true, .quoted_name = false}),
            "{\"sample\":0,\"class\":0,\"probability\":0.33333334,"
            "\"probabilities\":[0.33333334,0.33333334,0.33333334]}\n");
}

TEST(PredictionRows, OfTwoClassesOfOneNumber) {
  const OutputMeaning m = meaning(head(Ending::kSigmoid, {2, 1}));
  EXPECT_EQ(rows(m, tensor({2, 1}, {0.25F, 0.75F}), {.probabilities = true}, {"no", "yes"}),
            "sample,class,probability,p_no,p_yes\n0,no,0.75,0.75,0.25\n1,yes,0.75,0.25,0.75\n");
}

TEST(PredictionRows, OfLabelsAndNumbers) {
  const OutputMeaning labels = meaning(head(Ending::kSigmoid, {2, 2}));
  EXPECT_EQ(rows(labels, tensor({1, 2}, {0.25F, 0.75F}), {}), "sample,p_0,p_1\n0,0.25,0.75\n");
  EXPECT_EQ(rows(labels, tensor({1, 2}, {0.25F, 0.75F}), {.json = true}, {"a", "b"}),
            "{\"sample\":\"0\",\"labels\":[\"b\"],\"probabilities\":{\"a\":0.25,\"b\":0.75}}\n");
  const OutputMeaning numbers = meaning(head(Ending::kLogits, {2, 2}), "numbers");
  EXPECT_EQ(rows(numbers, tensor({1, 2}, {0.1F, -2}), {}), "sample,value_0,value_1\n0,0.1,-2\n");
  EXPECT_EQ(rows(numbers, tensor({1, 2}, {0.1F, -2}), {}, {"price", "rent"}),
            "sample,price,rent\n0,0.1,-2\n");
}

TEST(PredictionRows, OfPositionsAreListsInLists) {
  OutputMeaning m = meaning(head(Ending::kSoftmax, {2, 2, 2, 2}), "classes", {}, {}, {3, 2, 2}, "first");
  EXPECT_EQ(rows(m, tensor({1, 2, 2, 2}, {0.75F, 0.25F, 0.5F, 1, 0.25F, 0.75F, 0.5F, 0}), {.json = true}),
            "{\"sample\":\"0\",\"classes\":[[0,1],[0,0]],\"probability\":[[0.75,0.75],[0.5,1]]}\n");
  EXPECT_NE(message_of([&] {
              rows(m, tensor({1, 2, 2, 2}, std::vector<float>(8, 0)), {});
            }).find("--format jsonl"),
            std::string::npos);
}

TEST(PredictionRows, RefuseWhatIsNotFinite) {
  const OutputMeaning m = meaning(head(Ending::kLogits, {2, 2}), "numbers");
  EXPECT_NE(message_of([&] {
              rows(m, tensor({2, 2}, {0, 0, 0, NAN}), {});
            }).find("sample 1 has a number that is not"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::api
