#include "data/loader.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/stop.h"
#include "data/counting.h"
#include "num/half.h"
#include "num/random.h"
#include "par/pool.h"
#include "par/start_threads.h"
#include "tensor/permutation.h"

namespace halftone::data {
namespace {

// Rows that a thread takes at a time: enough that taking costs nothing, few enough that all threads work on
// the batch that is due.
constexpr int64_t kRowsAtATime = 8;

constexpr std::chrono::milliseconds kPollInterval{50};

struct RowsOfClass;

// A batch being prepared. Everything but the rows themselves is guarded by the loader's mutex.
struct Slot {
  Batch batch;
  const RowsOfClass* rows = nullptr;
  int64_t next_row = 0;
  int64_t done_rows = 0;
  bool ready = false;  // all rows are done, and mixed
  int64_t failed_row = -1;
  std::exception_ptr error;
};

}  // namespace

std::vector<int64_t> shuffled(int64_t size, uint64_t seed, uint64_t epoch) {
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), 0);
  const num::RandomKey key = num::random_key(seed, kOrderStream);
  for (size_t i = order.size(); i-- > 1;)
    std::swap(order[i], order[static_cast<size_t>(num::random_below(key, i, epoch, i + 1))]);
  return order;
}

std::vector<std::vector<int64_t>> samples_by_class(const Dataset& set, const char* option) {
  const DataInfo& info = set.info();
  if (info.labels != LabelKind::kClass)
    throw usage_error("{} needs one class a sample, which {} does not have", option, info.source);
  std::vector<std::vector<int64_t>> by_class(static_cast<size_t>(std::max<int64_t>(info.classes, 1)));
  Sample sample;
  for (int64_t i = 0; i < set.size(); ++i) {
    if (i % 256 == 0) check_stop();
    std::optional<int32_t> label = set.class_of(i);
    if (!label) {
      set.read(i, sample);
      label = sample.label;
    }
    if (*label < 0) continue;
    if (static_cast<size_t>(*label) >= by_class.size()) by_class.resize(static_cast<size_t>(*label) + 1);
    by_class[static_cast<size_t>(*label)].push_back(i);
  }
  return by_class;
}

int64_t training_batches(const std::vector<int64_t>& samples_of_classes, int64_t batch, bool keeps_last) {
  int64_t full = 0;
  int64_t others = 0;
  for (const int64_t samples : samples_of_classes) {
    full += samples / batch;
    others += samples % batch > 0 ? 1 : 0;
  }
  return keeps_last && full > 0 ? full + others : full;
}

const Tensor* Batch::find(std::string_view name) const {
  for (const BatchField& f : fields)
    if (f.name == name) return &f.data;
  return nullptr;
}

const Tensor& Batch::field(std::string_view name) const {
  const Tensor* found = find(name);
  HT_ASSERT(found != nullptr, "a batch without {}", name);
  return *found;
}

namespace {

// Where a field's rows come from.
struct Source {
  enum class Kind : uint8_t { kSamples, kClass, kTarget, kPositions, kMore, kWeights };
  Kind kind = Kind::kSamples;
  Field field;
  size_t more = 0;                        // kMore: of Sample::more
  size_t labels = 0;                      // kWeights: the field before it whose targets they belong to
  const LabelReading* reading = nullptr;  // kWeights, kClass and kPositions
};

std::vector<Source> sources_of(const DataInfo& info) {
  std::vector<Source> sources;
  size_t more = 0;
  const LabelReading* reading = nullptr;  // of the labels before
  for (const Field& field : info.fields()) {
    Source s{.field = field};
    const bool first = sources.empty();
    const bool labels = info.labels != LabelKind::kNone && sources.size() == (info.has_samples ? 1U : 0U);
    if (first && info.has_samples) {
      s.kind = Source::Kind::kSamples;
    } else if (labels) {
      s.kind = info.labels == LabelKind::kClass    ? Source::Kind::kClass
               : info.labels == LabelKind::kTarget ? Source::Kind::kTarget
                                                   : Source::Kind::kPositions;
      s.reading = reading = &info.reading;
    } else if (reading != nullptr && !sources.empty() && sources.back().field.role == FieldRole::kLabel &&
               field.role == FieldRole::kWeight && field.name == weights_of(sources.back().field.name)) {
      s.kind = Source::Kind::kWeights;
      s.labels = sources.size() - 1;
      s.reading = reading;
    } else {
      s.kind = Source::Kind::kMore;
      s.more = more;
      s.reading = reading = &info.more[more].reading;
      ++more;
    }
    sources.push_back(std::move(s));
  }
  return sources;
}

// How the samples of a size class become rows of Batch::fields.
struct RowsOfClass {
  RowsOfClass(DataInfo of, const LoaderOptions& options) : info(std::move(of)), sources(sources_of(info)) {
    if (!info.has_samples) return;
    const bool moves = options.channels_last && can_be_channels_last(info);
    if (moves) axes = halftone::channels_last(1 + info.shape.size());
    transform.emplace(info, options.transform, RowForm{options.storage, moves});
  }
  DataInfo info;
  std::vector<Source> sources;  // which point into `info`
  std::optional<Transform> transform;
  std::vector<int64_t> axes;  // of the samples: BatchField::axes
};

}  // namespace

