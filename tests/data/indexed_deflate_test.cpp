#include "data/indexed_deflate.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <random>
#include <thread>

#include "data/files.h"
#include "data/largest_request.h"

namespace halftone::data {
namespace {

// Long runs with noise between them: compressed a hundred times and more, with matches that reach across
// blocks.
std::string compressible(int64_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes;
  while (static_cast<int64_t>(bytes.size()) < count) {
    bytes += noise(100, random());
    bytes.append(random() % 40'000, static_cast<char>(random() % 3));
  }
  bytes.resize(static_cast<size_t>(count));
  return bytes;
}

std::string raw_deflate(const std::string& bytes) {
  // Without gzip's header of 10 bytes and trailer of 8.
  const std::string zipped = gzip(bytes);
  return zipped.substr(10, zipped.size() - 18);
}

uint32_t crc_of(const std::string& bytes) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

std::shared_ptr<const Bytes> indexed(const std::string& compressed, Deflated format,
                                     const std::string& bytes) {
  const uint32_t crc = crc_of(bytes);
  return indexed_deflate(memory_bytes(compressed, "c"), format, static_cast<int64_t>(bytes.size()), &crc,
                         "name");
}

void expect_same(const Bytes& read, const std::string& bytes, uint64_t seed) {
  ASSERT_EQ(read.size(), static_cast<int64_t>(bytes.size()));
  std::mt19937_64 random(seed);
  for (int i = 0; i < 100; ++i) {
    const size_t at = random() % (bytes.size() + 1);
    const size_t count = std::min<size_t>(random() % (i % 10 == 0 ? 5'000'000 : 5000), bytes.size() - at);
    ASSERT_EQ(
        read_part(read, static_cast<int64_t>(at), static_cast<int64_t>(count)) == bytes.substr(at, count),
        true)
        << at << " + " << count;
  }
  EXPECT_EQ(read_part(read, read.size(), 0), "");
}

TEST(IndexedDeflate, ReadsAnyPlaceOfRawAndGzipData) {
  const std::string bytes = compressible(20 << 20, 1);
  expect_same(*indexed(raw_deflate(bytes), Deflated::kRaw, bytes), bytes, 2);
  expect_same(*indexed(gzip(bytes), Deflated::kGzip, bytes), bytes, 3);
}

TEST(IndexedDeflate, ReadsGzipFilesOfSeveralMembers) {
  std::string bytes;
  std::string compressed;
  for (const int64_t size : {10, 3 << 20, 70'000, 1, 5 << 20, 33'000}) {
    const std::string member = compressible(size, static_cast<uint64_t>(size));
    bytes += member;
    compressed += gzip(member);
  }
  expect_same(*indexed(compressed, Deflated::kGzip, bytes), bytes, 4);
}

TEST(IndexedDeflate, MembersWithoutContentsTakeNoMemory) {
  const std::string bytes = compressible(2 << 20, 11);
  const std::string empty = gzip("");
  std::string compressed = gzip(bytes.substr(0, 1000));
  for (int i = 0; i < 50'000; ++i) compressed += empty;
  compressed += gzip(bytes.substr(1000));
  reset_largest_request();
  const auto read = indexed(compressed, Deflated::kGzip, bytes);
  EXPECT_LT(largest_request(), size_t{1} << 20);
  expect_same(*read, bytes, 12);
}

TEST(IndexedDeflate, IsReadByManyThreadsAtOnce) {
  const std::string bytes = compressible(8 << 20, 5);
  const auto read = indexed(raw_deflate(bytes), Deflated::kRaw, bytes);
  std::vector<std::thread> threads;
  for (uint64_t seed = 0; seed < 4; ++seed)
    threads.emplace_back([&, seed] { expect_same(*read, bytes, 10 + seed); });
  for (std::thread& thread : threads) thread.join();
}

TEST(IndexedDeflate, RefusesDamagedDataAndWrongSizes) {
  const std::string bytes = compressible(3 << 20, 6);
  const std::string compressed = raw_deflate(bytes);
  const uint32_t crc = crc_of(bytes);
  const auto size = static_cast<int64_t>(bytes.size());
  const auto message = [&](const std::string& data, int64_t total, uint32_t sum) {
    return message_of([&] { indexed_deflate(memory_bytes(data, "c"), Deflated::kRaw, total, &sum, "name"); });
  };
  EXPECT_EQ(message(compressed, size, crc), "no error");
  EXPECT_NE(message(compressed, size, crc + 1).find("checksum is wrong"), std::string::npos);
  EXPECT_NE(message(compressed, size - 1, crc).find("more than"), std::string::npos);
  EXPECT_NE(message(compressed, size + 1, crc).find("but it holds"), std::string::npos);
  EXPECT_NE(message(compressed + "x", size, crc).find("after the end"), std::string::npos);
  EXPECT_NE(message(compressed.substr(0, compressed.size() / 2), size, crc).find("cut off"),
            std::string::npos);
  std::string damaged = compressed;
  for (size_t i = 1000; i < 1100; ++i) damaged[i] = '\xFF';
  EXPECT_NE(message(damaged, size, crc), "no error");
}

TEST(IndexedDeflate, TakesLittleMemoryForMuchThatIsCompressedWell) {
  const std::string compressed = gzip(std::string(200 << 20, '\0'));
  ASSERT_LT(compressed.size(), size_t{300'000});
  reset_largest_request();
  const auto read = open_deflated(
      memory_bytes(compressed, "c"), Deflated::kGzip, 10,
      [](const std::string&) { return int64_t{200} << 20; }, nullptr, "name");
  EXPECT_EQ(read_part(*read, 150 << 20, 1000), std::string(1000, '\0'));
  EXPECT_LT(largest_request(), size_t{2} << 20);
  EXPECT_EQ(read->memory(), nullptr);
  // A little is in memory, as ever.
  const auto small = open_deflated(
      memory_bytes(gzip("abc"), "c"), Deflated::kGzip, 10, [](const std::string&) { return int64_t{3}; },
      nullptr, "name");
  EXPECT_NE(small->memory(), nullptr);
}

}  // namespace
}  // namespace halftone::data
