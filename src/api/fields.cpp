#include "api/fields.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "api/input.h"
#include "base/error.h"
#include "base/words.h"
#include "onnx/input_axes.h"

namespace halftone::api {
namespace {

using data::ArrayHeader;
using data::Element;

std::string shape_of(const onnx::ValueInfo& input) {
  std::vector<std::string> sizes;
  for (size_t i = 1; i < input.dims.size(); ++i)
    sizes.push_back(input.dims[i].value > 0 ? std::to_string(input.dims[i].value)
                                            : onnx::axis_name(input, i));
  return fmt::format("[{}]", fmt::join(sizes, ", "));
}

std::string list_of(const std::vector<onnx::ValueInfo>& inputs) {
  std::vector<std::string> texts;
  for (const onnx::ValueInfo& input : inputs)
    texts.push_back(fmt::format("'{}' ({} {} a sample)", input.name, input.type, shape_of(input)));
  return fmt::format("{}", fmt::join(texts, ", "));
}

Shape sample_of(const ArrayHeader& array) {
  return array.shape.empty() ? Shape{} : Shape(array.shape.begin() + 1, array.shape.end());
}

std::string list_of(const std::vector<ArrayHeader>& arrays) {
  std::vector<std::string> texts;
  for (const ArrayHeader& array : arrays)
    texts.push_back(fmt::format("{} ({} {})", array.name, data::name_of(array.type), to_string(array.shape)));
  return texts.empty() ? "no arrays" : fmt::format("{}", fmt::join(texts, ", "));
}

// NAME=FIELD.
std::map<std::string, std::string> parse_inputs(const onnx::Model& model, const NetworkOptions& network,
                                                const onnx::Model* loss_graph = nullptr) {
  std::map<std::string, std::string> inputs;
  std::vector<onnx::ValueInfo> all = model.inputs();
  if (loss_graph != nullptr) all.insert(all.end(), loss_graph->inputs().begin(), loss_graph->inputs().end());
  for (const std::string& text : network.inputs) {
    if (is_fixed(model, text)) continue;
    const auto named = named_value(text, all);
    if (!named || named->second.empty())
      throw usage_error(
          "--input {}: expected NAME=FIELD, or NAME=NUMBER, with an input of the network; it has {}", text,
          list_of(all));
    if (!inputs.insert(*named).second) throw usage_error("--input {}: {} is given twice", text, named->first);
  }
  return inputs;
}

bool is_label_name(const std::string& name) {
  return is_one_of(name, {"y", "Y", "labels", "label", "targets", "target", "classes"});
}

bool is_truth(const onnx::ValueInfo& input) {
  return input.type == "bool";
}

bool type_fits(const onnx::ValueInfo& input, Element type) {
  if (!input.dtype) return false;
  if (is_float(*input.dtype)) return true;
  if (data::is_float(type)) return false;
  return !is_truth(input) || type == Element::kBool || type == Element::kU8;
}

// Sizes that the network leaves open fit any.
bool same_shape(const onnx::ValueInfo& input, const Shape& sample) {
  bool same = sample.size() + 1 == input.dims.size();
  for (size_t i = 0; same && i < sample.size(); ++i)
    same = input.dims[i + 1].value <= 0 || input.dims[i + 1].value == sample[i];
  return same;
}

bool is_image_for(const onnx::ValueInfo& input, const ArrayHeader& array) {
  return array.type == Element::kU8 && input.dtype && is_float(*input.dtype) &&
         sample_of(array).size() >= 2 && input.dims.size() == 4;
}

// Images that are prepared may have other sizes.
bool shape_fits(const onnx::ValueInfo& input, const ArrayHeader& array) {
  return same_shape(input, sample_of(array)) || is_image_for(input, array);
}

// The shape of a sample that is taken as it is; images may lack the axis of their one channel. None: it does
// not fit.
std::optional<Shape> shape_as_it_is(const onnx::ValueInfo& input, const ArrayHeader& array) {
  const Shape sample = sample_of(array);
  if (same_shape(input, sample)) return sample;
  if (!is_image_for(input, array) || sample.size() != 2) return std::nullopt;
  for (const size_t channels : {0, 2}) {
    Shape image = sample;
    image.insert(image.begin() + static_cast<std::ptrdiff_t>(channels), 1);
    if (input.dims[channels + 1].value == 1 && same_shape(input, image)) return image;
  }
  return std::nullopt;
}

class ArrayMatcher {
 public:
  ArrayMatcher(onnx::Model& model, onnx::Model* loss_graph, const NetworkOptions& network,
               const DataOptions& options, const std::vector<ArrayHeader>& arrays, const std::string& path,
               const BoundFields* decided = nullptr)
      : decided_(decided),
        model_(model),
        loss_graph_(loss_graph),
        network_(network),
        options_(options),
        arrays_(arrays),
        path_(path),
        losses_(parse_losses(network)),
        asked_(decided != nullptr ? decided->inputs : parse_inputs(model, network, loss_graph)),
        bound_(model.inputs().size()) {}

