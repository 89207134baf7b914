#include "onnx/save.h"

#include <fcntl.h>
#include <unistd.h>

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
Tensor in_type(const std::string& name, const Tensor& value, DType dtype, const std::string& path) {
  if (value.dtype() == dtype) return value.clone();
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

// A tensor's bytes in a data file; `value` is empty when they stay.
struct Region {
  int64_t offset;
  int64_t length;
  std::string name;
  const Tensor* value;
};
struct DataFile {
  std::string source;
  std::vector<Region> regions;
};

// Bytes that several tensors share must not get different meanings.
void check_overlaps(DataFile& file, const std::string& location) {
  std::sort(file.regions.begin(), file.regions.end(), [](const Region& a, const Region& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.length > b.length;
  });
  const Region* widest = nullptr;  // of those before, the one that reaches farthest
  bool changed_within = false;     // one of those that reach into the widest changes
  for (const Region& r : file.regions) {
    if (r.length == 0) continue;
    if (widest != nullptr && r.offset < widest->offset + widest->length) {
      changed_within = changed_within || r.value != nullptr;
      const bool same =
          r.offset == widest->offset && r.length == widest->length && r.value != nullptr &&
          widest->value != nullptr &&
          std::memcmp(r.value->data(), widest->value->data(), static_cast<size_t>(r.length)) == 0;
      if (changed_within && !same)
        throw input_error(
            "tensors '{}' and '{}' share bytes of the external data '{}', but not what training made of them",
            widest->name, r.name, location);
    } else {
      changed_within = r.value != nullptr;
    }
    if (widest == nullptr || r.offset + r.length > widest->offset + widest->length) widest = &r;
  }
}

void copy_patched(const DataFile& file, const std::string& to) {
  const int fd = ::open(file.source.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw input_error("cannot open {}: {}", file.source, std::strerror(errno));
  try {
    write_file_atomically(to, [&](const Sink& sink) {
      std::vector<char> block(1 << 20);
      int64_t offset = 0;
      size_t first = 0;  // the first region that ends behind offset
      while (true) {
        const ssize_t got = ::pread(fd, block.data(), block.size(), offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw input_error("cannot read {}: {}", file.source, std::strerror(errno));
        if (got == 0) break;
        while (first < file.regions.size() &&
               file.regions[first].offset + file.regions[first].length <= offset)
          ++first;
        for (size_t i = first; i < file.regions.size() && file.regions[i].offset < offset + got; ++i) {
          const Region& r = file.regions[i];
          if (r.value == nullptr) continue;
          const int64_t begin = std::max(offset, r.offset);
          const int64_t end = std::min(offset + static_cast<int64_t>(got), r.offset + r.length);
          if (begin < end)
            std::memcpy(block.data() + (begin - offset),
                        static_cast<const char*>(r.value->data()) + (begin - r.offset),
                        static_cast<size_t>(end - begin));
        }
        sink(block.data(), got);
        offset += got;
      }
    });
  } catch (...) {
    ::close(fd);
    throw;
  }
  ::close(fd);
}

bool same_file(const fs::path& a, const fs::path& b) {
  std::error_code error;
  return fs::equivalent(a, b, error) && !error;
}

class Saver {
 public:
  Saver(const Model& model, const std::map<std::string, Tensor>& changed, const std::string& path)
      : contents_(model.contents()), changed_(changed), path_(path), proto_(contents_.proto) {}

  void run() {
    for (const auto& [name, value] : changed_) replace(name, value);
    list_external();
    write_external();
    write_message(proto_, path_);
  }

 private:
  void replace(const std::string& name, const Tensor& value) {
    const auto it = contents_.tensor_index.find(name);
    HT_ASSERT(it != contents_.tensor_index.end(), "{} is no tensor of {}", name, contents_.path);
    const TensorInfo& info = contents_.tensors[it->second];
    HT_ASSERT(info.dtype && info.shape == value.shape(), "{}: {} against {}", name, to_string(info.shape),
              to_string(value.shape()));
    Tensor typed = in_type(name, value, *info.dtype, path_);
    const TensorPlace& place = contents_.places[it->second];
    ::onnx::GraphProto& graph = *proto_.mutable_graph();
    ::onnx::TensorProto* t = nullptr;
    if (place.initializer >= 0) {
      t = graph.mutable_initializer(place.initializer);
    } else {
      ::onnx::AttributeProto* a = graph.mutable_node(place.node)->mutable_attribute(place.attribute);
      if (a->name() != "value") return replace_in_attribute(*a, typed);
      t = a->mutable_t();
    }
    if (is_external(*t)) {
      external_[t] = std::move(typed);
    } else {
      replace_elements(*t, typed);
    }
  }

  void list_external() {
    for (const auto& t : proto_.graph().initializer()) list(t);
    for (const auto& node : proto_.graph().node())
      for (const auto& a : node.attribute())
        if (a.has_t()) list(a.t());
  }
  void list(const ::onnx::TensorProto& t) {
    if (!is_external(t)) return;
    const std::optional<DType> dtype = dtype_of(t.data_type());
    if (!dtype)
      throw input_error("{}: the external tensor '{}' is of type {}; Halftone cannot copy its data", path_,
                        t.name(), type_name(t.data_type()));
    const int64_t bytes = elements(checked_shape(t, contents_.path)) * size_bytes(*dtype);
    const ExternalPlace place = external_place(t, contents_.path, bytes);
    const auto it = external_.find(&t);
    DataFile& file = files_[fs::path(place.location).lexically_normal().string()];
    file.source = place.path;
    file.regions.push_back(
        {place.offset, place.length, t.name(), it == external_.end() ? nullptr : &it->second});
  }

  void write_external() {
    const fs::path folder = fs::path(path_).parent_path();
    for (auto& [location, file] : files_) {
      check_overlaps(file, location);
      const fs::path target = folder / location;
      const bool changes = std::any_of(file.regions.begin(), file.regions.end(),
                                       [](const Region& r) { return r.value != nullptr; });
      if (same_file(target, file.source)) {
        if (!changes) continue;
        throw input_error(
            "{}: its external data '{}' would overwrite that of {}; write the network to another folder",
            path_, location, contents_.path);
      }
      if (target.lexically_normal() == fs::path(path_).lexically_normal())
        throw input_error("{}: the network's external data has the same file name; choose another name",
                          path_);
      for (const auto& [other, data] : files_)
        if (same_file(target, data.source))
          throw input_error("{}: its external data '{}' would overwrite {}, which the network was read from",
                            path_, location, data.source);
      if (same_file(target, contents_.path))
        throw input_error("{}: its external data '{}' would overwrite {}", path_, location, contents_.path);
      if (target.has_parent_path()) make_folder(target.parent_path().string());
      copy_patched(file, target.string());
    }
  }

  const Contents& contents_;
  const std::map<std::string, Tensor>& changed_;
  const std::string& path_;
  ::onnx::ModelProto proto_;
  std::map<const ::onnx::TensorProto*, Tensor> external_;  // new elements, by the tensor they belong to
  std::map<std::string, DataFile> files_;                  // by location
};

}  // namespace

void save(const Model& model, const std::map<std::string, Tensor>& changed, const std::string& path) {
  Saver(model, changed, path).run();
}

}  // namespace halftone::onnx
