#include "onnx/save.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/stop.h"
#include "onnx/external_data.h"
#include "onnx/message_file.h"
#include "onnx/model_contents.h"
#include "onnx/tensor_proto.h"

namespace halftone::onnx {
namespace {

namespace fs = std::filesystem;

// In the file's type; a finite value must not become infinite.
Tensor in_type(const std::string& name, Tensor value, DType dtype, const std::string& path) {
  if (value.dtype() == dtype) return value;
  Tensor out = converted(value, dtype);
  const Tensor before = converted(value, DType::kF64);
  const Tensor after = converted(out, DType::kF64);
  for (size_t i = 0; i < before.as<double>().size(); ++i)
    if (std::isfinite(before.as<double>()[i]) && !std::isfinite(after.as<double>()[i]))
      throw Error(ErrorKind::kNumerical,
                  fmt::format("{}: element {} of '{}' is {}, which the file's type {} cannot hold", path, i,
                              name, before.as<double>()[i], name_of(dtype)));
  return out;
}

void replace_in_attribute(::onnx::AttributeProto& a, const Tensor& value) {
  const auto elements_of = value.as<float>();
  if (a.name() == "value_float") {
    a.set_f(elements_of[0]);
    return;
  }
  HT_ASSERT(a.name() == "value_floats");
  for (size_t i = 0; i < elements_of.size(); ++i) a.set_floats(static_cast<int>(i), elements_of[i]);
}

// A tensor's new elements, in the file's type.
using Elements = std::function<Tensor(const std::string& name)>;

// A tensor's bytes in a file; `changed` is the name under which Elements knows it, empty when they stay.
struct Region {
  int64_t offset;
  int64_t length;
  std::string name;
  std::string changed;
};
struct DataFile {
  std::string source;
  std::vector<Region> regions;
  std::vector<Region> moved;  // behind the source's end, each behind the one before
};

void sort(std::vector<Region>& regions) {
  std::sort(regions.begin(), regions.end(), [](const Region& a, const Region& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.length > b.length;
  });
}

// New tensors in data files begin at such offsets, so that they can be mapped into memory one by one.
constexpr int64_t kAlignment = 4096;

// Tensors that share bytes must not change each other. Of the changed ones that overlap with others, the
// first may stay where it is if all others are changed too and move; those that move come behind the file's
// end. The regions are sorted.
void move_overlapping(DataFile& file, int64_t file_bytes) {
  std::vector<Region>& regions = file.regions;
  sort(regions);
  const auto overlaps = [](const std::vector<const Region*>& kept, const Region& r) {
    return std::any_of(kept.begin(), kept.end(), [&](const Region* k) {
      return k->offset < r.offset + r.length && r.offset < k->offset + k->length;
    });
  };
  // Only neighbours can overlap: groups of regions that hang together.
  int64_t end = (file_bytes + kAlignment - 1) / kAlignment * kAlignment;
  for (size_t first = 0; first < regions.size();) {
    size_t last = first;
    int64_t reach = 0;
    do {
      reach = std::max(reach, regions[last].offset + regions[last].length);
      ++last;
    } while (last < regions.size() && regions[last].offset < reach);
    std::vector<const Region*> kept;
    for (size_t i = first; i < last; ++i)
      if (regions[i].changed.empty()) kept.push_back(&regions[i]);
    for (size_t i = first; i < last; ++i) {
      Region& r = regions[i];
      if (r.changed.empty() || r.length == 0) continue;
      if (!overlaps(kept, r)) {
        kept.push_back(&r);
        continue;
      }
      file.moved.push_back({end, r.length, r.name, r.changed});
      end += (r.length + kAlignment - 1) / kAlignment * kAlignment;
      r.changed.clear();
    }
    first = last;
  }
}

// The source with the regions' bytes replaced, and with those behind its end, each tensor asked for when its
// turn comes. Both lists are sorted. `appended` comes last.
void copy_patched(const InputFile& source, const std::vector<Region>& regions,
                  const std::vector<Region>& behind, const Elements& elements_of, const std::string& to,
                  const std::string& appended = {}) {
  write_file_atomically(to, [&](const Sink& sink) {
    std::vector<char> block(1 << 20);
    std::map<size_t, Tensor> held;  // of the regions that the block reaches into
    size_t first = 0;               // the first region that ends behind offset
    for (int64_t offset = 0; offset < source.size();) {
      check_stop();
      const int64_t got = std::min(static_cast<int64_t>(block.size()), source.size() - offset);
      source.read(offset, got, block.data());
      for (; first < regions.size() && regions[first].offset + regions[first].length <= offset; ++first)
        held.erase(first);
      for (size_t i = first; i < regions.size() && regions[i].offset < offset + got; ++i) {
        const Region& r = regions[i];
        const int64_t begin = std::max(offset, r.offset);
        const int64_t end = std::min(offset + got, r.offset + r.length);
        if (r.changed.empty() || begin >= end) continue;
        auto it = held.find(i);
        if (it == held.end()) it = held.emplace(i, elements_of(r.changed)).first;
        HT_ASSERT(it->second.bytes() == r.length, "{}", r.name);
        std::memcpy(block.data() + (begin - offset),
                    static_cast<const char*>(it->second.data()) + (begin - r.offset),
                    static_cast<size_t>(end - begin));
        if (end == r.offset + r.length) held.erase(it);
      }
      sink(block.data(), got);
      offset += got;
    }
    int64_t end = source.size();
    for (const Region& r : behind) {
      const std::vector<char> gap(static_cast<size_t>(r.offset - end), 0);
      sink(gap.data(), r.offset - end);
      const Tensor tensor = elements_of(r.changed);
      HT_ASSERT(tensor.bytes() == r.length, "{}", r.name);
      sink(tensor.data(), r.length);
      end = r.offset + r.length;
    }
    if (!appended.empty()) sink(appended.data(), static_cast<int64_t>(appended.size()));
  });
}

bool same_file(const fs::path& a, const fs::path& b) {
  std::error_code error;
  return fs::equivalent(a, b, error) && !error;
}

class Saver {
 public:
  Saver(const Model& model, const std::vector<std::string>& changed, const TensorSource& source,
        const std::string& path, const Metadata& metadata)
      : contents_(model.contents()), changed_(changed), source_(source), path_(path) {
    for (const auto& [key, value] : metadata) {
      const std::optional<std::string> old = model.metadata(key);
      if (old == value) continue;
      metadata_.emplace(key, value);
      replaces_metadata_ = replaces_metadata_ || old;
    }
  }

