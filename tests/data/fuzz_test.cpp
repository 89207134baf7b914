// A quick, deterministic fuzzer: a few thousand mutated files a reader. None may crash, throw anything but an
// Error, or ask for more memory at once than a file of its size can explain. tests/fuzz has the long one.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "data/fuzzing.h"
#include "data/largest_request.h"
#include "num/random.h"

namespace halftone::data {
namespace {

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : key_(num::random_key(seed, 2)) {}
  size_t below(size_t n) { return static_cast<size_t>(num::random_below(key_, draw_++, 0, n)); }

  std::string mutate(std::string bytes) {
    // Numbers at the edges of their types, where sizes overflow.
    static const std::string kEdges[] = {std::string(4, '\0'),
                                         std::string(4, '\xFF'),
                                         std::string("\x7F\xFF\xFF\xFF", 4),
                                         std::string("\xFF\xFF\xFF\x7F", 4),
                                         std::string(8, '\xFF'),
                                         "99999999999",
                                         "-1",
                                         "],[",
                                         "%"};
    const size_t times = 1 + below(3);
    for (size_t i = 0; i < times && !bytes.empty(); ++i) {
      // Headers are at the front: half of all changes go there.
      const size_t reach = below(2) == 0 ? std::min<size_t>(bytes.size(), 64) : bytes.size();
      const size_t at = below(reach);
      switch (below(6)) {
        case 0:
          bytes[at] = static_cast<char>(below(256));
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
          break;
        case 2:
          bytes.resize(at);
          break;
        case 3:
          bytes.insert(at, bytes.substr(below(bytes.size()), 1 + below(16)));
          break;
        case 4:
          bytes.erase(at, 1 + below(16));
          break;
        default: {
          const std::string& edge = kEdges[below(std::size(kEdges))];
          bytes.replace(at, edge.size(), edge);
        }
      }
    }
    return bytes;
  }

 private:
  num::RandomKey key_;
  uint64_t draw_ = 0;
};

class Fuzz : public testing::TestWithParam<std::string> {};

TEST_P(Fuzz, EverySeedIsRead) {
  for (const std::string& seed : seeds_of(GetParam())) {
    if (GetParam() == "spec") continue;  // some of them are errors
    EXPECT_GT(read_all(GetParam(), seed), 0) << testing::PrintToString(seed.substr(0, 40));
  }
}

TEST_P(Fuzz, NoMutationCrashesOrTakesMoreThanItsSizeExplains) {
  constexpr int kMutations = 1500;
  Mutator mutator(17);
  const std::vector<std::string> seeds = seeds_of(GetParam());
  int read = 0;
  for (int i = 0; i < kMutations; ++i) {
    const std::string bytes = mutator.mutate(seeds[mutator.below(seeds.size())]);
    reset_largest_request();
    ASSERT_NO_THROW(read += read_all(GetParam(), bytes) > 0 ? 1 : 0) << "mutation " << i;
    // Buffers of the readers: at most a megabyte. Images: deflate's 1032 to 1 with eight pixels a byte, three
    // bytes each.
    ASSERT_LE(largest_request(), (size_t{1} << 20) + bytes.size() * 1032 * 24) << "mutation " << i;
  }
  // Most must be refused and some still be read, or nothing was tested.
  EXPECT_GT(read, 0);
  EXPECT_LT(read, kMutations);
}

INSTANTIATE_TEST_SUITE_P(Readers, Fuzz, testing::ValuesIn(kFuzzedReaders),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace halftone::data
