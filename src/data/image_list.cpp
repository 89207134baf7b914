#include "data/image_list.h"

#include <fmt/format.h>
#include <glob.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "base/resource_error.h"
#include "base/stop.h"
#include "data/folder.h"
#include "data/image.h"
#include "data/image_folder.h"
#include "data/text.h"

namespace halftone::data {
namespace {

constexpr const char* kStandardInput = "-";
constexpr size_t kMostListBytes = size_t{1} << 28;

std::string standard_input() {
  std::string text;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof(buffer));
    check_stop();
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw file_error(errno, "cannot read standard input (--data -)");
    if (got == 0) return text;
    text.append(buffer, static_cast<size_t>(got));
    if (text.size() > kMostListBytes)
      throw input_error("standard input (--data -): more than {} bytes of paths; give them in parts",
                        kMostListBytes);
  }
}

void check_is_image(const std::string& path, const std::string& where) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(path, ignored);
  if (has_image_name(path) && !folder) return;
  throw input_error("{}: {} is {}; expected images ({}), as 'photos/*.jpg' names them", where, shown(path),
                    folder ? "a folder" : "no image by its name", image_kinds());
}

class Matches {
 public:
  explicit Matches(const std::string& pattern) : code_(::glob(pattern.c_str(), GLOB_ERR, nullptr, &found_)) {}
  ~Matches() { ::globfree(&found_); }
  Matches(const Matches&) = delete;
  Matches& operator=(const Matches&) = delete;
  int code() const { return code_; }
  std::vector<std::string> paths() const { return {found_.gl_pathv, found_.gl_pathv + found_.gl_pathc}; }

 private:
  glob_t found_{};
  int code_;
};

}  // namespace

bool is_image_list(const std::string& path) {
  if (path == kStandardInput) return true;
  std::error_code ignored;
  return path.find_first_of("*?") != std::string::npos && !std::filesystem::exists(path, ignored);
}

std::vector<std::string> images_of_pattern(const std::string& pattern) {
  const Matches matches(pattern);
  if (matches.code() == GLOB_NOSPACE) throw std::bad_alloc();
  if (matches.code() == GLOB_ABORTED) throw input_error("{}: a folder of it cannot be read", pattern);
  if (matches.code() == GLOB_NOMATCH) throw input_error("{}: no file has such a name", pattern);
  std::vector<std::string> paths = matches.paths();
  for (const std::string& path : paths) check_is_image(path, pattern);
  return paths;
}

std::vector<std::string> images_of_lines(const std::string& text, const std::string& where) {
  std::vector<std::string> paths;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    if (line.find('\0') != std::string::npos)
      throw input_error("{}: line {} has a byte of zero; expected a path a line", where, paths.size() + 1);
    check_is_image(line, where);
    paths.push_back(std::move(line));
  }
  if (paths.empty()) throw input_error("{}: it names no image; expected a path a line", where);
  return paths;
}

std::unique_ptr<Dataset> open_image_list(const Spec& spec, const OpenOptions& options) {
  if (!spec.split.empty())
    throw input_error("{} names images one by one, so there is no [{}] in it", spec.path, spec.split);
  if (options.labels) return open_images(spec.path, {}, options);  // which refuses
  if (spec.path == kStandardInput) {
    const std::string where = "standard input";
    return open_images(where, images_of_lines(standard_input(), where), options);
  }
  const std::vector<std::string> paths =
      is_image_list(spec.path) ? images_of_pattern(spec.path) : std::vector<std::string>{spec.path};
  return open_images(spec.path, paths, options);
}

}  // namespace halftone::data