struct Loader::State {
  // A batch of an epoch: its samples are `count` of `order` from `first` on.
  struct Part {
    size_t size_class = 0;  // of the set
    int64_t first = 0;
    int64_t count = 0;
  };

  State(std::shared_ptr<const Dataset> set, const LoaderOptions& given)
      : dataset(std::move(set)), options(given) {
    const DataInfo& info = dataset->info();
    for (size_t c = 0; c < std::max<size_t>(1, info.size_classes.size()); ++c)
      rows.push_back(std::make_unique<RowsOfClass>(info.of_size_class(c), given));
    if (given.training && given.balanced) {
      if (rows.size() > 1)
        throw usage_error("--balanced goes with samples of one size; {} has several", info.source);
      by_class = samples_by_class(*dataset, "--balanced");
      std::erase_if(by_class, [](const auto& samples) { return samples.empty(); });
      if (by_class.empty()) throw input_error("{}: --balanced: no sample has a class", info.source);
    }
    if (mixes()) check_mixing(info);
    HT_ASSERT(given.size_classes.empty() || given.size_classes.size() == rows.size(), "{} size classes",
              rows.size());
  }

  std::shared_ptr<const Dataset> dataset;
  LoaderOptions options;
  std::vector<std::unique_ptr<const RowsOfClass>> rows;  // one a size class
  std::vector<std::vector<int64_t>> by_class;            // balanced: of the classes that there are
  int64_t batches = 0;

  std::mutex mutex;
  std::condition_variable work;   // for the threads: rows to prepare, or the end
  std::condition_variable ready;  // for next() and start(): a slot is done, or a thread became idle
  std::vector<int64_t> order;     // of the epoch
  std::vector<Part> parts;        // its batches
  int64_t epoch = 0;
  int64_t next_number = 0;  // the next batch that gets a slot
  int64_t due = 0;          // the next batch that next() returns
  bool started = false;
  bool stop = false;
  int busy = 0;                              // threads at work outside the mutex
  std::deque<std::unique_ptr<Slot>> slots;   // batches due, due + 1, …
  std::vector<std::unique_ptr<Slot>> spare;  // memory for reuse
  std::vector<std::thread> threads;

