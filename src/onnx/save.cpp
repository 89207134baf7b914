#include "onnx/save.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "base/file.h"
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
};

void sort(std::vector<Region>& regions) {
  std::sort(regions.begin(), regions.end(), [](const Region& a, const Region& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.length > b.length;
  });
}

// Bytes that several tensors share must not get different meanings.
void check_overlaps(DataFile& file, const std::string& location, const Elements& elements_of) {
  sort(file.regions);
  const Region* widest = nullptr;  // of those before, the one that reaches farthest
  bool changed_within = false;     // one of those that reach into the widest changes
  for (const Region& r : file.regions) {
    if (r.length == 0) continue;
    if (widest != nullptr && r.offset < widest->offset + widest->length) {
      changed_within = changed_within || !r.changed.empty();
      const bool same = r.offset == widest->offset && r.length == widest->length && !r.changed.empty() &&
                        !widest->changed.empty() &&
                        std::memcmp(elements_of(r.changed).data(), elements_of(widest->changed).data(),
                                    static_cast<size_t>(r.length)) == 0;
      if (changed_within && !same)
        throw input_error(
            "tensors '{}' and '{}' share bytes of the external data '{}', but not what training made of them",
            widest->name, r.name, location);
    } else {
      changed_within = !r.changed.empty();
    }
    if (widest == nullptr || r.offset + r.length > widest->offset + widest->length) widest = &r;
  }
}

// The source with the regions' bytes replaced, each tensor asked for when its turn comes. The regions are sorted.
void copy_patched(const InputFile& source, const std::vector<Region>& regions, const Elements& elements_of,
                  const std::string& to) {
  write_file_atomically(to, [&](const Sink& sink) {
    std::vector<char> block(1 << 20);
    std::map<size_t, Tensor> held;  // of the regions that the block reaches into
    size_t first = 0;               // the first region that ends behind offset
    for (int64_t offset = 0; offset < source.size();) {
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
  });
}

bool same_file(const fs::path& a, const fs::path& b) {
  std::error_code error;
  return fs::equivalent(a, b, error) && !error;
}

class Saver {
 public:
  Saver(const Model& model, const std::vector<std::string>& changed, const TensorSource& source,
        const std::string& path)
      : contents_(model.contents()), changed_(changed), source_(source), path_(path) {}

  void run() {
    bool by_message = contents_.file.input == std::nullopt;
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
    // Data files are replaced before the model is written: what could go wrong with a value does so before.
    if (!files_.empty())
      for (const std::string& name : changed_) elements_of(name);
    write_external();
    if (by_message) return write_message();
    sort(regions);
    copy_patched(
        *contents_.file.input, regions, [&](const std::string& name) { return elements_of(name); }, path_);
  }

 private:
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
    const ::onnx::GraphProto& graph = contents_.proto.graph();
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
    ::onnx::GraphProto& graph = *proto.mutable_graph();
    for (const std::string& name : changed_) {
      TensorPlace place;
      info(name, place);
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
      if (!is_external(*t)) replace_elements(*t, elements_of(name));
    }
    onnx::write_message(proto, path_);
  }

  void list_external() {
    for (const auto& t : contents_.proto.graph().initializer()) list(t);
    for (const auto& node : contents_.proto.graph().node())
      for (const auto& a : node.attribute())
        if (a.has_t()) list(a.t());
  }
  void list(const ::onnx::TensorProto& t) {
    if (!is_external(t)) return;
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
      check_overlaps(file, location, elements);
      const fs::path target = folder / location;
      const bool changes = std::any_of(file.regions.begin(), file.regions.end(),
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
      copy_patched(InputFile(file.source), file.regions, elements, target.string());
    }
  }

  const Contents& contents_;
  const std::vector<std::string>& changed_;
  const TensorSource& source_;
  const std::string& path_;
  std::map<const ::onnx::TensorProto*, std::string> external_;  // the changed ones' names
  std::map<std::string, DataFile> files_;                       // by location
};

}  // namespace

void save(const Model& model, const std::vector<std::string>& changed, const TensorSource& source,
          const std::string& path) {
  Saver(model, changed, source, path).run();
}

void save(const Model& model, const std::map<std::string, Tensor>& changed, const std::string& path) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : changed) names.push_back(name);
  save(
      model, names, [&](const std::string& name) { return changed.at(name).clone(); }, path);
}

}  // namespace halftone::onnx
