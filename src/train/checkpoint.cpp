#include "train/checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/listing.h"
#include "base/resource_error.h"
#include "train/byte_source.h"
#include "train/run_marker.h"

namespace halftone::train {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little,
              "the format is little-endian, and so are the machines we build for");

constexpr std::string_view kMagic =
    "HTCKPT\r\n";  // \r\n: a transfer that rewrites line ends is noticed at once
constexpr std::string_view kEndMarker = "HTCKEND\n";
constexpr uint32_t kVersion = 1;
constexpr uint32_t kState = 1;
constexpr uint32_t kTensor = 2;
constexpr int64_t kHeaderBytes = 36;
constexpr int64_t kSectionHeadBytes = 16;
constexpr int64_t kEndBytes = 12;
constexpr int64_t kMaxDescriptionBytes = 1 << 20;
constexpr int64_t kMaxStateBytes = 64 << 20;  // reading JSON takes some twenty times its size
constexpr std::string_view kPrefix = "checkpoint-";
constexpr std::string_view kSuffix = ".htck";
constexpr std::string_view kBest = "best.htck";

// The types' numbers in a file, which must not move when the enumeration does.
constexpr std::array<std::pair<uint8_t, DType>, 7> kTypeCodes{{{1, DType::kF64},
                                                               {2, DType::kF32},
                                                               {3, DType::kF16},
                                                               {4, DType::kBf16},
                                                               {5, DType::kI64},
                                                               {6, DType::kI32},
                                                               {7, DType::kU8}}};

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class T>
T get(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

std::string describe_tensor(const std::string& name, const Tensor& tensor) {
  std::string out;
  const auto type = std::find_if(kTypeCodes.begin(), kTypeCodes.end(),
                                 [&](const auto& t) { return t.second == tensor.dtype(); });
  HT_ASSERT(type != kTypeCodes.end() && tensor.shape().size() < 256, "tensor {}", name);
  put(out, type->first);
  put(out, static_cast<uint8_t>(tensor.shape().size()));
  put(out, uint16_t{0});
  put(out, static_cast<uint32_t>(name.size()));
  out += name;
  for (const int64_t dimension : tensor.shape()) put(out, dimension);
  HT_ASSERT(static_cast<int64_t>(out.size()) <= kMaxDescriptionBytes, "a tensor's name has {} bytes",
            name.size());
  return out;
}

int64_t section_bytes(int64_t description, int64_t content) {
  return kSectionHeadBytes + description + 4 + content + 4;
}

// Passes the bytes on and keeps the CRC of all that are not content.
class Writer {
 public:
  explicit Writer(const Sink& sink) : sink_(sink) {}

  void structure(std::string_view bytes) {
    crc_ = crc32c(bytes.data(), static_cast<int64_t>(bytes.size()), crc_);
    sink_(bytes.data(), static_cast<int64_t>(bytes.size()));
  }
  void section(uint32_t kind, const std::string& description, const void* content, int64_t bytes) {
    std::string head;
    put(head, kind);
    put(head, static_cast<uint32_t>(description.size()));
    put(head, static_cast<uint64_t>(bytes));
    head += description;
    put(head, crc32c(head.data(), static_cast<int64_t>(head.size())));
    structure(head);
    if (bytes > 0) sink_(content, bytes);
    std::string tail;
    put(tail, crc32c(content, bytes));
    structure(tail);
  }
  uint32_t crc() const { return crc_; }

 private:
  const Sink& sink_;
  uint32_t crc_ = 0;
};

struct Header {
  uint32_t sections = 0;
  int64_t step = 0;
};

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
  throw input_error("the checkpoint {} is damaged: {}", path, what);
}

Header check_header(const std::array<char, kHeaderBytes>& bytes, int64_t file_bytes,
                    const std::string& path) {
  if (std::string_view(bytes.data(), kMagic.size()) != kMagic)
    throw input_error("{} is not a checkpoint: it does not begin with HTCKPT", path);
  if (get<uint32_t>(&bytes[kHeaderBytes - 4]) != crc32c(bytes.data(), kHeaderBytes - 4))
    refuse(path, "the header's checksum is wrong");
  const uint32_t version = get<uint32_t>(&bytes[8]);
  if (version != kVersion)
    throw input_error(
        "the checkpoint {} has format version {}; this program reads version {}. Resume it with the program "
        "that wrote it",
        path, version, kVersion);
  const uint64_t expected = get<uint64_t>(&bytes[24]);
  if (expected != static_cast<uint64_t>(file_bytes))
    refuse(path, fmt::format("it should have {} bytes and has {}", expected, file_bytes));
  Header header{.sections = get<uint32_t>(&bytes[12]), .step = get<int64_t>(&bytes[16])};
  if (header.step < 0) refuse(path, fmt::format("its step is {}", header.step));
  return header;
}

