#include "api/labelling.h"

#include <algorithm>

#include "api/beginning.h"
#include "api/columns.h"
#include "api/input.h"
#include "api/session.h"
#include "base/error.h"
#include "base/resource_error.h"
#include "data/text.h"
#include "onnx/input_axes.h"
#include "train/run_folder.h"

namespace halftone::api {
namespace {

// "0 cat, 1 dog".
std::string numbered(const std::vector<std::string>& names) {
  std::vector<std::string> out;
  for (size_t i = 0; i < names.size(); ++i) out.push_back(fmt::format("{} {}", i, names[i]));
  return data::some_of(out);
}

std::string text_of(const data::LabelReading& reading) {
  if (reading.kind == data::LabelKind::kTarget) return "numbers to compare with";
  return fmt::format("{} {} classes",
                     reading.kind == data::LabelKind::kPositions ? "for each position one of" : "one of",
                     reading.classes);
}

// The heads as graphs of two batch sizes show them: what has the same size in both is not the batch.
std::vector<pass::Head> heads_of(const onnx::Model& model, int64_t batch,
                                 const pass::Embedding& embedding = {}) {
  const train::Importer importer =
      make_importer(model, DType::kF32, ops::BatchNormMode::kFreeze, nullptr, {}, {}, nullptr, embedding);
  const auto heads = [&](const ir::Graph& graph, int64_t n) {
    std::vector<pass::Head> all;
    for (size_t i = 0; i < graph.outputs.size(); ++i) {
      all.push_back(pass::head_of(graph, graph.outputs[i], n));
      all.back().output = model.outputs().at(i).name;
    }
    return all;
  };
  // A network of a fixed batch fits one size only.
  std::vector<ir::Graph> small;
  try {
    for (const int64_t n : {2, 3}) small.push_back(importer(n, ops::Mode::kEval));
  } catch (const Error& e) {
    rethrow_if_resource(e);
    return heads(importer(batch, ops::Mode::kEval), batch);
  }
  heads(small[1], 3);
  return heads(small[0], 2);
}

}  // namespace

std::string keep_classes(const TrainOptions& o, const std::string& folder) {
  const Log silent = [](const std::string&) {};
  const onnx::Model as_read = open_model(o.network, true, silent);
  onnx::Model model =
      choose_output(begun(as_read, beginning_of(o, as_read, false, {}), silent), o.network, silent);
  bind_dims(model, o.network.dims);
  Labelling labelling(unweighted(o.network), o.data, model, {}, silent);
  const Data data = open_data(training_spec(o.data), {"train"}, o.data, model, labelling, silent);
  train::write_classes(folder, data.names);
  train::write_columns(folder, data.set->info().columns);
  return data.names.empty() ? "" : folder + "/classes.txt";
}

Labelling::Labelling(const NetworkOptions& network, const DataOptions& options, const onnx::Model& model,
                     data::ClassMap run, const Log& log)
    : options_(network),
      losses_(parse_losses(network)),
      outputs_(outputs_of(model, network)),
      class_weights_(parse_class_weights(network.class_weights)),
      targets_(losses_.size()),
      log_(log) {
  if (!network.loss_graph.empty()) {
    loss_graph_ = std::make_shared<onnx::Model>(onnx::Model::load(network.loss_graph));
    // By this name it would get a field.
    for (const onnx::FixedInput& fixed : model.fixed())
      for (const onnx::ValueInfo& input : loss_graph_->inputs())
        if (input.name == fixed.info.name)
          throw usage_error(
              "--loss-graph {}: its input '{}' is the network's, which --input gives the number {}; make the "
              "number a "
              "constant of the loss graph, or give its input another name",
              network.loss_graph, input.name, fixed.value);
    pass::LossOptions& loss = targets_.back().loss;
    loss.loss = pass::Loss::kGraph;
    loss.output_name = network.loss_graph;
    loss.outputs = outputs_.names;
    loss.reason = network.loss_graph;
    loss.append = [graph = loss_graph_, sizes = sizes_](ir::Graph& to,
                                                        const std::map<std::string, ir::ValueId>& known,
                                                        int64_t batch, DType type, size_t size_class) {
      if (sizes->classes)
        return onnx::append(to, sizes->classes->loss_graph_at(size_class), known, batch, type);
      HT_ASSERT(size_class == 0, "size class {}", size_class);
      return onnx::append(to, *graph, known, batch, type);
    };
  }
  set_loss_of_texts(options);
  columns_ = kept_columns(options, model);
  columns_from_file_ = !options.columns_file.empty();
  if (!options.classes_file.empty() && !wants_labels())
    throw usage_error("--classes-file {}: a loss graph reads numbers, which have no names",
                      options.classes_file);
  if (!options.classes_file.empty()) {
    map_ = data::read_class_file(options.classes_file);
    if (!run.empty() && run.names != map_.names)
      throw input_error("--classes-file {} has other classes than the run, which keeps those of {}",
                        options.classes_file, run.source);
  } else if (!run.empty()) {
    map_ = std::move(run);
  } else {
    map_ = class_map_of(model);
    from_model_ = !map_.empty();
    unusable_ = unusable_names(model);
  }
}

void Labelling::set_loss_of_texts(const DataOptions& options) {
  const std::optional<pass::Loss> kind = loss_of_texts(losses_, options);
  embeds_ = options.task == "embeddings";
  // What would have no effect was meant to have one.
  const NetworkOptions none;
  const auto goes_with = [](bool given, const char* option, const char* with) {
    if (given) throw usage_error("{} goes with {}", option, with);
  };
  goes_with(!embeds_ && options_.pooling != none.pooling, "--pooling", "--task embeddings");
  goes_with(!embeds_ && options_.normalize_embeddings != none.normalize_embeddings, "--normalize-embeddings",
            "--task embeddings");
  goes_with(kind != pass::Loss::kInBatchNegatives && options_.similarity_scale != none.similarity_scale,
            "--similarity-scale", "--loss in-batch-negatives");
  goes_with(kind != pass::Loss::kTriplet && options_.margin != none.margin, "--margin", "--loss triplet");
  if (!kind) return;
  pass::LossOptions& loss = targets_[0].loss;
  loss.reason = losses_[0].kind == pass::Loss::kAuto
                    ? (*kind == pass::Loss::kCosine ? "the data has scores" : "the data has no scores")
                    : "given by --loss";
  losses_[0].kind = loss.loss = *kind;
  loss.labels = pass::Labels::kTargets;
  loss.label_smoothing = options_.label_smoothing;
  loss.output = outputs_.index[0];
  loss.output_name = outputs_.names[loss.output];
  loss.weight = losses_[0].weight;
  loss.similarity_scale = options_.similarity_scale;
  loss.margin = options_.margin;
  if (*kind == pass::Loss::kInBatchNegatives && options_.batch < 2)
    throw usage_error("--loss in-batch-negatives needs other samples in the batch; --batch {} has none",
                      options_.batch);
}

data::LabelReading Labelling::read_scores(const data::LabelForm& form) const {
  if (!form.numbers() || form.width != 1)
    throw input_error("{}: --loss cosine compares the cosine of two texts with a score, a number; found {}",
                      form.where,
                      form.numbers() ? fmt::format("{} numbers a sample", form.width)
                                     : fmt::format("names ({})", data::some_of(form.names, 5)));
  if (form.smallest < -1 || form.largest > 1)
    log_(fmt::format("warning: {}: scores from {:.6g} to {:.6g}; cosines are from -1 to 1", form.where,
                     form.smallest, form.largest));
  return {data::LabelKind::kTarget, 0};
}

void Labelling::count_classes() {
  if (embeds_)
    throw usage_error("--new-head: --task embeddings has no classes; without it the last layer stays");
  counts_ = true;
}

void Labelling::forget_sizes() {
  heads_.clear();
  if (loss_graph_ && sizes_->classes) *loss_graph_ = *sizes_->classes->loss_graph();
}

void Labelling::check_labels(const onnx::Model& sized, const data::DataInfo& info, const FieldPlan& plan,
                             const std::string& where) const {
  // Classes that are counted are those of a network that is yet to be made.
  if (heads_.empty() || prediction_ || counts_ || embeds_) return;
  std::vector<pass::Head> heads;
  try {
    heads = heads_of(sized, options_.batch);
  } catch (const Error& e) {
    throw Error(
        e.kind(),
        fmt::format(
            "{}: the network cannot be used with samples of this size, though it can with others\n  {}",
            where, e.what()));
  }
  for (size_t i = 0; i < losses_.size(); ++i) {
    if (losses_[i].kind == pass::Loss::kGraph) continue;
    const pass::Head& here = heads.at(outputs_.index.at(i));
    data::LabelKind kind = info.labels;
    Shape shape = info.reading.shape;
    int64_t numbers = info.target_size;
    if (i > 0 && plan.asked) {
      const auto field = std::find_if(info.more.begin(), info.more.end(),
                                      [&](const data::MoreField& f) { return f.name == plan.labels.at(i); });
      HT_ASSERT(field != info.more.end(), "{}", plan.labels.at(i));
      kind = field->reading.kind;
      shape = field->reading.shape;
      numbers = elements(field->shape);
    }
    if (kind == data::LabelKind::kTarget && shape.empty()) shape = {numbers};
    const train::Target& target = targets_.at(i);
    const bool fits = kind == data::LabelKind::kPositions ? train::positions_fit(here, target, shape)
                      : kind == data::LabelKind::kTarget
                          ? train::targets_fit(here, shape)
                          : here.classes == head(i).classes && here.per_sample == head(i).per_sample;
    if (!fits)
      throw input_error("{}: labels of shape {} do not fit the network's {} of shape {}", where,
                        to_string(shape), describe(here), to_string(here.shape));
  }
}

void Labelling::check_numbers(const std::string& field, const data::LabelForm& form) const {
  for (size_t i = 0; i < targets_.size(); ++i) {
    const train::Target& target = targets_[i];
    if (losses_[i].kind != pass::Loss::kGraph && target.loss.field == field)
      train::check_as_decided(form, target.reading, target.loss, "those of another size");
  }
}

void Labelling::continue_columns(const data::ColumnPlan& run) {
  if (run.empty()) return;
  if (columns_from_file_ && data::to_json(run) != data::to_json(columns_))
    throw input_error("{} says something else of the columns than the run, which keeps {}", columns_.source,
                      run.source);
  columns_ = run;
}

void Labelling::prepare(const onnx::Model& model) {
  // What a loss graph alone reads needs no batch in front, and no labels.
  if (std::all_of(losses_.begin(), losses_.end(),
                  [](const LossSpec& l) { return l.kind == pass::Loss::kGraph; }))
    return;
  if (embeds_ && embedding_.texts == 0) return;  // which the samples say first
  if (!heads_.empty() || !onnx::open_axes(model).empty() || !find_head(model)) return;
  check_map();
}

bool Labelling::find_head(const onnx::Model& model) {
  try {
    heads_ = heads_of(model, options_.batch, embedding_);
    return true;
  } catch (const Error& e) {
    if (!leaves_refusals_ || e.kind() != ErrorKind::kInput) throw;
    return false;
  }
}

size_t Labelling::outputs() const {
  return static_cast<size_t>(head(0).classes > 0 ? head(0).classes : 2);
}

void Labelling::check_map() {
  if (from_model_ && map_.names.size() != outputs()) {
    log_(fmt::format("the {} class names in {} are ignored: the network has {}", map_.names.size(),
                     map_.source, describe(head(0))));
    map_ = {};
    from_model_ = false;
  }
  if (map_.names.size() > outputs())
    throw input_error("{}: it has {} classes, but the network distinguishes {} ({})", map_.source,
                      map_.names.size(), outputs(), describe(head(0)));
}

// False: the network cannot be imported.
bool Labelling::bind_and_find_head(const onnx::Model& model, const data::LabelForm& form, const Shape& sample,
                                   size_t input) {
  if (!heads_.empty()) return true;
  onnx::Model bound = model;
  if (!sample.empty()) {
    Shape shape = sample;
    shape.insert(shape.begin(), options_.batch);
    bind_to_data(bound, input, shape, form.where, [](const std::string&) {});
  }
  if (!find_head(bound)) return false;
  const bool from_model = from_model_;
  check_map();
  // The names were numbered by that map already.
  if (from_model && !from_model_ && form.kind == data::LabelForm::Kind::kNames)
    throw input_error("{}: its {} class names do not fit its outputs; give --classes-file", model.path(),
                      form.names.size());
  return true;
}

void Labelling::complete(size_t i, const data::LabelForm& form) {
  train::Target& target = targets_[i];
  pass::LossOptions& loss = target.loss;
  data::LabelReading& reading = target.reading;
  loss.label_smoothing =
      loss.loss == pass::Loss::kCrossEntropy || losses_.size() == 1 ? options_.label_smoothing : 0;
  loss.output = outputs_.index[i];
  loss.output_name = outputs_.names[loss.output];
  loss.weight = losses_[i].weight;
  const bool classes = loss.loss == pass::Loss::kCrossEntropy && loss.labels == pass::Labels::kClasses;
  const bool positions = reading.kind == data::LabelKind::kPositions;
  const auto refuse = [&](const std::string& option) {
    throw usage_error("{} goes with cross-entropy and labels that are classes; the loss of output '{}' is {}",
                      option, loss.output_name, pass::name_of(loss.loss));
  };
  if (!classes && !options_.sample_weight.empty()) refuse("--sample-weight");
  if (!classes) return;
  constexpr int64_t kIgnored = -100;  // PyTorch's
  // Names and one-hot rows hold no class numbers.
  const bool numbers =
      positions || form.kind == data::LabelForm::Kind::kNone || (form.numbers() && form.width == 1);
  if (options_.ignore_index && numbers) {
    reading.ignored = options_.ignore_index;
  } else if (positions) {
    reading.ignored = form.ignored.value_or(kIgnored);
  }
  if (!class_weights_.empty() && static_cast<int64_t>(class_weights_.size()) != reading.classes)
    throw usage_error("--class-weights has {} numbers, but output '{}' has {} classes", class_weights_.size(),
                      loss.output_name, reading.classes);
  reading.class_weights = class_weights_;
  reading.sample_weight = options_.sample_weight;
  loss.weighted = reading.weighted();
}

std::optional<data::LabelReading> Labelling::read_positions(const onnx::Model& model,
                                                            const data::LabelForm& form, const Shape& sample,
                                                            size_t input, bool all) {
  if (!bind_and_find_head(model, form, sample, input)) return std::nullopt;
  const auto target = train::decide_positions(losses_[0].kind, head(0), form);
  if (!target) return std::nullopt;
  if (counts_)
    throw usage_error(
        "--new-head: {} has a class for each position, and how many there are is not looked for: give "
        "--classes N",
        form.where);
  targets_[0] = *target;
  const bool names = form.kind == data::LabelForm::Kind::kNames;
  if (names && static_cast<int64_t>(form.names.size()) > target->reading.classes)
    throw input_error("{}: it has {} classes ({}), but the network has {} ({})", form.where,
                      form.names.size(), data::some_of(form.names), target->reading.classes,
                      describe(head(0)));
  if (map_.asked && !names)
    throw usage_error("--classes-file {}: it names the classes of samples; those of positions ({}) have none",
                      map_.source, form.where);
  complete(0, form);
  named_ = names ? form.names : std::vector<std::string>();
  if (names) report_classes(form);
  if (all) decide_others(form, true);
  return targets_[0].reading;
}

void Labelling::decide_others(const data::LabelForm& form, bool positions) {
  for (size_t i = 1; i < losses_.size(); ++i) {
    if (losses_[i].kind == pass::Loss::kGraph) continue;
    auto target = positions ? train::decide_positions(losses_[i].kind, head(i), form)
                            : train::decide_target(losses_[i].kind, head(i), form);
    if (target) {
      targets_[i] = *std::move(target);
      complete(i, form);
    }
    const train::Target& first = targets_[0];
    if (!target || targets_[i].reading != first.reading)
      throw input_error(
          "{}: output '{}' would read these labels as {}, output '{}' as {}, and there are no others. "
          "Expected named arrays (.npz, "
          ".safetensors or a folder of .npy), with a field for each loss: --loss OUTPUT=KIND:FIELD",
          form.where, first.loss.output_name, text_of(first.reading), outputs_.names.at(outputs_.index[i]),
          target ? text_of(targets_[i].reading) : "something else");
  }
}

// A network's first loss decides what its output is for: classes where it takes them, else numbers.
void Labelling::count(const data::LabelForm& form) {
  using Kind = data::LabelForm::Kind;
  const pass::Head& has = head(0);
  const pass::Loss loss = losses_[0].kind;
  wanted_ = 0;
  const bool one = form.numbers() && form.width == 1;
  const bool whole = form.kind == Kind::kIntegers || (form.kind == Kind::kText && form.whole);
  const bool numbers_only =
      loss == pass::Loss::kMse || loss == pass::Loss::kBce || loss == pass::Loss::kBceWithLogits;
  if (form.kind == Kind::kNames || form.classes > 0) {
    wanted_ = std::max(static_cast<int64_t>(form.names.size()), form.classes);
  } else if (one && !numbers_only && form.whole && (whole || loss == pass::Loss::kCrossEntropy) &&
             (has.classes > 0 || loss == pass::Loss::kCrossEntropy)) {
    constexpr double kMostClasses = 1 << 20;
    if (form.smallest < 0 || form.largest >= kMostClasses) return;
    wanted_ = std::max<int64_t>(2, static_cast<int64_t>(form.largest) + 1);
  } else if (form.numbers()) {
    wanted_ = form.width;
  }
  // One probability tells two classes apart.
  if (wanted_ == 2 && has.per_sample == 1 && form.kind == Kind::kNames &&
      has.ending == pass::Ending::kSigmoid)
    wanted_ = 1;
  if (!counts_) return;
  if (wanted_ == 0)
    throw usage_error("--new-head: the labels of {} do not say how many classes there are: give --classes N",
                      form.where);
  pass::Head& adapted = heads_.at(outputs_.index.at(0));
  if (has.classes > 0 && has.sample.size() > 1)
    throw input_error("--new-head: {} has one label a sample, but the network's {} has shape {}", form.where,
                      describe(has), to_string(has.shape));
  adapted.classes = wanted_ > 1 ? wanted_ : 0;
  adapted.per_sample = wanted_;
  adapted.sample = wanted_ > 1 ? Shape{wanted_} : Shape{};
  adapted.shape = {adapted.batch, wanted_};
}

std::string Labelling::new_head_advice() const {
  if (wanted_ == 0 || heads_.empty() || evaluation_) return "";
  const pass::Head& has = head(0);
  const int64_t gives = has.classes > 0 ? has.classes : has.per_sample;
  const bool two = gives == 1 && wanted_ == 2;  // of one logit, two classes
  if (gives == wanted_ || two || (has.classes > 0 && wanted_ < gives)) return "";
  return fmt::format(
      "--new-head gives the network's last layer as many rows as the data needs ({}; it has {})", wanted_,
      gives);
}

data::LabelReading Labelling::read(const onnx::Model& model, const data::LabelForm& form, const Shape& sample,
                                   size_t input, bool all) {
  if (embeds_) {
    if (losses_[0].kind != pass::Loss::kCosine)
      throw usage_error("--task embeddings: {} is no text; expected a table of texts or .jsonl", form.where);
    return targets_[0].reading = read_scores(form);
  }
  const bool found = bind_and_find_head(model, form, sample, input);
  if (found) count(form);
  if (!found) {
    const bool classes = form.kind == data::LabelForm::Kind::kNames ||
                         (form.kind == data::LabelForm::Kind::kIntegers && form.width == 1);
    return {classes ? data::LabelKind::kClass : data::LabelKind::kTarget, 0};
  }
  targets_[0] = train::decide_target(losses_[0].kind, head(0), form);
  complete(0, form);
  named_ = form.kind == data::LabelForm::Kind::kNames ? form.names : std::vector<std::string>();
  if (!named_.empty()) report_classes(form);
  if (form.numbers() && map_.asked) name_numbers(form);
  if (all) decide_others(form, false);
  return targets_[0].reading;
}

std::optional<data::LabelReading> Labelling::read_further(const onnx::Model& model, size_t loss,
                                                          const std::string& field,
                                                          const data::LabelForm& form, bool numbers_known) {
  HT_ASSERT(loss > 0 && loss < losses_.size(), "loss {} of {}", loss, losses_.size());
  if (!bind_and_find_head(model, form, {}, 0))
    return data::LabelReading{form.width == 1 ? data::LabelKind::kClass : data::LabelKind::kTarget, 0};
  train::Target& target = targets_[loss];
  if (numbers_known) {
    target = train::decide_target(losses_[loss].kind, head(loss), form);
  } else {
    const auto decided = train::decide_positions(losses_[loss].kind, head(loss), form);
    if (!decided) return std::nullopt;
    target = *decided;
  }
  complete(loss, form);
  target.loss.field = field;
  return target.reading;
}

void Labelling::read_outputs(const onnx::Model& model) {
  if (wants_labels()) read(model);
  for (size_t i = 1; i < losses_.size(); ++i)
    if (losses_[i].kind != pass::Loss::kGraph) read_further(model, i, "", {}, true);
}

train::Target Labelling::target() const {
  // Of several losses, those that have classes take these options.
  const bool any = std::any_of(targets_.begin(), targets_.end(), [](const train::Target& t) {
    return t.loss.loss == pass::Loss::kCrossEntropy && t.loss.labels == pass::Labels::kClasses;
  });
  if (!options_.sample_weight.empty() && !any)
    throw usage_error("--sample-weight goes with cross-entropy and labels that are classes");
  const bool ignores = std::any_of(targets_.begin(), targets_.end(),
                                   [](const train::Target& t) { return t.reading.ignored.has_value(); });
  if (options_.ignore_index && any && !ignores)
    throw usage_error("--ignore-index {} is the number of a class, but the labels are {}",
                      *options_.ignore_index, named_.empty() ? "one-hot" : "names of classes");
  if (!any && (options_.ignore_index || !class_weights_.empty()))
    throw usage_error("{} goes with cross-entropy and labels that are classes; the loss is {}",
                      options_.ignore_index ? "--ignore-index" : "--class-weights",
                      pass::name_of(targets_[0].loss.loss));
  const bool smooth = std::any_of(targets_.begin(), targets_.end(), [](const train::Target& t) {
    return t.loss.loss == pass::Loss::kCrossEntropy;
  });
  if (options_.label_smoothing != 0 && !smooth && targets_.size() + (wants_labels() ? 0 : 1) > 1)
    throw usage_error("--label-smoothing goes with cross-entropy, which none of these losses is");
  train::Target all = targets_[0];
  // A loss that nobody decided would read the first output.
  for (size_t i = 0; i < targets_.size() && !heads_.empty(); ++i)
    HT_ASSERT(losses_[i].kind == pass::Loss::kGraph || !targets_[i].loss.output_name.empty(), "loss {}", i);
  for (size_t i = 1; i < targets_.size(); ++i) all.loss.more.push_back(targets_[i].loss);
  return all;
}

// The class file's names for labels that are numbers.
void Labelling::name_numbers(const data::LabelForm& form) {
  const bool distributions = targets_[0].loss.labels == pass::Labels::kDistributions;
  if (targets_[0].reading.kind != data::LabelKind::kClass && !distributions)
    throw usage_error(
        "--classes-file {}: it names classes, but the labels of {} are targets (loss {}), which have none",
        map_.source, form.where, pass::name_of(targets_[0].loss.loss));
  if (map_.names.size() != outputs())
    throw input_error(
        "{}: it has {} names; labels that are numbers ({}) need one for each of the network's {} classes "
        "({})",
        map_.source, map_.names.size(), form.where, outputs(), describe(head(0)));
  named_ = map_.names;
  if (!evaluation_) check_names_can_be_kept(named_, map_.source);
  log_(fmt::format("classes: {} (the labels are class numbers, with the names in {})", numbered(named_),
                   map_.source));
}

void Labelling::report_classes(const data::LabelForm& form) {
  if (!evaluation_) check_names_can_be_kept(form.names, form.where);
  if (map_.empty() && !unusable_.empty()) log_("warning: " + unusable_);
  const bool fewer = form.names.size() < outputs();
  if (fewer && map_.empty() && evaluation_)
    throw input_error(
        "{}: it has {} of the network's {} classes ({}), and nothing says which: expected a network with "
        "class names in "
        "it, as train writes them, or --classes-file FILE with one name a line, in the order of the outputs",
        form.where, form.names.size(), outputs(), data::some_of(form.names));
  log_(fmt::format("classes: {} ({})", numbered(form.names),
                   map_.empty() ? "numbered in the order of their names" : "numbered by " + map_.source));
  if (fewer && map_.empty())
    log_(fmt::format(
        "warning: {} has {} classes, the network {}: the last outputs get no samples; if its "
        "classes have other "
        "numbers, give --classes-file; if they are others, --new-head trains a last layer for them alone",
        form.where, form.names.size(), outputs()));
}

void Labelling::check_features(const data::DataInfo& info, const std::string& input) {
  if (!evaluation_) {
    features_ = info.features;
    features_source_ = info.source;
    return;
  }
  if (features_.size() != info.features.size() || features_ == info.features) return;
  const auto [here, there] = std::mismatch(info.features.begin(), info.features.end(), features_.begin());
  const std::string place = fmt::format("'{}' is where that has '{}'. Columns are read by their place",
                                        data::shown(*here), data::shown(*there));
  if (!std::is_permutation(features_.begin(), features_.end(), info.features.begin(), info.features.end())) {
    log_(fmt::format("warning: {}: its columns have other names than those of {}: {}", info.source,
                     features_source_, place));
    return;
  }
  throw input_error(
      "{}: its columns are those of {} in another order: {}; put them into one order, or have them read by "
      "their names: --input {}=COLUMN,...",
      info.source, features_source_, place, input);
}

void Labelling::validate(const std::string& training_source) {
  for (size_t i = 0; i < losses_.size(); ++i) losses_[i].kind = targets_[i].loss.loss;
  evaluation_ = true;
  if (named_.empty()) return;
  if (map_.empty()) map_.source = training_source;
  map_.names = named_;
}

}  // namespace halftone::api
