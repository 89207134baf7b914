// Paired runs: every variant from the same file, on the same samples in the same order, each in a process of
// its own, seed by seed.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/columns.h"
#include "api/identity.h"
#include "api/run_facts.h"
#include "api/session.h"
#include "api/training.h"
#include "base/file.h"
#include "base/resource_error.h"
#include "base/stop.h"
#include "halftone/options.h"
#include "train/comparison.h"
#include "train/metrics.h"
#include "train/run_folder.h"
#include "train/sample_scores.h"
#include "train/summary.h"

namespace halftone {
namespace {

using Json = nlohmann::json;

struct Variant {
  std::string text, precision, rounding, multiply;
};

// PRECISION[:ROUNDING][:MULTIPLY], the latter two in any order.
Variant parse_variant(const std::string& text, const TrainOptions& o) {
  Variant v{text, "", o.rounding, o.network.multiply};
  size_t at = 0;
  for (int part = 0; at <= text.size(); ++part) {
    const size_t end = std::min(text.find(':', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (part == 0) {
      v.precision = word;
    } else if (word == "nearest" || word == "stochastic" || word == "kahan") {
      v.rounding = word;
    } else if (word == "block" || word == "wide" || word == "half" || word == "auto") {
      v.multiply = word;
    } else {
      throw usage_error(
          "--precisions {}: '{}' is neither a rounding (nearest, stochastic, kahan) nor a multiply policy "
          "(block, wide, half)",
          text, word);
    }
    at = end + 1;
  }
  const DType precision = api::parse_precision(v.precision);
  // --multiply is for the variants that have it.
  if (!is_16bit(precision) && v.multiply == "block") v.multiply = "auto";
  if (precision != DType::kF16 && v.multiply == "half" && o.network.multiply == "half") v.multiply = "auto";
  api::parse_multiply(v.multiply, precision);
  return v;
}

TrainOptions options_of(const TrainOptions& o, const Variant& v) {
  TrainOptions own = o;
  own.network.precision = v.precision;
  own.network.multiply = v.multiply;
  own.rounding = v.rounding;
  return own;
}

std::vector<std::string> train_arguments(const TrainOptions& o, const Variant& v, uint64_t seed,
                                         const std::string& out) {
  TrainOptions own = options_of(o, v);
  own.network.seed = seed;
  own.evaluate_first = "off";  // what all of them start with is measured once
  std::vector<std::string> a{"train"};
  for (const OptionRow& row : option_table()) {
    if ((row.commands & kTrain) == 0) continue;
    for (const std::string& value : option_values(row, own))
      a.push_back(fmt::format("--{}={}", row.key, value));
  }
  a.push_back("--out=" + out);
  a.emplace_back("--quiet");
  return a;
}

// In the child, between fork and exec: system calls alone.
[[noreturn]] void become(const char* program, char* const* argv, pid_t parent, int report) {
  // Whatever ends the parent ends the child. The parent may be gone already.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() == parent) {
    HeldSignals::reset_in_child();
    const int nowhere = ::open("/dev/null", O_WRONLY);
    if (nowhere >= 0) dup2(nowhere, 1);
    ::execvp(program, argv);
  }
  const int error = errno;
  [[maybe_unused]] const ssize_t written = ::write(report, &error, sizeof(error));
  ::_exit(127);
}

bool is_crash(int signal) {
  return signal == SIGSEGV || signal == SIGABRT || signal == SIGBUS || signal == SIGFPE || signal == SIGILL;
}

// Runs the program and waits. Its messages go to our standard error, its standard output nowhere (results are
// read from summary.json). Signals that ask us to stop are passed on to it.
void run(const std::string& program, const std::vector<std::string>& arguments) {
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  int report[2];  // the child's errno when it cannot start; closed by exec
  if (::pipe2(report, O_CLOEXEC) != 0) throw file_error(errno, "cannot start " + program);
  const pid_t parent = ::getpid();
  pid_t child = -1;
  int failure = 0;
  {
    const HeldSignals held;
    child = ::fork();
    if (child == 0) become(program.c_str(), argv.data(), parent, report[1]);
    failure = errno;
    if (child > 0) pass_stops_to(child);
  }
  ::close(report[1]);
  if (child < 0) {
    ::close(report[0]);
    throw resource_error("cannot start {}: {}", program, std::strerror(failure));
  }
  int error = 0;
  ssize_t got = 0;
  while ((got = ::read(report[0], &error, sizeof(error))) < 0 && errno == EINTR) {
  }
  ::close(report[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  pass_stops_to(0);
  if (got > 0) throw input_error("cannot start {}: {}", program, std::strerror(error));
  check_stop();
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  const std::string what = fmt::format("a paired run ended with exit code {} (its message is above)", code);
  if (code == 2) throw usage_error("{}", what);
  if (code == 3) throw input_error("{}", what);
  if (code == 4) throw numerical_error("{}", what);
  // Killed: by somebody who asked for it, or by the system for its memory.
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
    throw resource_error("a paired run was killed, perhaps because memory ran out");
  if (WIFSIGNALED(status) && is_crash(WTERMSIG(status)))
    throw InternalError(fmt::format("a paired run crashed ({})", strsignal(WTERMSIG(status))));
  if (code > 128)
    throw Interrupted(code - 128, fmt::format("a paired run was stopped by {}; the comparison ends",
                                              signal_name(code - 128)));
  if (code == 5) throw resource_error("{}", what);
  if (code != 0) throw InternalError(what);
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double x : values) sum += x;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

// The mean over the seeds; from three seeds on with its interval over other seeds, unless that is nothing.
std::string spread(const std::vector<double>& values, double factor, int digits) {
  if (values.empty()) return "-";
  std::vector<double> scaled;
  for (const double x : values) scaled.push_back(x * factor);
  const train::Interval i = train::mean_interval(scaled);
  std::string text = fmt::format("{:.{}f}", i.mean, digits);
  if (i.values >= train::kLeastSeeds && *i.half_width > 0)
    text += fmt::format(" ± {:.{}f}", *i.half_width, digits);
  return text;
}

// What the runs of a variant measured, one entry a seed.
struct Measured {
  train::SeedsBySamples correct,
      loss;  // of each validation sample; `correct` has no entries for losses without classes
  train::SeedsBySamples training_loss;  // one value a seed
};

// The same over other seeds and other samples.
std::string spread(const train::SeedsBySamples& values, const std::vector<double>& means, double factor,
                   int digits) {
  if (values.empty()) return spread(means, factor, digits);
  std::string text = fmt::format("{:.{}f}", factor * mean(means), digits);
  const train::CrossedInterval i = train::crossed_interval(values);
  if (i.seeds >= train::kLeastSeeds && i.half_width && *i.half_width > 0)
    text += fmt::format(" ± {:.{}f}", factor * *i.half_width, digits);
  return text;
}

Json json_of(const train::Comparison& c) {
  const auto number = [](double x) { return std::isfinite(x) ? Json(x) : Json(nullptr); };
  Json json{{"difference", number(c.difference.mean)},
            {"half_width", c.difference.half_width ? number(*c.difference.half_width) : Json(nullptr)},
            {"seeds", c.difference.seeds},
            {"samples", c.difference.samples},
            {"verdict", train::name_of(c.claim)}};
  if (c.claim == train::Claim::kNone) json["why"] = c.why_none;
  return json;
}

// Everything that is said of a variant against the first one.
struct Verdicts {
  std::optional<train::Comparison> accuracy;
  train::Comparison loss;
  std::string text(const std::string& variant, const std::string& base) const {
    std::string lines;
    if (accuracy) lines += fmt::format("{} against {}: {}\n", variant, base, accuracy->text);
    return lines + fmt::format("{} against {}: {}\n", variant, base, loss.text);
  }
};

Verdicts verdicts(const Measured& variant, const Measured& base) {
  using train::Measure;
  Verdicts v;
  if (!variant.correct.empty() && !base.correct.empty())
    v.accuracy = train::compare(Measure::kAccuracy, variant.correct, base.correct);
  const bool validated = !variant.loss.empty() && !base.loss.empty();
  v.loss = validated ? train::compare(Measure::kLoss, variant.loss, base.loss)
                     : train::compare(Measure::kTrainingLoss, variant.training_loss, base.training_loss);
  return v;
}

// One finished run's results, added to its variant's. Returns its multiply policy.
std::string add_results(const std::string& folder, CompareRow& row, Measured& measured) {
  const train::SummaryFigures run = train::read_summary(folder + "/summary.json");
  // A loss that is not finite is null there.
  const auto or_nan = [](const std::optional<double>& figure) { return figure.value_or(NAN); };
  const std::string samples = folder + "/" + train::kSampleScoresFile;
  measured.training_loss.push_back({or_nan(run.train_loss)});
  if (std::filesystem::exists(samples)) {
    train::SampleScores scores = train::read_sample_scores(samples);
    if (!measured.loss.empty() && measured.loss.front().size() != scores.loss.size())
      throw input_error(
          "{} has {} validation samples, the run before had {}: the data changed between the runs", samples,
          scores.loss.size(), measured.loss.front().size());
    row.loss.push_back(or_nan(run.val_loss));
    // Of labels, several a sample, there is a share of right ones, but no sample that is right.
    if (run.val_accuracy) row.accuracy.push_back(*run.val_accuracy);
    if (!scores.correct.empty()) measured.correct.push_back(std::move(scores.correct));
    measured.loss.push_back(std::move(scores.loss));
  } else {
    row.loss.push_back(or_nan(run.train_loss));
  }
  row.seconds.push_back(or_nan(run.seconds));
  row.data_wait_seconds.push_back(or_nan(run.data_wait_seconds));
  const double stepping = row.seconds.back() - row.data_wait_seconds.back();
  row.samples_per_second.push_back(stepping > 0 ? or_nan(run.samples) / stepping : 0);
  row.planned_bytes.push_back(or_nan(run.planned_bytes));
  row.peak_bytes.push_back(or_nan(run.peak_rss_bytes));
  return run.multiply;
}

CompareResult compare_in(const train::RunFolder& folder, const CompareOptions& o,
                         std::vector<Variant> variants, const std::string& program, const Log& log) {
  // One numbering of the classes for the starting points and all variants: the training data's.
  TrainOptions numbered = o.train;
  const bool names = numbered.data.classes_file.empty();
  if (names || api::has_column_options(numbered.data)) {
    const std::string classes = api::keep_classes(numbered, folder.path());
    if (names) numbered.data.classes_file = classes;
    // The same numbers for the starting points, which are not trained on anything that could be measured.
    const std::string columns = folder.path() + "/columns.json";
    if (numbered.data.columns_file.empty() && std::filesystem::exists(columns))
      numbered.data.columns_file = columns;
  }

  CompareResult result;
  for (const Variant& v : variants) result.rows.emplace_back().variant = v.text;
  std::vector<Measured> measured(variants.size());
  // The starting point, once for each variant: a network may lose accuracy by being narrowed. The file is not what the runs
  // begin with where they change it first.
  const bool begins_anew = o.train.new_head || o.train.classes > 0 || !o.train.reset.empty();
  const std::string val = api::validation_spec(o.train.data, [](const std::string&) {});
  for (size_t i = 0; i < variants.size() && !val.empty() && !begins_anew; ++i) {
    EvalOptions e;
    e.network = api::unweighted(o.train.network);  // of which the accuracy alone is taken
    e.network.precision = variants[i].precision;
    e.network.multiply = variants[i].multiply;
    e.data = numbered.data;
    e.data.data = val;
    // Read as the runs read them, whatever another run says of the network.
    for (const OptionRow& row : option_table()) e.given.emplace_back(row.key);
    const RunResult before = evaluate_model(e, [](const std::string&) {});
    if (before.val_accuracy) result.rows[i].accuracy_before.push_back(*before.val_accuracy);
  }
  // Seeds outside, variants inside: if the machine's speed drifts, all variants drift with it.
  for (int64_t k = 0; k < o.seeds; ++k) {
    for (size_t i = 0; i < variants.size(); ++i) {
      const uint64_t seed = o.train.network.seed + static_cast<uint64_t>(k);
      std::string name = variants[i].text;
      std::replace(name.begin(), name.end(), ':', '-');
      const std::string out = fmt::format("{}/{}-seed{}", folder.path(), name, seed);
      log(fmt::format("{} seed {} ...", variants[i].text, seed));
      run(program, train_arguments(numbered, variants[i], seed, out));
      CompareRow& row = result.rows[i];
      const std::string multiply = add_results(out, row, measured[i]);
      // What `auto` became holds for all seeds.
      if (is_16bit(api::parse_precision(variants[i].precision))) variants[i].multiply = multiply;
      const bool has_accuracy = !row.accuracy.empty();
      log(fmt::format("{} seed {}: loss {:.4f}{}, {:.0f} samples/s, {:.0f} MiB", variants[i].text, seed,
                      row.loss.back(),
                      has_accuracy ? fmt::format(", accuracy {:.2f} %", 100 * row.accuracy.back()) : "",
                      row.samples_per_second.back(), row.peak_bytes.back() / (1 << 20)));
    }
  }

  const CompareRow& base = result.rows.front();
  result.table = fmt::format("{:<18} {:>9} {:>15} {:>17} {:>13} {:>13} {:>15} {:>7} {:>12} {:>10}\n",
                             "variant", "before %", "accuracy %", "loss", "seconds", "data wait s",
                             "samples/s", "speed", "planned MiB", "peak MiB");
  Json rows = Json::array();
  std::string said;
  for (size_t i = 0; i < result.rows.size(); ++i) {
    const CompareRow& row = result.rows[i];
    const double speed = mean(row.samples_per_second) / mean(base.samples_per_second);
    result.table += fmt::format(
        "{:<18} {:>9} {:>15} {:>17} {:>13} {:>13} {:>15} {:>6.2f}x {:>12} {:>10}\n", row.variant,
        spread(row.accuracy_before, 100, 2), spread(measured[i].correct, row.accuracy, 100, 2),
        spread(measured[i].loss, row.loss, 1, 4), spread(row.seconds, 1, 1),
        spread(row.data_wait_seconds, 1, 1), spread(row.samples_per_second, 1, 0), speed,
        spread(row.planned_bytes, 1.0 / (1 << 20), 1), spread(row.peak_bytes, 1.0 / (1 << 20), 0));
    Json entry{{"variant", row.variant},
               {"accuracy_before", row.accuracy_before},
               {"accuracy", row.accuracy},
               {"loss", row.loss},
               {"seconds", row.seconds},
               {"data_wait_seconds", row.data_wait_seconds},
               {"samples_per_second", row.samples_per_second},
               {"planned_bytes", row.planned_bytes},
               {"peak_rss_bytes", row.peak_bytes},
               {"speed", speed}};
    if (i > 0) {
      const Verdicts v = verdicts(measured[i], measured.front());
      if (v.accuracy) entry["accuracy_verdict"] = json_of(*v.accuracy);
      entry["loss_verdict"] = json_of(v.loss);
      entry["verdict"] = (v.accuracy ? v.accuracy->text + "; " : "") + v.loss.text;
      said += v.text(row.variant, base.variant);
    }
    rows.push_back(std::move(entry));
  }
  result.table += said;
  result.table += fmt::format(
      "{} threads, {}; ± is a 95 % interval: of accuracy and loss over other seeds and samples, of the rest "
      "over other "
      "runs; data wait s: how many of the seconds the steps waited for data, which samples/s leave out\n",
      api::threads_of(o.train.network.threads), kern::name_of(kern::active_isa()));
  result.summary_json =
      Json{{"command", "compare"}, {"model", o.train.network.model}, {"seeds", o.seeds}, {"rows", rows}}.dump(
          -1, ' ', false, nlohmann::json::error_handler_t::replace);
  write_file_atomically(folder.path() + "/summary.json", result.summary_json + "\n");
  return result;
}

}  // namespace

CompareResult compare_runs(const CompareOptions& given, const std::string& program, const Log& log) {
  CompareOptions o = given;
  if (o.seeds < 1) throw usage_error("--seeds {} is not possible: expected at least 1", o.seeds);
  if (static_cast<uint64_t>(o.seeds - 1) > UINT64_MAX - o.train.network.seed)
    throw usage_error("--seed {} with --seeds {} goes beyond the largest seed, {}", o.train.network.seed,
                      o.seeds, UINT64_MAX);
  if (o.variants.empty()) throw usage_error("--precisions is empty");
  std::vector<Variant> variants;
  for (const std::string& text : o.variants) {
    if (std::count(o.variants.begin(), o.variants.end(), text) > 1)
      throw usage_error("--precisions names {} twice", text);
    variants.push_back(parse_variant(text, o.train));
    // Before an earlier comparison is replaced.
    api::check_training_options(options_of(o.train, variants.back()), /*given=*/false);
  }
  // All runs have the numbers that it is now.
  if (o.train.data.normalize == "auto")
    api::resolve_normalization(o.train.data, o.train.network.model,
                               api::open_model(o.train.network, false, log), log,
                               /*training=*/true);
  const train::RunFolder folder = train::RunFolder::create(
      {o.train.out, "compare", o.train.overwrite, api::files_read(o.train.network, o.train.data)});
  if (o.train.out.empty()) log("the results go to " + folder.path());
  train::remove_run(folder.path());  // of an earlier comparison, by --overwrite
  try {
    return compare_in(folder, o, variants, program, log);
  } catch (const Interrupted& e) {
    throw Interrupted(e.signal(),
                      fmt::format("stopped by {}; the comparison is not resumed: start it again with "
                                  "--overwrite. The finished runs are in {}",
                                  signal_name(e.signal()), folder.path()));
  }
}

}  // namespace halftone