class Reader {
 public:
  explicit Reader(ByteSource& source) : source_(source) {}

  Checkpoint read() {
    std::array<char, kHeaderBytes> bytes{};
    if (source_.size() < kHeaderBytes + kEndBytes)
      throw input_error("{} is not a complete checkpoint: it has only {} bytes", path(), source_.size());
    source_.read(bytes.data(), kHeaderBytes);
    crc_ = crc32c(bytes.data(), kHeaderBytes, crc_);
    const Header header = check_header(bytes, source_.size(), path());
    Checkpoint checkpoint;
    checkpoint.step = header.step;
    if (header.sections == 0) refuse(path(), "it holds no sections");
    for (uint32_t i = 0; i < header.sections; ++i) section(i, checkpoint);
    end();
    return checkpoint;
  }

 private:
  const std::string& path() const { return source_.name(); }

  // The next bytes, which are structure; `what` and their place are named when the file is too short for
  // them.
  std::string structure(int64_t bytes, const char* what) {
    if (bytes > source_.remaining() - kEndBytes)
      refuse(path(), fmt::format("{} at byte {} would need {} bytes, {} are left", what, source_.position(),
                                 bytes, source_.remaining() - kEndBytes));
    std::string out(static_cast<size_t>(bytes), '\0');
    source_.read(out.data(), bytes);
    crc_ = crc32c(out.data(), bytes, crc_);
    return out;
  }

  void section(uint32_t index, Checkpoint& checkpoint) {
    const int64_t place = source_.position();
    std::string head = structure(kSectionHeadBytes, "a section");
    const uint32_t kind = get<uint32_t>(head.data());
    const uint32_t description_bytes = get<uint32_t>(head.data() + 4);
    const uint64_t content_bytes = get<uint64_t>(head.data() + 8);
    if (description_bytes > kMaxDescriptionBytes)
      refuse(path(), fmt::format("section {} at byte {} has a description of {} bytes", index, place,
                                 description_bytes));
    const std::string description = structure(description_bytes, "a section's description");
    head += description;
    if (get<uint32_t>(structure(4, "a checksum").data()) !=
        crc32c(head.data(), static_cast<int64_t>(head.size())))
      refuse(path(),
             fmt::format("the description of section {} at byte {} has a wrong checksum", index, place));
    const int64_t room = source_.remaining() - kEndBytes - 4;
    if (room < 0 || content_bytes > static_cast<uint64_t>(room))
      refuse(path(), fmt::format("section {} at byte {} would need {} bytes, {} are left", index, place,
                                 content_bytes, std::max<int64_t>(room, 0)));
    const int64_t bytes = static_cast<int64_t>(content_bytes);
    if ((index == 0) != (kind == kState))
      refuse(path(), fmt::format("section {} at byte {} has the unexpected kind {}", index, place, kind));
    if (kind == kState) {
      if (!description.empty()) refuse(path(), "the state has a description");
      if (bytes > kMaxStateBytes)
        refuse(path(), fmt::format("its state has {} bytes; at most {} are read", bytes, kMaxStateBytes));
      checkpoint.state_json.resize(static_cast<size_t>(bytes));
      content(checkpoint.state_json.data(), bytes, "the state");
    } else if (kind == kTensor) {
      tensor(description, bytes, checkpoint);
    } else {
      refuse(path(), fmt::format("section {} at byte {} has the unknown kind {}", index, place, kind));
    }
  }

  void tensor(const std::string& d, int64_t bytes, Checkpoint& checkpoint) {
    constexpr size_t kFixed = 8;
    if (d.size() < kFixed) refuse(path(), "a tensor's description is too short");
    const uint8_t code = get<uint8_t>(d.data());
    const size_t rank = get<uint8_t>(d.data() + 1);
    const size_t name_bytes = get<uint32_t>(d.data() + 4);
    if (get<uint16_t>(d.data() + 2) != 0 || d.size() != kFixed + name_bytes + 8 * rank)
      refuse(path(), "a tensor's description contradicts itself");
    const std::string name = d.substr(kFixed, name_bytes);
    const auto type =
        std::find_if(kTypeCodes.begin(), kTypeCodes.end(), [&](const auto& t) { return t.first == code; });
    if (type == kTypeCodes.end())
      refuse(path(), fmt::format("tensor '{}' has the unknown type {}", name, code));
    Shape shape(rank);
    for (size_t i = 0; i < rank; ++i) shape[i] = get<int64_t>(d.data() + kFixed + name_bytes + 8 * i);
    // Before anything is allocated: the shape must explain exactly the bytes that the file has for it.
    int64_t needed = size_bytes(type->second);
    for (const int64_t dimension : shape) {
      if (dimension < 0 || __builtin_mul_overflow(needed, dimension, &needed))
        refuse(path(), fmt::format("tensor '{}' has the impossible shape {}", name, to_string(shape)));
    }
    if (needed != bytes)
      refuse(path(), fmt::format("tensor '{}' ({} {}) needs {} bytes and has {}", name, name_of(type->second),
                                 to_string(shape), needed, bytes));
    if (!checkpoint.tensors.empty() && name <= checkpoint.tensors.rbegin()->first)
      refuse(path(), fmt::format("tensor '{}' is there twice or out of order", name));
    Tensor tensor(type->second, std::move(shape));
    content(tensor.data(), bytes, "tensor '" + name + "'");
    checkpoint.tensors.emplace(name, std::move(tensor));
  }

