#include "train/tensorboard.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "base/file.h"
#include "train/hex.h"
#include "train/temporary_folder.h"

namespace halftone::train {
namespace {

namespace fs = std::filesystem;

// Built with TensorBoard's own messages: tests/fixtures/make_tensorboard_golden.py.
constexpr const char* kGolden =
    "1800000000000000a37f4b220900002040fc54d9411a0d627261696e2e4576656e743a322b353110100000000000000095fb"
    "fe180900002040fc54d94110ac023a020801b94512a33800000000000000a3797d570900006040fc54d94110ac022a2a0a11"
    "0a0a747261696e2f6c6f7373150000403f0a150a0e747261696e2f6163637572616379150000003fd78f3f91250000000000"
    "0000eabc36f3090000a040fc54d941108080808080202a130a110a0a747261696e2f6c6f7373150000807fc439b44e";

TEST(TensorBoard, WritesTheBytesThatTensorBoardWould) {
  const TemporaryFolder folder;
  double now = 1700000000.5;
  std::string path;
  {
    TensorBoardWriter writer(
        folder.path(), [&] { return now; }, 300);
    path = writer.path();
    now += 1;
    const TaggedScalar both[] = {{"train/loss", 0.75F}, {"train/accuracy", 0.5F}};
    writer.add(300, both);
    now += 1;
    const TaggedScalar infinite[] = {{"train/loss", std::numeric_limits<float>::infinity()}};
    writer.add(int64_t{1} << 40, infinite);
  }
  EXPECT_EQ(fs::path(path).filename(), "events.out.tfevents.1700000000.halftone.0");
  EXPECT_EQ(read_file(path), from_hex(kGolden));
}

TEST(TensorBoard, NeverWritesIntoAnEarlierFile) {
  const TemporaryFolder folder;
  const auto clock = [] { return 5.0; };
  const TensorBoardWriter first(folder.path(), clock);
  const TensorBoardWriter second(folder.path(), clock);
  EXPECT_NE(first.path(), second.path());
  EXPECT_LT(first.path(), second.path());
}

TEST(TensorBoard, AMissingFolderIsAnError) {
  const TemporaryFolder folder;
  EXPECT_THROW(TensorBoardWriter(folder.file("missing"), [] { return 5.0; }), Error);
}

TEST(TensorBoard, WritesForTensorBoardItself) {
  // tests/long/tensorboard_check.py sets the folder and reads what is written here with TensorBoard's own
  // reader.
  const char* asked = std::getenv("HALFTONE_TENSORBOARD_FOLDER");
  if (asked == nullptr)
    GTEST_SKIP() << "only for tests/long/tensorboard_check.py, which sets HALFTONE_TENSORBOARD_FOLDER";
  double now = 1700000000;
  const auto clock = [&] { return now += 0.25; };
  const auto write = [](TensorBoardWriter& writer, int64_t first, int64_t last, float offset) {
    for (int64_t step = first; step <= last; ++step) {
      const TaggedScalar scalars[] = {{"train/loss", offset + 1 / static_cast<float>(step)},
                                      {"train/lr", 0.1F}};
      writer.add(step, scalars);
    }
  };
  {
    TensorBoardWriter writer(asked, clock);
    write(writer, 1, 80, 0);
  }
  // Killed in step 80's record, resumed from step 60: steps 61 to 80 run again.
  TensorBoardWriter first(asked, clock);
  write(first, 81, 90, 0);
  fs::resize_file(first.path(), fs::file_size(first.path()) - 5);
  now += 10;
  TensorBoardWriter resumed(asked, clock, 61);
  write(resumed, 61, 100, 1);
}

}  // namespace
}  // namespace halftone::train