  data::ArrayChoice run(const Log& log, FieldPlan& plan) {
    if (decided_ == nullptr) {
      check_keys(plan);
      check_fixed();
      reserve_named();
    }
    bind_inputs();
    data::ArrayChoice choice;
    choose_samples(plan);
    for (size_t i = 0; i < bound_.size(); ++i) {
      const ArrayHeader& array = *bound_[i];
      plan.feeding[model_.inputs()[i].name] = array.name;
      if (i == plan.samples) {
        choice.x = array.stored;
        choice.x_name = array.name;
      } else {
        add_input(choice, i, array, plan);
      }
    }
    add_labels(choice, plan);
    add_loss_graph(choice, plan, log);
    if (!network_.sample_weight.empty()) {
      const ArrayHeader& weight = named(network_.sample_weight, "--sample-weight");
      if (elements(sample_of(weight)) != 1)
        throw input_error("{}: --sample-weight {}: expected one number a sample, it has the shape {}", path_,
                          weight.name, to_string(weight.shape));
      // As it is asked for, which may be with the split.
      choice.more.push_back(
          {weight.stored, {network_.sample_weight, data::FieldRole::kWeight, DType::kF32, {}}});
    }
    plan.asked = true;
    report(log);
    for (size_t i = 0; i < bound_.size(); ++i)
      if (i != plan.samples)
        bind_to_data(model_, i, bound_[i]->shape, fmt::format("{}, {}", path_, bound_[i]->name), log);
    return choice;
  }

 private:
  // An option that chooses nothing was meant to.
  void check_keys(const FieldPlan& plan) const {
    const bool asks =
        plan.samples_only || std::any_of(losses_.begin(), losses_.end(), [](const LossSpec& loss) {
          return loss.kind != pass::Loss::kGraph && loss.field.empty();
        });
    if (!options_.y_key.empty() && !asks)
      throw usage_error(
          "--y-key {}: no loss reads it: --loss KIND:FIELD names the labels of each, and a loss graph its "
          "fields",
          options_.y_key);
    const bool all = std::all_of(model_.inputs().begin(), model_.inputs().end(),
                                 [&](const onnx::ValueInfo& input) { return asked_.count(input.name) != 0; });
    if (!options_.x_key.empty() && all)
      throw usage_error("--x-key {}: no input takes it: --input names the field of each", options_.x_key);
  }

  const ArrayHeader* find(const std::string& name) const {
    for (const ArrayHeader& array : arrays_)
      if (array.name == name || array.stored == name) return &array;
    return nullptr;
  }
  const ArrayHeader& named(const std::string& name, const std::string& option) const {
    if (const ArrayHeader* array = find(name)) return *array;
    throw input_error("{}: {}: there is no field {}; it has {}", path_, option, name, list_of(arrays_));
  }

  // A number that is a field's name too could mean either.
  void check_fixed() const {
    for (const std::string& text : network_.inputs) {
      const std::string number = text.substr(text.rfind('=') + 1);
      if (is_fixed(model_, text) && find(number) != nullptr)
        throw usage_error(
            "--input {}: {} is a number, and also a field of {}; give the field another name, or write the "
            "number as {}.0",
            text, number, path_, number);
    }
  }

