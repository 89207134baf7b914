// What follows from an infinity that was noticed in a forward pass whose loss and gradients are finite
// (pass/watch.h): nothing, a warning, or the end of the run.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "data/loader.h"
#include "exec/program.h"
#include "train/precision_check.h"

namespace halftone::train {

class NoticedInfinities {
 public:
  // The batch in fp32, with the weights as they are. micro_step: of dropout's random bits.
  using Check = std::function<PrecisionCheck(const data::Batch& batch, uint64_t micro_step)>;
  using Warn = std::function<void(const std::string& text)>;

  // An empty `check`: there is a warning, and nothing else.
  NoticedInfinities(Check check, Warn warn) : check_(std::move(check)), warn_(std::move(warn)) {}

  bool checks(int64_t number) const { return number >= next_; }
  // For batch `number` of a row of them. Each check that finds nothing wrong is followed by batches that are
  // not checked, 1, 2, 4, ... up to 64, unless `must_decide`. Returns what is wrong, with what to try; none:
  // go on. `where` begins the warning, of which there is one.
  std::optional<std::string> consider(const exec::NonFinite& first, const data::Batch& batch,
                                      uint64_t micro_step, int64_t number, const std::string& where,
                                      bool must_decide = false);

 private:
  Check check_;
  Warn warn_;
  bool warned_ = false;
  int64_t unchecked_ = 0;  // so many follow the last check
  int64_t next_ = 0;       // the first that is checked again
};

}  // namespace halftone::train
