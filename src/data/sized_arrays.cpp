#include "data/sized_arrays.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "base/error.h"
#include "data/array_labels.h"

namespace halftone::data {
namespace {

Shape sample_of(const Array& array) {
  return {array.shape.begin() + 1, array.shape.end()};
}

// How the labels of other groups are read: as the first group's were. field: of a further loss, else empty.
OpenOptions options_as(const OpenOptions& options, const LabelReading& reading, const std::string& field) {
  OpenOptions own = options;
  own.read_positions = nullptr;
  own.read_labels = [reading, field, check = options.check_labels](const LabelForm& form, const DataInfo&) {
    const bool one_hot = form.width > 1;
    if (reading.kind == LabelKind::kClass && one_hot)
      throw input_error(
          "{}: labels of shape {}; one class a sample was expected, or the same shape in all files",
          form.where, to_string(form.shape));
    if (check) check(field, form);
    return reading;
  };
  return own;
}

// The labels of a loss, of all groups.
struct GroupedLabels {
  std::string stored;
  std::vector<ArrayLabels> parts;  // one for all where they have the same shape, else one a group
  bool whole = true;
};

class SizedDataset final : public Dataset {
 public:
  SizedDataset(const std::string& kind, const std::string& path, const ArrayChoice& choice,
               std::vector<SizeGroup> given, const OpenOptions& options) {
    open_inputs(kind, path, choice, given, options);
    info_ = groups_.at(0).inputs->info();
    info_.samples_name = choice.x_name;
    info_.labels_name = choice.y_name;
    classify(choice);
    for (size_t g = 1; g < groups_.size(); ++g)
      for (const std::string& note : groups_[g].inputs->info().notes)
        if (std::find(info_.notes.begin(), info_.notes.end(), note) == info_.notes.end())
          info_.notes.push_back(note);
    if (!choice.y.empty())
      labels_ = open_labels(choice.y, "", options, [&](ArrayLabels& labels, Array y, int64_t samples) {
        labels.open(std::move(y), samples, info_.source, options, info_);
        return LabelReading{info_.reading};
      });
    for (const ArrayChoice::More& more : choice.more)
      if (more.field.role == FieldRole::kLabel)
        more_labels_.push_back(open_labels(
            more.stored, more.field.name, options, [&](ArrayLabels& labels, Array y, int64_t samples) {
              info_.more.push_back(
                  labels.open_field(std::move(y), samples, info_.source, more.field, options, info_.notes));
              return info_.more.back().reading;
            }));
    add_classes();
    for (Group& group : groups_) group.arrays.clear();
  }

  int64_t size() const override { return size_; }
  std::string name(int64_t index) const override {
    const Group& group = group_of(index);
    return group.name(index - group.first);
  }
  size_t size_class(int64_t index) const override { return group_of(index).size_class; }

  void read(int64_t index, Sample& sample) const override {
    const Group& group = group_of(index);
    group.inputs->read(index - group.first, sample);
    if (labels_) {
      const auto [labels, at] = labels_at(*labels_, group, index);
      labels->get(at, sample);
    }
    const size_t numbers = info_.more.size() - more_labels_.size();
    sample.more.resize(info_.more.size());
    for (size_t i = 0; i < more_labels_.size(); ++i) {
      std::vector<std::byte>& to = sample.more[numbers + i];
      const Shape& shape = info_.size_classes.empty()
                               ? info_.more[numbers + i].shape
                               : info_.size_classes[group.size_class].more[numbers + i];
      to.resize(static_cast<size_t>(elements(shape)) * sizeof(int32_t));  // or fp32
      const auto [labels, at] = labels_at(more_labels_[i], group, index);
      labels->get_bytes(at, to);
    }
  }

 private:
  struct Group {
    std::unique_ptr<Dataset> inputs;  // all but the labels
    std::function<std::string(int64_t)> name;
    std::map<std::string, Array> arrays;  // labels, by `stored`; while the set is opened
    int64_t samples = 0;
    int64_t first = 0;
    size_t number = 0;  // of groups_
    size_t size_class = 0;
  };

  const Group& group_of(int64_t index) const {
    HT_ASSERT(index >= 0 && index < size_, "sample {} of {}", index, size_);
    const auto after = std::upper_bound(groups_.begin(), groups_.end(), index,
                                        [](int64_t i, const Group& group) { return i < group.first; });
    return *(after - 1);
  }

  static std::pair<const ArrayLabels*, int64_t> labels_at(const GroupedLabels& labels, const Group& group,
                                                          int64_t index) {
    return labels.whole ? std::pair(&labels.parts[0], index)
                        : std::pair(&labels.parts[group.number], index - group.first);
  }

  void open_inputs(const std::string& kind, const std::string& path, const ArrayChoice& choice,
                   std::vector<SizeGroup>& given, const OpenOptions& options) {
    for (SizeGroup& from : given) {
      ArrayChoice inputs = choice;
      inputs.y.clear();
      inputs.y_name.clear();
      inputs.more.clear();
      Group group;
      group.samples = from.samples;
      group.name = from.name;
      if (!choice.y.empty()) group.arrays.emplace(choice.y, from.read(choice.y));
      for (ArrayChoice::More more : choice.more) {
        if (more.field.role == FieldRole::kLabel) {
          group.arrays.emplace(more.stored, from.read(more.stored));
          continue;
        }
        more.field.shape = shape_in(more, from.read(more.stored));
        inputs.more.push_back(std::move(more));
      }
      group.inputs = make_fields_dataset(kind, path, inputs, from.read, options);
      HT_ASSERT(group.inputs->size() == from.samples, "{} samples", from.samples);
      groups_.push_back(std::move(group));
    }
  }

