#include <algorithm>
#include <limits>

#include "base/error.h"
#include "data/text_dataset.h"

namespace halftone::data {

std::vector<int64_t> padded_lengths(const std::vector<int64_t>& lengths, int64_t most, int64_t least) {
  HT_ASSERT(!lengths.empty() && most > 0);
  constexpr int64_t kCandidates = 512;
  const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  HT_ASSERT(longest <= most, "{} of {} tokens", longest, most);
  // Multiples of 8; of very long samples of more, so that few remain.
  const int64_t step = 8 * std::max<int64_t>(1, (longest / 8 + kCandidates - 1) / kCandidates);
  const auto count = static_cast<size_t>(std::max<int64_t>(1, (longest + step - 1) / step));
  std::vector<int64_t> samples(count, 0);  // of length (i + 1) * step at most, and more than the one before
  for (const int64_t length : lengths)
    ++samples[static_cast<size_t>(std::max<int64_t>(0, length - 1) / step)];
  std::vector<int64_t> below(count + 1, 0);
  for (size_t i = 0; i < count; ++i) below[i + 1] = below[i] + samples[i];
  const auto length_of = [&](size_t i) {
    return std::min<int64_t>(static_cast<int64_t>(i + 1) * step, most);
  };
  // cost[k][i]: tokens of all samples up to candidate i, in k + 1 lengths of which i is the last.
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  std::vector<std::vector<int64_t>> cost(kMostLengths, std::vector<int64_t>(count, kNone));
  std::vector<std::vector<size_t>> from(kMostLengths, std::vector<size_t>(count, count));
  for (size_t i = 0; i < count; ++i)
    if (below[i + 1] >= least || i + 1 == count) cost[0][i] = below[i + 1] * length_of(i);
  for (size_t k = 1; k < kMostLengths; ++k)
    for (size_t i = 1; i < count; ++i)
      for (size_t j = 0; j < i; ++j) {
        const int64_t here = below[i + 1] - below[j + 1];
        if (cost[k - 1][j] == kNone || here < std::max<int64_t>(1, least)) continue;
        const int64_t all = cost[k - 1][j] + here * length_of(i);
        if (all < cost[k][i]) {
          cost[k][i] = all;
          from[k][i] = j;
        }
      }
  size_t best = 0;
  for (size_t k = 1; k < kMostLengths; ++k)
    if (cost[k][count - 1] < cost[best][count - 1]) best = k;
  std::vector<int64_t> chosen;
  size_t i = count - 1;
  for (size_t k = best + 1; k-- > 0; i = from[k][i]) chosen.insert(chosen.begin(), length_of(i));
  return chosen;
}

}  // namespace halftone::data
