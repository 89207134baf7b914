// Every allocation of the readers fails: a file is never taken for a damaged one, and no sample is left out,
// because memory ran out.
#include "base/failing_memory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "data/dataset.h"
#include "data/files.h"
#include "data/image.h"
#include "data/indexed_deflate.h"
#include "text/tokenizer.h"

namespace halftone::data {
namespace {

using test::fail_every_allocation;

const char* const kImages[] = {"photo.jpg",      "progressive.jpg", "grey.jpg",    "cmyk.jpg",
                               "restart.jpg",    "rgb.png",         "palette.png", "rgb16.png",
                               "interlaced.png", "grey-alpha.png",  "bits.png"};

// All that a set gives: its samples, labels and further fields.
std::string everything(const std::string& spec, const OpenOptions& options) {
  const std::unique_ptr<Dataset> set = open_dataset(spec, options);
  std::string all = std::to_string(set->size());
  Sample sample;
  for (int64_t i = 0; i < set->size(); ++i) {
    set->read(i, sample);
    const Sample::Pixels& p = sample.pixels;
    if (set->info().image)
      all.append(reinterpret_cast<const char*>(p.data), static_cast<size_t>(p.height * p.row_stride));
    all += bytes_of(sample.values) + bytes_of(sample.target) + bytes_of(sample.labels) +
           std::to_string(sample.label);
    for (const std::vector<std::byte>& more : sample.more) all += bytes_of(more);
  }
  return all;
}

class FailingMemory : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!test::memory_can_fail()) GTEST_SKIP() << "a sanitizer has its own allocator";
  }
};

TEST_F(FailingMemory, NoImageIsCalledDamaged) {
  for (const std::string name : kImages) {
    SCOPED_TRACE(name);
    const std::string file = read_file(fixture("images/" + name));
    for (const int64_t channels : {1, 3}) {
      const int64_t points = fail_every_allocation([&] {
        Image image;
        const ImageHeader header = read_image_header(file, name);
        decode_image(file, channels, name, image);
        return std::to_string(header.height) + std::string(image.pixels.begin(), image.pixels.end());
      });
      EXPECT_GT(points, 10);
    }
  }
}

// Without lossless WebP and TIFF: libwebp 1.2 and libtiff 4.5 themselves end the process when some of their allocations fail
// (src/data/codecs.h).
TEST_F(FailingMemory, NoImageOfAnotherKindIsCalledDamaged) {
  for (const std::string name : {"lossy.webp", "moving.webp", "interlaced.gif", "within-transparent.gif",
                                 "palette8.bmp", "runs4.bmp"}) {
    SCOPED_TRACE(name);
    const std::string file = read_file(fixture("formats/" + name));
    const int64_t points = fail_every_allocation([&] {
      Image image;
      const ImageHeader header = read_image_header(file, name);
      decode_image(file, 3, name, image);
      return std::to_string(header.height) + std::string(image.pixels.begin(), image.pixels.end());
    });
    EXPECT_GE(points, 1);
  }
}

TEST_F(FailingMemory, NoImageOfAFolderIsLeftOut) {
  const TemporaryFolder folder;
  int i = 0;
  for (const char* name : {"photo.jpg", "rgb.png", "progressive.jpg", "interlaced.png"})
    folder.write("c" + std::to_string(i++ % 2) + "/" + name,
                 read_file(fixture(std::string("images/") + name)));
  OpenOptions options;
  options.sample_shape = {3, 8, 8};
  options.skip_bad = true;
  options.threads = 1;
  EXPECT_GT(fail_every_allocation([&] { return everything(folder.path(), options); }), 200);
}

// Not of safetensors: its JSON's destructors allocate, so that the process ends there (tests/faults).
TEST_F(FailingMemory, NoArrayIsCalledDamaged) {
  const TemporaryFolder folder;
  const std::string x = npy("<f4", "(6, 5)", noise(120, 1)),
                    y = npy("<i8", "(6,)", bytes_of(std::vector<int64_t>{0, 1, 2, 0, 1, 2}));
  const std::string paths[] = {
      folder.write("deflated.npz", zip({{"x.npy", x}, {"y.npy", y}}, true)),
      folder.write("stored.npz", zip({{"x.npy", x}, {"y.npy", y}}, false)),
      folder.write("t.csv", "a,b,label\n1,2,x\n3,4,y\n5,6.5,x\n"),
      std::filesystem::path(folder.write("n/x.npy", x)).parent_path().string(),
  };
  folder.write("n/y.npy", y);
  folder.write("i/train-images-idx3-ubyte.gz", gzip(idx(8, {3, 4, 4}, noise(48, 2))));
  folder.write("i/train-labels-idx1-ubyte.gz", gzip(idx(8, {3}, std::string("\0\1\2", 3))));
  OpenOptions options;
  options.threads = 1;
  for (const std::string& path : paths) {
    SCOPED_TRACE(path);
    EXPECT_GT(fail_every_allocation([&] { return everything(path, options); }), 50);
  }
  EXPECT_GT(fail_every_allocation([&] { return everything(folder.path() + "/i", options); }), 50);
}

// Not of .jsonl, for the reason above.
TEST_F(FailingMemory, NoTextIsLeftOut) {
  const TemporaryFolder folder;
  const std::string table = folder.write("t.csv", "text,label\na good b.,x\n\"a, b\",y\n");
  const std::string lines = folder.write("t.txt", "a good b.\nb a\n");
  const std::string tokens =
      folder.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##a\n##b\ngood\n.\n,\n");
  const std::shared_ptr<const text::Tokenizer> tokenizer = text::Tokenizer::open(tokens);
  OpenOptions options;
  options.threads = 1;
  options.skip_bad = true;
  options.text.read = [&](const std::string&, TextTask) {
    TextReading reading;
    reading.tokenizer = tokenizer;
    reading.block = 3;
    return reading;
  };
  options.text.task = TextTask::kCausal;
  EXPECT_GT(fail_every_allocation([&] { return everything(lines, options); }), 30);
  options.text.columns = {"text"};
  options.text.task = TextTask::kLabels;
  EXPECT_GT(fail_every_allocation([&] { return everything(table, options); }), 50);
}

TEST_F(FailingMemory, NoCompressedDataIsCalledDamaged) {
  std::string bytes;
  for (uint64_t i = 0; i < 40; ++i) bytes += noise(30'000, i) + std::string(70'000, static_cast<char>(i));
  const std::string compressed = gzip(bytes);
  const int64_t points = fail_every_allocation([&] {
    const auto read = indexed_deflate(memory_bytes(compressed, "c"), Deflated::kGzip,
                                      static_cast<int64_t>(bytes.size()), nullptr, "name");
    // Backwards, so that it begins anew at a mark.
    return read_part(*read, 3'500'000, 100) + read_part(*read, 1'500'000, 100);
  });
  EXPECT_GT(points, 20);
}

}  // namespace
}  // namespace halftone::data
