#include "train/run_marker.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/crc32c.h"
#include "base/descriptor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/regular_file.h"
#include "base/resource_error.h"
#include "base/write_all.h"
#include "halftone/printable.h"
#include "train/run_folder.h"
#include "train/sample_scores.h"

namespace halftone::train::run_marker {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::string text_of_marker(int fd, const std::string& folder) {
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t got = ::pread(fd, buffer, sizeof(buffer), static_cast<off_t>(text.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw file_error(errno, "cannot read " + marker_of(folder));
    if (got == 0) return text;
    text.append(buffer, static_cast<size_t>(got));
  }
}

// Whether it is the name of a file in the folder, as record_results() has it. By any other, what lies outside
// would be removed.
bool stays_inside(const std::string& name) {
  const fs::path path(name);
  // Compared as text: paths are equal whose separators are written differently.
  return !name.empty() && path.is_relative() && path.lexically_normal().string() == name &&
         *path.begin() != ".." && *path.begin() != ".";
}

int64_t whole(const Json& number) {
  if (!number.is_number_integer()) throw Json::type_error::create(302, "no whole number", &number);
  return number.get<int64_t>();
}

}  // namespace

bool is_checkpoint(std::string_view name) {
  return name.starts_with("checkpoint-") && name.ends_with(".htck");
}

bool is_of_a_run(std::string_view name) {
  if (name.starts_with("events.out.tfevents.") && name.find(".halftone.") != std::string_view::npos)
    return true;
  for (const std::string_view suffix : {".damaged", ".tmp"})
    if (name.ends_with(suffix)) name.remove_suffix(suffix.size());
  return name == "events.jsonl" || name == kMarkerName || name == kSampleScoresFile ||
         name == "summary.json" || name == "config.yaml" || name == "classes.txt" || name == "columns.json" ||
         name == "metrics.json" || name == "metrics.csv" || name == "before.json" ||
         name == "confusion.csv" || name == "tokenizer.json" || name == "vocab.txt" ||
         name == "tokenizer.model" || name == "adapter_model.safetensors" || name == "adapter_config.json" ||
         name == "best.htck" || is_checkpoint(name);
}

void remove(const std::string& path) {
  std::error_code error;
  fs::remove(path, error);
  if (error) throw file_error(error.value(), "cannot remove " + path);
}

std::string marker_of(const std::string& folder) {
  return folder + "/" + std::string(kMarkerName);
}

bool has_marker(const std::string& folder) {
  std::error_code ignored;
  return fs::is_regular_file(fs::symlink_status(marker_of(folder), ignored));
}

Marker read_marker(int fd, const std::string& folder) {
  const std::string text = text_of_marker(fd, folder);
  for (size_t end = text.size(); end > 0;) {
    const size_t before = text.rfind('\n', end - 1);
    const size_t begin = before == std::string::npos ? 0 : before + 1;
    const Json j = Json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                               text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    end = before == std::string::npos ? 0 : before;
    if (!j.is_object()) continue;
    try {
      Marker marker;
      marker.process = whole(j.at("process"));
      marker.kind = j.value("kind", "");
      bool inside = true;
      for (const Json& r : j.at("results")) {
        marker.results.push_back(
            {r.at("name"), whole(r.at("bytes")), static_cast<uint32_t>(whole(r.at("crc32c")))});
        inside = inside && stays_inside(marker.results.back().name);
      }
      if (inside) return marker;
    } catch (const Json::exception&) {
      continue;
    }
  }
  return {};
}

Marker marker_in(const std::string& folder) {
  const Descriptor fd(open_regular(marker_of(folder)));
  return read_marker(fd.get(), folder);
}

void write_marker(int fd, const std::string& folder, const Marker& marker) {
  Json results = Json::array();
  for (const Result& r : marker.results)
    results.push_back({{"name", r.name}, {"bytes", r.bytes}, {"crc32c", r.crc}});
  const std::string text = "\n" +
                           Json{{"about", "a folder that halftone writes its runs into; do not edit"},
                                {"process", marker.process},
                                {"kind", marker.kind},
                                {"results", results}}
                               .dump() +
                           "\n";
  if (::lseek(fd, 0, SEEK_END) < 0) throw file_error(errno, "cannot write " + marker_of(folder));
  write_all(fd, text.data(), static_cast<int64_t>(text.size()), marker_of(folder));
}

void write_marker_durably(int fd, const std::string& folder, const Marker& marker) {
  write_marker(fd, folder, marker);
  if (::fsync(fd) != 0) throw file_error(errno, "cannot write " + marker_of(folder));
}

Result result_of(const std::string& folder, const std::string& name) {
  const InputFile file(folder + "/" + name);
  Result r{printable(name), file.size(), 0};
  std::vector<char> block(1 << 20);
  for (int64_t at = 0; at < file.size();) {
    const int64_t bytes = std::min<int64_t>(static_cast<int64_t>(block.size()), file.size() - at);
    file.read(at, bytes, block.data());
    r.crc = crc32c(block.data(), bytes, r.crc);
    at += bytes;
  }
  return r;
}

bool is_unchanged(const std::string& folder, const std::string& name, const Marker& marker) {
  const auto recorded = std::find_if(marker.results.begin(), marker.results.end(),
                                     [&](const Result& r) { return r.name == printable(name); });
  if (recorded == marker.results.end()) return false;
  if (recorded->bytes == kBeingWritten) return true;
  const Result now = result_of(folder, name);
  return now.bytes == recorded->bytes && now.crc == recorded->crc;
}

bool is_unfinished(std::string_view name, const Marker& marker) {
  constexpr std::string_view kTemporary = ".tmp";
  if (!name.ends_with(kTemporary)) return false;
  name.remove_suffix(kTemporary.size());
  return name == kModel || std::any_of(marker.results.begin(), marker.results.end(), [&](const Result& r) {
           return r.bytes == kBeingWritten && r.name == printable(name);
         });
}

}  // namespace halftone::train::run_marker
