#include "api/session.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "api/arrays.h"
#include "api/columns.h"
#include "api/input.h"
#include "api/weights.h"
#include "base/error.h"
#include "base/memory_limits.h"
#include "base/resource_error.h"
#include "base/stop.h"
#include "data/counting.h"
#include "data/mask_folder.h"
#include "data/spec.h"
#include "ops/chunks.h"

namespace halftone::api {

DType parse_precision(const std::string& text) {
  if (text == "fp16") return DType::kF16;
  if (text == "bf16") return DType::kBf16;
  if (text == "fp32") return DType::kF32;
  if (text == "fp64") return DType::kF64;
  throw usage_error("--precision {} is not known; it is fp16, bf16 or fp32", text);
}

kern::Multiply parse_multiply(const std::string& text, DType precision) {
  if (text == "auto") return is_16bit(precision) ? kern::Multiply::kBlock : kern::Multiply::kWide;
  if (text == "wide") return kern::Multiply::kWide;
  if (text == "block") {
    if (!is_16bit(precision))
      throw usage_error("--multiply block goes with --precision fp16 or bf16; {} multiplies wide",
                        halftone::name_of(precision));
    return kern::Multiply::kBlock;
  }
  if (text == "half") {
    if (precision != DType::kF16)
      throw usage_error("--multiply half goes with --precision fp16; {} has block or wide",
                        halftone::name_of(precision));
    if (!kern::active().matrix.half)
      throw usage_error(
          "--multiply half needs fp16 arithmetic (AVX512-FP16), which {} does not deliver here\n  (CPU "
          "features found: {}); use block, which is the same on every CPU, or wide",
          kern::name_of(kern::active_isa()), kern::cpu_features());
    return kern::Multiply::kHalf;
  }
  throw usage_error("--multiply {} is not known; it is auto, block, half or wide", text);
}

std::string name_of(kern::Multiply multiply, DType precision) {
  if (!is_16bit(precision)) return "wide";
  switch (multiply) {
    case kern::Multiply::kWide:
      return "wide";
    case kern::Multiply::kBlock:
      return "block";
    case kern::Multiply::kHalf:
      return "half";
  }
  return "?";
}

kern::Optimizer parse_optimizer(const std::string& text) {
  if (text == "sgd") return kern::Optimizer::kSgd;
  if (text == "adam") return kern::Optimizer::kAdam;
  if (text == "adamw") return kern::Optimizer::kAdamW;
  if (text == "rmsprop") return kern::Optimizer::kRmsProp;
  if (text == "lion") return kern::Optimizer::kLion;
  throw usage_error("--optimizer {} is not known; it is sgd, adam, adamw, rmsprop or lion", text);
}

kern::Rounding parse_rounding(const std::string& text) {
  if (text == "nearest") return kern::Rounding::kNearest;
  if (text == "stochastic") return kern::Rounding::kStochastic;
  if (text == "kahan") return kern::Rounding::kKahan;
  throw usage_error("--rounding {} is not known; it is nearest, stochastic or kahan", text);
}

int threads_of(int64_t option) {
  if (option < 0 || option > 1024) throw usage_error("--threads {} is outside [0, 1024]", option);
  return option == 0 ? par::available_threads() : static_cast<int>(option);
}

train::CompileOptions evaluation_options(const Data& data, const pass::LossOptions& loss, DType storage,
                                         kern::Multiply multiply, int64_t batch, bool fixed_batch,
                                         int threads) {
  train::CompileOptions n;
  n.training.storage = storage;
  n.training.loss = loss;
  n.feeding = data.plan.feeding;
  n.samples = samples_of(data, evaluated_storage(data, storage));
  n.multiply = multiply;
  n.size_class = data.number(data.set->size_class(0));
  n.batch = fixed_batch ? batch : std::min(batch, data.set->size());
  n.fixed_batch = fixed_batch;
  n.threads = threads;
  return n;
}

namespace {

// --val PERCENT as a SPEC: the share, or the rest. Of the training data's own split, where it has splits. Empty: --val is
// something else.
std::string share_spec(const DataOptions& o, bool held_out) {
  std::error_code ignored;
  const int64_t hundredths = std::filesystem::exists(o.val, ignored) ? 0 : data::parse_share(o.val);
  if (hundredths == 0) return "";
  const data::Spec spec = data::parse_spec(o.data);
  if (spec.range || spec.share)
    throw usage_error(
        "--val {} takes a share of all samples of --data, and --data {} is a part already: give --val SPEC",
        o.val, o.data);
  const std::vector<std::string> splits = data::splits_of(o.data);
  const bool has_train = std::find(splits.begin(), splits.end(), "train") != splits.end();
  return o.data + (spec.split.empty() && has_train ? "[train]" : "") +
         data::text_of(data::Share{hundredths, held_out});
}

}  // namespace

data::PixelChanges pixel_changes(const DataOptions& o) {
  data::PixelChanges changes;
  changes.vertical_flip = o.vertical_flip;
  changes.rotation = o.rotate;
  if (o.color_jitter.size() > 4)
    throw usage_error(
        "--color-jitter takes up to four numbers: brightness, contrast, saturation, hue; found {}",
        o.color_jitter.size());
  double* const strengths[] = {&changes.brightness, &changes.contrast, &changes.saturation, &changes.hue};
  for (size_t i = 0; i < o.color_jitter.size(); ++i) {
    const double most = i == 3 ? 0.5 : 10;
    *strengths[i] = o.color_jitter[i];
    if (!(o.color_jitter[i] >= 0 && o.color_jitter[i] <= most))
      throw usage_error("--color-jitter: {} is not possible as {}: expected 0 to {}", o.color_jitter[i],
                        i == 3 ? "hue" : "brightness, contrast or saturation", most);
  }
  if (o.randaugment.empty()) return changes;
  int read = 0;
  const int found =
      std::sscanf(o.randaugment.c_str(), "%ld,%ld%n", &changes.operations, &changes.strength, &read);
  if (found != 2 || static_cast<size_t>(read) != o.randaugment.size() || changes.operations < 1 ||
      changes.operations > 6 || changes.strength < 0 || changes.strength > 30)
    throw usage_error(
        "--randaugment {} is not possible: expected N,M, N being 1 to 6 operations and M a strength of 0 to "
        "30, such as 2,9",
        o.randaugment);
  return changes;
}

std::string training_spec(const DataOptions& o) {
  const std::string rest = share_spec(o, false);
  return rest.empty() ? o.data : rest;
}

std::string validation_spec(const DataOptions& o, const Log& log) {
  if (const std::string held_out = share_spec(o, true); !held_out.empty()) {
    log(fmt::format("validation: {} of {}; eval takes the same samples as {}", o.val, o.data, held_out));
    return held_out;
  }
  if (!o.val.empty()) return o.val == "none" ? "" : o.val;
  if (o.data.find('[') != std::string::npos) return "";
  for (const std::string& split : data::splits_of(o.data)) {
    if (split != "val" && split != "test") continue;
    log(fmt::format("validation: the {} part of {} (--val none: without)", split, o.data));
    return fmt::format("{}[{}]", o.data, split);
  }
  return "";
}

namespace {

// What --cache asks for, or a quarter of what the system leaves where that is less, and then why: training
// and validation data have a cache each, and the network needs the rest.
int64_t cache_bytes(const DataOptions& options, std::string& why) {
  int64_t bytes = options.cache_mib << 20;
  for (const MemoryLimit& limit : memory_limits()) {
    if (bytes <= limit.left / 4) continue;
    bytes = std::max<int64_t>(limit.left / 4, 0);
    why = fmt::format("decoded images are kept up to {}, not --cache {} MiB: a quarter of the {}",
                      readable_bytes(bytes), options.cache_mib, describe(limit));
  }
  return bytes;
}

// Where each pixel has a class, what moves pixels would have to move the classes with them.
void check_pixels_stay(const data::Dataset& set, const DataOptions& options) {
  const data::DataInfo& info = set.info();
  const auto of_pixels = [](const data::LabelReading& reading) {
    return reading.kind == data::LabelKind::kPositions &&
           std::count_if(reading.shape.begin(), reading.shape.end(), [](int64_t d) { return d > 1; }) > 1;
  };
  const bool pixels =
      of_pixels(info.reading) || std::any_of(info.more.begin(), info.more.end(),
                                             [&](const data::MoreField& f) { return of_pixels(f.reading); });
  if (!pixels) return;
  const char* moves = options.flip                   ? "--flip"
                      : options.crop_padding > 0     ? "--crop-padding"
                      : options.random_resized_crop  ? "--random-resized-crop"
                      : options.vertical_flip        ? "--vertical-flip"
                      : options.rotate > 0           ? "--rotate"
                      : !options.randaugment.empty() ? "--randaugment"
                      : options.erase > 0            ? "--erase"
                      : options.resize > 0           ? "--resize"
                                                     : nullptr;
  if (moves != nullptr)
    throw usage_error(
        "{}: {} would move the pixels of the images, but not the class of each pixel; prepare both before",
        info.source, moves);
  if (!info.has_samples || !info.image) return;
  data::Sample sample;
  set.read(0, sample);
  if (sample.pixels.height != info.geometry.at(1) || sample.pixels.width != info.geometry.at(2))
    throw input_error(
        "{}: the images are {} x {} and would be resized to {} x {}, but not the class of each pixel; "
        "prepare both before",
        info.source, sample.pixels.height, sample.pixels.width, info.geometry[1], info.geometry[2]);
}

// 255 beside 0 alone is as often a class as it is nothing.
void check_masks(const data::Dataset& set, const NetworkOptions& network) {
  constexpr int64_t kLookedAt = 64;
  const data::DataInfo& info = set.info();
  if (info.kind != data::kImagesWithMasks || network.ignore_index ||
      info.labels != data::LabelKind::kPositions)
    return;
  bool classes = false, ignored = false;
  data::Sample sample;
  for (int64_t i = 0; i < std::min(set.size(), kLookedAt) && !classes; ++i) {
    set.read(set.size() <= kLookedAt ? i : i * (set.size() - 1) / (kLookedAt - 1), sample);
    for (const int32_t label : sample.labels) {
      classes = classes || label > 0;
      ignored = ignored || label < 0;
    }
  }
  if (ignored && !classes)
    throw input_error(
        "{}: its masks hold 0 and 255 alone, and 255 marks pixels that do not count. Where 255 is a class, "
        "write 1 "
        "for it; where these pixels do not count, say so: --ignore-index 255",
        info.source);
}

}  // namespace

Data of_size_class(const Data& data, size_t size_class) {
  if (data.set->info().size_classes.empty()) return data;
  std::vector<int64_t> samples;
  for (int64_t i = 0; i < data.set->size(); ++i)
    if (data.set->size_class(i) == size_class) samples.push_back(i);
  Data one = data;
  one.set = data::subset(data.set, std::move(samples));
  return one;
}

std::string name_of_size(const Data& data, size_t size_class) {
  const auto& classes = data.set->info().size_classes;
  return fmt::format("samples of {}{}", data.sizes->describe(data.number(size_class)),
                     classes.empty() ? "" : fmt::format(" ({})", classes.at(size_class).example));
}

namespace {

// Samples of several sizes: gives each of the set's classes its number, and sees that the network and its
// labels can have it. open, loss_graph: with the sizes that no data has given yet.
void number_sizes(Data& data, const onnx::Model& open, const std::optional<onnx::Model>& loss_graph,
                  Labelling& labelling, const Log& log) {
  const data::DataInfo& info = data.set->info();
  if (!labelling.sizes()) {
    if (info.size_classes.empty()) return;
    labelling.keep_sizes(std::make_shared<Sizes>(open, loss_graph));
  }
  data.sizes = labelling.sizes();
  const std::vector<int64_t> samples = data::samples_of_classes(*data.set);
  std::string text;
  for (size_t c = 0; c < samples.size(); ++c) {
    const std::string where = info.size_classes.empty() ? info.source : info.size_classes[c].example;
    const data::DataInfo of_class = info.of_size_class(c);
    data.size_classes.push_back(data.sizes->add(of_class, data.plan, where));
    if (samples[c] == 0) continue;
    if (c > 0)
      labelling.check_labels(data.sizes->at(open, data.size_classes[c]), of_class, data.plan,
                             fmt::format("{} ({})", where, data.sizes->describe(data.size_classes[c])));
    text += fmt::format("{}{} ({} samples)", text.empty() ? "" : ", ",
                        data.sizes->describe(data.size_classes[c]), samples[c]);
  }
  log(fmt::format("  samples of {}: {}", samples.size() == 1 ? "one size" : "several sizes", text));
}

// --task embeddings: how the output becomes a vector for each text.
void embed_texts(Data& data, const onnx::Model& model, const DataOptions& options, Labelling& labelling) {
  if (options.task != "embeddings") return;
  if (data.task != data::TextTask::kEmbeddings)
    throw usage_error("--task embeddings: {} is {}; expected a table of texts or .jsonl",
                      data.set->info().source, data.set->info().kind);
  pass::Embedding& e = data.embedding;
  e.texts = data.set->info().texts;
  e.pooling = parse_pooling(labelling.options());
  e.unit = has_unit_embeddings(labelling.options(), labelling.losses().front().kind);
  for (const onnx::ValueInfo& input : model.inputs())
    if (const auto fed = data.plan.feeding.find(input.name);
        fed != data.plan.feeding.end() && fed->second == data::kTokenMask)
      e.mask = input.name;
  labelling.embed(e);
}

// named: the data consists of arrays with names, however few fields the network needs.
Data open_set(const std::function<std::unique_ptr<data::Dataset>(const data::OpenOptions&)>& open, bool named,
              const std::vector<std::string>& splits, const DataOptions& options, onnx::Model& model,
              Labelling& labelling, const Log& log) {
  if (model.inputs().empty())
    throw input_error("{} has no input{}; training and evaluation need one that takes the samples",
                      model.path(), model.fixed().empty() ? "" : " but those that --input gives a number");
  if (options.cache_mib < 0 || options.cache_mib > int64_t{1} << 40)
    throw usage_error("--cache {} is not possible: expected a number of MiB, 0 or more", options.cache_mib);
  if (options.loader_threads < 0 || options.loader_threads > 1024)
    throw usage_error("--loader-threads {} is outside [0, 1024]", options.loader_threads);
  data::OpenOptions wanted;
  if (labelling.sizes()) labelling.forget_sizes();
  const onnx::Model open_model = model;
  const std::optional<onnx::Model> open_loss_graph =
      labelling.loss_graph() == nullptr ? std::nullopt : std::optional(*labelling.loss_graph());
  labelling.prepare(model);
  Data out;
  wanted.labels = !labelling.is_prediction();
  out.plan.samples_only = labelling.is_prediction();
  const auto& inputs = model.inputs();
  const auto floats_at = std::find_if(inputs.begin(), inputs.end(), [](const onnx::ValueInfo& input) {
    return !input.dtype || is_float(*input.dtype);
  });
  // The input that DataInfo::shape is of.
  const size_t main = floats_at == inputs.end() ? 0 : static_cast<size_t>(floats_at - inputs.begin());
  if (floats_at != inputs.end()) describe_samples(model, main, options, wanted);
  // Named arrays have labels for each loss; other data has one kind of labels.
  wanted.read_labels = [&](const data::LabelForm& form, const data::DataInfo& info) {
    return labelling.read(model, form, info.shape, main, !out.plan.asked);
  };
  wanted.read_positions = [&](const data::LabelForm& form, const data::DataInfo& info) {
    return labelling.read_positions(model, form, info.shape, main, !out.plan.asked);
  };
  wanted.read_field = [&](const std::string& field, const data::LabelForm& form, bool numbers_known) {
    const auto loss = std::find(out.plan.labels.begin(), out.plan.labels.end(), field);
    HT_ASSERT(loss != out.plan.labels.end(), "{}", field);
    return labelling.read_further(model, static_cast<size_t>(loss - out.plan.labels.begin()), field, form,
                                  numbers_known);
  };
  wanted.check_labels = [&](const std::string& field, const data::LabelForm& form) {
    labelling.check_numbers(field, form);
  };
  const NetworkOptions& network = labelling.options();
  const bool several = named || needs_fields(model, network);
  if (several)
    wanted.choose_arrays = [&](const std::vector<data::ArrayHeader>& arrays, const std::string& path) {
      data::ArrayChoice choice =
          choose_fields(model, labelling.loss_graph(), network, options, arrays, path, log, out.plan);
      labelling.prepare(model);  // sizes that it left open may be known now
      out.arrays = choice;
      return choice;
    };
  wanted.text = text_options(options, model);
  wanted.text.read = [&](const std::string&, data::TextTask task) {
    if (!labelling.tokenizer()) labelling.keep_tokenizer(open_tokenizer(network, options, model, log));
    out.tokenizer = labelling.tokenizer();
    out.task = task;
    return text_reading(*out.tokenizer, network, options, model, task, !labelling.is_evaluation(), log);
  };
  wanted.text.choose = [&](const std::vector<data::ArrayHeader>& arrays, const std::string& path) {
    data::ArrayChoice choice =
        choose_tokens(model, labelling.loss_graph(), network, options, arrays, path, log, out.plan);
    labelling.prepare(model);
    return choice;
  };
  wanted.columns = column_options(network, options);
  wanted.columns.kept = labelling.columns();
  wanted.columns.measures = !labelling.is_evaluation();
  wanted.columns.default_label = reads_default_labels(network);
  if (needs_columns(model, network, options, labelling.columns()))
    wanted.choose_columns = [&](const data::TableColumns& columns, const std::string& path) {
      data::ColumnChoice choice = choose_columns(model, labelling.loss_graph(), network, options,
                                                 labelling.columns(), columns, path, log, out.plan);
      labelling.prepare(model);
      return choice;
    };
  wanted.class_map = labelling.map();
  wanted.splits = splits;
  wanted.input_name = inputs[0].name;
  wanted.x_key = options.x_key;
  wanted.y_key = options.y_key;
  wanted.label_column = options.label_column;
  wanted.label_separator = options.label_separator;
  wanted.csv_header = options.csv_header;
  wanted.csv_delimiter = options.csv_delimiter;
  wanted.csv_decimal = options.csv_decimal;
  wanted.skip_bad = options.skip_bad;
  wanted.exif_orientation = options.exif_orientation == "on";
  std::string less_cache;
  wanted.cache_bytes = cache_bytes(options, less_cache);
  wanted.resize = options.resize;
  wanted.random_crops = options.random_resized_crop;
  wanted.threads = static_cast<int>(options.loader_threads);
  out.set = open(wanted);
  const data::DataInfo& info = out.set->info();
  keep_columns(labelling, info, log);
  labelling.check_features(info, inputs[main].name);
  if (several && !out.plan.asked) check_plain_data(model, network, info, out.plan);
  log(fmt::format("data: {} ({}), {} samples of {}{}{}", info.source, info.kind, out.set->size(),
                  info.size_classes.empty() ? "" : "up to ", to_string(info.shape),
                  info.labels == data::LabelKind::kClass ? fmt::format(", {} classes", info.classes) : ""));
  for (const std::string& note : info.notes) log(note.starts_with("warning:") ? note : "  " + note);
  if (info.decode_bytes > 0 && !less_cache.empty() &&
      elements(info.geometry) * out.set->size() > wanted.cache_bytes)
    log(less_cache);
  if (info.channels_last)
    log(fmt::format("  the network takes {} as height, width, channels: {}", to_string(info.shape),
                    wanted.layout_reason));
  bind_to_fields(model, *out.set, out.plan, log);
  embed_texts(out, model, options, labelling);
  number_sizes(out, open_model, open_loss_graph, labelling, log);
  out.plan.inputs = network.inputs;
  out.plan.dims = network.dims;
  if (info.skipped > 0) {
    log(fmt::format("warning: {}: {} bad samples are left out (--skip-bad)", info.source, info.skipped));
    for (const std::string& why : info.skipped_why) log("warning:   " + why);
  }
  if (info.labels == data::LabelKind::kNone && labelling.wants_labels())
    throw input_error("{} has no labels to train or evaluate with", info.source);
  check_pixels_stay(*out.set, options);
  check_masks(*out.set, network);
  if (!labelling.is_prediction()) out.target = labelling.target();
  data::check_some_target_counts(*out.set, check_stop);
  out.names = labelling.names();
  out.transform.normalization = data::normalization_preset(options.normalize);
  const auto floats = [](const std::vector<double>& v) { return std::vector<float>(v.begin(), v.end()); };
  if (!options.mean.empty()) out.transform.normalization.mean = floats(options.mean);
  if (!options.std.empty()) out.transform.normalization.std = floats(options.std);
  out.transform.augmentation.crop_padding = options.crop_padding;
  out.transform.augmentation.flip = options.flip;
  out.transform.augmentation.random_resized_crop = options.random_resized_crop;
  out.transform.augmentation.pixels = pixel_changes(options);
  out.transform.augmentation.erase = options.erase;
  out.transform.resize = options.resize;
  if (options.channel_order != "rgb" && options.channel_order != "bgr")
    throw usage_error("--channel-order {} is not known; it is rgb or bgr", options.channel_order);
  out.transform.bgr = options.channel_order == "bgr";
  return out;
}

}  // namespace

Data open_data(const std::string& spec, const std::vector<std::string>& splits, const DataOptions& options,
               onnx::Model& model, Labelling& labelling, const Log& log) {
  const auto open = [&](const data::OpenOptions& wanted) { return data::open_dataset(spec, wanted); };
  return open_set(open, false, splits, options, model, labelling, log);
}

Data open_batch(const Arrays& batch, const DataOptions& options, onnx::Model& model, Labelling& labelling,
                const Log& log) {
  const auto open = [&](const data::OpenOptions& wanted) {
    return make_dataset(batch, "the example", wanted);
  };
  return open_set(open, true, {}, options, model, labelling, log);
}

namespace {
constexpr int64_t kBytesAhead = int64_t{4} << 20;  // of prepared batches
}

data::LoaderOptions loader_options(const Data& data, const DataOptions& options, int64_t batch, bool training,
                                   uint64_t seed, const Delivery& delivery) {
  data::LoaderOptions o;
  o.batch = batch;
  o.training = training;
  o.seed = seed;
  o.threads = static_cast<int>(options.loader_threads);
  o.transform = data.transform;
  if (is_16bit(delivery.storage)) o.storage = delivery.storage;
  o.channels_last = delivery.channels_last;
  o.keeps_last = delivery.keeps_last;
  o.balanced = delivery.balanced;
  o.mixing = delivery.mixing;
  o.size_classes = data.size_classes;
  // Of large batches, which take long to train on, one ahead is enough.
  const int64_t bytes = batch * elements(data.set->info().shape) * size_bytes(o.storage);
  o.ahead = std::clamp<int64_t>(kBytesAhead / std::max<int64_t>(1, bytes), 1, o.ahead);
  return o;
}

std::unique_ptr<data::Loader> make_loader(const Data& data, const DataOptions& options, int64_t batch,
                                          bool training, uint64_t seed, const Delivery& delivery) {
  return std::make_unique<data::Loader>(data.set,
                                        loader_options(data, options, batch, training, seed, delivery));
}

DType evaluated_storage(const Data& data, DType storage) {
  return data.set->info().image ? storage : DType::kF32;
}

train::SamplesInBatches samples_of(const Data& data, DType storage) {
  const data::DataInfo& info = data.set->info();
  return {.field = info.fields().at(0).name,
          .storage = is_16bit(storage) ? storage : DType::kF32,
          .can_be_channels_last = data::can_be_channels_last(info)};
}

void log_some(const std::string& title, const std::vector<std::string>& lines, const Log& log) {
  constexpr size_t kShown = 3;
  for (size_t i = 0; i < lines.size() && i < kShown; ++i) log(title + lines[i]);
  if (lines.size() > kShown) log(fmt::format("{}... ({} altogether)", title, lines.size()));
}

onnx::Model open_model(const NetworkOptions& options, bool moving, const Log& log,
                       std::vector<std::string>* shared) {
  std::vector<std::string> notes;
  onnx::Model model = onnx::with_own_statistics(
      with_fixed_inputs(load_model(options.model, options.weights), options.inputs), moving, &notes);
  if (shared == nullptr) {
    log_some("shared tensor ", notes, log);
  } else {
    *shared = std::move(notes);
  }
  return model;
}

train::Importer make_importer(const onnx::Model& model, DType storage, ops::BatchNormMode batch_norm,
                              const pass::RestoredBatchNorms* restored, const TrainFreeze& choice,
                              std::set<size_t> frozen_norms, std::shared_ptr<const Sizes> sizes,
                              const pass::Embedding& embedding) {
  return [&model, storage, batch_norm, restored, choice, frozen_norms, sizes, embedding](
             int64_t batch, ops::Mode mode, size_t size_class) {
    onnx::ImportOptions o;
    o.storage = storage;
    o.batch = batch * std::max<int64_t>(1, embedding.texts);
    o.mode = mode;
    o.batch_norm = batch_norm;
    o.frozen_norms = frozen_norms;
    o.choice = choice;
    HT_ASSERT(sizes != nullptr || size_class == 0, "size class {}", size_class);
    ir::Graph graph = onnx::import(sizes == nullptr ? model : sizes->at(model, size_class), o);
    if (restored != nullptr) pass::insert_batch_norms(graph, storage, mode, batch_norm, *restored);
    pass::embed(graph, storage, embedding, batch);
    return graph;
  };
}

bool check_network(const NetworkOptions& options, const onnx::Model& model, ops::Mode mode,
                   const TrainFreeze& tensors, const Data* data) {
  const auto norms = options.batchnorm == "freeze" ? ops::BatchNormMode::kFreeze : ops::BatchNormMode::kTrain;
  const bool sized = data != nullptr && data->sizes != nullptr;
  const train::Importer importer =
      make_importer(model, DType::kF32, norms, nullptr, tensors, {}, sized ? data->sizes : nullptr,
                    data != nullptr ? data->embedding : pass::Embedding());
  const size_t first = sized ? data->number(data->set->size_class(0)) : 0;
  importer(options.batch, mode, first);
  const std::vector<int64_t> samples = sized ? data::samples_of_classes(*data->set) : std::vector<int64_t>();
  for (size_t c = 0; c < samples.size(); ++c) {
    if (samples[c] == 0 || data->number(c) == first) continue;
    try {
      importer(options.batch, mode, data->number(c));
    } catch (const Error& e) {
      throw Error(e.kind(),
                  fmt::format("{}: with {} the network cannot be used, though it can with others\n  {}",
                              data->set->info().source, name_of_size(*data, c), e.what()));
    }
  }
  // Whatever the file declares: does the graph depend on this very batch?
  try {
    importer(options.batch + 1, ops::Mode::kEval, first);
    return false;
  } catch (const Error& e) {
    rethrow_if_resource(e);
    return true;
  }
}

std::optional<exec::MultiplyRates> choose_multiply(train::Network& network, const Log& log) {
  // Long enough for three convolutions and their gradients on a machine that does something else besides.
  constexpr double kSeconds = 0.1;
  constexpr double kWorthIt = 1.1;
  if (kern::active_isa() == kern::Isa::kReference) return std::nullopt;  // which emulates it
  const std::optional<exec::MultiplyRates> rates = network.measure_multiply(kSeconds);
  if (!rates) return rates;
  const bool half = rates->half >= kWorthIt * rates->block;
  if (half) network.use_multiply(kern::Multiply::kHalf);
  log(half ? fmt::format("multiply: half (measured {:.0f} against block's {:.0f} G multiply-adds/s a thread; "
                         "other CPUs give "
                         "other bits: --multiply block is the same on all)",
                         rates->half * 1e-9, rates->block * 1e-9)
           : fmt::format("multiply: block (measured {:.0f} against half's {:.0f} G multiply-adds/s a thread)",
                         rates->block * 1e-9, rates->half * 1e-9));
  return rates;
}

void report_narrowing(const std::vector<pass::NarrowLoss>& losses, DType precision, const Log& log) {
  int64_t elements = 0;
  int64_t flushed = 0;
  int64_t subnormal = 0;
  for (const pass::NarrowLoss& loss : losses) {
    elements += loss.elements;
    flushed += loss.flushed;
    subnormal += loss.subnormal;
    if (loss.flushed * 100 > loss.elements)
      log(
          fmt::format("warning: {} of the {} values of {} are too small for {} and became zero; --precision "
                      "bf16 keeps them",
                      loss.flushed, loss.elements, loss.name, halftone::name_of(precision)));
  }
  if (elements > 0)
    log(fmt::format("converted {} values to {}: {} became zero, {} are subnormal, none overflowed", elements,
                    halftone::name_of(precision), flushed, subnormal));
}

train::Summary summary_of(const std::string& command, const NetworkOptions& options,
                          const RunResult& result) {
  const DType precision = parse_precision(options.precision);
  train::Summary s;
  s.command = command;
  s.model = options.model;
  s.precision = options.precision;
  s.multiply = name_of(parse_multiply(options.multiply, precision), precision);
  s.isa = kern::name_of(kern::active_isa());
  s.threads = threads_of(options.threads);
  s.seed = options.seed;
  s.val_loss = result.val_loss;
  s.val_accuracy = result.val_accuracy;
  s.seconds = result.seconds;
  s.samples_per_second = result.samples_per_second;
  s.peak_rss_bytes = result.peak_rss_bytes;
  s.planned_bytes = result.planned_bytes;
  return s;
}

}  // namespace halftone::api