  // Fields that a loss or the weights name are no inputs unless --input says so.
  void reserve_named() {
    for (size_t i = 0; i < losses_.size(); ++i)
      if (!losses_[i].field.empty()) taken_.insert(named(losses_[i].field, "--loss").name);
    if (!options_.y_key.empty()) taken_.insert(named(options_.y_key, "--y-key").name);
    if (!network_.sample_weight.empty()) taken_.insert(named(network_.sample_weight, "--sample-weight").name);
    for (const onnx::ValueInfo& input : loss_inputs())
      if (const ArrayHeader* array = find(input.name)) taken_.insert(array->name);
  }

  std::vector<onnx::ValueInfo> loss_inputs() const { return fields_of_loss_graph(model_, loss_graph_); }

  void add_loss_graph(data::ArrayChoice& choice, FieldPlan& plan, const Log& log) {
    for (const onnx::ValueInfo& input : loss_inputs()) {
      const auto it = asked_.find(input.name);
      const ArrayHeader& array =
          named(it == asked_.end() ? input.name : it->second, "--loss-graph, input " + input.name);
      const std::optional<Shape> sample = shape_as_it_is(input, array);
      if (!type_fits(input, array.type) || !sample)
        throw input_error("{}: the loss graph's input '{}' takes {} {} a sample, but the field {} has {} {}",
                          path_, input.name, input.type, shape_of(input), array.name,
                          data::name_of(array.type), to_string(sample_of(array)));
      // Not in the storage type: nothing is stored of it.
      data::Field field{invented(input.name + " (loss graph)"), data::FieldRole::kTarget,
                        is_float(*input.dtype) ? DType::kF32 : *input.dtype, *sample, is_truth(input)};
      plan.feeding[input.name] = field.name;
      graph_arrays_.emplace_back(input.name, array.name);
      choice.more.push_back({array.stored, field});
      Shape all = *sample;
      all.insert(all.begin(), array.shape.at(0));
      for (size_t i = 0; i < loss_graph_->inputs().size(); ++i)
        if (loss_graph_->inputs()[i].name == input.name)
          bind_to_data(*loss_graph_, i, all, path_ + ", " + array.name, log);
    }
  }

  void bind(size_t input, const ArrayHeader& array) {
    bound_[input] = &array;
    taken_.insert(array.name);
  }

  void bind_inputs() {
    const std::vector<onnx::ValueInfo>& inputs = model_.inputs();
    for (size_t i = 0; i < inputs.size(); ++i)
      if (const auto it = asked_.find(inputs[i].name); it != asked_.end())
        bind(i, named(it->second, fmt::format("--input {}={}", it->first, it->second)));
    if (!options_.x_key.empty() && decided_ == nullptr) {
      const ArrayHeader& x = named(options_.x_key, "--x-key");
      for (size_t i = 0; i < inputs.size(); ++i) {
        if (bound_[i] != nullptr) continue;
        bind(i, x);
        break;
      }
    }
    for (size_t i = 0; i < inputs.size(); ++i)
      if (bound_[i] == nullptr)
        if (const ArrayHeader* same = find(inputs[i].name)) bind(i, *same);
    // What is left: an array that is the only one for an input, again and again.
    for (bool found = true; found;) {
      found = false;
      for (size_t i = 0; i < inputs.size(); ++i) {
        if (bound_[i] != nullptr) continue;
        const std::vector<const ArrayHeader*> fit = fitting(i);
        if (fit.size() != 1) continue;
        // Another input that could take it as well leaves a choice.
        bool wanted_elsewhere = false;
        for (size_t k = 0; k < inputs.size(); ++k) {
          if (k == i || bound_[k] != nullptr) continue;
          const auto others = fitting(k);
          wanted_elsewhere = wanted_elsewhere || (others.size() == 1 && others[0] == fit[0]);
        }
        if (wanted_elsewhere) continue;
        bind(i, *fit[0]);
        found = true;
      }
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (bound_[i] == nullptr) refuse(i);
      const ArrayHeader& array = *bound_[i];
      if (!type_fits(inputs[i], array.type) || !shape_fits(inputs[i], array))
        throw input_error("{}: input '{}' takes {} {} a sample, but the field {} has {} {}{}", path_,
                          inputs[i].name, inputs[i].type, shape_of(inputs[i]), array.name,
                          data::name_of(array.type), to_string(sample_of(array)),
                          data::is_float(array.type) && inputs[i].dtype && !is_float(*inputs[i].dtype)
                              ? "; save it as whole numbers"
                              : "");
    }
  }

