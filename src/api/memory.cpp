#include "api/memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <new>
#include <optional>
#include <vector>

#include "base/memory_limits.h"
#include "base/resource_error.h"
#include "base/stop.h"
#include "data/cache.h"
#include "par/pool.h"

namespace halftone::api {
namespace {

// Beyond what is planned: programs, graphs, what the allocator holds back. A run within it of a limit is
// warned of.
constexpr int64_t kSlackBytes = int64_t{64} << 20;
constexpr double kSlackShare = 0.05;

int64_t stack_bytes() {
  rlimit limit{};
  constexpr int64_t kUnlimited = int64_t{2} << 20;  // what glibc takes then on x86-64
  if (::getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnlimited;
  return static_cast<int64_t>(limit.rlim_cur);
}

// Of physical memory, now; 0 where it cannot be read.
int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t all = 0;
  int64_t resident = 0;
  return statm >> all >> resident ? resident * ::sysconf(_SC_PAGESIZE) : 0;
}

std::vector<const Data*> sets_of(const MemoryPlan& p) {
  std::vector<const Data*> sets;
  if (p.data != nullptr) sets.push_back(p.data);
  if (p.validation != nullptr) sets.push_back(p.validation);
  return sets;
}

// What the run takes besides the network: each set has a loader of its own.
MemoryNeed besides(const MemoryPlan& p, int64_t batch, DType storage, int64_t loader_threads) {
  MemoryNeed need;
  int64_t leased = 0;  // of pictures that wait for each other
  int64_t largest = 0;
  for (const Data* data : sets_of(p)) {
    const bool training = p.training && data == p.data;
    const DType stored = p.training ? storage : evaluated_storage(*data, storage);
    const data::Loader::Memory memory = data::Loader::memory(
        *data->set, loader_options(*data, *p.data_options, batch, training, 0, {.storage = stored}));
    need.bytes += memory.batches + loader_threads * memory.thread;
    (memory.decode > data::kUncountedBytes ? leased : need.bytes) += loader_threads * memory.decode;
    largest = std::max(largest, memory.decode);
    need.addresses += loader_threads * stack_bytes();
  }
  need.bytes += std::min(leased, std::max(data::kDecodeBudgetBytes, largest));
  return need;
}

int64_t loader_threads(const DataOptions& options) {
  return options.loader_threads > 0 ? options.loader_threads : par::available_threads();
}

struct Choice {
  int64_t batch = 1;
  DType storage = DType::kF32;
  int threads = 1;
  int64_t loader_threads = 1;
};

// What the program of this choice takes by plan; none when it cannot be planned here.
std::optional<int64_t> planned(const MemoryPlan& p, const Choice& choice) {
  try {
    train::CompileOptions c = p.compile;
    c.before_allocation = nullptr;
    c.only_plan = true;
    if (c.batch != choice.batch) {
      std::erase_if(c.more_batches, [&](const train::BatchSize& size) { return size.count != c.batch; });
      for (train::BatchSize& size : c.more_batches) size.count = choice.batch;
    }
    c.batch = choice.batch;
    c.threads = choice.threads;
    if (c.training.storage != choice.storage) {
      c.training.storage = choice.storage;
      for (auto* samples : {&c.samples, &c.evaluation_samples})
        if (*samples && (p.training || evaluated_storage(*p.data, choice.storage) == choice.storage))
          (*samples)->storage = choice.storage;
      c.multiply = parse_multiply("auto", choice.storage);
    }
    train::Network network(p.importer(choice.storage), c);
    if (p.training) {
      network.prepare_training();
    } else {
      network.prepare_evaluation();
    }
    return network.planned_bytes();
  } catch (const Error&) {
    return std::nullopt;
  } catch (const std::bad_alloc&) {
    return std::nullopt;
  }
}

class Advice {
 public:
  // `bytes`: what the program of the run's own choice still needs.
  Advice(const MemoryPlan& p, const std::vector<MemoryLimit>& limits, const Choice& own, int64_t bytes)
      : p_(p), limits_(limits), own_(own) {
    const auto all = p.importer ? planned(p, own) : std::nullopt;
    if (all) there_ = *all - bytes - p.compile.metrics_bytes;
    known_ = all.has_value();
  }

