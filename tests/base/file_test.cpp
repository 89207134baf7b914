#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace halftone {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  Files() {
    std::string name = (fs::temp_directory_path() / "halftone-file-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~Files() override { fs::remove_all(folder_); }
  std::string operator/(const std::string& name) const { return folder_ + "/" + name; }
  std::string folder_;
};

TEST_F(Files, WhatAKilledProcessLeftIsReplaced) {
  std::ofstream(*this / "x.tmp") << "a part that is longer than the whole";
  write_file_atomically(*this / "x", "whole");
  EXPECT_EQ(read_file(*this / "x"), "whole");
  EXPECT_FALSE(fs::exists(*this / "x.tmp"));
}

TEST_F(Files, TwoWritersOfOneFileDoNotMixTheirBytes) {
  write_file_atomically(*this / "x", "before");
  const int other = ::open((*this / "x.tmp").c_str(), O_WRONLY | O_CREAT, 0644);
  ASSERT_GE(other, 0);
  ASSERT_EQ(::flock(other, LOCK_EX), 0);
  ASSERT_EQ(::write(other, "other", 5), 5);
  try {
    write_file_atomically(*this / "x", "ours");
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kUsage);
    EXPECT_NE(std::string(e.what()).find("being written by another process"), std::string::npos) << e.what();
  }
  EXPECT_EQ(read_file(*this / "x.tmp"), "other");
  EXPECT_EQ(read_file(*this / "x"), "before");
  ::close(other);
  write_file_atomically(*this / "x", "ours");
  EXPECT_EQ(read_file(*this / "x"), "ours");
}

TEST_F(Files, FoldersAreMadeWithTheirParents) {
  for (const std::string name : {"a/b/c", "a/b/d/", "a", "e/../f/g"}) {
    make_folder(*this / name);
    EXPECT_TRUE(fs::is_directory(*this / name)) << name;
  }
  std::ofstream(*this / "file") << "x";
  EXPECT_THROW(make_folder(*this / "file"), Error);
  EXPECT_THROW(make_folder(*this / "file/x"), Error);
}

}  // namespace
}  // namespace halftone
