#include "train/tensorboard.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/resource_error.h"
#include "base/write_all.h"

namespace halftone::train {
namespace {

// Protobuf's wire format: a key (field << 3 | kind), then the value.
enum class Wire : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void put_varint(std::string& out, uint64_t value) {
  while (value >= 0x80) {
    out += static_cast<char>((value & 0x7F) | 0x80);
    value >>= 7;
  }
  out += static_cast<char>(value);
}

void put_key(std::string& out, uint32_t field, Wire wire) {
  put_varint(out, (field << 3) | static_cast<uint32_t>(wire));
}

// T: float or double. Its bytes are little-endian in the file and on the machines we build for.
template <class T>
void put_float(std::string& out, uint32_t field, T value) {
  put_key(out, field, sizeof value == 8 ? Wire::kFixed64 : Wire::kFixed32);
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_bytes(std::string& out, uint32_t field, const std::string& bytes) {
  put_key(out, field, Wire::kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

std::string event(double wall_time, int64_t step, uint32_t field, const std::string& bytes) {
  std::string out;
  put_float(out, 1, wall_time);
  if (step != 0) {
    put_key(out, 2, Wire::kVarint);
    put_varint(out, static_cast<uint64_t>(step));
  }
  put_bytes(out, field, bytes);
  return out;
}

// TensorFlow masks a checksum that is stored beside its data, so that a checksum over both stays meaningful.
uint32_t masked_crc(const std::string& bytes) {
  const uint32_t crc = crc32c(bytes.data(), static_cast<int64_t>(bytes.size()));
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8U;
}

template <class T>
std::string little_endian(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

}  // namespace

std::string encode_scalars(double wall_time, int64_t step, std::span<const TaggedScalar> scalars) {
  std::string summary;
  for (const TaggedScalar& scalar : scalars) {
    std::string value;
    put_bytes(value, 1, scalar.tag);
    put_float(value, 2, scalar.value);
    put_bytes(summary, 1, value);
  }
  return event(wall_time, step, 5, summary);
}

std::string frame_record(const std::string& bytes) {
  const std::string length = little_endian(static_cast<uint64_t>(bytes.size()));
  return length + little_endian(masked_crc(length)) + bytes + little_endian(masked_crc(bytes));
}

TensorBoardWriter::TensorBoardWriter(const std::string& folder, Clock clock,
                                     std::optional<int64_t> purge_from_step)
    : clock_(std::move(clock)) {
  const double now = clock_();
  for (int n = 0; fd_ < 0; ++n) {
    path_ = fmt::format("{}/events.out.tfevents.{:010}.halftone.{}", folder, static_cast<int64_t>(now), n);
    fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd_ < 0 && errno != EEXIST) throw file_error(errno, "cannot create " + path_);
  }
  try {
    write_record(event(now, 0, 3, "brain.Event:2"));
    if (purge_from_step) {
      constexpr uint64_t kStart = 1;  // SessionLog.START: TensorBoard purges from this event's step on
      std::string session;
      put_key(session, 1, Wire::kVarint);
      put_varint(session, kStart);
      write_record(event(now, *purge_from_step, 7, session));
    }
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

TensorBoardWriter::~TensorBoardWriter() {
  ::close(fd_);
}

void TensorBoardWriter::add(int64_t step, std::span<const TaggedScalar> scalars) {
  write_record(encode_scalars(clock_(), step, scalars));
}

void TensorBoardWriter::write_record(const std::string& bytes) {
  const std::string record = frame_record(bytes);
  write_all(fd_, record.data(), static_cast<int64_t>(record.size()), path_);
}

}  // namespace halftone::train
