#include "pass/embedding_loss.h"

#include "base/error.h"
#include "ops/fold.h"
#include "ops/slice.h"
#include "pass/differentiate.h"
#include "pass/embedding.h"

namespace halftone::pass {
namespace {

using ir::ValueId;

class TextsOfSamples {
 public:
  TextsOfSamples(ops::Builder& b, ValueId embeddings) : b_(b), all_(embeddings) {
    const Shape shape = b.shape(embeddings);
    HT_ASSERT(shape.size() == 3 && b.type(embeddings).dtype == b.storage(), "{}", to_string(shape));
    batch_ = shape[0];
    texts_ = shape[1];
    width_ = shape[2];
  }
  int64_t batch() const { return batch_; }
  int64_t texts() const { return texts_; }
  // The text `i` of each sample, [batch, width].
  ValueId at(int64_t i) const { return b_.reshape(ops::add_slice(b_, all_, 1, i, 1), {batch_, width_}); }

 private:
  ops::Builder& b_;
  ValueId all_;
  int64_t batch_ = 0, texts_ = 0, width_ = 0;
};

ValueId sum_of_row(ops::Builder& b, ValueId x) {
  return b.add1("ReduceSum", {x}, {{"axes", std::vector<int64_t>{1}}, {"keepdims", int64_t{0}}});
}

ValueId distance(ops::Builder& b, ValueId x, ValueId y) {
  constexpr double kLeastSquare = 1e-24;
  const ValueId d = b.add1("Sub", {x, y});
  return b.add1("Sqrt", {b.add1("Max", {sum_of_row(b, b.add1("Mul", {d, d})), b.scalar(kLeastSquare)})});
}

ops::Attributes weight_of(const LossOptions& options) {
  ops::Attributes attributes;
  if (options.weight != 1) attributes.set("weight", options.weight);
  return attributes;
}

// The loss is the mean of these numbers.
LossOfTexts mean_of(ops::Builder& b, ValueId losses, ValueId embeddings, const LossOptions& options) {
  const auto out = b.add("LossOfGraph", {losses}, weight_of(options));
  return {out[0], differentiate(b, {{losses, out[1]}}, {embeddings})[0]};
}

}  // namespace

LossOfTexts add_loss_of_texts(ops::Builder& b, ValueId embeddings, ValueId label,
                              const LossOptions& options) {
  const TextsOfSamples texts(b, embeddings);
  if (options.loss == Loss::kTriplet) {
    HT_ASSERT(texts.texts() == 3, "{} texts", texts.texts());
    const ValueId a = texts.at(0);
    const ValueId apart = b.add1("Sub", {distance(b, a, texts.at(1)), distance(b, a, texts.at(2))});
    const ValueId losses = b.add1("Relu", {b.add1("Add", {apart, b.scalar(options.margin)})});
    return mean_of(b, losses, embeddings, options);
  }
  const ValueId a = of_unit_length(b, texts.at(0));
  if (options.loss == Loss::kCosine) {
    HT_ASSERT(texts.texts() == 2, "{} texts", texts.texts());
    const ValueId cosine = sum_of_row(b, b.add1("Mul", {a, of_unit_length(b, texts.at(1))}));
    const ValueId off = b.add1("Sub", {cosine, label});
    return mean_of(b, b.add1("Mul", {off, off}), embeddings, options);
  }
  HT_ASSERT(options.loss == Loss::kInBatchNegatives && texts.texts() >= 2, "{}", name_of(options.loss));
  std::vector<ValueId> parts;
  for (int64_t i = 1; i < texts.texts(); ++i) parts.push_back(texts.at(i));
  ValueId candidates = parts[0];
  if (parts.size() > 1) candidates = b.add1("Concat", parts, {{"axis", int64_t{0}}});
  const ValueId scores = b.add1("MatMul", {a, of_unit_length(b, candidates)},
                                {{"trans_b", int64_t{1}}, {"alpha", options.similarity_scale}});
  // -1 at each sample's own second text.
  const int64_t all = b.shape(scores).at(1);
  std::vector<double> own(static_cast<size_t>(texts.batch() * all));
  for (int64_t i = 0; i < texts.batch(); ++i) own[static_cast<size_t>(i * all + i)] = -1;
  const ValueId picks = b.constant(ops::from_doubles(own, b.storage(), {texts.batch(), all}));
  const ValueId losses = sum_of_row(b, b.add1("Mul", {b.add1("LogSoftmax", {scores}), picks}));
  return mean_of(b, losses, embeddings, options);
}

}  // namespace halftone::pass
