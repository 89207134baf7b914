#include "data/npy.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/error.h"
#include "base/listing.h"
#include "data/names.h"
#include "data/zip.h"

namespace halftone::data {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "\x93NUMPY";

struct Header {
  Element type = Element::kU8;
  bool big_endian = false;
  Shape shape;
  int64_t bytes = 0;  // of magic, version, length and header
};

// The header is a dictionary of three known keys; this reads that, not Python.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  void parse(Header& header) {
    bool descr = false;
    bool order = false;
    bool shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key(quoted());
      expect(':');
      if (key == "descr") {
        parse_type(header);
        descr = true;
      } else if (key == "fortran_order") {
        if (word() == "True") fortran_ = true;
        order = true;
      } else if (key == "shape") {
        parse_shape(header);
        shape = true;
      } else {
        fail();
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    if (!descr || !order || !shape) fail();
    // With one dimension both orders are the same.
    if (fortran_ && header.shape.size() > 1)
      throw input_error("{}: the array is in Fortran order; save it with numpy.ascontiguousarray", name_);
  }

 private:
  [[noreturn]] void fail() const {
    throw input_error("{}: damaged .npy: its header is not the dictionary of descr, fortran_order and shape",
                      name_);
  }
  void skip_spaces() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool accept(char c) {
    skip_spaces();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail();
  }
  std::string_view quoted() {
    skip_spaces();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) fail();
    const size_t end = text_.find(text_[at_], at_ + 1);
    if (end == std::string_view::npos) fail();
    const std::string_view inside = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return inside;
  }
  std::string_view word() {
    skip_spaces();
    for (const std::string_view w : {"True", "False"}) {
      if (text_.substr(at_).starts_with(w)) {
        at_ += w.size();
        return w;
      }
    }
    fail();
  }

  void parse_type(Header& header) {
    skip_spaces();
    if (at_ < text_.size() && text_[at_] == '[')
      throw input_error("{}: records are not read; save plain arrays", name_);
    const std::string descr(quoted());
    struct Name {
      const char* text;
      Element type;
    };
    constexpr Name kNames[] = {{"b1", Element::kBool}, {"u1", Element::kU8},  {"i1", Element::kI8},
                               {"u2", Element::kU16},  {"i2", Element::kI16}, {"u4", Element::kU32},
                               {"i4", Element::kI32},  {"u8", Element::kU64}, {"i8", Element::kI64},
                               {"f2", Element::kF16},  {"f4", Element::kF32}, {"f8", Element::kF64}};
    for (const Name& n : kNames) {
      if (descr.size() == 3 && descr.substr(1) == n.text &&
          std::string_view("<>|=").find(descr[0]) != std::string_view::npos) {
        header.type = n.type;
        header.big_endian = descr[0] == '>';
        return;
      }
    }
    if (descr.find('O') != std::string::npos)
      throw input_error("{}: the array holds Python objects, which are not read; save numbers", name_);
    throw input_error("{}: elements of type {} are not read; numbers and bool are", name_, descr);
  }

  void parse_shape(Header& header) {
    expect('(');
    while (!accept(')')) {
      skip_spaces();
      int64_t d = 0;
      const auto [p, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), d);
      if (error != std::errc() || d < 0) fail();
      at_ = static_cast<size_t>(p - text_.data());
      // numpy has at most 64.
      if (header.shape.size() == 64) fail();
      header.shape.push_back(d);
      // Python 2 wrote long integers with an L.
      accept('L');
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
  }

  std::string_view text_;
  const std::string& name_;
  size_t at_ = 0;
  bool fortran_ = false;
};

Header parse_header(const std::string& prefix, const std::string& name) {
  if (!is_npy(prefix)) throw input_error("{}: not a .npy array (its first bytes are something else)", name);
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(prefix[i])); };
  const size_t version = byte(6);
  if (version < 1 || version > 3)
    throw input_error("{}: .npy version {} is not read; 1 to 3 are", name, version);
  const size_t start = version == 1 ? 10 : 12;
  if (prefix.size() < start) throw input_error("{}: damaged .npy: it ends within its header", name);
  size_t length = byte(8) | byte(9) << 8;
  if (version > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (prefix.size() - start < length)
    throw input_error("{}: damaged .npy: its header of {} bytes is cut off (or longer than {})", name, length,
                      kNpyPrefix);
  Header header;
  header.bytes = static_cast<int64_t>(start + length);
  HeaderParser(std::string_view(prefix).substr(start, length), name).parse(header);
  return header;
}

