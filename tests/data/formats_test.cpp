// WebP, GIF, BMP and TIFF: pixels against Pillow's (tests/fixtures/make_formats.py), and what is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "data/dataset.h"
#include "data/files.h"
#include "data/image.h"
#include "data/npy.h"
#include "data/zip.h"

namespace halftone::data {
namespace {

namespace fs = std::filesystem;

struct FormatPixels {
  Shape shape;
  std::vector<uint8_t> pixels;
};

std::map<std::string, FormatPixels> expected_formats() {
  const std::shared_ptr<const Bytes> file = file_bytes(fixture("formats/expected.npz"));
  std::map<std::string, FormatPixels> all;
  for (const ZipMember& member : read_zip(*file)) {
    const Array array =
        read_npy(open_member(file, member, kNpyPrefix,
                             [&](const std::string& p) { return npy_total_bytes(p, member.name); }),
                 member.name);
    FormatPixels& pixels = all[member.name.substr(0, member.name.rfind(".rgb"))];
    pixels.shape = array.shape;
    pixels.pixels.resize(static_cast<size_t>(array.bytes->size()));
    array.bytes->read(0, array.bytes->size(), pixels.pixels.data());
  }
  return all;
}

std::string format_file(const std::string& name) {
  return read_file(fixture("formats/" + name));
}

Image decoded_format(const std::string& bytes, int64_t channels = 3) {
  Image image;
  decode_image(bytes, channels, "picture", image, {.size = {}, .turned = false});
  return image;
}

TEST(Formats, DecodeToPillowsPixels) {
  const std::map<std::string, FormatPixels> all = expected_formats();
  EXPECT_GE(all.size(), 45U);
  std::map<std::string, int> kinds;
  for (const auto& [name, want] : all) {
    SCOPED_TRACE(name);
    const std::string bytes = format_file(name);
    const Image image = decoded_format(bytes);
    EXPECT_EQ((Shape{image.height, image.width, 3}), want.shape);
    EXPECT_TRUE(image.pixels == want.pixels);
    EXPECT_GT(std::count_if(image.pixels.begin(), image.pixels.end(), [](uint8_t v) { return v > 0; }), 20);
    const ImageHeader header = read_image_header(bytes, name);
    EXPECT_EQ(header.height, image.height);
    EXPECT_EQ(header.width, image.width);
    std::vector<uint8_t> greys;
    for (size_t i = 0; i < want.pixels.size(); i += 3)
      greys.push_back(luma(want.pixels[i], want.pixels[i + 1], want.pixels[i + 2]));
    EXPECT_TRUE(decoded_format(bytes, 1).pixels == greys);
    EXPECT_EQ(has_more_pictures(bytes), name.starts_with("moving") || name.starts_with("pages"));
    ++kinds[fs::path(name).extension().string()];
  }
  EXPECT_EQ(kinds.size(), 4U);
}

// Cut anywhere: an error that names the file, or, where nothing but the end is gone, the same pixels.
TEST(Formats, NoticeEveryCut) {
  for (const std::string name : {"lossy.webp", "lossless.webp", "alpha.webp", "moving.webp", "palette.gif",
                                 "interlaced.gif", "rgb24.bmp", "palette4.bmp", "runs8.bmp", "rgb.tif",
                                 "lzw.tif", "deflate.tif", "jpeg.tif", "fax.tif", "tiles.tif"}) {
    const std::string bytes = format_file(name);
    const Image whole = decoded_format(bytes);
    size_t failed = 0, cuts = 0;
    for (size_t length = 0; length < bytes.size(); length += 11, ++cuts) {
      Image image;
      const std::string message =
          message_of([&] { decode_image(std::string_view(bytes).substr(0, length), 3, "cut.img", image); });
      if (message == "no error") {
        EXPECT_TRUE(image.pixels == whole.pixels) << name << " cut to " << length << " of " << bytes.size();
        EXPECT_NE(name, "lossy.webp") << length;
      } else {
        EXPECT_NE(message.find("cut.img"), std::string::npos) << message;
        ++failed;
      }
    }
    // Of a moving picture and of a GIF the frames behind the first are not looked at.
    if (!name.starts_with("moving")) {
      EXPECT_GE(failed + 2, cuts) << name;
    }
  }
}

std::string refused_format(std::string bytes, const std::string& replacement, size_t at) {
  bytes.replace(at, replacement.size(), replacement);
  Image image;
  const std::string message = message_of([&] { decode_image(bytes, 3, "x.img", image); });
  EXPECT_LT(image.pixels.capacity(), size_t{1} << 20) << message;
  return message;
}

TEST(Formats, RefuseSizesThatTheFileCannotHold) {
  const auto says = [](const std::string& message, const std::string& what) {
    EXPECT_NE(message.find(what), std::string::npos) << message;
  };
  // A screen of a GIF, width and height of a BMP, both of 65535 or 8192 by 8192 pixels.
  says(refused_format(format_file("palette.gif"), "\xFF\xFF\xFF\xFF", 6), "at most");
  says(refused_format(format_file("palette.gif"), std::string("\0\x20\0\x20", 4), 6), "can hold");
  says(refused_format(format_file("runs8.bmp"), std::string("\0\x20\0\0\0\x20\0\0", 8), 18), "can hold");
  says(refused_format(format_file("rgb24.bmp"), std::string("\0\x01\0\0\0\x01\0\0", 8), 18),
       "ends too early");
  says(refused_format(format_file("rgb24.bmp"), std::string("\0\0\0\x80\0\0\0\x80", 8), 18), "x.img");
  // The canvas of an extended WebP: 24 bits each, less one.
  says(refused_format(format_file("moving.webp"), std::string("\xFF\x1F\0\xFF\x1F\0", 6), 24), "x.img");
  says(refused_format(format_file("moving.webp"), std::string("\xFF\xFF\xFF\xFF\xFF\xFF", 6), 24), "x.img");
}

TEST(Formats, RefuseWhatIsNotKnownByName) {
  const auto says = [](const std::string& message, const std::string& what) {
    EXPECT_NE(message.find(what), std::string::npos) << message;
  };
  const std::string bmp = format_file("rgb24.bmp");
  says(refused_format(bmp, std::string("\x40\0", 2), 14), "a header of 64 bytes");
  says(refused_format(bmp, std::string("\2\0", 2), 26), "2 planes");
  says(refused_format(bmp, std::string("\2\0", 2), 28), "2 bits a pixel");
  says(refused_format(bmp, std::string("\4\0", 2), 30), "compression 4");
  says(refused_format(bmp, std::string("\2\0", 2), 10), "pixels begin at byte");
  says(refused_format(format_file("rgb565.bmp"), "\x0F", 54), "bit fields");
  says(refused_format(format_file("palette4.bmp"), "\2", 46), "of 2");
  const std::string tiff = format_file("white-is-zero.tif");
  // The entry of a tag: number, type, count, value.
  const auto tag = [&](const std::string& number) {
    const size_t at = tiff.find(number + std::string("\3\0\1\0\0\0", 6), tiff.size() - 130);
    EXPECT_NE(at, std::string::npos);
    return at + 8;
  };
  says(refused_format(tiff, std::string("\x08\0", 2), tag(std::string("\x06\x01", 2))),
       "photometric interpretation 8");
  says(refused_format(tiff, std::string("\x50\xC3", 2), tag(std::string("\x03\x01", 2))),
       "compression 50000");
  says(refused_format(tiff, std::string("\x20\0", 2), tag(std::string("\x02\x01", 2))), "of 32 bits");
  Image image;
  says(message_of([&] { decode_image("ftypavif", 3, "a.png", image); }),
       "a.png: not an image of a kind that is read");
  says(message_of([&] { decode_image("", 3, "e.gif", image); }), "e.gif: the image file is empty");
}

TEST(Formats, FoldersHoldAllKinds) {
  const TemporaryFolder folder;
  folder.write("a/1.webp", format_file("lossy.webp"));
  folder.write("a/2.GIF", format_file("moving.gif"));
  folder.write("b/1.bmp", format_file("rgb24.bmp"));
  folder.write("b/2.tiff", format_file("pages.tif"));
  folder.write("b/3.heic", "no image that is read");
  const OpenOptions options;
  const auto set = open_dataset(folder.path(), options);
  ASSERT_EQ(set->size(), 4);
  EXPECT_EQ(set->info().geometry, (Shape{3, 19, 27}));
  std::string notes;
  for (const std::string& note : set->info().notes) notes += note + "\n";
  EXPECT_NE(notes.find("2 of 4 images have several frames or pages, of which the first is read"),
            std::string::npos);
  EXPECT_NE(notes.find("1 image files of other kinds are left out (1 .heic)"), std::string::npos) << notes;
  Sample sample;
  for (int64_t i = 0; i < 4; ++i) {
    set->read(i, sample);
    EXPECT_EQ(sample.pixels.width, 27);
  }
}

// What tests/long/images_vs_pillow.py compares: the files of a folder, each as it is stored and upright.
TEST(Formats, WritesPixels) {
  const char* const folder = std::getenv("HALFTONE_IMAGES");
  if (folder == nullptr) GTEST_SKIP() << "tests/long/images_vs_pillow.py runs it";
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".out") continue;
    std::string out;
    for (const bool turned : {false, true})
      for (const int64_t channels : {3, 1}) {
        Image image;
        const std::string message = message_of([&] {
          decode_image(read_file(entry.path().string()), channels, entry.path().filename().string(), image,
                       {.size = {}, .turned = turned});
        });
        const bool good = message == "no error";
        out += good ? std::to_string(image.height) + " " + std::to_string(image.width) + "\n"
                    : "0 0 " + message + "\n";
        if (good) out.append(image.pixels.begin(), image.pixels.end());
      }
    write_file_atomically(entry.path().string() + ".out", out);
  }
}

}  // namespace
}  // namespace halftone::data
