#include "train/text_metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace halftone::train {
namespace {

std::optional<double> correlation(const std::vector<double>& x, const std::vector<double>& y) {
  const auto n = static_cast<double>(x.size());
  if (x.size() < 2) return std::nullopt;
  const double mean_x = std::accumulate(x.begin(), x.end(), 0.0) / n;
  const double mean_y = std::accumulate(y.begin(), y.end(), 0.0) / n;
  double xx = 0;
  double yy = 0;
  double xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double dx = x[i] - mean_x;
    const double dy = y[i] - mean_y;
    xx += dx * dx;
    yy += dy * dy;
    xy += dx * dy;
  }
  if (!(xx > 0) || !(yy > 0)) return std::nullopt;
  return xy / std::sqrt(xx * yy);
}

std::vector<double> ranks_of(std::span<const float> x) {
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return x[a] < x[b]; });
  std::vector<double> ranks(x.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin + 1;
    while (end < order.size() && x[order[end]] == x[order[begin]]) ++end;
    for (size_t i = begin; i < end; ++i) ranks[order[i]] = static_cast<double>(begin + end - 1) / 2;
    begin = end;
  }
  return ranks;
}

// Of zeros zeros.
void append_of_unit_length(std::span<const float> x, std::vector<float>& to) {
  double square = 0;
  for (const float v : x) square += static_cast<double>(v) * static_cast<double>(v);
  const double length = std::max(std::sqrt(square), 1e-12);
  for (const float v : x) to.push_back(static_cast<float>(static_cast<double>(v) / length));
}

double squared_distance(std::span<const float> x, std::span<const float> y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double d = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    sum += d * d;
  }
  return sum;
}

double dot(std::span<const float> x, std::span<const float> y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return sum;
}

std::optional<double> share_or_none(int64_t part, int64_t all) {
  return all > 0 ? std::optional(static_cast<double>(part) / static_cast<double>(all)) : std::nullopt;
}

}  // namespace

std::optional<double> pearson(std::span<const float> x, std::span<const float> y) {
  HT_ASSERT(x.size() == y.size());
  return correlation({x.begin(), x.end()}, {y.begin(), y.end()});
}

std::optional<double> spearman(std::span<const float> x, std::span<const float> y) {
  HT_ASSERT(x.size() == y.size());
  return correlation(ranks_of(x), ranks_of(y));
}

void TextMetrics::add(std::span<const float> embeddings, int64_t texts, int64_t width,
                      std::span<const float> scores, bool by_distance) {
  HT_ASSERT(texts >= 2 && (width_ == 0 || (width == width_ && texts == texts_)), "{} texts", texts);
  width_ = width;
  texts_ = texts;
  const auto w = static_cast<size_t>(width);
  const size_t samples = embeddings.size() / static_cast<size_t>(texts) / w;
  HT_ASSERT(embeddings.size() == samples * static_cast<size_t>(texts) * w);
  samples_ += static_cast<int64_t>(samples);
  std::vector<float> unit;
  for (size_t i = 0; i < samples; ++i) {
    const auto text = [&](size_t t) {
      return embeddings.subspan((i * static_cast<size_t>(texts) + t) * w, w);
    };
    unit.clear();
    for (size_t t = 0; t < static_cast<size_t>(texts); ++t) append_of_unit_length(text(t), unit);
    const auto direction = [&](size_t t) { return std::span<const float>(unit).subspan(t * w, w); };
    if (!scores.empty()) {
      cosines_.push_back(static_cast<float>(dot(direction(0), direction(1))));
      scores_.push_back(scores[i]);
      continue;
    }
    if (texts == 3) {
      const bool nearer = by_distance
                              ? squared_distance(text(0), text(1)) < squared_distance(text(0), text(2))
                              : dot(direction(0), direction(1)) > dot(direction(0), direction(2));
      nearer_ += nearer ? 1 : 0;
    }
    first_.insert(first_.end(), direction(0).begin(), direction(0).end());
    second_.insert(second_.end(), direction(1).begin(), direction(1).end());
    if (first_.size() < static_cast<size_t>(TextResults::kMostCandidates) * w) continue;
    find(found_);
    first_.clear();
    second_.clear();
  }
}

// Cosines in fp32, each summed along the width in ascending order: the same wherever two texts meet.
void TextMetrics::find(Places& places) const {
  constexpr size_t kTile = 64;
  const auto w = static_cast<size_t>(width_);
  const size_t count = w == 0 ? 0 : first_.size() / w;
  std::vector<float> own(count);       // the cosine of each pair
  std::vector<int64_t> before(count);  // how many second texts come before its own
  std::vector<float> tile(w * kTile);
  std::array<float, kTile> sums;
  const auto compare = [&](size_t i) {
    sums.fill(0);
    const float* q = first_.data() + i * w;
    for (size_t d = 0; d < w; ++d) {
      const float* row = tile.data() + d * kTile;
      for (size_t c = 0; c < kTile; ++c) sums[c] += q[d] * row[c];
    }
  };
  const auto load = [&](size_t begin) {
    const size_t n = std::min(kTile, count - begin);
    std::fill(tile.begin(), tile.end(), 0.0F);
    for (size_t c = 0; c < n; ++c)
      for (size_t d = 0; d < w; ++d) tile[d * kTile + c] = second_[(begin + c) * w + d];
    return n;
  };
  for (size_t begin = 0; begin < count; begin += kTile) {
    const size_t n = load(begin);
    for (size_t c = 0; c < n; ++c) {
      compare(begin + c);
      own[begin + c] = sums[c];
    }
  }
  for (size_t begin = 0; begin < count; begin += kTile) {
    const size_t n = load(begin);
    for (size_t i = 0; i < count; ++i) {
      compare(i);
      for (size_t c = 0; c < n; ++c)
        before[i] += sums[c] > own[i] || (sums[c] == own[i] && begin + c < i) ? 1 : 0;
    }
  }
  for (const int64_t ahead : before) {
    places.in_1 += ahead < 1 ? 1 : 0;
    places.in_5 += ahead < 5 ? 1 : 0;
    places.in_10 += ahead < 10 ? 1 : 0;
    places.reciprocal += 1 / static_cast<double>(ahead + 1);
  }
  places.samples += static_cast<int64_t>(count);
  places.candidates = std::max(places.candidates, static_cast<int64_t>(count));
}

TextResults TextMetrics::results() const {
  TextResults r;
  if (!scores_.empty()) {
    r.pearson = train::pearson(cosines_, scores_);
    r.spearman = train::spearman(cosines_, scores_);
    return r;
  }
  Places places = found_;
  find(places);
  r.recall_at_1 = share_or_none(places.in_1, places.samples);
  if (places.candidates > 5) r.recall_at_5 = share_or_none(places.in_5, places.samples);
  if (places.candidates > 10) r.recall_at_10 = share_or_none(places.in_10, places.samples);
  if (places.samples > 0) r.mrr = places.reciprocal / static_cast<double>(places.samples);
  r.candidates = places.candidates;
  if (texts_ == 3) r.triplet_accuracy = share_or_none(nearer_, samples_);
  return r;
}

}  // namespace halftone::train