  // All threads come to their end.
  void end() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    work.notify_all();
  }

  // With the mutex: a slot for each batch that may be prepared ahead. Threads work on a slot as soon as it is
  // in `slots`, so it is complete by then, also when memory runs out here.
  void open_slots() {
    while (next_number < batches && static_cast<int64_t>(slots.size()) < options.ahead) {
      std::unique_ptr<Slot> slot = spare.empty() ? std::make_unique<Slot>() : std::move(spare.back());
      if (!spare.empty()) spare.pop_back();
      slot->next_row = slot->done_rows = 0;
      slot->failed_row = -1;
      slot->ready = false;
      slot->error = nullptr;
      slot->batch.epoch = epoch;
      slot->batch.number = next_number;
      const Part& part = parts.at(static_cast<size_t>(next_number));
      slot->batch.count = part.count;
      slot->batch.indices.assign(order.begin() + static_cast<std::ptrdiff_t>(part.first),
                                 order.begin() + static_cast<std::ptrdiff_t>(part.first + part.count));
      slot->rows = rows[part.size_class].get();
      slot->batch.size_class =
          options.size_classes.empty() ? part.size_class : options.size_classes[part.size_class];
      prepare(*slot->rows, slot->batch);
      slots.push_back(std::move(slot));
      ++next_number;
    }
  }

  DType dtype_of(const Field& field) const {
    return field.role == FieldRole::kInput && is_float(field.dtype) ? options.storage : field.dtype;
  }

  // The order in which an epoch takes the samples, and where its batches are in it.
  void plan(int64_t of_epoch) {
    const int64_t size = dataset->size();
    parts.clear();
    if (options.training && options.balanced) {
      draw_balanced(static_cast<uint64_t>(of_epoch));
    } else if (options.training) {
      order = shuffled(size, options.seed, static_cast<uint64_t>(of_epoch));
    } else {
      order.resize(static_cast<size_t>(size));
      std::iota(order.begin(), order.end(), 0);
    }
    if (rows.size() == 1) {
      for (int64_t first = 0;
           first < size && (!options.training || static_cast<int64_t>(parts.size()) < batches);
           first += options.batch)
        parts.push_back({0, first, std::min(options.batch, size - first)});
    } else if (options.training) {
      deal();
    } else {
      for (int64_t i = 0; i < size; ++i) {
        const size_t size_class = dataset->size_class(i);
        if (parts.empty() || parts.back().count == options.batch || parts.back().size_class != size_class)
          parts.push_back({size_class, i, 0});
        ++parts.back().count;
      }
    }
  }

  void check_mixing(const DataInfo& info) const {
    if (info.labels != LabelKind::kClass || info.reading.weighted() || !info.more.empty() ||
        !info.has_samples)
      throw usage_error(
          "--mixup and --cutmix need one class a sample, without weights, and samples that are one array of "
          "numbers; {} "
          "has something else",
          info.source);
    if (options.mixing.cutmix > 0 && (info.geometry.size() != 3 || info.shape.size() != 3))
      throw usage_error("--cutmix is for pictures (channels, height, width); the samples of {} are {}",
                        info.source, to_string(info.shape));
  }

  void draw_balanced(uint64_t of_epoch) {
    const num::RandomKey key = num::random_key(options.seed, kBalanceStream);
    order.resize(static_cast<size_t>(dataset->size()));
    for (size_t i = 0; i < order.size(); ++i) {
      const std::vector<int64_t>& samples =
          by_class[static_cast<size_t>(num::random_below(key, 2 * i, of_epoch, by_class.size()))];
      order[i] = samples[static_cast<size_t>(num::random_below(key, 2 * i + 1, of_epoch, samples.size()))];
    }
  }

  // Each sample goes to the open batch of its class. The batches come as they become full, those that do not
  // at the end.
  void deal() {
    std::vector<std::vector<int64_t>> open(rows.size());
    std::vector<int64_t> dealt;
    dealt.reserve(order.size());
    const auto close = [&](size_t size_class) {
      std::vector<int64_t>& samples = open[size_class];
      parts.push_back({size_class, static_cast<int64_t>(dealt.size()), static_cast<int64_t>(samples.size())});
      dealt.insert(dealt.end(), samples.begin(), samples.end());
      samples.clear();
    };
    for (const int64_t sample : order) {
      const size_t size_class = dataset->size_class(sample);
      open[size_class].push_back(sample);
      if (static_cast<int64_t>(open[size_class].size()) == options.batch) close(size_class);
    }
    for (size_t c = 0; c < open.size() && options.keeps_last; ++c)
      if (!open[c].empty()) close(c);
    HT_ASSERT(static_cast<int64_t>(parts.size()) == batches, "{} and {} batches", parts.size(), batches);
    order = std::move(dealt);
  }

  // Tensors of the right shape, rows from count on cleared.
  void prepare(const RowsOfClass& of_class, Batch& batch) const {
    const std::vector<Source>& sources = of_class.sources;
    batch.fields.resize(sources.size());
    for (size_t f = 0; f < sources.size(); ++f) {
      const Source& source = sources[f];
      BatchField& to = batch.fields[f];
      to.name = source.field.name;
      to.role = source.field.role;
      Shape shape{options.batch};
      if (mixes() && source.kind == Source::Kind::kClass) {
        to.role = FieldRole::kTarget;
        shape.push_back(of_class.info.classes);
        if (to.data.empty()) to.data = Tensor(DType::kF32, shape);
        std::memset(to.data.data(), 0, static_cast<size_t>(to.data.bytes()));
        continue;
      }
      shape.insert(shape.end(), source.field.shape.begin(), source.field.shape.end());
      to.axes = source.kind == Source::Kind::kSamples ? of_class.axes : std::vector<int64_t>();
      if (!to.axes.empty()) {
        const Shape as_field = shape;
        for (size_t i = 0; i < shape.size(); ++i) shape[i] = as_field[static_cast<size_t>(to.axes[i])];
      }
      const DType dtype = dtype_of(source.field);
      if (to.data.empty() || to.data.shape() != shape || to.data.dtype() != dtype)
        to.data = Tensor(dtype, shape);
      const int64_t filled = batch.count * elements(source.field.shape) * size_bytes(dtype);
      const bool unlabelled = source.kind == Source::Kind::kClass && !source.reading->weighted();
      std::memset(static_cast<std::byte*>(to.data.data()) + filled, unlabelled ? 0xFF : 0,
                  static_cast<size_t>(to.data.bytes() - filled));
    }
  }

  // Rounds a row to the storage type.
  void store_row(std::span<const float> row, Tensor& to, size_t first) const {
    if (options.storage == DType::kF16) {
      std::transform(row.begin(), row.end(), to.as<num::Fp16>().subspan(first, row.size()).begin(),
                     [](float x) { return num::to_fp16(x); });
    } else if (options.storage == DType::kBf16) {
      std::transform(row.begin(), row.end(), to.as<num::Bf16>().subspan(first, row.size()).begin(),
                     [](float x) { return num::to_bf16(x); });
    } else {
      std::copy(row.begin(), row.end(), to.as<float>().begin() + static_cast<std::ptrdiff_t>(first));
    }
  }

  void fill_row(const RowsOfClass& of_class, Batch& batch, int64_t row, Sample& sample,
                Transform::Scratch& scratch) const {
    const std::vector<Source>& sources = of_class.sources;
    const int64_t index = batch.indices[static_cast<size_t>(row)];
    const Draws draws{options.seed, static_cast<uint64_t>(batch.epoch), static_cast<uint64_t>(index)};
    if (options.training) {
      dataset->read_drawn(index, draws, sample);
    } else {
      dataset->read(index, sample);
    }
    for (size_t f = 0; f < sources.size(); ++f) {
      const Source& source = sources[f];
      Tensor& to = batch.fields[f].data;
      const int64_t width = elements(source.field.shape);
      const auto count = static_cast<size_t>(width);
      const auto first = static_cast<size_t>(row * width);
      const auto copy = [&](const void* from, size_t bytes) {
        const auto row_bytes = static_cast<size_t>(width * size_bytes(to.dtype()));
        HT_ASSERT(bytes == row_bytes, "{} bytes of {} for {}", bytes, source.field.name, row_bytes);
        std::memcpy(static_cast<std::byte*>(to.data()) + static_cast<size_t>(row) * row_bytes, from, bytes);
      };
      switch (source.kind) {
        case Source::Kind::kSamples:
          of_class.transform->apply(
              sample, options.training ? &draws : nullptr, scratch,
              static_cast<std::byte*>(to.data()) + first * static_cast<size_t>(size_bytes(to.dtype())));
          sample.release_large();
          break;
        case Source::Kind::kClass:
          if (mixes()) {
            HT_ASSERT(sample.label >= 0 && sample.label < of_class.info.classes, "label {}", sample.label);
            to.as<float>()[static_cast<size_t>(row * of_class.info.classes + sample.label)] = 1;
            break;
          }
          to.as<int32_t>()[first] = source.reading->weighted() ? std::max(sample.label, 0) : sample.label;
          break;
        case Source::Kind::kTarget:
          copy(sample.target.data(), sample.target.size() * sizeof(float));
          break;
        case Source::Kind::kPositions:
          copy(sample.labels.data(), sample.labels.size() * sizeof(int32_t));
          break;
        case Source::Kind::kMore: {
          const std::vector<std::byte>& from = sample.more[source.more];
          if (source.field.role == FieldRole::kInput && is_float(source.field.dtype)) {
            store_row({reinterpret_cast<const float*>(from.data()), count}, to, first);
          } else {
            copy(from.data(), from.size());
          }
          break;
        }
        case Source::Kind::kWeights:
          fill_weights(of_class, batch, source, row, sample, to);
          break;
      }
    }
  }

  // How much each target of a row counts; those that do not get class 0, which any network has.
  static void fill_weights(const RowsOfClass& of_class, Batch& batch, const Source& source, int64_t row,
                           const Sample& sample, Tensor& to) {
    const LabelReading& reading = *source.reading;
    const int64_t width = elements(source.field.shape);
    const Source& labelled = of_class.sources[source.labels];
    Tensor& labels = batch.fields[source.labels].data;
    const float of_sample = weight_of_sample(of_class.info, reading, sample);
    for (int64_t i = 0; i < width; ++i) {
      const auto at = static_cast<size_t>(row * width + i);
      const int32_t label = labelled.kind == Source::Kind::kClass ? sample.label : labels.as<int32_t>()[at];
      to.as<float>()[at] = weight_of_label(reading, label, of_sample);
      if (label < 0) labels.as<int32_t>()[at] = 0;
    }
  }

  bool mixes() const { return options.training && options.mixing.any(); }

  // Rows that are all done.
  void mix(const RowsOfClass& of_class, Batch& batch) const {
    const DataInfo& info = of_class.info;
    const bool picture = info.geometry.size() == 3;
    const Mixed by = mixed(options.mixing, options.seed, static_cast<uint64_t>(batch.epoch),
                           static_cast<uint64_t>(batch.number), picture ? info.geometry[1] : 1,
                           picture ? info.geometry[2] : 1);
    for (size_t f = 0; f < of_class.sources.size(); ++f) {
      if (of_class.sources[f].kind == Source::Kind::kSamples)
        mix_samples(batch.fields[f].data, batch.count, by,
                    info.channels_last || !batch.fields[f].axes.empty());
      if (of_class.sources[f].kind == Source::Kind::kClass) mix_labels(batch.fields[f].data, batch.count, by);
    }
  }

  void thread_main() {
    // Threads inherit this mode; the batches must not depend on who made the loader.
    const par::ScopedFlushToZero flush;
    Sample sample;
    Transform::Scratch scratch;
    std::unique_lock lock(mutex);
    while (true) {
      Slot* slot = nullptr;
      for (const auto& s : slots) {
        if (s->next_row < s->batch.count) {
          slot = s.get();
          break;
        }
      }
      if (stop) return;
      if (slot == nullptr) {
        work.wait(lock);
        continue;
      }
      const int64_t first = slot->next_row;
      const int64_t end = std::min(first + kRowsAtATime, slot->batch.count);
      slot->next_row = end;
      ++busy;
      lock.unlock();
      int64_t row = first;
      std::exception_ptr error;
      try {
        for (; row < end; ++row) fill_row(*slot->rows, slot->batch, row, sample, scratch);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      slot->done_rows += end - first;
      if (error && (slot->failed_row < 0 || row < slot->failed_row)) {
        slot->failed_row = row;
        slot->error = error;
      }
      if (slot->done_rows == slot->batch.count) {
        if (mixes() && !slot->error) {
          lock.unlock();
          try {
            mix(*slot->rows, slot->batch);
          } catch (...) {
            error = std::current_exception();
          }
          lock.lock();
          if (error) slot->error = error;
        }
        slot->ready = true;
      }
      --busy;
      if (busy == 0 || slot->ready) ready.notify_all();
    }
  }
};

