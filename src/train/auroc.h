// The area under the receiver operating characteristic: the probability that a positive sample has a larger score
// than a negative one, equal scores counting half. Exact while all scores are kept; beyond a bound of memory from a
// histogram.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace halftone::train {

// Of one set of scores; none without a positive or without a negative. Sorts `order`, which it fills.
std::optional<double> auroc_of(std::span<const float> scores, std::span<const uint8_t> positive,
                               std::vector<int64_t>& order);

// One against the rest, for each column of scores in [0, 1].
class Auroc {
 public:
  // most_scores: that are kept, 5 bytes each.
  explicit Auroc(int64_t columns, int64_t most_scores = kMostScores);

  // A row of scores, and which columns it is positive in.
  void add(std::span<const float> scores, std::span<const uint8_t> positive);
  // Of a column.
  std::optional<double> of(int64_t column) const;
  // Whether all scores are kept. If not, scores in one bucket count as equal: buckets are a 32nd of an octave of the
  // distance to 0 or to 1, whichever is nearer. Of more than kMostBucketed columns there is nothing then.
  bool exact() const { return exact_; }

  // What adding so many rows and asking for the areas takes at most, while the vectors grow.
  static int64_t bytes(int64_t rows, int64_t columns);

  static constexpr int64_t kMostScores = int64_t{1} << 23;
  static constexpr int64_t kMostBucketed = 100;

 private:
  void count(std::span<const float> scores, std::span<const uint8_t> positive);

  int64_t columns_, most_scores_;
  bool exact_ = true;
  std::vector<float> scores_;      // rows of columns_
  std::vector<uint8_t> positive_;  // likewise
  std::vector<int64_t> buckets_;   // [columns_][bucket][negative, positive]
};

}  // namespace halftone::train
