#include "data/files.h"

#include <unistd.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "num/random.h"

namespace halftone::data {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder() {
  // In memory where the system has such a folder: the fuzz test writes thousands of files.
  for (const fs::path& base : {fs::path("/dev/shm"), fs::temp_directory_path()}) {
    std::string pattern = (base / "halftone-data-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) continue;
    path_ = pattern;
    return;
  }
  throw std::runtime_error("no temporary folder");
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string TemporaryFolder::write(const std::string& name, const std::string& bytes) const {
  const fs::path path = fs::path(path_) / name;
  fs::create_directories(path.parent_path());
  // A new file rather than a truncated one: some file systems wait for the disk when a file is emptied and
  // written again.
  fs::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
  return path.string();
}

std::string fixture(const std::string& name) {
  return std::string(HALFTONE_TESTS_DIR) + "/fixtures/" + name;
}

namespace {

std::string deflated_bytes(const std::string& bytes, int window) {
  z_stream stream{};
  if (deflateInit2(&stream, 9, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) != Z_OK) throw std::bad_alloc();
  std::string out(deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int code = deflate(&stream, Z_FINISH);
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  if (code != Z_STREAM_END) throw std::runtime_error("deflate");
  return out;
}

std::string little(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(i < 8 ? value >> (8 * i) & 0xFF : 0);
  return out;
}

}  // namespace

// 16 asks zlib for gzip's frame, a negative window for none.
std::string gzip(const std::string& bytes) {
  return deflated_bytes(bytes, 15 + 16);
}

std::string npy(const std::string& descr, const std::string& shape, const std::string& elements) {
  std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }";
  header.resize((header.size() + 10 + 1 + 63) / 64 * 64 - 10 - 1, ' ');
  header += '\n';
  return std::string("\x93NUMPY\x01\x00", 8) + little(header.size(), 2) + header + elements;
}

std::string zip(const std::vector<Member>& members, bool deflated) {
  std::string files;
  std::string directory;
  for (const Member& m : members) {
    const std::string data = deflated ? deflated_bytes(m.contents, -15) : m.contents;
    const auto crc =
        crc32(0, reinterpret_cast<const Bytef*>(m.contents.data()), static_cast<uInt>(m.contents.size()));
    // Flags, method, time, date, checksum, sizes, length of the name, length of the extra field.
    const std::string common = little(0, 2) + little(deflated ? 8 : 0, 2) + little(0, 4) + little(crc, 4) +
                               little(data.size(), 4) + little(m.contents.size(), 4) +
                               little(m.name.size(), 2) + little(0, 2);
    directory += little(0x02014b50, 4) + little(20, 2) + little(20, 2) + common + little(0, 2 + 2 + 2 + 4) +
                 little(files.size(), 4) + m.name;
    files += little(0x04034b50, 4) + little(20, 2) + common + m.name + data;
  }
  return files + directory + little(0x06054b50, 4) + little(0, 4) + little(members.size(), 2) +
         little(members.size(), 2) + little(directory.size(), 4) + little(files.size(), 4) + little(0, 2);
}

std::string safetensors(const std::string& header, const std::string& data) {
  return little(header.size(), 8) + header + data;
}

std::string idx(uint8_t type, const std::vector<uint32_t>& dims, const std::string& elements) {
  std::string out = {'\0', '\0', static_cast<char>(type), static_cast<char>(dims.size())};
  for (const uint32_t d : dims)
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(d >> shift & 0xFF);
  return out + elements;
}

std::string noise(int64_t count, uint64_t seed) {
  const num::RandomKey key = num::random_key(seed, 1);
  std::string out(static_cast<size_t>(count), '\0');
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<char>(num::random16(key, i, 0));
  return out;
}

}  // namespace halftone::data