  std::vector<const ArrayHeader*> fitting(size_t input) const {
    std::vector<const ArrayHeader*> fit;
    for (const ArrayHeader& array : arrays_) {
      // Labels are called so; one that is an input's is given by name.
      if (taken_.count(array.name) > 0 || is_label_name(array.name)) continue;
      if (type_fits(model_.inputs()[input], array.type) && shape_fits(model_.inputs()[input], array))
        fit.push_back(&array);
    }
    return fit;
  }

  [[noreturn]] void refuse(size_t i) const {
    const onnx::ValueInfo& input = model_.inputs()[i];
    std::vector<std::string> fit;
    for (const ArrayHeader* array : fitting(i)) fit.push_back(array->name);
    throw input_error(
        "{}: which field feeds the input '{}' ({} {} a sample)? {}; give --input {}=FIELD\n  the network has "
        "{}\n  the data has {}",
        path_, input.name, input.type, shape_of(input),
        fit.empty() ? "None has its name, or is left with its type and shape"
                    : fmt::format("{} could be", fmt::join(fit, " and ")),
        input.name, list_of(model_.inputs()), list_of(arrays_));
  }

  // The first input of floats is prepared as samples are.
  void choose_samples(FieldPlan& plan) const {
    plan.samples = FieldPlan::kNoInput;
    for (size_t i = 0; i < bound_.size() && plan.samples == FieldPlan::kNoInput; ++i)
      if (model_.inputs()[i].dtype && is_float(*model_.inputs()[i].dtype)) plan.samples = i;
  }

  void add_input(data::ArrayChoice& choice, size_t i, const ArrayHeader& array, const FieldPlan& plan) const {
    const onnx::ValueInfo& input = model_.inputs()[i];
    if (plan.samples != FieldPlan::kNoInput && bound_[plan.samples] == &array) {
      if (is_float(*input.dtype)) return;  // as it is prepared
      throw input_error("{}: the field {} would feed inputs of two types; save it twice", path_, array.name);
    }
    if (is_float(*input.dtype) && array.type == Element::kU8)
      throw input_error(
          "{}: the field {} of bytes would feed input '{}' of floats: only the first input of floats takes "
          "pixels that are scaled; "
          "save it as floats",
          path_, array.name, input.name);
    data::Field field{array.name, data::FieldRole::kInput,
                      is_float(*input.dtype) ? DType::kF32 : *input.dtype, sample_of(array), is_truth(input)};
    for (const data::ArrayChoice::More& other : choice.more) {
      if (other.field.name != field.name) continue;
      if (other.field.dtype == field.dtype && other.field.truth == field.truth)
        return;  // one array for two inputs
      throw input_error("{}: the field {} would feed inputs of two types; save it twice", path_, array.name);
    }
    choice.more.push_back({array.stored, field});
  }

  // The name of a field of a batch that is no array's.
  std::string invented(std::string name) {
    while (find(name) != nullptr || !invented_.insert(name).second) name += "'";
    return name;
  }

  void add_labels(data::ArrayChoice& choice, FieldPlan& plan) {
    plan.labels.assign(losses_.size(), "");
    if (plan.samples_only) return;
    for (size_t i = 0; i < losses_.size(); ++i) {
      if (losses_[i].kind == pass::Loss::kGraph) continue;
      const ArrayHeader& array = labels_of(i);
      label_arrays_.push_back(array.name);
      if (i == 0) {
        choice.y = array.stored;
        choice.y_name = array.name;
      } else {
        // A field of its own, so that two losses may read one array in two ways.
        plan.labels[i] = invented(fmt::format("{} (loss {})", array.name, i + 1));
        choice.more.push_back(
            {array.stored, {plan.labels[i], data::FieldRole::kLabel, DType::kI32, sample_of(array)}});
      }
    }
  }

