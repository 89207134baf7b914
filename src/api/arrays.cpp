#include "api/arrays.h"

#include <algorithm>
#include <cstring>

#include "api/input.h"
#include "base/error.h"
#include "base/stop.h"
#include "data/array.h"
#include "data/counting.h"
#include "onnx/input_axes.h"

namespace halftone {
namespace {

data::Element element_of(ElementType type) {
  switch (type) {
    case ElementType::kBool:
      return data::Element::kBool;
    case ElementType::kU8:
      return data::Element::kU8;
    case ElementType::kI8:
      return data::Element::kI8;
    case ElementType::kU16:
      return data::Element::kU16;
    case ElementType::kI16:
      return data::Element::kI16;
    case ElementType::kU32:
      return data::Element::kU32;
    case ElementType::kI32:
      return data::Element::kI32;
    case ElementType::kU64:
      return data::Element::kU64;
    case ElementType::kI64:
      return data::Element::kI64;
    case ElementType::kF16:
      return data::Element::kF16;
    case ElementType::kBf16:
      return data::Element::kBf16;
    case ElementType::kF32:
      return data::Element::kF32;
    case ElementType::kF64:
      return data::Element::kF64;
  }
  throw usage_error("an array has an element type that is not known: {}", static_cast<int>(type));
}

ElementType type_of(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return ElementType::kF64;
    case DType::kF32:
      return ElementType::kF32;
    case DType::kF16:
      return ElementType::kF16;
    case DType::kBf16:
      return ElementType::kBf16;
    case DType::kI64:
      return ElementType::kI64;
    case DType::kI32:
      return ElementType::kI32;
    case DType::kU8:
      return ElementType::kU8;
  }
  HT_ASSERT(false, "{}", static_cast<int>(dtype));
  std::abort();
}

template <class T>
Array copy_of(ElementType type, std::vector<int64_t> shape, const std::vector<T>& elements) {
  Array array{type, std::move(shape), {}};
  if (array.size() != static_cast<int64_t>(elements.size()))
    throw usage_error("an array of shape {} needs {} elements, got {}", to_string(array.shape), array.size(),
                      elements.size());
  array.bytes.resize(elements.size() * sizeof(T));
  if (!elements.empty()) std::memcpy(array.bytes.data(), elements.data(), array.bytes.size());
  return array;
}

// The bytes are copied: what reads them may outlive the array.
data::Array readable(const Array& array, const std::string& name) {
  data::Array out;
  out.type = element_of(array.type);
  out.shape = array.shape;
  out.name = name;
  const int64_t bytes = data::array_bytes(out.type, out.shape, name);
  if (bytes != static_cast<int64_t>(array.bytes.size()))
    throw usage_error("{}: an array of {} and shape {} has {} bytes, got {}", name, data::name_of(out.type),
                      to_string(out.shape), bytes, array.bytes.size());
  out.bytes = data::memory_bytes(
      std::string(reinterpret_cast<const char*>(array.bytes.data()), array.bytes.size()), name);
  return out;
}

}  // namespace

int64_t size_bytes(ElementType type) {
  return data::size_bytes(element_of(type));
}

std::string name_of(ElementType type) {
  return data::name_of(element_of(type));
}

Array Array::of(std::vector<int64_t> shape, const std::vector<float>& elements) {
  return copy_of(ElementType::kF32, std::move(shape), elements);
}
Array Array::of(std::vector<int64_t> shape, const std::vector<double>& elements) {
  return copy_of(ElementType::kF64, std::move(shape), elements);
}
Array Array::of(std::vector<int64_t> shape, const std::vector<int32_t>& elements) {
  return copy_of(ElementType::kI32, std::move(shape), elements);
}
Array Array::of(std::vector<int64_t> shape, const std::vector<int64_t>& elements) {
  return copy_of(ElementType::kI64, std::move(shape), elements);
}
Array Array::of(std::vector<int64_t> shape, const std::vector<uint8_t>& elements) {
  return copy_of(ElementType::kU8, std::move(shape), elements);
}

