#include "data/inflate.h"

#include <zlib.h>

#include <algorithm>
#include <new>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/stop.h"
#include "data/indexed_deflate.h"

namespace halftone::data {
namespace {

constexpr int64_t kInputChunk = 1 << 16;
constexpr int64_t kMostRatio = 1032;  // of deflate: 258 bytes for two bits

Error too_much(const Bytes& compressed, int64_t want) {
  return input_error("{}: {} bytes of data are claimed, more than its {} compressed bytes can hold", compressed.name(), want,
                     compressed.size());
}

class Inflater {
 public:
  Inflater(const Bytes& compressed, Deflated format)
      : compressed_(compressed), gzip_(format == Deflated::kGzip) {
    // Window of 32 KiB; 16 more asks zlib for gzip's frame, a negative sign for none.
    if (inflateInit2(&stream_, gzip_ ? 15 + 16 : -15) != Z_OK) throw std::bad_alloc();
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  ~Inflater() { inflateEnd(&stream_); }

  // Up to `count` bytes; fewer only at the end.
  int64_t read(char* out, int64_t count) {
    int64_t done = 0;
    while (done < count && !ended_) {
      if (stream_.avail_in == 0) refill();
      check_stop();
      const auto room = static_cast<uInt>(std::min<int64_t>(count - done, 1 << 30));
      stream_.next_out = reinterpret_cast<Bytef*>(out + done);
      stream_.avail_out = room;
      const int code = ::inflate(&stream_, Z_NO_FLUSH);
      done += room - stream_.avail_out;
      if (code == Z_STREAM_END) {
        next_member();
      } else if (code == Z_MEM_ERROR) {
        throw std::bad_alloc();
      } else if (code != Z_OK && code != Z_BUF_ERROR) {
        throw input_error("{}: damaged compressed data: {}", compressed_.name(),
                          stream_.msg != nullptr ? stream_.msg : "zlib stopped");
      } else if (stream_.avail_in == 0 && position_ == compressed_.size() && stream_.avail_out != 0) {
        throw input_error("{}: the compressed data is cut off", compressed_.name());
      }
    }
    return done;
  }

 private:
  void refill() {
    const int64_t count = std::min(kInputChunk, compressed_.size() - position_);
    compressed_.read(position_, count, input_.data());
    position_ += count;
    stream_.next_in = input_.data();
    stream_.avail_in = static_cast<uInt>(count);
  }

  // A gzip file may consist of several, one after the other.
  void next_member() {
    if (gzip_ && stream_.avail_in == 0 && position_ < compressed_.size()) refill();
    if (stream_.avail_in == 0) {
      ended_ = true;
    } else if (!gzip_ || inflateReset(&stream_) != Z_OK) {
      throw input_error("{}: there is something after the end of the compressed data", compressed_.name());
    }
  }

  const Bytes& compressed_;
  bool gzip_;
  bool ended_ = false;
  int64_t position_ = 0;
  std::vector<Bytef> input_ = std::vector<Bytef>(kInputChunk);
  z_stream stream_{};
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

std::shared_ptr<const Bytes> open_deflated(std::shared_ptr<const Bytes> compressed, Deflated format, int64_t prefix_bytes,
                                           const std::function<int64_t(const std::string& prefix)>& total,
                                           const uint32_t* crc, const std::string& name) {
  int64_t want = 0;
  {
    Inflater inflater(*compressed, format);
    std::string prefix(static_cast<size_t>(prefix_bytes), '\0');
    prefix.resize(static_cast<size_t>(inflater.read(prefix.data(), prefix_bytes)));
    want = total(prefix);
  }
  if (want / kMostRatio > compressed->size()) throw too_much(*compressed, want);
  if (want > most_in_memory(compressed->size())) return indexed_deflate(std::move(compressed), format, want, crc, name);
  std::string contents = inflate(*compressed, format, prefix_bytes, total);
  if (crc != nullptr && static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(contents.data()), contents.size())) != *crc)
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