Loader::Loader(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options) {
  HT_ASSERT(dataset != nullptr);
  HT_ASSERT(options.storage == DType::kF32 || is_16bit(options.storage), "{}", name_of(options.storage));
  if (options.batch < 1) throw usage_error("a batch of {} samples; it must be at least 1", options.batch);
  if (options.ahead < 1) throw usage_error("{} batches ahead; it must be at least 1", options.ahead);
  state_ = std::make_unique<State>(std::move(dataset), options);
  const int64_t size = state_->dataset->size();
  if (options.training) {
    state_->batches =
        training_batches(samples_of_classes(*state_->dataset), options.batch, options.keeps_last);
    if (state_->batches == 0)
      throw usage_error(
          "{} has {} samples{} a batch of {}; take a smaller batch", state_->dataset->info().source, size,
          state_->rows.size() > 1 ? " of several sizes, and those of none fill" : ", fewer than",
          options.batch);
  } else {
    state_->plan(0);
    state_->batches = static_cast<int64_t>(state_->parts.size());
  }
  const int threads = options.threads > 0 ? options.threads : par::available_threads();
  par::start_threads(
      state_->threads, threads, [s = state_.get()](int) { s->thread_main(); }, [this] { state_->end(); },
      "threads that read data", "--loader-threads");
}