  std::string text() const {
    if (!known_) return "";
    std::vector<std::string> ways;
    if (const int64_t batch = largest_batch(); batch > 0)
      ways.push_back(
          p_.training ? fmt::format("--batch {} --accumulate {}", batch, p_.accumulate * own_.batch / batch)
                      : fmt::format("--batch {}", batch));
    Choice other = own_;
    other.storage = DType::kF16;
    if (!is_16bit(own_.storage) && own_.storage != DType::kF64 && fits(other))
      ways.emplace_back("--precision fp16");
    other = own_;
    while (other.threads > 1 || other.loader_threads > 1) {
      other.threads = std::max(1, other.threads / 2);
      other.loader_threads = std::max<int64_t>(1, other.loader_threads / 2);
      if (!fits(other)) continue;
      ways.push_back(fmt::format("--threads {} --loader-threads {}", other.threads, other.loader_threads));
      break;
    }
    if (ways.empty()) return "; no smaller --batch, --precision fp16 or fewer --threads fits either";
    std::string text = "; what fits: ";
    for (size_t i = 0; i < ways.size(); ++i) text += (i == 0 ? "" : ", or ") + ways[i];
    return text;
  }

 private:
  bool fits(const Choice& choice) const {
    const auto all = planned(p_, choice);
    if (!all) return false;
    MemoryNeed need = besides(p_, choice.batch, choice.storage, choice.loader_threads);
    need.bytes += std::max<int64_t>(0, *all - there_) + kSlackBytes / 4;
    // The threads that are gone give their stacks back.
    need.addresses -= (own_.threads - choice.threads) * stack_bytes();
    return !exceeded_limit(limits_, need, true);
  }

  // The largest that fits among those that divide the run's own, which more accumulation makes up for, or
  // nearly so where it is a prime; 0: none.
  int64_t largest_batch() const {
    if (p_.compile.fixed_batch) return 0;
    std::vector<int64_t> sizes;
    for (int64_t parts = 2; parts <= own_.batch / parts; ++parts)
      if (own_.batch % parts == 0) sizes.insert(sizes.end(), {own_.batch / parts, parts});
    if (own_.batch > 1) sizes.push_back(1);
    std::sort(sizes.begin(), sizes.end(), std::greater<>());
    sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
    // A prime has only 1.
    if (sizes.size() == 1)
      for (int64_t size = own_.batch / 2; size > 1; size /= 2) sizes.insert(sizes.end() - 1, size);
    // The smaller the batch, the less it needs: by halving.
    size_t begin = 0;
    size_t end = sizes.size();
    while (begin < end) {
      check_stop();
      const size_t middle = (begin + end) / 2;
      Choice choice = own_;
      choice.batch = sizes[middle];
      if (fits(choice)) {
        end = middle;
      } else {
        begin = middle + 1;
      }
    }
    return begin < sizes.size() ? sizes[begin] : 0;
  }