int64_t Array::size() const {
  return data::array_bytes(data::Element::kU8, shape, "an array");
}

std::vector<float> Array::floats() const {
  const data::Array array = readable(*this, "an array");
  if (!data::is_float(array.type))
    throw usage_error("an array of {} has no floating-point numbers: read integers()",
                      data::name_of(array.type));
  std::vector<float> out(static_cast<size_t>(size()));
  data::read_floats(array, 0, out);
  return out;
}

std::vector<int64_t> Array::integers() const {
  const data::Array array = readable(*this, "an array");
  if (data::is_float(array.type))
    throw usage_error("an array of {} has no integers: read floats()", data::name_of(array.type));
  std::vector<int64_t> out(static_cast<size_t>(size()));
  data::read_integers(array, 0, out);
  return out;
}

namespace api {

Array array_of(const Tensor& tensor) {
  Array array{type_of(tensor.dtype()), tensor.shape(), {}};
  array.bytes.resize(static_cast<size_t>(tensor.bytes()));
  if (!array.bytes.empty()) std::memcpy(array.bytes.data(), tensor.data(), array.bytes.size());
  return array;
}

Tensor float_tensor_of(const Array& array, const std::string& what) {
  const data::Array from = readable(array, what);
  if (!data::is_float(from.type))
    throw usage_error("{}: an array of {}; expected floating-point numbers", what, data::name_of(from.type));
  const bool wide = from.type == data::Element::kF64;
  Tensor out(wide ? DType::kF64 : DType::kF32, array.shape);
  if (wide) {
    std::memcpy(out.data(), array.bytes.data(), array.bytes.size());
  } else {
    data::read_floats(from, 0, out.as<float>());
  }
  return out;
}

std::unique_ptr<data::Dataset> make_dataset(const Arrays& arrays, const std::string& what,
                                            const data::OpenOptions& options) {
  std::vector<data::ArrayHeader> headers;
  for (const auto& [name, array] : arrays) {
    if (array.shape.empty())
      throw usage_error("{}: the array {} has no axes; the first one counts the samples", what, name);
    headers.push_back({name, name, element_of(array.type), array.shape});
  }
  if (headers.empty()) throw usage_error("{}: it has no arrays", what);
  const auto read = [&](const std::string& name) {
    return readable(arrays.at(name), fmt::format("{}, {}", what, name));
  };
  return data::make_fields_dataset("arrays in memory", what, headers, read, options);
}

BatchReader::BatchReader(const Data& data, const Arrays& example, const Labelling& labelling,
                         const DataOptions& options)
    : data_(data), labelling_(labelling), options_(options) {
  const auto form_of = [](const Array& array) {
    const std::vector<int64_t> sample(array.shape.begin() + 1, array.shape.end());
    return Form{array.type, sample, std::vector<bool>(sample.size())};
  };
  const auto use = [&](const std::string& name, bool input) {
    if (name.empty()) return;
    const Array& array = example.at(name);
    if (forms_.emplace(name, form_of(array)).second) needed_.push_back(name);
    if (input && std::find(inputs_.begin(), inputs_.end(), name) == inputs_.end()) inputs_.push_back(name);
  };
  use(data.arrays.x, true);
  for (const data::ArrayChoice::More& more : data.arrays.more)
    use(more.stored, more.field.role == data::FieldRole::kInput);
  use(data.arrays.y, false);
  for (const auto& [name, array] : example)  // may be there again
    forms_.emplace(name, form_of(array));

  find_open_axes();
  const onnx::Model& model = data_.sizes->network();
  const auto& inputs = model.inputs();
  const auto floats_at = std::find_if(inputs.begin(), inputs.end(), [](const onnx::ValueInfo& input) {
    return !input.dtype || is_float(*input.dtype);
  });
  if (floats_at != inputs.end())
    describe_samples(model, static_cast<size_t>(floats_at - inputs.begin()), options, wanted_);
  wanted_.resize = options.resize;
  // As the example's were read.
  const auto as_decided = [](const data::LabelForm& form, data::LabelReading reading,
                             const pass::LossOptions& loss) {
    train::check_as_decided(form, reading, loss, "the example's");
    if (reading.kind == data::LabelKind::kTarget) reading.shape = form.shape;
    return reading;
  };
  wanted_.read_labels = [this, as_decided](const data::LabelForm& form, const data::DataInfo&) {
    return as_decided(form, data_.set->info().reading, data_.target.loss);
  };
  wanted_.one_position = true;
  wanted_.read_positions = [this](const data::LabelForm& form,
                                  const data::DataInfo&) -> std::optional<data::LabelReading> {
    data::LabelReading reading = data_.set->info().reading;
    if (reading.kind != data::LabelKind::kPositions) return std::nullopt;
    reading.shape = form.shape;
    return reading;
  };
  wanted_.read_field = [this, as_decided](const std::string& field, const data::LabelForm& form,
                                          bool numbers_known) -> std::optional<data::LabelReading> {
    const auto& more = data_.set->info().more;
    const auto at =
        std::find_if(more.begin(), more.end(), [&](const data::MoreField& f) { return f.name == field; });
    HT_ASSERT(at != more.end(), "{}", field);
    if (!numbers_known && at->reading.kind != data::LabelKind::kPositions) return std::nullopt;
    for (const pass::LossOptions& loss : data_.target.loss.more)
      if (loss.field == field && numbers_known) return as_decided(form, at->reading, loss);
    data::LabelReading reading = at->reading;
    if (reading.kind == data::LabelKind::kPositions) reading.shape = form.shape;
    return reading;
  };
}

void BatchReader::check(const Arrays& arrays, bool labels) const {
  for (const std::string& name : labels ? needed_ : inputs_)
    if (arrays.count(name) == 0)
      throw input_error("the batch: it has no array '{}'; it needs {}", name,
                        fmt::join(labels ? needed_ : inputs_, ", "));
  for (const auto& [name, array] : arrays) {
    const auto form = forms_.find(name);
    if (form == forms_.end())
      throw input_error("the batch: the array '{}' is none of the example's; these are used: {}", name,
                        fmt::join(needed_, ", "));
    const std::vector<int64_t>& sample = form->second.sample;
    bool same = array.type == form->second.type && array.shape.size() == sample.size() + 1;
    for (size_t i = 0; same && i < sample.size(); ++i)
      same = array.shape[i + 1] == sample[i] || (form->second.open[i] && array.shape[i + 1] > 0);
    if (!same)
      throw input_error(
          "the batch: the array '{}' has {} of shape {}; expected {} and {} a sample, as in the example",
          name, name_of(array.type), to_string(array.shape), name_of(form->second.type), to_string(sample));
  }
}

// Axes that the network leaves open, of arrays that feed it or a loss graph; labels of a position each, and
// targets, may have any size that its output then has.
void BatchReader::find_open_axes() {
  const onnx::Model& model = data_.sizes->network();
  if (onnx::open_axes(model).empty()) return;
  const data::DataInfo& info = data_.set->info();
  const auto open_all = [&](const std::string& stored) {
    Form& form = forms_.at(stored);
    form.open.assign(form.sample.size(), true);
  };
  if (info.labels == data::LabelKind::kPositions || info.labels == data::LabelKind::kTarget)
    open_all(data_.arrays.y);
  const auto open_as = [&](const std::string& field, const onnx::Model& of, size_t input) {
    std::string stored = data_.arrays.x_name == field ? data_.arrays.x : "";
    for (const data::ArrayChoice::More& more : data_.arrays.more)
      if (more.field.name == field) stored = more.stored;
    const auto& dims = of.inputs()[input].dims;
    Form& form = forms_.at(stored);
    for (size_t axis = 1; axis < dims.size() && dims.size() == form.sample.size() + 1; ++axis)
      if (dims[axis].value <= 0 && !onnx::is_batch(of, input, axis)) form.open[axis - 1] = true;
  };
  for (const data::ArrayChoice::More& more : data_.arrays.more) {
    const auto field = std::find_if(info.more.begin(), info.more.end(),
                                    [&](const auto& f) { return f.name == more.field.name; });
    HT_ASSERT(field != info.more.end(), "{}", more.field.name);
    if (more.field.role == data::FieldRole::kLabel && field->reading.kind != data::LabelKind::kClass)
      open_all(more.stored);
    if (more.field.role == data::FieldRole::kTarget)
      open_all(more.stored);  // of a loss graph, whose sizes are checked by themselves
  }
  for (size_t i = 0; i < model.inputs().size(); ++i)
    open_as(data_.plan.feeding.at(model.inputs()[i].name), model, i);
}

// What becomes which field, with the shapes of this batch.
data::ArrayChoice BatchReader::choice_for(const Arrays& arrays, bool labels) const {
  data::ArrayChoice choice = data_.arrays;
  if (!labels) {
    choice.y.clear();
    choice.y_name.clear();
    std::erase_if(choice.more, [](const auto& more) { return more.field.role != data::FieldRole::kInput; });
  }
  for (data::ArrayChoice::More& more : choice.more) {
    const std::vector<int64_t>& known = forms_.at(more.stored).sample;
    const std::vector<int64_t> shape(arrays.at(more.stored).shape.begin() + 1,
                                     arrays.at(more.stored).shape.end());
    if (more.field.shape == known)
      more.field.shape = shape;  // else it has an axis of one element more, and no other size
  }
  return choice;
}

Data BatchReader::open(const Arrays& arrays, bool labels) const {
  check(arrays, labels);
  Data out;
  data::OpenOptions wanted = wanted_;
  wanted.choose_arrays = [&](const std::vector<data::ArrayHeader>&, const std::string&) {
    return choice_for(arrays, labels);
  };
  out.set = make_dataset(arrays, "the batch", wanted);
  out.transform = data_.transform;
  out.target = data_.target;
  out.plan = data_.plan;
  out.names = data_.names;
  out.sizes = data_.sizes;
  const data::DataInfo& info = out.set->info();
  out.size_classes = {out.sizes->add(info, out.plan, "the batch", !labels)};
  if (labels) {
    std::vector<Shape> shapes;
    for (const data::Field& field : info.fields()) shapes.push_back(field.shape);
    shapes.push_back(info.reading.shape);  // those of targets as the array has them
    for (const data::MoreField& field : info.more) shapes.push_back(field.reading.shape);
    if (const auto known = checked_.find(out.size_classes[0]);
        known == checked_.end() || known->second != shapes) {
      labelling_.check_labels(out.sizes->at(out.sizes->network(), out.size_classes[0]), info, out.plan,
                              "the batch");
      checked_[out.size_classes[0]] = std::move(shapes);
    }
  }
  if (labels) data::check_some_target_counts(*out.set, check_stop);
  return out;
}

data::Batch BatchReader::read(const Arrays& arrays, const Delivery& delivery, bool labels,
                              int64_t samples) const {
  Data data = open(arrays, labels);
  const int64_t count = data.set->size();
  if (samples > 0 && count != samples)
    throw input_error("the batch: it has {} samples; the example, and so each batch, has {}", count, samples);
  DataOptions options = options_;
  if (options.loader_threads == 0)
    options.loader_threads = 1;  // starting more would take longer than the rows do
  const auto loader = make_loader(data, options, count, false, 0, delivery);
  loader->start(0);
  data::Batch batch;
  HT_ASSERT(loader->next(batch), "{} samples", count);
  return batch;
}

}  // namespace api
}  // namespace halftone
