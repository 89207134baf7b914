// How well embeddings of texts find each other, and correlations.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace halftone::train {

// Of x and y, element by element; none: fewer than two, or one of them is constant.
std::optional<double> pearson(std::span<const float> x, std::span<const float> y);
// Of their ranks; equal numbers have the mean of their ranks.
std::optional<double> spearman(std::span<const float> x, std::span<const float> y);

// Of samples that are texts.
struct TextResults {
  // Of each sample's first text, its second one is looked for among the second texts of all samples, by the cosine of
  // their embeddings; of equal ones the earlier sample's comes first. Of more than kMostCandidates samples each block of
  // so many, in the order of the evaluation, is searched by itself.
  std::optional<double> recall_at_1, recall_at_5, recall_at_10;
  std::optional<double> mrr;  // mean of 1 / place
  int64_t candidates = 0;     // in the largest block
  // Of scored pairs: the cosine and the score.
  std::optional<double> pearson, spearman;
  // Of three texts: the share of samples whose first text is nearer to the second than to the third, by the cosine, or by
  // the distance.
  std::optional<double> triplet_accuracy;

  static constexpr int64_t kMostCandidates = 8192;
};

class TextMetrics {
 public:
  // embeddings [samples, texts, width], texts >= 2. scores: one a sample, or empty. by_distance: triplets are compared by
  // it.
  void add(std::span<const float> embeddings, int64_t texts, int64_t width, std::span<const float> scores,
           bool by_distance);
  TextResults results() const;

 private:
  struct Places {
    int64_t samples = 0, in_1 = 0, in_5 = 0, in_10 = 0;
    double reciprocal = 0;
    int64_t candidates = 0;
  };
  void find(Places& places) const;

  int64_t width_ = 0, texts_ = 0;
  int64_t nearer_ = 0, samples_ = 0;
  std::vector<float> first_, second_;  // of the open block, of length 1
  Places found_;                       // of the blocks before
  std::vector<float> cosines_, scores_;
};

}  // namespace halftone::train
