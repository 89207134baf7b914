// The shape of a product's work (how it is cut, its sizes): made once, when it is planned, and kept in the
// plan for its chunks.
#pragma once

#include "kern/matrix.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

// Made from the product and the number of threads.
template <class Work>
Work keep_work(ProductPlan& plan) {
  static_assert(sizeof(Work) <= sizeof(plan.work) && alignof(Work) <= ProductPlan::kWorkAlignment);
  static_assert(__is_trivially_copyable(Work));
  const Work work(plan.product, plan.threads);
  __builtin_memcpy(plan.work, &work, sizeof(Work));
  return work;
}

template <class Work>
Work work_of(const ProductPlan& plan) {
  return *reinterpret_cast<const Work*>(plan.work);
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