  void run() {
    bool by_message = contents_.file.input == nullptr || !contents_.changes.empty() || replaces_metadata_;
    std::vector<Region> regions;
    for (const std::string& name : changed_) {
      const ::onnx::TensorProto* t = proto_of(name);
      if (t != nullptr && is_external(*t)) {
        external_.emplace(t, name);
      } else if (const DataPlace* data = t == nullptr ? nullptr : contents_.file.find(*t)) {
        regions.push_back({data->offset, data->length, name, name});
      } else {
        by_message = true;
      }
    }
    list_external();
    for (auto& [location, file] : files_) {
      move_overlapping(file, InputFile(file.source).size());
      for (const Region& r : file.moved) moved_.emplace(r.changed, r.offset);
    }
    by_message = by_message || !moved_.empty();
    // Data files are replaced before the model is written: what could go wrong with a value does so before.
    if (!files_.empty())
      for (const std::string& name : changed_) elements_of(name);
    write_external();
    if (by_message) return write_message();
    sort(regions);
    copy_patched(
        *contents_.file.input, regions, {}, [&](const std::string& name) { return elements_of(name); }, path_,
        added_metadata());
  }

 private:
  // As bytes that follow the message: a repeated field's elements may stand anywhere in it.
  std::string added_metadata() const {
    ::onnx::ModelProto added;
    add_metadata(added);
    return added.SerializeAsString();
  }
  void add_metadata(::onnx::ModelProto& proto) const {
    for (const auto& [key, value] : metadata_) {
      ::onnx::StringStringEntryProto* entry = nullptr;
      for (auto& old : *proto.mutable_metadata_props())
        if (old.key() == key && entry == nullptr) entry = &old;
      if (entry == nullptr) entry = proto.add_metadata_props();
      entry->set_key(key);
      entry->set_value(value);
    }
  }

  const TensorInfo& info(const std::string& name, TensorPlace& place) const {
    const auto it = contents_.tensor_index.find(name);
    HT_ASSERT(it != contents_.tensor_index.end(), "{} is no tensor of {}", name, contents_.file.path);
    place = contents_.places[it->second];
    return contents_.tensors[it->second];
  }

  // nullptr: an attribute that is a number or a list of numbers.
  const ::onnx::TensorProto* proto_of(const std::string& name) const {
    TensorPlace place;
    info(name, place);
    const ::onnx::GraphProto& graph = graph_of(contents_.proto, place);
    if (place.initializer >= 0) return &graph.initializer(place.initializer);
    const ::onnx::AttributeProto& a = graph.node(place.node).attribute(place.attribute);
    return a.name() == "value" ? &a.t() : nullptr;
  }