// Of an array whose elements need not be of a type that is read; -1: its header is none, or it is a single
// number.
int64_t first_dimension(const std::string& prefix) {
  constexpr std::string_view kKey = "'shape':";
  const size_t key = is_npy(prefix) ? prefix.find(kKey) : std::string::npos;
  const size_t open = key == std::string::npos ? key : prefix.find_first_not_of(' ', key + kKey.size());
  int64_t rows = -1;
  if (open == std::string::npos || prefix[open] != '(') return -1;
  const auto [end, error] = std::from_chars(prefix.data() + open + 1, prefix.data() + prefix.size(), rows);
  return error == std::errc() ? rows : -1;
}

int64_t total_bytes(const Header& header, const std::string& name) {
  int64_t total = 0;
  if (__builtin_add_overflow(header.bytes, array_bytes(header.type, header.shape, name), &total))
    throw input_error("{}: the shape {} has no valid size", name, to_string(header.shape));
  return total;
}

std::string first_bytes(const std::string& path, int64_t count) {
  const std::shared_ptr<const Bytes> file = file_bytes(path);
  return read_part(*file, 0, std::min(file->size(), count));
}

// Names of the folder's .npy files, without the ending.
std::vector<std::string> npy_names(const std::string& folder) {
  std::vector<std::string> names;
  for (const std::string& name : names_in(folder))
    if (fs::path(name).extension() == ".npy") names.push_back(fs::path(name).stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

// For a file of samples, the file of its labels beside it: a word for samples in its name exchanged for one
// for labels. Error: there are several.
std::string labels_beside(const fs::path& samples) {
  struct Pair {
    const char* x;
    const char* y;
  };
  constexpr Pair kPairs[] = {{"images", "labels"},
                             {"image", "label"},
                             {"data", "labels"},
                             {"features", "labels"},
                             {"inputs", "targets"},
                             {"input", "target"},
                             {"x", "y"},
                             {"X", "y"},
                             {"X", "Y"}};
  const std::string stem = samples.stem().string();
  std::error_code ignored;
  std::string found;
  for (const Pair& pair : kPairs) {
    const size_t length = std::string_view(pair.x).size();
    for (size_t at = stem.find(pair.x); at != std::string::npos; at = stem.find(pair.x, at + 1)) {
      // Whole words only: the x of "max" is none.
      const bool begins = at == 0 || stem[at - 1] == '_' || stem[at - 1] == '-';
      const bool ends = at + length == stem.size() || stem[at + length] == '_' || stem[at + length] == '-';
      if (!begins || !ends) continue;
      std::string name = stem;
      name.replace(at, length, pair.y);
      const fs::path path = samples.parent_path() / (name + ".npy");
      if (!fs::is_regular_file(path, ignored) || path.string() == found) continue;
      if (!found.empty())
        throw input_error(
            "{}: which file beside it holds its labels? {} and {} could; name the folder instead, with "
            "--x-key {} and "
            "--y-key",
            samples.string(), found, path.string(), stem);
      found = path.string();
    }
  }
  return found;
}

std::vector<std::string> array_names(const std::vector<ZipMember>& members) {
  std::vector<std::string> names;
  for (const ZipMember& m : members)
    if (m.name.ends_with(".npy")) names.push_back(m.name.substr(0, m.name.size() - 4));
  return names;
}

}  // namespace

bool is_npy(const std::string& bytes) {
  return bytes.size() >= 8 && bytes.starts_with(kMagic);
}

int64_t npy_total_bytes(const std::string& prefix, const std::string& name) {
  return total_bytes(parse_header(prefix, name), name);
}

std::optional<ArrayHeader> npy_header(const std::string& prefix, const std::string& name) {
  try {
    const Header header = parse_header(prefix, name);
    return ArrayHeader{name, name, header.type, header.shape};
  } catch (const Error&) {
    return std::nullopt;
  }
}

Array read_npy(std::shared_ptr<const Bytes> bytes, const std::string& name) {
  const std::string prefix = read_part(*bytes, 0, std::min(bytes->size(), kNpyPrefix));
  Header header = parse_header(prefix, name);
  const int64_t total = total_bytes(header, name);
  if (total != bytes->size())
    throw input_error("{}: damaged .npy: its shape {} says {} bytes, but it has {}", name,
                      to_string(header.shape), total, bytes->size());
  Array array;
  array.type = header.type;
  array.big_endian = header.big_endian;
  array.shape = std::move(header.shape);
  array.bytes = part_of(std::move(bytes), header.bytes, total - header.bytes, name);
  array.name = name;
  return array;
}

bool is_npy_file(const std::string& path) {
  return is_npy(first_bytes(path, 8));
}

std::vector<std::string> npy_splits(const std::string& folder) {
  std::error_code ignored;
  return fs::is_directory(folder, ignored) ? splits_in_names(npy_names(folder)) : std::vector<std::string>{};
}

bool is_npy_folder(const std::string& folder) {
  return !npy_names(folder).empty();
}

NamedArrays npy_arrays(const std::string& folder, FileUse use) {
  const auto path_of = [folder](const std::string& name) {
    return (fs::path(folder) / (name + ".npy")).string();
  };
  return {folder, npy_names(folder),
          [path_of](const std::string& name) {
            return npy_header(first_bytes(path_of(name), kNpyPrefix), path_of(name));
          },
          [path_of, use](const std::string& name) {
            return read_npy(file_bytes(path_of(name), use), path_of(name));
          }};
}

std::unique_ptr<Dataset> open_npy(const Spec& spec, const OpenOptions& options) {
  std::error_code ignored;
  std::string x = spec.path;
  std::string y;
  if (fs::is_directory(spec.path, ignored) && options.choose_arrays) {
    const NamedArrays all = npy_arrays(spec.path);
    return make_fields_dataset(".npy", spec.path, arrays_of_split(all.names, spec, options, all.header),
                               all.read, options);
  }
  if (fs::is_directory(spec.path, ignored)) {
    const ArrayNames names = choose_arrays(npy_names(spec.path), spec, options, [&](const std::string& name) {
      return first_dimension(first_bytes((fs::path(spec.path) / (name + ".npy")).string(), kNpyPrefix));
    });
    x = (fs::path(spec.path) / (names.x + ".npy")).string();
    if (!names.y.empty()) y = (fs::path(spec.path) / (names.y + ".npy")).string();
  } else {
    if (!spec.split.empty())
      throw input_error("{} is one array, so there is no [{}] in it", spec.path, spec.split);
    if (options.labels) y = labels_beside(x);
  }
  std::optional<Array> labels;
  if (!y.empty()) labels = read_npy(file_bytes(y), y);
  return make_array_dataset(".npy", x, read_npy(file_bytes(x), x), std::move(labels), options);
}

bool is_npz_file(const std::string& path) {
  const std::string start = first_bytes(path, 4);
  return start == std::string_view("PK\x03\x04", 4) || start == std::string_view("PK\x05\x06", 4);
}

std::vector<std::string> npz_splits(const std::string& path) {
  return splits_in_names(array_names(read_zip(*file_bytes(path))));
}

namespace {

// The members of an .npz that are arrays.
class Npz {
 public:
  explicit Npz(const std::string& path, FileUse use = FileUse::kKeptOpen)
      : path_(path), file_(file_bytes(path, use)), members_(read_zip(*file_)) {}

  std::vector<std::string> names() const { return array_names(members_); }
  std::string prefix(const std::string& key) const { return member_prefix(file_, member(key), kNpyPrefix); }
  Array read(const std::string& key) const {
    const std::string name = fmt::format("{}, {}", path_, key);
    return read_npy(open_member(file_, member(key), kNpyPrefix,
                                [&](const std::string& prefix) { return npy_total_bytes(prefix, name); }),
                    name);
  }

 private:
  const ZipMember& member(const std::string& key) const {
    const auto found = std::find_if(members_.begin(), members_.end(),
                                    [&](const ZipMember& m) { return m.name == key + ".npy"; });
    HT_ASSERT(found != members_.end());
    return *found;
  }

  std::string path_;
  std::shared_ptr<const Bytes> file_;
  std::vector<ZipMember> members_;
};

}  // namespace

NamedArrays npz_arrays(const std::string& path, FileUse use) {
  const auto npz = std::make_shared<const Npz>(path, use);
  return {path, npz->names(), [npz](const std::string& key) { return npy_header(npz->prefix(key), key); },
          [npz](const std::string& key) { return npz->read(key); }};
}

std::unique_ptr<Dataset> open_npz(const Spec& spec, const OpenOptions& options) {
  if (options.choose_arrays) {
    const NamedArrays all = npz_arrays(spec.path);
    return make_fields_dataset(".npz", spec.path, arrays_of_split(all.names, spec, options, all.header),
                               all.read, options);
  }
  const Npz npz(spec.path);
  const ArrayNames names = choose_arrays(
      npz.names(), spec, options, [&](const std::string& key) { return first_dimension(npz.prefix(key)); });
  std::optional<Array> labels;
  if (!names.y.empty()) labels = npz.read(names.y);
  const std::string source = names.x == "x" ? spec.path : fmt::format("{}, {}", spec.path, names.x);
  return make_array_dataset(".npz", source, npz.read(names.x), std::move(labels), options);
}

}  // namespace halftone::data
