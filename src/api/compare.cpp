// Twin runs: every variant from the same file, on the same samples in the same order, each in a process of its own, seed by seed.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "api/session.h"
#include "base/error.h"
#include "base/file.h"
#include "train/metrics.h"
#include "train/run_folder.h"

extern char** environ;

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

std::string join(const std::vector<double>& values) {
  std::string out;
  for (const double x : values) out += (out.empty() ? "" : ",") + fmt::format("{}", x);
  return out;
}

std::vector<std::string> train_arguments(const TrainOptions& o, const Variant& v, uint64_t seed,
                                         const std::string& out) {
  std::vector<std::string> a{"train", o.network.model};
  const auto add = [&](const char* name, const auto& value) {
    a.push_back(fmt::format("--{}={}", name, value));
  };
  const auto add_text = [&](const char* name, const std::string& value) {
    if (!value.empty()) add(name, value);
  };
  const NetworkOptions& n = o.network;
  const DataOptions& d = o.data;
  add("precision", v.precision), add("multiply", v.multiply), add("rounding", v.rounding),
      add("batchnorm", n.batchnorm), add("check-precision", n.check_precision);
  for (const std::string& dim : n.dims) add("dim", dim);
  add("batch", n.batch), add("threads", n.threads), add("loss", n.loss),
      add("label-smoothing", n.label_smoothing), add("seed", seed);
  add("data", d.data), add_text("val", d.val), add("normalize", d.normalize), add_text("mean", join(d.mean)),
      add_text("std", join(d.std));
  add("resize", d.resize), add("crop-padding", d.crop_padding), add("loader-threads", d.loader_threads),
      add("cache", d.cache_mib);
  add_text("label-column", d.label_column), add("layout", d.layout), add("csv-header", d.csv_header),
      add("csv-delimiter", d.csv_delimiter), add("csv-decimal", d.csv_decimal), add_text("x-key", d.x_key), add_text("y-key", d.y_key);
  if (d.flip) a.emplace_back("--flip");
  if (d.random_resized_crop) a.emplace_back("--random-resized-crop");
  if (d.skip_bad) a.emplace_back("--skip-bad");
  add("epochs", o.epochs), add("steps", o.steps), add("accumulate", o.accumulate),
      add("optimizer", o.optimizer), add("lr", o.lr);
  add("momentum", o.momentum), add("weight-decay", o.weight_decay), add("beta1", o.beta1),
      add("beta2", o.beta2), add("eps", o.eps);
  add("alpha", o.alpha), add("schedule", o.schedule), add("warmup", o.warmup), add("clip", o.clip),
      add("loss-scale", o.loss_scale);
  if (o.nesterov) a.emplace_back("--nesterov");
  if (!o.decay_all) a.emplace_back("--no-decay-norm-bias");
  for (const std::string& pattern : o.freeze) add("freeze", pattern);
  for (const std::string& pattern : o.train) add("train", pattern);
  add("checkpoint-every", o.checkpoint_every), add("keep", o.keep), add("log-every", o.log_every),
      add("time-limit", o.time_limit);
  add("patience", o.patience), add("min-delta", o.min_delta), add("watch", o.watch), add("out", out);
  if (o.keep_best) a.emplace_back("--keep-best");
  a.emplace_back("--quiet");
  return a;
}

// Runs the program and waits. Its messages go to our standard error, its standard output nowhere (results are read from summary.json).
void run(const std::string& program, const std::vector<std::string>& arguments) {
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int error = posix_spawnp(&child, program.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw input_error("cannot start {}: {}", program, std::strerror(error));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  const std::string what = fmt::format("a twin run ended with exit code {} (its message is above)", code);
  if (code == 2) throw usage_error("{}", what);
  if (code == 4) throw numerical_error("{}", what);
  if (code != 0) throw input_error("{}", what);
}

std::string spread(const std::vector<double>& values, double factor, const char* format) {
  if (values.empty()) return "-";
  std::vector<double> scaled;
  for (const double x : values) scaled.push_back(x * factor);
  const train::Interval i = train::mean_interval(scaled);
  std::string text = fmt::format(fmt::runtime(format), i.mean);
  if (i.half_width) text += " ± " + fmt::format(fmt::runtime(format), *i.half_width);
  return text;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double x : values) sum += x;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

// What the accuracy of `row` is against the first variant's, in words.
std::string verdict(const CompareRow& base, const CompareRow& row) {
  if (row.accuracy.empty() || base.accuracy.empty()) return "";
  const train::Interval i = train::paired_interval(row.accuracy, base.accuracy);
  std::string text = fmt::format("{} against {}: {:+.2f} points", row.variant, base.variant, 100 * i.mean);
  if (!i.half_width) return text + " (one seed: no interval; --seeds 3 or more gives one)";
  text += fmt::format(" ± {:.2f} (95 %, {} seeds)", 100 * *i.half_width, i.values);
  const bool differs = std::abs(i.mean) > *i.half_width;
  return text + (differs ? (i.mean > 0 ? ": better" : ": worse") : ": no difference seen");
}

}  // namespace