  // The shape of a field in a group: that of its array there; images may have got an axis for their one
  // channel.
  static Shape shape_in(const ArrayChoice::More& more, const Array& array) {
    Shape shape = sample_of(array);
    const Shape& wanted = more.field.shape;  // in the first group
    if (more.field.role == FieldRole::kWeight) return wanted;
    if (wanted.size() == shape.size() + 1) {
      const bool front = wanted.front() == 1;
      shape.insert(front ? shape.begin() : shape.end(), 1);
    }
    HT_ASSERT(shape.size() == wanted.size(), "{}", more.stored);
    return shape;
  }

  // Groups of the same shapes become one class, and stand together.
  void classify(const ArrayChoice& choice) {
    std::vector<std::vector<Shape>> classes;
    for (Group& group : groups_) {
      const DataInfo& info = group.inputs->info();
      HT_ASSERT(info.image == info_.image && info.channels_last == info_.channels_last, "{}", info.source);
      std::vector<Shape> shapes{info.shape};
      for (const MoreField& more : info.more) shapes.push_back(more.shape);
      if (!choice.y.empty()) shapes.push_back(sample_of(group.arrays.at(choice.y)));
      for (const ArrayChoice::More& more : choice.more)
        if (more.field.role == FieldRole::kLabel) shapes.push_back(sample_of(group.arrays.at(more.stored)));
      const auto known = std::find(classes.begin(), classes.end(), shapes);
      group.size_class = static_cast<size_t>(known - classes.begin());
      if (known == classes.end()) classes.push_back(std::move(shapes));
    }
    std::stable_sort(groups_.begin(), groups_.end(),
                     [](const Group& a, const Group& b) { return a.size_class < b.size_class; });
    for (Group& group : groups_) {
      group.number = static_cast<size_t>(&group - groups_.data());
      group.first = size_;
      size_ += group.samples;
    }
    classes_ = classes.size();
  }

  // `open` reads the labels of the first group, or of all where they have one shape there; it gives their
  // kind and reading.
  template <class Open>
  GroupedLabels open_labels(const std::string& stored, const std::string& field, const OpenOptions& options,
                            const Open& open) {
    GroupedLabels all{stored, {}, true};
    const Shape first = sample_of(groups_[0].arrays.at(stored));
    for (const Group& group : groups_) all.whole = all.whole && sample_of(group.arrays.at(stored)) == first;
    if (all.whole) {
      std::vector<Array> arrays;
      for (const Group& group : groups_) arrays.push_back(group.arrays.at(stored));
      open(all.parts.emplace_back(), joined(std::move(arrays)), size_);
      return all;
    }
    all.parts.resize(groups_.size());
    LabelReading reading;
    for (size_t g = 0; g < groups_.size(); ++g) {
      const Array& y = groups_[g].arrays.at(stored);
      ArrayLabels& labels = all.parts[g];
      if (g == 0) {
        reading = open(labels, y, groups_[g].samples);
      } else if (reading.kind == LabelKind::kPositions) {
        reading.shape = sample_of(y);
        labels.take_positions(y, reading);
      } else {
        DataInfo unused;
        labels.open(y, groups_[g].samples, info_.source, options_as(options, reading, field), unused);
      }
    }
    return all;
  }

  // The shape of a group's labels; empty: a class each.
  static Shape shape_of(const Group& group, const GroupedLabels& labels) {
    return labels.parts[0].kind() == LabelKind::kClass ? Shape{} : sample_of(group.arrays.at(labels.stored));
  }

  void add_classes() {
    if (classes_ == 1) return;
    std::vector<SizeClass> classes(classes_);
    for (const Group& group : groups_) {
      const DataInfo& info = group.inputs->info();
      SizeClass& size = classes[group.size_class];
      if (size.example.empty()) size.example = group.name(0);
      size.shape = info.shape;
      size.geometry = info.geometry;
      if (labels_) size.labels = shape_of(group, *labels_);
      size.more.clear();
      for (const MoreField& more : info.more) size.more.push_back(more.shape);
      for (const GroupedLabels& labels : more_labels_) size.more.push_back(shape_of(group, labels));
    }
    info_.size_classes = std::move(classes);
  }

  std::vector<Group> groups_;
  int64_t size_ = 0;
  size_t classes_ = 1;
  std::optional<GroupedLabels> labels_;
  std::vector<GroupedLabels> more_labels_;  // the last of info_.more
};

}  // namespace

std::unique_ptr<Dataset> make_sized_dataset(const std::string& kind, const std::string& path,
                                            const ArrayChoice& choice, std::vector<SizeGroup> groups,
                                            const OpenOptions& options) {
  return std::make_unique<SizedDataset>(kind, path, choice, std::move(groups), options);
}

std::vector<int64_t> mixed_classes(const Dataset& set) {
  std::vector<int64_t> order(static_cast<size_t>(set.size()));
  std::iota(order.begin(), order.end(), 0);
  const std::vector<int64_t> samples = samples_of_classes(set);
  if (samples.size() == 1) return order;
  // (2 r + 1) / n, as a fraction.
  struct Place {
    int64_t above, below;
  };
  std::vector<Place> places(order.size());
  std::vector<int64_t> seen(samples.size());
  for (size_t i = 0; i < order.size(); ++i) {
    const size_t size_class = set.size_class(static_cast<int64_t>(i));
    places[i] = {2 * seen[size_class]++ + 1, samples[size_class]};
  }
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    const Place& p = places[static_cast<size_t>(a)];
    const Place& q = places[static_cast<size_t>(b)];
    return static_cast<__int128>(p.above) * q.below < static_cast<__int128>(q.above) * p.below;
  });
  return order;
}

}  // namespace halftone::data
