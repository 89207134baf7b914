#include "data/deflate_stream.h"

#include <algorithm>
#include <new>

#include "base/stop.h"

namespace halftone::data {
namespace {

constexpr int64_t kInputBytes = 1 << 16;

}  // namespace

DeflateStream::DeflateStream(const Bytes& compressed, Deflated format)
    : compressed_(compressed), gzip_(format == Deflated::kGzip), input_(kInputBytes) {
  // Window of 32 KiB; 16 more asks zlib for gzip's frame, a negative sign for none.
  if (inflateInit2(&z_, gzip_ ? 15 + 16 : -15) != Z_OK) throw std::bad_alloc();
}

DeflateStream::~DeflateStream() {
  inflateEnd(&z_);
}

void DeflateStream::go_to(const DeflateMark& mark) {
  HT_ASSERT(inflateReset(&z_) == Z_OK);
  z_.avail_in = 0;
  position_ = mark.in - (mark.bits > 0 ? 1 : 0);
  if (mark.bits > 0) {
    refill();
    const int byte = *z_.next_in++;
    --z_.avail_in;
    HT_ASSERT(inflatePrime(&z_, mark.bits, byte >> (8 - mark.bits)) == Z_OK);
  }
  if (mark.window.empty()) return;
  const int code = inflateSetDictionary(&z_, reinterpret_cast<const Bytef*>(mark.window.data()),
                                        static_cast<uInt>(mark.window.size()));
  if (code == Z_MEM_ERROR) throw std::bad_alloc();
  if (code != Z_OK) throw damaged();
}

int DeflateStream::step(int flush) {
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

bool DeflateStream::next_member() {
  if (z_.avail_in == 0) refill();
  if (z_.avail_in == 0) return false;
  if (!gzip_ || inflateReset(&z_) != Z_OK)
    throw input_error("{}: there is something after the end of the compressed data", compressed_.name());
  return true;
}

Error DeflateStream::damaged() const {
  return input_error("{}: damaged compressed data: {}", compressed_.name(),
                     z_.msg != nullptr ? z_.msg : "zlib stopped");
}

void DeflateStream::refill() {
  const int64_t count = std::min(kInputBytes, compressed_.size() - position_);
  compressed_.read(position_, count, input_.data());
  position_ += count;
  z_.next_in = input_.data();
  z_.avail_in = static_cast<uInt>(count);
}

}  // namespace halftone::data
