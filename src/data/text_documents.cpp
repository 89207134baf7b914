// .txt: lines, or whole files.
#include <algorithm>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/listing.h"
#include "base/stamp.h"
#include "base/stop.h"
#include "data/folder.h"
#include "data/spec.h"
#include "data/text.h"
#include "data/text_file.h"
#include "data/text_source.h"

namespace halftone::data {
namespace {

namespace fs = std::filesystem;

bool is_txt(const std::string& name) {
  return lower_case(name).ends_with(".txt") && !name.starts_with('.');
}

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// Lines that hold something.
class TextLines final : public TextSource {
 public:
  explicit TextLines(const std::string& path) : path_(path), file_(open_text_file(path)) {
    kind_ = "lines of text";
    int64_t empty = 0;
    for_each_line(file_, [&](std::string_view line, const TextPlace& place) {
      if (std::all_of(line.begin(), line.end(), is_blank)) {
        ++empty;
      } else {
        places_.push_back(place);
      }
    });
    if (places_.empty()) throw input_error("{}: it holds no text", path);
    if (empty > 0) notes_.push_back(fmt::format("{} empty lines are no samples", empty));
  }
  int64_t size() const override { return static_cast<int64_t>(places_.size()); }
  std::string name(int64_t index) const override {
    return fmt::format("{}, line {}", path_, places_.at(static_cast<size_t>(index)).line);
  }
  void read(int64_t index, TextSample& sample) const override {
    sample.texts = {text_at(file_, places_.at(static_cast<size_t>(index)))};
  }

 private:
  std::string path_;
  TextFile file_;
  std::vector<TextPlace> places_;
};

// Where a piece of a long document ends: tokens on both sides are those of the whole, where words and lines part
// them. npos: more of it has to be read.
size_t piece_end(std::string_view text, bool last) {
  constexpr size_t kLeast = 2048;
  constexpr size_t kLong = 16384;
  constexpr size_t kLongest = 65536;
  // Behind a line end, or in front of a blank, that stands alone.
  const auto find = [&](char mark, size_t from, size_t to) {
    for (size_t i = from; i < to; ++i)
      if (text[i] == mark && !is_blank(text[i - 1]) && !is_blank(text[i + 1])) return i;
    return std::string_view::npos;
  };
  const auto end = [&](size_t limit) {
    return text.size() < limit + 1 ? (text.empty() ? 0 : text.size() - 1) : limit;
  };
  if (const size_t at = find('\n', std::min(kLeast, end(kLong)), end(kLong)); at != std::string_view::npos)
    return at + 1;
  if (text.size() <= kLong) return last ? text.size() : std::string_view::npos;
  if (const size_t at = find(' ', kLong / 2, end(kLongest)); at != std::string_view::npos) return at;
  if (text.size() <= kLongest) return last ? text.size() : std::string_view::npos;
  size_t at = kLongest;
  while (at > kLong && (static_cast<uint8_t>(text[at]) & 0xC0U) == 0x80U) --at;  // inside a character
  return at;
}

class TextDocuments final : public TextSource {
 public:
  TextDocuments(const std::string& path, const OpenOptions& options, TextWants wants, bool pieces)
      : pieces_(pieces) {
    if (fs::is_directory(path)) {
      find_files(path, wants, options.skip_bad);
    } else {
      kind_ = "a document of text";
      add_file(path, "");
    }
    if (files_.size() == 1) kept_ = open_text_file(files_[0].path);
    for (size_t f = 0; f < files_.size(); ++f) index(f, options.skip_bad);
    if (samples_.empty()) throw input_error("{}: it holds no text", path);
  }

  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }
  std::string name(int64_t index) const override {
    const Piece& piece = samples_.at(static_cast<size_t>(index));
    const std::string& path = files_[piece.file].path;
    return pieces_ ? fmt::format("{}, byte {}", path, piece.offset) : path;
  }
  bool begins(int64_t index) const override {
    return index == 0 ||
           samples_.at(static_cast<size_t>(index)).file != samples_[static_cast<size_t>(index) - 1].file;
  }
  void read(int64_t index, TextSample& sample) const override {
    const Piece& piece = samples_.at(static_cast<size_t>(index));
    sample.texts = {read_part(*opened(piece.file).bytes, piece.offset, piece.bytes)};
  }

 private:
  struct File {
    std::string path;
    Stamp stamp;
  };
  struct Piece {
    size_t file = 0;
    int64_t offset = 0;
    int64_t bytes = 0;
  };

  void add_file(const std::string& path, const std::string& label) {
    files_.push_back({path, stamp_of(path)});
    file_labels_.push_back(label);
  }

