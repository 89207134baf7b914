// How good a network is before the first step, and, where it is no better than chance, what may be the reason.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/session.h"
#include "train/network.h"

namespace halftone::api {

struct StartingPoint {
  double loss = 0;
  std::optional<double> accuracy;  // a share
  int64_t samples = 0;
  std::vector<train::Figure> figures = {};  // of the first loss
};

// Of all samples of `data`, with the network as it is; nothing changes. None, and a warning, where the loss is not
// finite. At the level of chance pictures are tried with other normalisations, and the classes in another order, on a
// few batches: what fits is named.
std::optional<StartingPoint> starting_point(train::Network& network, const Data& data,
                                            const DataOptions& options, const Delivery& delivery,
                                            int64_t batch, const Log& log);

// before.json of a run's folder, so that a run that is continued need not evaluate again.
inline constexpr const char* kBeforeFile = "before.json";
void write_starting_point(const std::string& folder, const StartingPoint& start);
// None: there is none, or it is damaged.
std::optional<StartingPoint> read_starting_point(const std::string& folder);

// "loss 2.30, accuracy 9.80 %"
std::string describe(const StartingPoint& start);

}  // namespace halftone::api
