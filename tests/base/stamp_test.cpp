#include "base/stamp.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "train/temporary_folder.h"

namespace halftone {
namespace {

namespace fs = std::filesystem;

class StampTest : public testing::Test {
 protected:
  StampTest() { write_file_atomically(path_, "before"); }

  std::string refusal(const Stamp& before) const {
    try {
      check_stamp(path_, stamp_of(path_), before);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInput);
      return e.what();
    }
    return "";
  }

  train::TemporaryFolder folder_;
  std::string path_ = folder_.file("file");
};

TEST_F(StampTest, OfAFileIsThatOfItsDescriptor) {
  const Stamp stamp = stamp_of(path_);
  EXPECT_EQ(stamp.bytes, 6);
  EXPECT_GT(stamp.seconds, 0);
  EXPECT_EQ(InputFile(path_).stamp(), stamp);
  EXPECT_EQ(stamp_of(folder_.file("none")), Stamp{});
  EXPECT_THROW(stamp_of(-1, path_), Error);
}

TEST_F(StampTest, AFileOfAnotherSizeOrTimeIsAnotherOne) {
  const Stamp before = stamp_of(path_);
  EXPECT_EQ(refusal(before), "");
  const auto time = fs::last_write_time(path_);
  for (const auto later : {std::chrono::nanoseconds(1000), std::chrono::nanoseconds(-3'000'000'000)}) {
    fs::last_write_time(path_, time + later);
    EXPECT_NE(refusal(before).find(path_ + " was changed while the run was going on (6 bytes when it began"),
              std::string::npos);
  }
  // The old one, back in its place.
  fs::last_write_time(path_, time);
  EXPECT_EQ(refusal(before), "");
  fs::rename(path_, path_ + ".old");
  EXPECT_NE(refusal(before).find(path_ + " is gone"), std::string::npos);
  write_file_atomically(path_, "longer than before");
  fs::last_write_time(path_, time);
  EXPECT_NE(refusal(before).find("6 bytes when it began, 18 now"), std::string::npos);
  fs::rename(path_ + ".old", path_);
  EXPECT_EQ(refusal(before), "");
}

TEST_F(StampTest, AnOpenFileThatIsChangedIsRefused) {
  const InputFile file(path_);
  char bytes[6];
  file.read(0, 6, bytes);
  EXPECT_EQ(std::string(bytes, 6), "before");
  write_file_atomically(path_, "behind");  // another file under its name
  file.read(0, 6, bytes);
  EXPECT_EQ(std::string(bytes, 6), "before");
  const InputFile second(path_);
  fs::last_write_time(path_, fs::last_write_time(path_) + std::chrono::seconds(2));
  try {
    second.read(0, 6, bytes);
    FAIL() << "it was changed";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(path_ + " was changed while it was in use (6 bytes"),
              std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace halftone
