#include "train/noticed.h"

#include <algorithm>

#include "base/error.h"
#include "train/diagnosis.h"

namespace halftone::train {

std::optional<std::string> NoticedInfinities::consider(const exec::NonFinite& first, const data::Batch& batch,
                                                       uint64_t micro_step, int64_t number,
                                                       const std::string& where, bool must_decide) {
  constexpr int64_t kMostUnchecked = 64;
  if (!checks(number) && !must_decide) return std::nullopt;
  unchecked_ = std::clamp<int64_t>(2 * unchecked_, 1, kMostUnchecked);
  next_ = number + 1 + unchecked_;
  std::string finding = fmt::format("there is an infinity or a NaN in {}", describe(first));
  if (check_) {
    const PrecisionCheck checked = check_(batch, micro_step);
    if (!checked.fits) return checked.finding;
    if (!checked.finding.empty()) finding = checked.finding;
  }
  if (!warned_)
    warn_(fmt::format("warning: {}: {}{}", where, finding,
                      check_ ? "" : "; whether the loss is right is not checked"));
  warned_ = true;
  return std::nullopt;
}

}  // namespace halftone::train
