#include "train/auroc.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace halftone::train {
namespace {

constexpr int kDropped = 18;  // bits of the fraction that a bucket leaves out: 5 of 23 stay
constexpr int64_t kHalf = std::bit_cast<uint32_t>(0.5F) >> kDropped;
constexpr int64_t kBuckets = 2 * (kHalf + 1);

int64_t bucket_of(float score) {
  const float p = std::clamp(score, 0.0F, 1.0F);
  if (p <= 0.5F) return std::bit_cast<uint32_t>(p) >> kDropped;
  return kBuckets - 1 - (std::bit_cast<uint32_t>(1 - p) >> kDropped);
}

// Of pairs of a positive and a negative, twice those in which the positive is ahead, with equal ones counted once.
struct Pairs {
  int64_t negatives = 0, positives = 0;
  double twice = 0;  // whole numbers, below 2^53 for fewer than 2^26 samples
  void add(int64_t negative, int64_t positive) {
    twice += static_cast<double>(positive) * static_cast<double>(2 * negatives + negative);
    negatives += negative;
    positives += positive;
  }
  std::optional<double> area() const {
    if (negatives == 0 || positives == 0) return std::nullopt;
    return twice / (2 * static_cast<double>(negatives) * static_cast<double>(positives));
  }
};

}  // namespace

std::optional<double> auroc_of(std::span<const float> scores, std::span<const uint8_t> positive,
                               std::vector<int64_t>& order) {
  order.resize(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const auto score = [&](int64_t i) { return scores[static_cast<size_t>(i)]; };
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return score(a) < score(b); });
  Pairs pairs;
  for (size_t begin = 0; begin < order.size();) {
    int64_t counts[2] = {0, 0};
    size_t end = begin;
    for (; end < order.size() && score(order[end]) == score(order[begin]); ++end)
      ++counts[positive[static_cast<size_t>(order[end])] != 0 ? 1 : 0];
    pairs.add(counts[0], counts[1]);
    begin = end;
  }
  return pairs.area();
}

int64_t Auroc::bytes(int64_t rows, int64_t columns) {
  const int64_t kept = std::min(rows, kMostScores / std::max<int64_t>(1, columns));
  const bool exact = kept == rows;
  // A vector that grows has its old memory and the new one, which is twice as much; of one column alone to sort it.
  constexpr int64_t kScore = sizeof(float) + sizeof(uint8_t);
  int64_t bytes = 3 * kept * columns * kScore;
  if (exact) bytes += rows * (3 * kScore + static_cast<int64_t>(sizeof(int64_t)));
  if (!exact && columns <= kMostBucketed)
    bytes += columns * kBuckets * 2 * static_cast<int64_t>(sizeof(int64_t));
  return bytes;
}

Auroc::Auroc(int64_t columns, int64_t most_scores) : columns_(columns), most_scores_(most_scores) {}

void Auroc::add(std::span<const float> scores, std::span<const uint8_t> positive) {
  if (exact_ && static_cast<int64_t>(scores_.size()) + columns_ > most_scores_) {
    exact_ = false;
    if (columns_ <= kMostBucketed) buckets_.assign(static_cast<size_t>(columns_ * kBuckets * 2), 0);
    const auto width = static_cast<size_t>(columns_);
    for (size_t at = 0; at < scores_.size(); at += width)
      count(std::span(scores_).subspan(at, width), std::span(positive_).subspan(at, width));
    scores_ = {};
    positive_ = {};
  }
  if (!exact_) return count(scores, positive);
  scores_.insert(scores_.end(), scores.begin(), scores.end());
  positive_.insert(positive_.end(), positive.begin(), positive.end());
}

void Auroc::count(std::span<const float> scores, std::span<const uint8_t> positive) {
  if (buckets_.empty()) return;
  for (size_t c = 0; c < scores.size(); ++c)
    ++buckets_[(c * static_cast<size_t>(kBuckets) + static_cast<size_t>(bucket_of(scores[c]))) * 2 +
               (positive[c] != 0 ? 1 : 0)];
}

std::optional<double> Auroc::of(int64_t column) const {
  if (!exact_) {
    if (buckets_.empty()) return std::nullopt;
    Pairs pairs;
    const int64_t* counts = buckets_.data() + column * kBuckets * 2;
    for (int64_t b = 0; b < kBuckets; ++b) pairs.add(counts[2 * b], counts[2 * b + 1]);
    return pairs.area();
  }
  std::vector<float> scores;
  std::vector<uint8_t> positive;
  for (auto at = static_cast<size_t>(column); at < scores_.size(); at += static_cast<size_t>(columns_)) {
    scores.push_back(scores_[at]);
    positive.push_back(positive_[at]);
  }
  std::vector<int64_t> order;
  return auroc_of(scores, positive, order);
}

}  // namespace halftone::train
