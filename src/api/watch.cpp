#include "api/watch.h"

#include <algorithm>

#include "base/error.h"

namespace halftone::api {

std::vector<train::Watch> parse_watch(const std::string& text) {
  std::vector<train::Watch> all;
  std::vector<std::string> names;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    std::string name = text.substr(at, comma - at);
    at = comma + 1;
    if (name == "f1") name = "macro-f1";
    train::Watch watch;
    watch.accuracy = name == "accuracy";
    watch.metric = train::find_metric(name);
    if (!watch.accuracy && watch.metric == nullptr && name != "loss")
      throw usage_error(
          "--watch {} is not possible: expected loss, accuracy, macro-f1 (f1), weighted-f1, auroc, top5, "
          "mean-iou, mae, rmse, r2, pearson, spearman, recall-at-1, mrr or triplet-accuracy, or several of these "
          "with commas between them; found '{}'",
          text, name);
    if (std::find(names.begin(), names.end(), name) != names.end())
      throw usage_error("--watch {}: {} is there twice", text, name);
    names.push_back(std::move(name));
    all.push_back(watch);
  }
  return all;
}

std::string name_of(const train::Watch& watch) {
  return watch.metric != nullptr ? watch.metric->name : watch.accuracy ? "accuracy" : "loss";
}

}  // namespace halftone::api
