#include "train/weight_averages.h"

#include <algorithm>

#include "base/error.h"

namespace halftone::train {

void WeightAverages::exchange() {
  if (run_.network.options().training.average_decay == 0 || run_.state.good_steps == 0) return;
  exec::Store& store = run_.network.store();
  for (const std::string& name : run_.network.training().trained) {
    Tensor* weights = store.find(name);
    Tensor* average = store.find(pass::average_name(name));
    HT_ASSERT(weights != nullptr && average != nullptr && weights->bytes() == average->bytes(), "{}", name);
    auto* w = static_cast<std::byte*>(weights->data());
    std::swap_ranges(w, w + weights->bytes(), static_cast<std::byte*>(average->data()));
  }
}

}  // namespace halftone::train