Loader::Memory Loader::memory(const Dataset& dataset, const LoaderOptions& options) {
  const DataInfo& info = dataset.info();
  int64_t sample = 0;
  int64_t row = 0;
  for (size_t c = 0; c < std::max<size_t>(1, info.size_classes.size()); ++c) {
    const DataInfo of_class = info.of_size_class(c);
    int64_t bytes = sizeof(int64_t);
    for (const Field& field : of_class.fields()) {
      const bool stored = field.role == FieldRole::kInput && is_float(field.dtype);
      bytes += elements(field.shape) * size_bytes(stored ? options.storage : field.dtype);
    }
    row = std::max(row, bytes);
    if (info.has_samples) sample = std::max(sample, elements(of_class.shape));
  }
  const int64_t batches = std::min(options.ahead, (dataset.size() + options.batch - 1) / options.batch) + 2;
  Memory memory;
  memory.batches = batches * options.batch * row + dataset.size() * static_cast<int64_t>(sizeof(int64_t));
  memory.thread = sample;
  memory.decode = info.decode_bytes;
  return memory;
}

Loader::~Loader() {
  state_->end();
  for (std::thread& t : state_->threads) t.join();
}

const Dataset& Loader::dataset() const {
  return *state_->dataset;
}
int64_t Loader::batches() const {
  return state_->batches;
}

