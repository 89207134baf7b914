#include "data/text_file.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/stop.h"
#include "data/text.h"

namespace halftone::data {
namespace {

constexpr int64_t kWindow = int64_t{4} << 20;
constexpr int64_t kHead = 1024;

}  // namespace

TextFile open_text_file(const std::string& path) {
  TextFile file;
  file.bytes = file_bytes(path);
  const std::string head = read_part(*file.bytes, 0, std::min(kHead, file.bytes->size()));
  if (head.starts_with("\xFF\xFE") || head.starts_with("\xFE\xFF")) {
    file.bytes = memory_bytes(text_of(read_file(path), path), path);
    return file;
  }
  text_of(head, path);  // for its errors
  if (head.starts_with("\xEF\xBB\xBF")) file.begin = 3;
  return file;
}

void for_each_window(const TextFile& file,
                     const std::function<size_t(std::string_view window, int64_t offset, bool last)>& use) {
  const int64_t size = file.bytes->size();
  std::string window;
  int64_t offset = file.begin;  // of the window
  int64_t wanted = kWindow;
  int64_t lines = 0;
  while (true) {
    check_stop();
    const int64_t have = static_cast<int64_t>(window.size());
    const int64_t end = std::min(size, offset + wanted);
    const std::string more = read_part(*file.bytes, offset + have, end - offset - have);
    const size_t zero = more.find('\0');
    if (zero != std::string::npos) {
      const auto in = [](std::string_view text) { return std::count(text.begin(), text.end(), '\n'); };
      throw input_error("{}, line {}: a zero byte, which text does not have; save it as UTF-8 text",
                        file.bytes->name(),
                        1 + lines + in(window) + in(std::string_view(more).substr(0, zero)));
    }
    window += more;
    const bool last = end == size;
    const size_t taken = use(window, offset, last);
    HT_ASSERT(taken <= window.size(), "{} of {} bytes", taken, window.size());
    if (last) return;
    lines += std::count(window.begin(), window.begin() + static_cast<std::ptrdiff_t>(taken), '\n');
    window.erase(0, taken);
    offset += static_cast<int64_t>(taken);
    // What is left is the beginning of something longer.
    wanted = std::max(kWindow, 2 * static_cast<int64_t>(window.size()));
  }
}

void for_each_line(const TextFile& file,
                   const std::function<void(std::string_view line, const TextPlace& place)>& use) {
  int64_t number = 1;
  for_each_window(file, [&](std::string_view window, int64_t offset, bool last) {
    size_t at = 0;
    while (at < window.size()) {
      const size_t end = window.find('\n', at);
      if (end == std::string_view::npos && !last) break;
      std::string_view line = window.substr(at, end == std::string_view::npos ? end : end - at);
      const size_t next = end == std::string_view::npos ? window.size() : end + 1;
      if (line.ends_with('\r')) line.remove_suffix(1);
      use(line, {offset + static_cast<int64_t>(at), number, static_cast<int64_t>(line.size())});
      ++number;
      at = next;
    }
    return at;
  });
}

std::string text_at(const TextFile& file, const TextPlace& place) {
  return read_part(*file.bytes, place.offset, place.bytes);
}

}  // namespace halftone::data
