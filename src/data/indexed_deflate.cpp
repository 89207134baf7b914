#include "data/indexed_deflate.h"

#include <zlib.h>

#include <algorithm>
#include <iterator>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/stop.h"

namespace halftone::data {
namespace {

constexpr int64_t kInputBytes = 1 << 16;
constexpr size_t kWindowBytes = 1 << 15;
constexpr int64_t kLeastSpan = 1 << 20;  // between marks, of what comes out
constexpr int64_t kSpareMarkBytes = 4 << 20;
constexpr size_t kMostCursors = 64;

// A place between two blocks, from which inflating can go on.
struct Mark {
  int64_t out = 0;  // bytes before it
  int64_t in = 0;   // whole bytes of input before it
  int bits = 0;     // of the last of them, how many belong to what follows
  std::string window;
};

// zlib's stream with its input.
class Stream {
 public:
  Stream(const Bytes& compressed, int window_bits) : compressed_(compressed) {
    if (inflateInit2(&z_, window_bits) != Z_OK) throw std::bad_alloc();
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { inflateEnd(&z_); }

  // Goes on at a mark; the stream must be raw deflate.
  void go_to(const Mark& mark) {
    HT_ASSERT(inflateReset(&z_) == Z_OK);
    z_.avail_in = 0;
    position_ = mark.in - (mark.bits > 0 ? 1 : 0);
    if (mark.bits > 0) {
      refill();
      const int byte = *z_.next_in++;
      --z_.avail_in;
      HT_ASSERT(inflatePrime(&z_, mark.bits, byte >> (8 - mark.bits)) == Z_OK);
    }
    if (!mark.window.empty() &&
        inflateSetDictionary(&z_, reinterpret_cast<const Bytef*>(mark.window.data()),
                             static_cast<uInt>(mark.window.size())) != Z_OK)
      throw damaged();
  }

  // One step of inflate() into what z() has room for; Z_OK or Z_STREAM_END.
  int step(int flush) {
    check_stop();
    if (z_.avail_in == 0) refill();
    const uInt room = z_.avail_out;
    const uInt before = z_.avail_in;
    const int code = ::inflate(&z_, flush);
    if (code == Z_STREAM_END) return code;
    if (code == Z_MEM_ERROR) throw std::bad_alloc();
    if (code != Z_OK && code != Z_BUF_ERROR) throw damaged();
    if (code == Z_BUF_ERROR && before == 0 && room > 0 && z_.avail_out == room)
      throw input_error("{}: the compressed data is cut off", compressed_.name());
    return Z_OK;
  }

  z_stream& z() { return z_; }
  int64_t in() const { return position_ - z_.avail_in; }
  bool has_more() {
    if (z_.avail_in == 0) refill();
    return z_.avail_in > 0;
  }

 private:
  Error damaged() const {
    return input_error("{}: damaged compressed data: {}", compressed_.name(),
                       z_.msg != nullptr ? z_.msg : "zlib stopped");
  }
  void refill() {
    const int64_t count = std::min(kInputBytes, compressed_.size() - position_);
    compressed_.read(position_, count, input_.data());
    position_ += count;
    z_.next_in = input_.data();
    z_.avail_in = static_cast<uInt>(count);
  }

  const Bytes& compressed_;
  int64_t position_ = 0;
  std::vector<Bytef> input_ = std::vector<Bytef>(kInputBytes);
  z_stream z_{};
};

class IndexedDeflate final : public Bytes {
 public:
  IndexedDeflate(std::shared_ptr<const Bytes> compressed, Deflated format, int64_t total, const uint32_t* crc,
                 const std::string& name)
      : Bytes(name), compressed_(std::move(compressed)), total_(total) {
    find_marks(format == Deflated::kGzip, crc);
  }

  int64_t size() const override { return total_; }

  void read(int64_t offset, int64_t count, void* out) const override {
    HT_ASSERT(offset >= 0 && count >= 0 && offset <= total_ && count <= total_ - offset, "bytes {} + {} of {} in {}", offset,
              count, total_, name());
    std::unique_ptr<Cursor> cursor = take(offset);
    while (cursor->at < offset) {
      const int64_t skipped = std::min<int64_t>(offset - cursor->at, static_cast<int64_t>(cursor->nowhere.size()));
      inflate(*cursor, cursor->nowhere.data(), skipped);
    }
    inflate(*cursor, static_cast<Bytef*>(out), count);
    const std::lock_guard lock(mutex_);
    if (free_.size() < kMostCursors) free_.push_back(std::move(cursor));
  }

 private:
  struct Cursor {
    explicit Cursor(const Bytes& compressed) : stream(compressed, -15) {}
    Stream stream;
    int64_t at = -1;  // of what comes out
    std::vector<Bytef> nowhere = std::vector<Bytef>(kInputBytes);
  };