  Tensor elements_of(const std::string& name) const {
    TensorPlace place;
    const TensorInfo& t = info(name, place);
    Tensor value = source_(name);
    HT_ASSERT(t.dtype && t.shape == value.shape(), "{}: {} against {}", name, to_string(t.shape),
              to_string(value.shape()));
    return in_type(name, std::move(value), *t.dtype, path_);
  }

  // Where the file has a changed tensor in a form that the new elements don't fit into byte by byte.
  void write_message() const {
    ::onnx::ModelProto proto = whole_message(contents_);
    for (const std::string& name : changed_) {
      TensorPlace place;
      info(name, place);
      ::onnx::GraphProto& graph = graph_of(proto, place);
      ::onnx::TensorProto* t = nullptr;
      if (place.initializer >= 0) {
        t = graph.mutable_initializer(place.initializer);
      } else {
        ::onnx::AttributeProto* a = graph.mutable_node(place.node)->mutable_attribute(place.attribute);
        if (a->name() != "value") {
          replace_in_attribute(*a, elements_of(name));
          continue;
        }
        t = a->mutable_t();
      }
      if (!is_external(*t)) {
        replace_elements(*t, elements_of(name));
      } else if (const auto offset = moved_.find(name); offset != moved_.end()) {
        set_offset(*t, offset->second);
      }
    }
    add_metadata(proto);
    onnx::write_message(proto, path_);
  }

  static void set_offset(::onnx::TensorProto& t, int64_t offset) {
    for (auto& entry : *t.mutable_external_data()) {
      if (entry.key() != "offset") continue;
      entry.set_value(std::to_string(offset));
      return;
    }
    auto* entry = t.add_external_data();
    entry->set_key("offset");
    entry->set_value(std::to_string(offset));
  }

  void list_external() {
    for_each_external(contents_.proto, [&](const auto& t) { list(t); });
  }
  void list(const ::onnx::TensorProto& t) {
    // Of any type that loading let pass.
    const int64_t bytes = elements(checked_shape(t, contents_.file)) * raw_bytes(t.data_type());
    const ExternalPlace place = external_place(t, contents_.file.path, bytes);
    const auto it = external_.find(&t);
    DataFile& file = files_[fs::path(place.location).lexically_normal().string()];
    file.source = place.path;
    file.regions.push_back(
        {place.offset, place.length, t.name(), it == external_.end() ? std::string() : it->second});
  }

  void write_external() {
    const fs::path folder = fs::path(path_).parent_path();
    const auto elements = [&](const std::string& name) { return elements_of(name); };
    for (auto& [location, file] : files_) {
      const fs::path target = folder / location;
      const bool changes =
          !file.moved.empty() || std::any_of(file.regions.begin(), file.regions.end(),
                                             [](const Region& r) { return !r.changed.empty(); });
      if (same_file(target, file.source)) {
        if (!changes) continue;
        throw input_error(
            "{}: its external data '{}' would overwrite that of {}; write the network to another folder",
            path_, location, contents_.file.path);
      }
      if (target.lexically_normal() == fs::path(path_).lexically_normal())
        throw input_error("{}: the network's external data has the same file name; choose another name",
                          path_);
      for (const auto& [other, data] : files_)
        if (same_file(target, data.source))
          throw input_error("{}: its external data '{}' would overwrite {}, which the network was read from",
                            path_, location, data.source);
      if (same_file(target, contents_.file.path))
        throw input_error("{}: its external data '{}' would overwrite {}", path_, location,
                          contents_.file.path);
      if (target.has_parent_path()) make_folder(target.parent_path().string());
      copy_patched(InputFile(file.source), file.regions, file.moved, elements, target.string());
    }
  }

  const Contents& contents_;
  const std::vector<std::string>& changed_;
  const TensorSource& source_;
  const std::string& path_;
  Metadata metadata_;  // what the model does not have as it is
  bool replaces_metadata_ = false;
  std::map<const ::onnx::TensorProto*, std::string> external_;  // the changed ones' names
  std::map<std::string, DataFile> files_;                       // by location
  std::map<std::string, int64_t> moved_;                        // new offsets of changed tensors
};

}  // namespace

void save(const Model& model, const std::vector<std::string>& changed, const TensorSource& source,
          const std::string& path, const Metadata& metadata) {
  Saver(model, changed, source, path, metadata).run();
}

void save(const Model& model, const std::map<std::string, Tensor>& changed, const std::string& path,
          const Metadata& metadata) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : changed) names.push_back(name);
  save(
      model, names, [&](const std::string& name) { return changed.at(name).clone(); }, path, metadata);
}

}  // namespace halftone::onnx