  const ArrayHeader& labels_of(size_t loss) const {
    if (decided_ != nullptr) return named(decided_->labels.at(loss), "--loss");
    if (!losses_[loss].field.empty()) return named(losses_[loss].field, "--loss");
    if (!options_.y_key.empty()) return named(options_.y_key, "--y-key");
    std::vector<const ArrayHeader*> called;
    std::vector<const ArrayHeader*> left;
    for (const ArrayHeader& array : arrays_) {
      if (taken_.count(array.name) > 0) continue;
      left.push_back(&array);
      if (is_label_name(array.name)) called.push_back(&array);
    }
    const std::vector<const ArrayHeader*>& fit = called.empty() ? left : called;
    if (fit.size() == 1) return *fit[0];
    std::vector<std::string> names;
    for (const ArrayHeader* array : fit) names.push_back(array->name);
    throw input_error(
        "{}: which field holds the labels{}? {}; give --loss KIND:FIELD, or --y-key FIELD\n  the data has {}",
        path_, losses_.size() > 1 ? fmt::format(" of loss {}", loss + 1) : "",
        names.empty() ? "None is left" : fmt::format("{} could be", fmt::join(names, " and ")),
        list_of(arrays_));
  }

  void report(const Log& log) const {
    if (!log) return;
    const auto text_of = [](const std::string& input, const std::string& array) {
      return input == array ? fmt::format("'{}'", input) : fmt::format("'{}' takes {}", input, array);
    };
    std::vector<std::string> texts;
    for (size_t i = 0; i < bound_.size(); ++i)
      texts.push_back(text_of(model_.inputs()[i].name, bound_[i]->name));
    std::vector<std::string> of_graph;
    for (const auto& [input, array] : graph_arrays_) of_graph.push_back(text_of(input, array));
    log(fmt::format("fields: input {}; labels {}{}{}", fmt::join(texts, ", "),
                    label_arrays_.empty() ? "none" : fmt::format("{}", fmt::join(label_arrays_, ", ")),
                    of_graph.empty() ? "" : fmt::format("; loss graph {}", fmt::join(of_graph, ", ")),
                    network_.sample_weight.empty() ? "" : "; weights of samples " + network_.sample_weight));
  }

