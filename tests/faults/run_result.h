// What a training run leaves, and how one goes on after it ended early.
#pragma once

#include <string>
#include <vector>

namespace halftone::faults {

// The number of records and the bytes of its network, with those of its data where it has some beside it;
// else what is wrong with the folder: the run has not ended, its log cannot be read, a temporary or damaged
// file is left.
std::string result_of_run(const std::string& out);

// Goes on with the run in `out`, or, where nothing was saved, starts it again by `start`. A failure unless
// that works, and no checkpoint is damaged.
void go_on(const std::string& out, const std::vector<std::string>& start);

// Whether a checkpoint is there.
bool has_saved(const std::string& out);

}  // namespace halftone::faults