void Loader::start(int64_t epoch, int64_t first_batch) {
  State& s = *state_;
  HT_ASSERT(epoch >= 0 && first_batch >= 0 && first_batch <= s.batches, "batch {} of {}", first_batch,
            s.batches);
  std::unique_lock lock(s.mutex);
  // No thread takes a row of the old slots any more; those at work finish theirs.
  for (const auto& slot : s.slots) slot->next_row = slot->batch.count;
  s.ready.wait(lock, [&] { return s.busy == 0; });
  for (auto& slot : s.slots) s.spare.push_back(std::move(slot));
  s.slots.clear();
  s.plan(epoch);
  s.epoch = epoch;
  s.due = s.next_number = first_batch;
  s.started = true;
  s.open_slots();
  lock.unlock();
  s.work.notify_all();
}

bool Loader::next(Batch& batch) {
  State& s = *state_;
  std::unique_lock lock(s.mutex);
  HT_ASSERT(s.started, "next() before start()");
  if (s.slots.empty()) return false;
  const auto due = [&] { return s.slots.front()->ready; };
  // A request to stop is seen while a slow disk keeps us waiting.
  while (!s.ready.wait_for(lock, kPollInterval, due)) check_stop();
  std::unique_ptr<Slot> slot = std::move(s.slots.front());
  s.slots.pop_front();
  ++s.due;
  if (slot->error) {
    // What follows a failure is not asked for; the caller may start again elsewhere.
    const std::exception_ptr error = slot->error;
    for (const auto& other : s.slots) other->next_row = other->batch.count;
    s.ready.wait(lock, [&] { return s.busy == 0; });
    s.slots.clear();
    s.next_number = s.batches;
    std::rethrow_exception(error);
  }
  std::swap(batch, slot->batch);
  s.spare.push_back(std::move(slot));
  s.open_slots();
  lock.unlock();
  s.work.notify_all();
  return true;
}

}  // namespace halftone::data
