#include "data/indexed_deflate.h"

#include <algorithm>
#include <iterator>
#include <mutex>
#include <utility>
#include <vector>

#include "base/error.h"
#include "data/deflate_stream.h"

namespace halftone::data {
namespace {

constexpr size_t kSkippedBytes = 1 << 16;
constexpr size_t kWindowBytes = 1 << 15;
constexpr int64_t kLeastSpan = 1 << 20;  // between marks, of what comes out
constexpr int64_t kSpareMarkBytes = 4 << 20;
constexpr size_t kMostCursors = 64;

class IndexedDeflate final : public Bytes {
 public:
  IndexedDeflate(std::shared_ptr<const Bytes> compressed, Deflated format, int64_t total, const uint32_t* crc,
                 const std::string& name)
      : Bytes(name), compressed_(std::move(compressed)), total_(total) {
    find_marks(format, crc);
  }

  int64_t size() const override { return total_; }

  void read(int64_t offset, int64_t count, void* out) const override {
    HT_ASSERT(offset >= 0 && count >= 0 && offset <= total_ && count <= total_ - offset,
              "bytes {} + {} of {} in {}", offset, count, total_, name());
    std::unique_ptr<Cursor> cursor = take(offset);
    while (cursor->at < offset) {
      const int64_t skipped =
          std::min<int64_t>(offset - cursor->at, static_cast<int64_t>(cursor->nowhere.size()));
      inflate(*cursor, cursor->nowhere.data(), skipped);
    }
    inflate(*cursor, static_cast<Bytef*>(out), count);
    const std::lock_guard lock(mutex_);
    if (free_.size() < kMostCursors) free_.push_back(std::move(cursor));
  }

 private:
  struct Cursor {
    explicit Cursor(const Bytes& compressed) : stream(compressed, Deflated::kRaw) {}
    DeflateStream stream;
    int64_t at = -1;  // of what comes out
    std::vector<Bytef> nowhere = std::vector<Bytef>(kSkippedBytes);
  };

  void find_marks(Deflated format, const uint32_t* crc) {
    const int64_t most = (compressed_->size() + kSpareMarkBytes) / static_cast<int64_t>(kWindowBytes);
    const int64_t span = std::max(kLeastSpan, total_ / most);
    DeflateStream stream(*compressed_, format);
    z_stream& z = stream.z();
    std::vector<Bytef> window(kWindowBytes);
    uLong sum = crc32_z(0, nullptr, 0);
    int64_t out = 0;
    // A gzip file has a header, behind which zlib stops; raw data begins with its first block.
    bool member_begins = format == Deflated::kGzip;
    if (!member_begins) marks_.push_back({});
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
        if (!stream.next_member()) break;
        member_begins = true;
        continue;
      }
      const bool between = (z.data_type & 128) != 0 && (z.data_type & 64) == 0;
      if (!between || (!member_begins && out - marks_.back().out < span)) continue;
      DeflateMark mark{out, stream.in(), z.data_type & 7, {}};
      if (!member_begins) {
        // The window goes round; what is older than the member is never referred to.
        const auto filled = static_cast<size_t>(z.next_out - window.data());
        mark.window.reserve(window.size());
        mark.window.append(reinterpret_cast<const char*>(window.data() + filled), window.size() - filled);
        mark.window.append(reinterpret_cast<const char*>(window.data()), filled);
      }
      member_begins = false;
      // Members without contents, twenty bytes each, would take marks of more: of those at one place the last
      // leads on.
      if (!marks_.empty() && marks_.back().out == out) marks_.pop_back();
      marks_.push_back(std::move(mark));
    }
    if (out != total_)
      throw input_error("{}: {} bytes of data are claimed, but it holds {}", name(), total_, out);
    if (crc != nullptr && static_cast<uint32_t>(sum) != *crc)
      throw input_error("{}: its checksum is wrong; the file is damaged", name());
  }

  // The last mark at or before a place.
  const DeflateMark& mark_before(int64_t at) const {
    const auto after = std::upper_bound(marks_.begin(), marks_.end(), at,
                                        [](int64_t a, const DeflateMark& m) { return a < m.out; });
    HT_ASSERT(after != marks_.begin());
    return *std::prev(after);
  }

  // A cursor at or before a place, as near as there is.
  std::unique_ptr<Cursor> take(int64_t offset) const {
    const DeflateMark& mark = mark_before(offset);
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

  static void go_to(Cursor& cursor, const DeflateMark& mark) {
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
      const DeflateMark& next = mark_before(cursor.at);
      if (next.out != cursor.at) throw input_error("{}: the compressed data is cut off", name());
      go_to(cursor, next);
    }
  }

  std::shared_ptr<const Bytes> compressed_;
  int64_t total_;
  std::vector<DeflateMark> marks_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Cursor>> free_;
};

}  // namespace

std::shared_ptr<const Bytes> indexed_deflate(std::shared_ptr<const Bytes> compressed, Deflated format,
                                             int64_t total, const uint32_t* crc, const std::string& name) {
  return std::make_shared<IndexedDeflate>(std::move(compressed), format, total, crc, name);
}

}  // namespace halftone::data
