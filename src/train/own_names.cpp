#include "train/own_names.h"

#include "base/error.h"
#include "ops/op.h"
#include "pass/training.h"

namespace halftone::train {

void check_own_names(const std::vector<std::string>& tensors, const std::string& model) {
  const std::string ends[] = {pass::momentum_name(""),
                              pass::variance_name(""),
                              pass::carry_name(""),
                              pass::gradient_sum_name(""),
                              ops::pending_name(""),
                              "#bn_scale",  // of restored batch norms (pass/batch_norms.h)
                              "#bn_shift",
                              "#bn_mean",
                              "#bn_variance"};
  for (const std::string& tensor : tensors)
    for (const std::string& end : ends)
      if (tensor.ends_with(end))
        throw input_error(
            "{}: tensor '{}': training keeps its own state under names that end in {}, so a tensor of the "
            "network cannot "
            "have such a name; rename it",
            model, tensor, end);
}

}  // namespace halftone::train