CompareResult compare_runs(const CompareOptions& o, const std::string& program, const Log& log) {
  if (o.seeds < 1) throw usage_error("--seeds {} is not possible: expected at least 1", o.seeds);
  if (static_cast<uint64_t>(o.seeds - 1) > UINT64_MAX - o.train.network.seed)
    throw usage_error("--seed {} with --seeds {} goes beyond the largest seed, {}", o.train.network.seed, o.seeds,
                      UINT64_MAX);
  if (o.variants.empty()) throw usage_error("--precisions is empty");
  std::vector<Variant> variants;
  for (const std::string& text : o.variants) variants.push_back(parse_variant(text, o.train));
  make_folder(o.train.out);

  CompareResult result;
  for (const Variant& v : variants) result.rows.push_back({v.text, {}, {}, {}, {}, {}, {}, {}});
  // The starting point, once for each variant: a network may lose accuracy by being narrowed.
  const std::string val = api::validation_spec(o.train.data, [](const std::string&) {});
  for (size_t i = 0; i < variants.size() && !val.empty(); ++i) {
    EvalOptions e;
    e.network = o.train.network;
    e.network.precision = variants[i].precision;
    e.network.multiply = variants[i].multiply;
    e.data = o.train.data;
    e.data.data = val;
    const RunResult before = evaluate_model(e, [](const std::string&) {});
    if (before.val_accuracy) result.rows[i].accuracy_before.push_back(*before.val_accuracy);
  }
  // Seeds outside, variants inside: if the machine's speed drifts, all variants drift with it.
  for (int64_t k = 0; k < o.seeds; ++k) {
    for (size_t i = 0; i < variants.size(); ++i) {
      const uint64_t seed = o.train.network.seed + static_cast<uint64_t>(k);
      std::string name = variants[i].text;
      std::replace(name.begin(), name.end(), ':', '-');
      const std::string out = fmt::format("{}/{}-seed{}", o.train.out, name, seed);
      log(fmt::format("{} seed {} ...", variants[i].text, seed));
      train::remove_run(out);  // of an earlier comparison, which may have been interrupted
      run(program, train_arguments(o.train, variants[i], seed, out));
      Json s;
      try {
        s = Json::parse(read_file(out + "/summary.json"));
      } catch (const Json::exception& e) {
        throw input_error("{}/summary.json is damaged: {}", out, e.what());
      }
      // What `auto` became holds for all seeds.
      if (is_16bit(api::parse_precision(variants[i].precision))) variants[i].multiply = s["multiply"];
      CompareRow& row = result.rows[i];
      const char* loss = s["val_loss"].is_null() ? "train_loss" : "val_loss";
      if (s[loss].is_number()) row.loss.push_back(s[loss]);
      if (s["val_accuracy"].is_number()) row.accuracy.push_back(s["val_accuracy"]);
      row.seconds.push_back(s["seconds"]);
      row.samples_per_second.push_back(s["samples_per_second"]);
      row.planned_bytes.push_back(s["planned_bytes"]);
      row.peak_bytes.push_back(s["peak_rss_bytes"]);
      const bool has_accuracy = !row.accuracy.empty();
      log(fmt::format("{} seed {}: loss {:.4f}{}, {:.0f} samples/s, {:.0f} MiB", variants[i].text, seed,
                      row.loss.empty() ? NAN : row.loss.back(),
                      has_accuracy ? fmt::format(", accuracy {:.2f} %", 100 * row.accuracy.back()) : "",
                      row.samples_per_second.back(), row.peak_bytes.back() / (1 << 20)));
    }
  }

  const CompareRow& base = result.rows.front();
  result.table =
      fmt::format("{:<18} {:>10} {:>16} {:>18} {:>15} {:>16} {:>8} {:>12} {:>12}\n", "variant", "before %",
                  "accuracy %", "loss", "seconds", "samples/s", "speed", "planned MiB", "peak MiB");
  Json rows = Json::array();
  for (const CompareRow& row : result.rows) {
    const double speed = mean(row.samples_per_second) / mean(base.samples_per_second);
    result.table += fmt::format("{:<18} {:>10} {:>16} {:>18} {:>15} {:>16} {:>7.2f}x {:>12} {:>12}\n",
                                row.variant, spread(row.accuracy_before, 100, "{:.2f}"),
                                spread(row.accuracy, 100, "{:.2f}"), spread(row.loss, 1, "{:.4f}"),
                                spread(row.seconds, 1, "{:.1f}"), spread(row.samples_per_second, 1, "{:.0f}"),
                                speed, spread(row.planned_bytes, 1.0 / (1 << 20), "{:.1f}"),
                                spread(row.peak_bytes, 1.0 / (1 << 20), "{:.0f}"));
    Json entry{{"variant", row.variant},
               {"accuracy_before", row.accuracy_before},
               {"accuracy", row.accuracy},
               {"loss", row.loss},
               {"seconds", row.seconds},
               {"samples_per_second", row.samples_per_second},
               {"planned_bytes", row.planned_bytes},
               {"peak_rss_bytes", row.peak_bytes},
               {"speed", speed}};
    if (&row != &base && !row.accuracy.empty()) entry["verdict"] = verdict(base, row);
    rows.push_back(std::move(entry));
  }
  for (const CompareRow& row : result.rows)
    if (&row != &base && !row.accuracy.empty()) result.table += verdict(base, row) + "\n";
  result.table += fmt::format("{} threads, {}; ± is the 95 % interval of the mean over seeds\n",
                              api::threads_of(o.train.network.threads), kern::name_of(kern::active_isa()));
  result.summary_json = Json{
      {"command", "compare"},
      {"model", o.train.network.model},
      {"seeds", o.seeds},
      {"rows", rows}}.dump();
  write_file_atomically(o.train.out + "/summary.json", result.summary_json + "\n");
  return result;
}

}  // namespace halftone