  const MemoryPlan& p_;
  const std::vector<MemoryLimit>& limits_;
  Choice own_;
  int64_t there_ = 0;  // of the plan, what is resident already
  bool known_ = false;
};

// What was said and counted before.
struct Memory {
  bool first = true;  // batches and threads are still to come
  bool warned = false;
  bool told_of_cache = false;
};

// With its reserve: programs, graphs, what the allocator holds back.
MemoryNeed with_slack(MemoryNeed need) {
  need.bytes += kSlackBytes + static_cast<int64_t>(kSlackShare * static_cast<double>(need.bytes));
  return need;
}

// Decoded images may only take what the rest leaves: they are kept for speed, and results don't depend on
// them.
void limit_caches(const MemoryPlan& p, const std::vector<MemoryLimit>& limits, const MemoryNeed& need,
                  Memory& memory, const Log& log) {
  std::vector<const Data*> sets;  // that have one
  int64_t samples = 0;
  int64_t allowed = 0;
  for (const Data* data : sets_of(p)) {
    const data::ImageCache* const cache = data::image_cache(*data->set);
    if (cache == nullptr) continue;
    sets.push_back(data);
    samples += data->set->size();
    allowed += cache->room();
  }
  MemoryNeed all = with_slack(need);
  all.bytes += allowed;
  const auto limit = exceeded_limit(limits, all, false);
  if (!limit) return;
  const int64_t other = all.bytes - allowed + (limit->addresses ? need.addresses : 0);
  const int64_t left = std::max<int64_t>(0, limit->left - other);
  int64_t most = 0;
  bool enough = true;  // at the network's size; how large they are kept is known as they come
  for (const Data* data : sets) {
    data::ImageCache* const cache = data::image_cache(*data->set);
    const int64_t size = data->set->size();
    cache->limit_room(static_cast<int64_t>(static_cast<double>(left) * static_cast<double>(size) /
                                           static_cast<double>(samples)));
    most += cache->kept() + cache->room();
    enough = enough && cache->kept() + cache->room() >= size * elements(data->set->info().geometry);
  }
  if (enough || memory.told_of_cache) return;
  memory.told_of_cache = true;
  log(fmt::format("decoded images are kept up to {} and no further: what is left besides, of {}",
                  readable_bytes(most), describe(*limit)));
}

// Of the system, and of the user.
std::vector<MemoryLimit> limits_of(const MemoryPlan& p) {
  std::vector<MemoryLimit> limits = memory_limits(p.root);
  if (p.most_bytes > 0)
    limits.push_back({.name = "--memory",
                      .bytes = p.most_bytes,
                      .left = p.most_bytes - resident_bytes(),
                      .swap = 0,
                      .addresses = false});
  return limits;
}

void check(const MemoryPlan& p, int64_t bytes, Memory& memory, const Log& log) {
  const std::vector<MemoryLimit> limits = limits_of(p);
  Choice own{p.compile.batch, p.compile.training.storage, p.compile.threads, 1};
  if (p.data_options != nullptr) own.loader_threads = loader_threads(*p.data_options);
  MemoryNeed need;
  if (memory.first) {
    need = besides(p, own.batch, own.storage, own.loader_threads);
    need.bytes += p.compile.metrics_bytes;
  }
  memory.first = false;
  need.bytes += bytes;
  const char* what = p.training ? "a training step" : "an evaluation";
  if (const auto limit = exceeded_limit(limits, need, true)) {
    const int64_t all = need.bytes + (limit->addresses ? need.addresses : 0);
    throw resource_error("not enough memory for {} of batch {} in {}: it needs {} more, and there are {}{}",
                         what, own.batch, name_of(own.storage), readable_bytes(all), describe(*limit),
                         Advice(p, limits, own, bytes).text());
  }
  limit_caches(p, limits, need, memory, log);
  const auto limit = exceeded_limit(limits, with_slack(need), false);
  if (!limit || memory.warned) return;
  memory.warned = true;
  log(fmt::format("warning: memory is near its limit: {} of batch {} needs {} more, and there are {}", what,
                  own.batch, readable_bytes(need.bytes), describe(*limit)));
}

}  // namespace

int64_t largest_fitting_batch(const MemoryPlan& p, const std::vector<int64_t>& batches) {
  const std::vector<MemoryLimit> limits = limits_of(p);
  const int64_t loaders = p.data_options == nullptr ? 1 : loader_threads(*p.data_options);
  for (const int64_t batch : batches) {
    check_stop();
    const Choice choice{batch, p.compile.training.storage, p.compile.threads, loaders};
    const auto bytes = planned(p, choice);
    if (!bytes) continue;
    MemoryNeed need = besides(p, batch, choice.storage, loaders);
    need.bytes += *bytes;
    // Room on disk does not count: steps would wait for it.
    if (!exceeded_limit(limits, with_slack(need), false)) return batch;
  }
  return 0;
}

std::function<void(int64_t)> memory_check(const MemoryPlan& plan, const Log& log) {
  return [&plan, &log, memory = Memory()](int64_t bytes) mutable { check(plan, bytes, memory, log); };
}

}  // namespace halftone::api
