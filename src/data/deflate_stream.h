// zlib's stream with its input, for those who read compressed bytes from front to back and for those who
// begin at a mark.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/bytes.h"
#include "data/inflate.h"

namespace halftone::data {

// A place between two blocks, from which inflating can go on.
struct DeflateMark {
  int64_t out = 0;  // bytes before it
  int64_t in = 0;   // whole bytes of input before it
  int bits = 0;     // of the last of them, how many belong to what follows
  std::string window;
};

class DeflateStream {
 public:
  // `compressed` must outlive it.
  DeflateStream(const Bytes& compressed, Deflated format);
  DeflateStream(const DeflateStream&) = delete;
  DeflateStream& operator=(const DeflateStream&) = delete;
  ~DeflateStream();

  // Goes on at a mark; the stream must be raw deflate.
  void go_to(const DeflateMark& mark);

  // One step of inflate() into what z() has room for: Z_OK or Z_STREAM_END. Errors: damaged, cut off.
  int step(int flush);
  // After Z_STREAM_END: goes on with the next member of a gzip file; false: there is none. Error: raw data
  // goes on, or what follows is no member.
  bool next_member();

  z_stream& z() { return z_; }
  int64_t in() const { return position_ - z_.avail_in; }

 private:
  Error damaged() const;
  void refill();

  const Bytes& compressed_;
  bool gzip_;
  int64_t position_ = 0;
  std::vector<Bytef> input_;
  z_stream z_{};
};

}  // namespace halftone::data