  void find_files(const std::string& root, TextWants wants, bool skip_bad) {
    std::vector<std::string> top;
    int64_t others = 0;
    for (const std::string& name : names_in(root)) {
      if (is_txt(name) && fs::is_regular_file(fs::path(root) / name)) {
        top.push_back((fs::path(root) / name).string());
      } else if (!name.starts_with('.') && !fs::is_directory(fs::path(root) / name)) {
        ++others;
      }
    }
    std::vector<std::string> classes;
    std::vector<std::vector<std::string>> found;
    std::vector<std::string> empty;
    auto texts = static_cast<int64_t>(top.size());
    for (const std::string& name : folders_in(root)) {
      std::vector<std::string> files;
      for (const std::string& file : names_in((fs::path(root) / name).string())) {
        const fs::path path = fs::path(root) / name / file;
        if (is_txt(file) && fs::is_regular_file(path)) {
          files.push_back(path.string());
        } else if (!file.starts_with('.')) {
          ++others;
        }
      }
      if (files.empty()) {
        empty.push_back((fs::path(root) / name).string());
        continue;
      }
      texts += static_cast<int64_t>(files.size());
      classes.push_back(name);
      found.push_back(std::move(files));
    }
    if (!classes.empty() && !empty.empty() && !skip_bad)
      throw input_error(
          "{}: the class folder holds no text (.txt); remove it, or leave it out with --skip-bad",
          empty.front());
    others += static_cast<int64_t>(empty.size());
    if (others > texts)
      throw input_error(
          "{}: it holds {} texts (.txt), and {} files and folders that are none; expected a folder of texts",
          root, texts, others);
    if (others > 0)
      notes_.push_back(
          fmt::format("{} files and folders are left out: they are no .txt, nor folders of them", others));
    if (classes.empty()) {
      kind_ = "folder of texts";
      for (const std::string& path : top) add_file(path, "");
      return;
    }
    kind_ = "class folders of texts";
    if (!top.empty())
      notes_.push_back(fmt::format(
          "warning: {}: {} texts beside the class folders belong to no class and are left out ({})", root,
          top.size(), shown(fs::path(top[0]).filename().string())));
    // Mixed in proportion, as images are (dataset.h).
    struct Place {
      int64_t rank, count;
      size_t of_class;
    };
    std::vector<Place> places;
    for (size_t c = 0; c < classes.size(); ++c)
      for (size_t r = 0; r < found[c].size(); ++r)
        places.push_back({static_cast<int64_t>(r), static_cast<int64_t>(found[c].size()), c});
    std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
      const auto left = static_cast<__int128>(2 * a.rank + 1) * b.count;
      const auto right = static_cast<__int128>(2 * b.rank + 1) * a.count;
      return left != right ? left < right : a.of_class < b.of_class;
    });
    for (const Place& p : places)
      add_file(found[p.of_class][static_cast<size_t>(p.rank)], classes[p.of_class]);
    if (wants.labels) labels_where_ = root;
  }

  TextFile opened(size_t file) const {
    if (kept_) return *kept_;
    const File& of = files_[file];
    check_stamp(of.path, stamp_of(of.path), of.stamp);
    return open_text_file(of.path);
  }

  void index(size_t f, bool skip_bad) {
    const size_t before = samples_.size();
    const auto row = static_cast<int64_t>(before);
    try {
      const TextFile file = opened(f);
      int64_t at = file.begin;
      if (pieces_) {
        for_each_window(file, [&](std::string_view window, int64_t offset, bool last) {
          size_t taken = 0;
          while (taken < window.size()) {
            const size_t end = piece_end(window.substr(taken), last);
            if (end == std::string_view::npos) break;
            samples_.push_back({f, offset + static_cast<int64_t>(taken), static_cast<int64_t>(end)});
            taken += end;
          }
          return taken;
        });
      } else {
        check_stop();
        samples_.push_back({f, at, file.bytes->size() - at});
        if (file.bytes->size() == at)
          throw input_error("{}: the file is empty; remove it, or leave it out with --skip-bad",
                            files_[f].path);
      }
    } catch (const Error& e) {
      if (!skip_bad || e.kind() != ErrorKind::kInput) throw;
      samples_.resize(before);
      samples_.push_back({f, 0, 0});
      bad_.emplace(row, e.what());
    }
    if (!labels_where_.empty()) labels_.resize(samples_.size(), file_labels_[f]);
  }

  bool pieces_;
  std::vector<File> files_;
  std::vector<std::string> file_labels_;
  std::optional<TextFile> kept_;
  std::vector<Piece> samples_;
};

}  // namespace

std::unique_ptr<TextSource> open_text_lines(const std::string& path, const OpenOptions&) {
  return std::make_unique<TextLines>(path);
}

std::unique_ptr<TextSource> open_text_documents(const std::string& path, const OpenOptions& options,
                                                TextWants wants, bool pieces) {
  return std::make_unique<TextDocuments>(path, options, wants, pieces);
}

bool is_text_folder(const std::string& path) {
  const auto holds = [](const std::string& folder) {
    const std::vector<std::string> names = names_in(folder);
    return std::any_of(names.begin(), names.end(), is_txt);
  };
  if (holds(path)) return true;
  for (const std::string& name : folders_in(path)) {
    const std::string below = (fs::path(path) / name).string();
    if (holds(below)) return true;
    if (!is_split_name(name)) continue;
    for (const std::string& inner : folders_in(below))
      if (holds((fs::path(below) / inner).string())) return true;
  }
  return false;
}

}  // namespace halftone::data
