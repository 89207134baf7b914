// Checkpoints: everything that the next step depends on, in one file that is complete or absent.
//
// A file (all numbers little-endian):
//   header   8 bytes magic "HTCKPT\r\n", u32 version (1), u32 sections, i64 step, u64 bytes of the whole file,
//            u32 CRC-32C of these 32 bytes
//   section u32 kind (1 state, 2 tensor), u32 bytes of description, u64 bytes of content, description, u32
//   CRC-32C
//            of these; content, u32 CRC-32C of the content. The state comes first, once; the tensors follow
//            in ascending order of their names. A tensor's description: u8 type (1 fp64, 2 fp32, 3 fp16, 4
//            bf16, 5 int64, 6 int32, 7 uint8), u8 rank, u16 zero, u32 bytes of the name, the name, rank x i64
//            dimensions. The state's description is empty.
//   end      8 bytes "HTCKEND\n", u32 CRC-32C of all bytes before the end that are not content: with the contents'
//            own CRCs among them it covers every byte of the file.
// Written through a temporary file, fsync and rename. A killed process leaves at most a *.tmp file;
// clean_temporaries() removes it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace halftone::train {

struct Checkpoint {
  int64_t step = 0;                       // the number of steps taken, >= 0
  std::map<std::string, Tensor> tensors;  // none of them empty()
  std::string state_json;  // counters, loss scale, schedule, position in the data...: opaque here
};

// The same on its way to a file, with tensors that somebody else holds: nothing is copied.
struct CheckpointView {
  int64_t step = 0;
  std::map<std::string, const Tensor*> tensors;
  std::string state_json;
};

// The file name of a step's checkpoint: checkpoint-0000000042.htck.
std::string checkpoint_name(int64_t step);

// Writes FOLDER/checkpoint-<step>.htck and returns its path. On any error (a full disk, say) older files stay
// as they were.
std::string write_checkpoint(const std::string& folder, const CheckpointView& checkpoint);
std::string write_checkpoint(const std::string& folder, const Checkpoint& checkpoint);

// Errors name the file and what is wrong with it. Allocates no more than the file's size explains.
Checkpoint read_checkpoint(const std::string& path);
// The same for a file's bytes in memory; `path` is for messages.
Checkpoint parse_checkpoint(std::string_view bytes, const std::string& path);

// A checkpoint that cannot be used, and why.
struct RefusedCheckpoint {
  std::string path;
  std::string reason;
};

struct LatestCheckpoint {
  std::optional<Checkpoint> checkpoint;  // the newest intact one; none when there is none
  std::string path;                      // its path
  std::vector<RefusedCheckpoint>
      refused;  // newer ones, newest first: warn with their names, then set_aside()
};

// Reads FOLDER's checkpoints from the newest until one is intact. Changes nothing. Errors: the folder, or a
// file, cannot be opened; the disk fails.
LatestCheckpoint find_latest(const std::string& folder);

// Renames a refused file to PATH.damaged, so that it no longer counts as a checkpoint and nothing is lost
// that could still be examined.
void set_aside(const std::string& path);

// Removes checkpoints but for the newest keep_last >= 1 complete ones and keep_path_of_best (may be empty). A
// file counts as complete when its header, size and end marker agree; older incomplete ones go, and while no
// complete one exists nothing is removed. Call it after write_checkpoint() has returned.
void prune(const std::string& folder, int64_t keep_last, const std::string& keep_path_of_best);

// Makes FOLDER/best.htck the same as the checkpoint at `path` (in the same folder): a hard link where the
// file system has them, else a copy. Replaced atomically. prune() may remove `path` afterwards. Returns the
// path of best.htck.
std::string keep_as_best(const std::string& folder, const std::string& path);

// Removes what a killed process left: NAME.tmp for the names of a run's own files. Returns the removed paths.
std::vector<std::string> clean_temporaries(const std::string& folder);

}  // namespace halftone::train
