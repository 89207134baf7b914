// What a disk may hold after a power failure in the middle of a recorded run.
//
// What was synchronised before is there. Of what was not:
//   files    each sector of 512 bytes is as it was after any of the writes since, and so is the file's size: writes are lost, torn,
//            done in another order, or have become zeros
//   folders each new name, rename, link and removal was done or was not. It is what synchronising the folder
//   makes sure of; to
//            synchronise a file makes sure of its bytes, not of its name, and renames may come before the
//            bytes of what is renamed.
#pragma once

#include <map>
#include <random>
#include <string>
#include <vector>

#include "faults/faulty.h"

namespace halftone::faults {

// The files of a folder by their paths, which are relative to it; the same number stands for the same file
// under several names.
struct Tree {
  std::map<std::string, int> files;
  std::map<int, std::string> contents;
  std::vector<std::string> folders;

  const std::string* find(const std::string& path) const;  // the file's bytes; nullptr: there is none
  void write_to(const std::string& folder) const;          // which is empty
};

class CrashDisk {
 public:
  // `before`: what lay in `base`, on the disk, before the calls. Other folders are not looked at.
  CrashDisk(std::string base, const Tree& before, const std::vector<RecordedCall>& calls);

  size_t calls() const { return calls_; }

  // The crash comes after the first `count` calls.
  Tree least(size_t count) const;  // nothing is there but what must be
  Tree most(size_t count) const;   // everything is
  Tree random(size_t count, std::mt19937_64& random) const;

 private:
  struct Change {  // of a file's bytes: at `offset`, or its size
    size_t at;
    bool is_size;
    int64_t offset;
    std::string bytes;
  };
  struct Node {
    bool is_folder = false;
    std::string before;
    std::vector<Change> changes;
    std::vector<size_t> syncs;
  };
  struct Entry {  // a change of a folder: names that appear and go
    size_t at;
    int folder;
    std::string appears;  // empty: none
    int node;
    std::string goes;
  };
  enum class Choice { kNone, kAll, kPrefix, kAny };

  int node_of(const std::string& path) const;  // -1: unknown
  int folder_of(const std::string& path) const;
  void add(const RecordedCall& call, size_t at);
  void change_entry(size_t at, const std::string& appears, int node, const std::string& goes);
  bool is_durable(int node, size_t at, size_t count) const;
  Tree build(size_t count, const std::vector<bool>& done, const std::map<int, std::string>& contents) const;
  Tree uniform(size_t count, bool all) const;
  std::string content(const Node& node, size_t count,
                      int64_t changes) const;  // after so many that need not be there
  int64_t pending(int node, size_t count) const;

  std::string base_;
  size_t calls_ = 0;
  std::vector<Node> nodes_;  // the first is base
  std::vector<Entry> entries_;
  std::map<std::string, int> names_before_, names_;  // as the program sees them
  std::map<int, int> open_;                          // nodes by descriptors; -1: of no concern
};

}  // namespace halftone::faults
