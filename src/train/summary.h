// summary.json: what a run was and what came out, in one object.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace halftone::train {

// The members are the object's keys, in this order. What was not measured or does not apply is none, and null
// in the file; a loss that is not finite is null too, because JSON has no NaN.
struct Summary {
  std::string command;
  std::string model;
  std::string precision;
  std::string multiply;
  std::string isa;
  int64_t threads = 1;
  uint64_t seed = 0;
  std::optional<double> epochs;
  std::optional<int64_t> steps;
  std::optional<int64_t> samples;
  std::optional<double> train_loss;
  std::optional<double> val_loss;
  std::optional<double> val_accuracy;  // a share in [0, 1]
  std::optional<double> seconds;
  std::optional<double> samples_per_second;
  std::optional<int64_t> peak_rss_bytes;
  std::optional<int64_t> planned_bytes;
  std::optional<int64_t> skipped_steps;
  std::optional<int64_t> stalled_updates;
};

// One line, without a line break. extra_json: further members as the text of a JSON object, added behind
// these ("{}": none); a key that a summary has already is our bug.
std::string to_json(const Summary& summary, const std::string& extra_json = "{}");

// What comparisons take from the summary.json of a run of theirs. What was not measured is none.
struct SummaryFigures {
  std::string multiply;
  std::optional<double> train_loss, val_loss, val_accuracy, seconds, data_wait_seconds, samples,
      planned_bytes, peak_rss_bytes;
};
// Errors (input), naming the file: it cannot be read, is no JSON object, has not all of these members, or one
// that is neither a number nor null.
SummaryFigures read_summary(const std::string& path);

// The most physical memory that this process has had so far: VmHWM of /proc/self/status, or getrusage where
// there is none. None if unknown.
std::optional<int64_t> peak_rss_bytes();

}  // namespace halftone::train