  const BoundFields* decided_;  // null: nothing is
  onnx::Model& model_;
  onnx::Model* loss_graph_;
  const NetworkOptions& network_;
  const DataOptions& options_;
  const std::vector<ArrayHeader>& arrays_;
  const std::string& path_;
  const std::vector<LossSpec> losses_;
  const std::map<std::string, std::string> asked_;  // --input: the field of an input
  std::vector<const ArrayHeader*> bound_;           // the array of each input
  std::set<std::string> taken_;
  std::set<std::string> invented_;
  std::vector<std::string> label_arrays_;  // one a loss that reads labels
  std::vector<std::pair<std::string, std::string>>
      graph_arrays_;  // inputs of the loss graph and their arrays
};

}  // namespace

bool needs_fields(const onnx::Model& model, const NetworkOptions& network) {
  if (model.inputs().size() != 1 || !network.inputs.empty() || !network.sample_weight.empty()) return true;
  const std::optional<DType> dtype = model.inputs()[0].dtype;
  if (dtype && !is_float(*dtype)) return true;
  const std::vector<LossSpec> losses = parse_losses(network);
  return losses.size() > 1 || !losses[0].field.empty() || !network.loss_graph.empty();
}

data::ArrayChoice choose_fields(onnx::Model& model, onnx::Model* loss_graph, const NetworkOptions& network,
                                const DataOptions& options, const std::vector<ArrayHeader>& arrays,
                                const std::string& path, const Log& log, FieldPlan& plan) {
  return ArrayMatcher(model, loss_graph, network, options, arrays, path).run(log, plan);
}

data::ArrayChoice choose_bound_fields(onnx::Model& model, onnx::Model* loss_graph,
                                      const NetworkOptions& network, const DataOptions& options,
                                      const std::vector<ArrayHeader>& arrays, const std::string& path,
                                      const Log& log, const BoundFields& bound, FieldPlan& plan) {
  return ArrayMatcher(model, loss_graph, network, options, arrays, path, &bound).run(log, plan);
}

std::vector<onnx::ValueInfo> fields_of_loss_graph(const onnx::Model& model, const onnx::Model* loss_graph) {
  std::vector<onnx::ValueInfo> inputs;
  if (loss_graph == nullptr) return inputs;
  const std::vector<std::string> outputs = outputs_of_loss_graph(model, *loss_graph);
  for (const onnx::ValueInfo& input : loss_graph->inputs()) {
    const bool of_network = std::any_of(model.inputs().begin(), model.inputs().end(),
                                        [&](const onnx::ValueInfo& i) { return i.name == input.name; });
    if (!of_network && std::find(outputs.begin(), outputs.end(), input.name) == outputs.end())
      inputs.push_back(input);
  }
  return inputs;
}

void check_plain_data(const onnx::Model& model, const NetworkOptions& network, const data::DataInfo& info,
                      FieldPlan& plan) {
  const std::vector<data::Field> fields = info.fields();
  const std::string& samples = fields.at(0).name;
  const std::string labels = fields.size() > 1 ? fields[1].name : "none";
  const auto refuse = [&](const std::string& why) {
    throw input_error(
        "{}: {}; it is {} and delivers the fields {} and {}. Expected named arrays: .npz, .safetensors or a "
        "folder of .npy",
        info.source, why, info.kind, samples, labels);
  };
  if (model.inputs().size() != 1)
    refuse(fmt::format("the network has {} inputs: {}", model.inputs().size(), list_of(model.inputs())));
  const onnx::ValueInfo& input = model.inputs()[0];
  if (input.dtype && !is_float(*input.dtype))
    refuse(fmt::format("the network's input '{}' takes {}", input.name, input.type));
  for (const auto& [name, field] : parse_inputs(model, network))
    if (field != samples) refuse(fmt::format("--input {}={}: there is no such field", name, field));
  if (!network.loss_graph.empty()) refuse("--loss-graph takes fields by their names");
  if (!network.sample_weight.empty())
    refuse("--sample-weight " + network.sample_weight + ": there is no such field");
  for (const LossSpec& loss : parse_losses(network))
    if (!loss.field.empty() && loss.field != labels)
      refuse(fmt::format("--loss ...:{}: there is no such field", loss.field));
  plan.feeding[input.name] = samples;
}

void bind_to_fields(onnx::Model& model, const data::Dataset& set, const FieldPlan& plan, const Log& log) {
  if (plan.feeding.empty()) return bind_to_samples(model, set, log);
  const std::vector<data::Field> fields = set.info().fields();
  for (size_t i = 0; i < model.inputs().size(); ++i) {
    const std::string& name = plan.feeding.at(model.inputs()[i].name);
    const auto field = std::find_if(fields.begin(), fields.end(), [&](const data::Field& f) {
      return f.name == name &&
             f.role == data::FieldRole::kInput;  // its labels, of the same name, may have another shape
    });
    HT_ASSERT(field != fields.end(), "{}", name);
    Shape shape = field->shape;
    if (set.info().texts > 1) shape.erase(shape.begin());  // each a row of the input
    shape.insert(shape.begin(), set.size());
    bind_to_data(model, i, shape, set.info().source, log);
    const onnx::ValueInfo& input = model.inputs()[i];
    bool same = input.dims.size() == shape.size();
    for (size_t axis = 1; same && axis < shape.size(); ++axis)
      same = onnx::is_batch(model, i, axis) || input.dims[axis].value == shape[axis];
    if (!same)
      throw input_error("{}: the field {} has samples of shape {}, but input '{}' takes {}",
                        set.info().source, name, to_string(field->shape), input.name, shape_of(input));
  }
}

}  // namespace halftone::api