  void content(void* to, int64_t bytes, const std::string& what) {
    source_.read(to, bytes);
    if (get<uint32_t>(structure(4, "a checksum").data()) != crc32c(to, bytes))
      refuse(path(), fmt::format("{} has a wrong checksum", what));
  }

  void end() {
    const int64_t extra = source_.remaining() - kEndBytes;
    if (extra != 0) refuse(path(), fmt::format("{} bytes are left after the last section", extra));
    std::array<char, kEndBytes> bytes{};
    source_.read(bytes.data(), kEndBytes);
    if (std::string_view(bytes.data(), kEndMarker.size()) != kEndMarker)
      refuse(path(), "the end marker is missing");
    if (get<uint32_t>(&bytes[kEndMarker.size()]) != crc_)
      refuse(path(), "the checksum of the whole file is wrong");
  }

  ByteSource& source_;
  uint32_t crc_ = 0;
};

std::string join(const std::string& folder, std::string_view name) {
  return (fs::path(folder) / name).string();
}

// The step in the name of a checkpoint file; none for other names.
std::optional<int64_t> step_of_name(std::string_view name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(kSuffix.size());
  int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (error != std::errc() || end != name.data() + name.size() || name.size() < 10 || step < 0)
    return std::nullopt;
  return step;
}

struct Numbered {
  int64_t step;
  std::string path;
};

// Newest first.
std::vector<Numbered> checkpoints_in(const std::string& folder) {
  std::vector<Numbered> found;
  for (const std::string& name : names_in(folder)) {
    if (const auto step = step_of_name(name)) found.push_back({*step, join(folder, name)});
  }
  std::sort(found.begin(), found.end(), [](const Numbered& a, const Numbered& b) { return a.step > b.step; });
  return found;
}

// Cheap: header, size and end marker, not the contents.
bool looks_complete(const std::string& path) {
  try {
    ByteSource source(path);
    if (source.size() < kHeaderBytes + kEndBytes) return false;
    std::array<char, kHeaderBytes> bytes{};
    source.read(bytes.data(), kHeaderBytes);
    check_header(bytes, source.size(), path);
    std::array<char, kEndBytes> end{};
    source.skip(source.remaining() - kEndBytes);
    source.read(end.data(), kEndBytes);
    return std::string_view(end.data(), kEndMarker.size()) == kEndMarker;
  } catch (const Error& error) {
    if (error.kind() == kResources) throw;
    return false;
  }
}

void remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw file_error(errno, "cannot remove " + path);
}

}  // namespace

std::string checkpoint_name(int64_t step) {
  return fmt::format("{}{:010}{}", kPrefix, step, kSuffix);
}

std::string write_checkpoint(const std::string& folder, const CheckpointView& checkpoint) {
  HT_ASSERT(checkpoint.step >= 0, "step {}", checkpoint.step);
  if (static_cast<int64_t>(checkpoint.state_json.size()) > kMaxStateBytes)
    throw input_error(
        "the checkpoint's state has {} bytes, more than the {} that can be read again: the names of classes "
        "are "
        "too long",
        checkpoint.state_json.size(), kMaxStateBytes);
  int64_t bytes =
      kHeaderBytes + section_bytes(0, static_cast<int64_t>(checkpoint.state_json.size())) + kEndBytes;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    HT_ASSERT(!tensor->empty(), "tensor {} has no data", name);
    bytes += section_bytes(static_cast<int64_t>(describe_tensor(name, *tensor).size()), tensor->bytes());
  }
  std::string header(kMagic);
  put(header, kVersion);
  put(header, static_cast<uint32_t>(checkpoint.tensors.size() + 1));
  put(header, checkpoint.step);
  put(header, static_cast<uint64_t>(bytes));
  put(header, crc32c(header.data(), static_cast<int64_t>(header.size())));

  const std::string path = join(folder, checkpoint_name(checkpoint.step));
  try {
    write_file_atomically(path, [&](const Sink& sink) {
      Writer writer(sink);
      writer.structure(header);
      writer.section(kState, "", checkpoint.state_json.data(),
                     static_cast<int64_t>(checkpoint.state_json.size()));
      for (const auto& [name, tensor] : checkpoint.tensors)
        writer.section(kTensor, describe_tensor(name, *tensor), tensor->data(), tensor->bytes());
      std::string end(kEndMarker);
      put(end, writer.crc());
      sink(end.data(), static_cast<int64_t>(end.size()));
    });
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("the checkpoint of step {} ({} bytes) could not be written: {}. "
                                          "Checkpoints written before are whole; "
                                          "make room and go on with --resume {}",
                                          checkpoint.step, bytes, error.what(), folder));
  }
  return path;
}

