#include "api/figures.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "api/evaluation.h"
#include "base/clock.h"
#include "base/error.h"
#include "data/spec.h"

namespace halftone::api {
namespace {

// Against what rounding explains of a mean, for the few samples that differ most.
constexpr double kWorst = 4;
constexpr double kShare = 0.1;  // of the mean loss

std::vector<float> losses_of(const std::vector<train::Score>& scores) {
  std::vector<float> losses;
  for (const train::Score& s : scores) losses.insert(losses.end(), s.losses.begin(), s.losses.end());
  return losses;
}

}  // namespace

FiguresCheck check_figures(const PrecisionSubject& subject, const std::vector<train::Score>& scores,
                           const NetworkOptions& options, const DataOptions& data_options, double explained,
                           double seconds) {
  FiguresCheck check;
  if (parse_precision(options.precision) != DType::kF16) return check;
  const std::vector<float> narrow = losses_of(scores);
  const auto measured = static_cast<int64_t>(narrow.size());
  const int64_t batch = batch_of_check(subject, options.batch, measured);
  EvaluationOptions in_fp32;
  in_fp32.loss = subject.loss;
  in_fp32.batch = batch;
  in_fp32.fixed_batch = subject.fixed_batch;
  in_fp32.threads = threads_of(options.threads);
  in_fp32.seed = options.seed;
  const double start = now_seconds();
  const Evaluation other = evaluate(subject.model, subject.data, data_options, in_fp32, [&](int64_t batches) {
    return batches * batch < measured && now_seconds() - start < seconds;
  });
  check.planned_bytes = other.planned_bytes;
  const std::vector<float> wide = losses_of(other.scores);
  check.samples = std::min(measured, static_cast<int64_t>(wide.size()));
  const auto samples = static_cast<size_t>(check.samples);

  std::vector<int64_t> order(samples);
  std::iota(order.begin(), order.end(), 0);
  const auto gap = [&](int64_t i) {
    return std::abs(narrow[static_cast<size_t>(i)] - wide[static_cast<size_t>(i)]);
  };
  const size_t few = std::min(samples, static_cast<size_t>(batch));
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(few), order.end(),
                    [&](int64_t a, int64_t b) { return gap(a) != gap(b) ? gap(a) > gap(b) : a < b; });
  order.resize(few);
  double mean_gap = 0;
  for (const int64_t i : order) mean_gap += gap(i) / static_cast<double>(few);
  const double mean_loss =
      std::accumulate(wide.begin(), wide.begin() + check.samples, 0.0) / static_cast<double>(samples);
  if (few == 0 || mean_gap <= kWorst * explained + kShare * std::abs(mean_loss)) return check;

  const std::string first = subject.data.set->name(order.front());
  Data worst = subject.data;
  worst.set = data::subset(subject.data.set, order);
  PrecisionSubject of_worst{subject.model,      worst,        subject.loss,
                            subject.multiply,   subject.mode, subject.batch_norm,
                            subject.fixed_batch};
  const auto found = check_precision(of_worst, options, data_options);
  if (!found) return check;
  check.planned_bytes = std::max(check.planned_bytes, found->planned_bytes);
  if (found->overflows)
    check.finding = fmt::format("of {} samples, the {} whose loss differs most from fp32's (first {}): {}",
                                samples, few, first, found->finding);
  return check;
}

}  // namespace halftone::api