  void find_marks(bool gzip, const uint32_t* crc) {
    const int64_t most = (compressed_->size() + kSpareMarkBytes) / static_cast<int64_t>(kWindowBytes);
    const int64_t span = std::max(kLeastSpan, total_ / most);
    Stream stream(*compressed_, gzip ? 15 + 16 : -15);
    z_stream& z = stream.z();
    std::vector<Bytef> window(kWindowBytes);
    uLong sum = crc32_z(0, nullptr, 0);
    int64_t out = 0;
    // A gzip file has a header, behind which zlib stops; raw data begins with its first block.
    bool member_begins = gzip;
    if (!gzip) marks_.push_back({});
    z.avail_out = 0;
    for (;;) {
      if (z.avail_out == 0) {
        z.next_out = window.data();
        z.avail_out = static_cast<uInt>(window.size());
      }
      const Bytef* const from = z.next_out;
      const int code = stream.step(Z_BLOCK);
      const auto made = static_cast<size_t>(z.next_out - from);
      sum = crc32_z(sum, from, made);
      out += static_cast<int64_t>(made);
      if (out > total_)
        throw input_error("{}: it holds more than the {} bytes of data that are claimed", name(), total_);
      if (code == Z_STREAM_END) {
        if (!stream.has_more()) break;
        if (!gzip || inflateReset(&z) != Z_OK)
          throw input_error("{}: there is something after the end of the compressed data", name());
        member_begins = true;
        continue;
      }
      const bool between = (z.data_type & 128) != 0 && (z.data_type & 64) == 0;
      if (!between || (!member_begins && out - marks_.back().out < span)) continue;
      Mark mark{out, stream.in(), z.data_type & 7, {}};
      if (!member_begins) {
        // The window goes round; what is older than the member is never referred to.
        const auto filled = static_cast<size_t>(z.next_out - window.data());
        mark.window.reserve(window.size());
        mark.window.append(reinterpret_cast<const char*>(window.data() + filled), window.size() - filled);
        mark.window.append(reinterpret_cast<const char*>(window.data()), filled);
      }
      member_begins = false;
      marks_.push_back(std::move(mark));
    }
    if (out != total_)
      throw input_error("{}: {} bytes of data are claimed, but it holds {}", name(), total_, out);
    if (crc != nullptr && static_cast<uint32_t>(sum) != *crc)
      throw input_error("{}: its checksum is wrong; the file is damaged", name());
  }

  // The last mark at or before a place.
  const Mark& mark_before(int64_t at) const {
    const auto after =
        std::upper_bound(marks_.begin(), marks_.end(), at, [](int64_t a, const Mark& m) { return a < m.out; });
    HT_ASSERT(after != marks_.begin());
    return *std::prev(after);
  }

  // A cursor at or before a place, as near as there is.
  std::unique_ptr<Cursor> take(int64_t offset) const {
    const Mark& mark = mark_before(offset);
    std::unique_ptr<Cursor> cursor;
    {
      const std::lock_guard lock(mutex_);
      auto best = free_.end();
      for (auto it = free_.begin(); it != free_.end(); ++it)
        if ((*it)->at <= offset && (best == free_.end() || (*it)->at > (*best)->at)) best = it;
      if (best == free_.end() && !free_.empty()) best = free_.begin();
      if (best != free_.end()) {
        cursor = std::move(*best);
        free_.erase(best);
      }
    }
    if (!cursor) cursor = std::make_unique<Cursor>(*compressed_);
    if (cursor->at > offset || cursor->at < mark.out) go_to(*cursor, mark);
    return cursor;
  }

  static void go_to(Cursor& cursor, const Mark& mark) {
    cursor.at = -1;
    cursor.stream.go_to(mark);
    cursor.at = mark.out;
  }

  void inflate(Cursor& cursor, Bytef* out, int64_t count) const {
    z_stream& z = cursor.stream.z();
    while (count > 0) {
      const auto room = static_cast<uInt>(std::min<int64_t>(count, 1 << 30));
      z.next_out = out;
      z.avail_out = room;
      const int code = cursor.stream.step(Z_NO_FLUSH);
      const auto made = static_cast<int64_t>(room - z.avail_out);
      out += made;
      count -= made;
      cursor.at += made;
      if (code != Z_STREAM_END || count == 0) continue;
      // The next member, which has a mark at its begin.
      const Mark& next = mark_before(cursor.at);
      if (next.out != cursor.at) throw input_error("{}: the compressed data is cut off", name());
      go_to(cursor, next);
    }
  }

  std::shared_ptr<const Bytes> compressed_;
  int64_t total_;
  std::vector<Mark> marks_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Cursor>> free_;
};

}  // namespace

std::shared_ptr<const Bytes> indexed_deflate(std::shared_ptr<const Bytes> compressed, Deflated format, int64_t total,
                                             const uint32_t* crc, const std::string& name) {
  return std::make_shared<IndexedDeflate>(std::move(compressed), format, total, crc, name);
}

}  // namespace halftone::data