std::string write_checkpoint(const std::string& folder, const Checkpoint& checkpoint) {
  CheckpointView view{.step = checkpoint.step, .tensors = {}, .state_json = checkpoint.state_json};
  for (const auto& [name, tensor] : checkpoint.tensors) view.tensors.emplace(name, &tensor);
  return write_checkpoint(folder, view);
}

Checkpoint read_checkpoint(const std::string& path) {
  ByteSource source(path);
  return Reader(source).read();
}

Checkpoint parse_checkpoint(std::string_view bytes, const std::string& path) {
  ByteSource source(bytes, path);
  return Reader(source).read();
}

LatestCheckpoint find_latest(const std::string& folder) {
  LatestCheckpoint latest;
  for (const Numbered& candidate : checkpoints_in(folder)) {
    // One that cannot be opened may be whole.
    ByteSource source(candidate.path);
    try {
      Checkpoint checkpoint = Reader(source).read();
      if (checkpoint.step != candidate.step)
        throw input_error("the checkpoint {} is of step {}, its name says {}", candidate.path,
                          checkpoint.step, candidate.step);
      latest.checkpoint = std::move(checkpoint);
      latest.path = candidate.path;
      break;
    } catch (const Error& error) {
      // Of a machine in trouble: the file may be whole.
      if (error.kind() == kResources) throw;
      latest.refused.push_back({candidate.path, error.what()});
    }
  }
  return latest;
}

void set_aside(const std::string& path) {
  const std::string aside = path + ".damaged";
  if (::rename(path.c_str(), aside.c_str()) != 0)
    throw file_error(errno, "cannot rename " + path + " to " + aside);
  sync_folder_of(path);
}

void prune(const std::string& folder, int64_t keep_last, const std::string& keep_path_of_best) {
  HT_ASSERT(keep_last >= 1, "keep_last {}", keep_last);
  int64_t kept = 0;
  bool removed = false;
  for (const Numbered& candidate : checkpoints_in(folder)) {
    if (kept < keep_last) {
      if (looks_complete(candidate.path)) ++kept;
      continue;  // an incomplete one that is newer than those to keep stays: it is the user's to look at
    }
    std::error_code error;
    if (!keep_path_of_best.empty() && fs::equivalent(candidate.path, keep_path_of_best, error) && !error)
      continue;
    remove_file(candidate.path);
    removed = true;
  }
  if (removed) sync_folder_of(join(folder, kBest));
}

std::string keep_as_best(const std::string& folder, const std::string& path) {
  const std::string best = join(folder, kBest);
  const std::string temporary = best + ".tmp";
  remove_file(temporary);
  if (::link(path.c_str(), temporary.c_str()) == 0) {
    if (::rename(temporary.c_str(), best.c_str()) != 0) {
      const int error = errno;
      ::unlink(temporary.c_str());
      throw file_error(error, "cannot replace " + best);
    }
    // Renaming one link of a file onto another does nothing at all, so the temporary name would stay.
    remove_file(temporary);
    sync_folder_of(best);
    return best;
  }
  if (errno == ENOENT)
    throw input_error("cannot keep {} as the best checkpoint: {}", path, std::strerror(errno));
  ByteSource source(path);
  write_file_atomically(best, [&](const Sink& sink) {
    std::vector<char> chunk(static_cast<size_t>(std::min<int64_t>(source.size(), 1 << 20)));
    while (source.remaining() > 0) {
      const int64_t bytes = std::min<int64_t>(source.remaining(), static_cast<int64_t>(chunk.size()));
      source.read(chunk.data(), bytes);
      sink(chunk.data(), bytes);
    }
  });
  return best;
}

std::vector<std::string> clean_temporaries(const std::string& folder) {
  constexpr std::string_view kTemporary = ".tmp";
  std::vector<std::string> removed;
  for (const std::string& name : names_in(folder)) {
    std::string_view stem = name;
    if (!stem.ends_with(kTemporary)) continue;
    stem.remove_suffix(kTemporary.size());
    const bool ours =
        run_marker::is_checkpoint(stem) ? step_of_name(stem).has_value() : run_marker::is_of_a_run(stem);
    if (!ours) continue;
    removed.push_back(join(folder, name));
    remove_file(removed.back());
  }
  std::sort(removed.begin(), removed.end());
  return removed;
}

}  // namespace halftone::train
