// What an evaluation measured besides loss and accuracy: a table for people, metrics.json, metrics.csv and
// confusion.csv.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "api/session.h"
#include "train/evaluation_metrics.h"

namespace halftone::api {

struct LossMetrics {
  std::string output;  // of the network
  std::string loss;
  train::MetricResults results;
  std::vector<std::string> names;  // of classes, labels or targets; empty: they are numbered
};

// Of the network's last evaluation, of `data`; losses of which nothing is measured are left out.
std::vector<LossMetrics> metrics_of(const train::Network& network, const train::Score& score,
                                    const Data& data, const NetworkOptions& options);

// What measuring an evaluation of this data takes at most, beside the network.
int64_t metrics_bytes(const Data& data);

// Lines: averages, and a row a class, up to 20 classes; of more the worst, and where all are (`all_in`).
std::vector<std::string> table_of(const std::vector<LossMetrics>& metrics, const std::string& all_in);
// Without the rows of classes and the confusion matrix: for summaries.
nlohmann::json short_json(const std::vector<LossMetrics>& metrics);

// metrics.json, metrics.csv and, of classes, confusion.csv (of several losses the first one's) in this folder, each
// replaced when it is complete.
void write_metrics(const std::string& folder, const std::vector<LossMetrics>& metrics);

inline constexpr const char* kMetricsFile = "metrics.json";

}  // namespace halftone::api
