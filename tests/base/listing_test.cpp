#include "base/listing.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace halftone {
namespace {

namespace fs = std::filesystem;

TEST(Listing, AllNamesInByteOrder) {
  const fs::path folder = fs::path(::testing::TempDir()) / "halftone-listing";
  fs::remove_all(folder);
  fs::create_directories(folder / "b");
  for (const char* name : {"a", "B", ".hidden", "\xff\n", "link"}) std::ofstream(folder / name) << 1;
  EXPECT_EQ(names_in(folder.string()),
            (std::vector<std::string>{".hidden", "B", "a", "b", "link", "\xff\n"}));
  EXPECT_EQ(names_in_if_there(folder.string()).size(), 6U);
  EXPECT_TRUE(names_in((folder / "b").string()).empty());
  EXPECT_TRUE(names_in_if_there((folder / "no").string()).empty());
  EXPECT_THROW(names_in((folder / "no").string()), Error);
  EXPECT_THROW(names_in((folder / "a").string()), Error);
  EXPECT_THROW(names_in_if_there((folder / "a").string()), Error);
  fs::remove_all(folder);
}

TEST(Listing, ATreeIsRemovedAndLinksAreNotFollowed) {
  const fs::path folder = fs::path(::testing::TempDir()) / "halftone-tree";
  fs::remove_all(folder);
  fs::create_directories(folder / "kept");
  fs::create_directories(folder / "tree/a/b");
  for (const char* name : {"kept/file", "tree/file", "tree/a/.hidden"}) std::ofstream(folder / name) << 1;
  fs::create_directory_symlink(folder / "kept", folder / "tree/a/link");
  fs::create_symlink("nowhere", folder / "tree/dangling");
  remove_tree((folder / "tree").string());
  EXPECT_FALSE(fs::exists(folder / "tree"));
  EXPECT_TRUE(fs::exists(folder / "kept/file"));
  EXPECT_NO_THROW(remove_tree((folder / "tree").string()));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace halftone
