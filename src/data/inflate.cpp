#include "data/inflate.h"

#include <zlib.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "data/deflate_stream.h"
#include "data/indexed_deflate.h"

namespace halftone::data {
namespace {

constexpr int64_t kMostRatio = 1032;  // of deflate: 258 bytes for two bits

Error too_much(const Bytes& compressed, int64_t want) {
  return input_error("{}: {} bytes of data are claimed, more than its {} compressed bytes can hold",
                     compressed.name(), want, compressed.size());
}

class Inflater {
 public:
  Inflater(const Bytes& compressed, Deflated format) : stream_(compressed, format) {}

  // Up to `count` bytes; fewer only at the end.
  int64_t read(char* out, int64_t count) {
    z_stream& z = stream_.z();
    int64_t done = 0;
    while (done < count && !ended_) {
      const auto room = static_cast<uInt>(std::min<int64_t>(count - done, 1 << 30));
      z.next_out = reinterpret_cast<Bytef*>(out + done);
      z.avail_out = room;
      const int code = stream_.step(Z_NO_FLUSH);
      done += room - z.avail_out;
      // A gzip file may consist of several members, one after the other.
      if (code == Z_STREAM_END) ended_ = !stream_.next_member();
    }
    return done;
  }

 private:
  DeflateStream stream_;
  bool ended_ = false;
};

}  // namespace

std::string inflate(const Bytes& compressed, Deflated format, int64_t prefix_bytes,
                    const std::function<int64_t(const std::string& prefix)>& total) {
  Inflater inflater(compressed, format);
  std::string out(static_cast<size_t>(prefix_bytes), '\0');
  out.resize(static_cast<size_t>(inflater.read(out.data(), prefix_bytes)));
  const int64_t want = total(out);
  if (want / kMostRatio > compressed.size()) throw too_much(compressed, want);
  auto have = static_cast<int64_t>(out.size());
  while (have < want) {
    const int64_t next = std::min(want, std::max<int64_t>(2 * have, 1 << 20));
    out.resize(static_cast<size_t>(next));
    const int64_t got = inflater.read(out.data() + have, next - have);
    have += got;
    if (have < next)
      throw input_error("{}: {} bytes of data are claimed, but it holds {}", compressed.name(), want, have);
  }
  char more = 0;
  if (have > want || inflater.read(&more, 1) != 0)
    throw input_error("{}: it holds more than the {} bytes of data that are claimed", compressed.name(),
                      want);
  return out;
}

std::string inflated_prefix(const Bytes& compressed, Deflated format, int64_t bytes) {
  Inflater inflater(compressed, format);
  std::string prefix(static_cast<size_t>(bytes), '\0');
  prefix.resize(static_cast<size_t>(inflater.read(prefix.data(), bytes)));
  return prefix;
}

std::shared_ptr<const Bytes> open_deflated(std::shared_ptr<const Bytes> compressed, Deflated format,
                                           int64_t prefix_bytes,
                                           const std::function<int64_t(const std::string& prefix)>& total,
                                           const uint32_t* crc, const std::string& name) {
  const int64_t want = total(inflated_prefix(*compressed, format, prefix_bytes));
  if (want / kMostRatio > compressed->size()) throw too_much(*compressed, want);
  if (want > most_in_memory(compressed->size()))
    return indexed_deflate(std::move(compressed), format, want, crc, name);
  std::string contents = inflate(*compressed, format, prefix_bytes, total);
  if (crc != nullptr && static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(contents.data()),
                                                      contents.size())) != *crc)
    throw input_error("{}: its checksum is wrong; the file is damaged", name);
  return memory_bytes(std::move(contents), name);
}

std::shared_ptr<const Bytes> open_maybe_gzip(const std::string& path, int64_t prefix_bytes,
                                             const std::function<int64_t(const std::string& prefix)>& total) {
  std::shared_ptr<const Bytes> file = file_bytes(path);
  if (file->size() < 2 || read_part(*file, 0, 2) != "\x1F\x8B") return file;
  return open_deflated(std::move(file), Deflated::kGzip, prefix_bytes, total, nullptr, path);
}

}  // namespace halftone::data
