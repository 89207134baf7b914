// Losses that compare the embeddings of a sample's texts.
#pragma once

#include "pass/training.h"

namespace halftone::pass {

struct LossOfTexts {
  ir::ValueId loss = ir::kNone;  // one a sample
  ir::ValueId slope =
      ir::kNone;  // how the mean of all changes with the embeddings, times the step's loss scale
};

// formula  a, p, n: a sample's first, second and third text; cos(x, y) = x . y / (|x| |y|), |x| >= 1e-12
//          kInBatchNegatives  of sample i -log(exp(s cos(a_i, p_i)) / sum over all texts t that are some sample's second
//                             or third of exp(s cos(a_i, t))); s is similarity_scale
//          kCosine            (cos(a, p) - label)^2
//          kTriplet           max(0, |a - p| - |a - n| + margin), |x| the square root of max(sum of x^2, 1e-24)
// shapes   embeddings [batch, texts, width], label [batch] (kCosine) -> loss [batch], slope as the embeddings
// dtypes   all in the register type
// source   sentence-transformers MultipleNegativesRankingLoss, CosineSimilarityLoss, TripletLoss (Euclidean), which
//          are means over the batch. |a - p| of equal texts is 1e-12 there, and has their gradient of 0 here too
// tests    tests/ops/embedding_test.cpp
LossOfTexts add_loss_of_texts(ops::Builder& b, ir::ValueId embeddings, ir::ValueId label,
                              const LossOptions& options);

}  // namespace halftone::pass
