// What the shim (shim.cpp) and the tests that use it agree on.
//
// The shim is loaded into a program by LD_PRELOAD. From the beginning of main() on it counts the program's
// calls by kind, over the program and the processes that it starts, lets chosen ones fail, and records what
// happens to files:
//   FAULT_STATE   a file of sizeof(State) zero bytes: counts, and what failed. Needed for everything else but FAULT_RECORD.
//   FAULT         KIND:N:HOW or KIND:N+:HOW: the N-th call of a kind (from 1), or that one and all that follow. HOW is
//                   ENOSPC, EIO, ...  the call fails with this error
//                   short             a write, or a read, of a part
//                   torn              a write of a part; further writes to any file fail with ENOSPC
//                   kill              the process is killed before the call
//                   torn-kill         the process is killed after a part of the write
//                   SIGINT, ...       the process gets this signal before the call, which is then made
//   FAULT_RECORD a file that gets a Record for each call that changes a file, a folder, or what of them is on
//   the disk
#pragma once

#include <cstdint>

namespace halftone::faults {

enum Kind : uint32_t {
  kWrite,
  kSync,
  kRename,
  kOpen,
  kMap,
  kMemory,
  kThread,
  kRead,
  kRemove,
  kTruncate,
  kLink,
  kFolder,
  kLock,
  kKinds
};
inline constexpr const char* kKindNames[kKinds] = {"write",  "fsync",  "rename", "open",   "mmap",
                                                   "malloc", "thread", "read",   "unlink", "truncate",
                                                   "link",   "mkdir",  "flock"};

struct State {
  uint64_t calls[kKinds];
  uint64_t faults;  // calls that failed, or were cut short
  char path[1024];  // of the first of them, where it has one
};

enum class Op : uint32_t {
  kOpen,
  kWrite,
  kTruncate,
  kSync,
  kRename,
  kUnlink,
  kLink,
  kMakeFolder,
  kRemoveFolder
};

// Followed by first_bytes and second_bytes bytes: paths (absolute), or what was written.
struct Record {
  Op op;
  int32_t fd;      // open, write, truncate, sync
  int64_t number;  // open: its flags; write: the offset; truncate: the size
  uint32_t first_bytes, second_bytes;
};

}  // namespace halftone::faults
