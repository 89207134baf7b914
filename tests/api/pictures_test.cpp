// Training on images with masks, and on tables of images with several labels: what is decided, and what comes out.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "api/small_run.h"
#include "base/file.h"

namespace halftone {
namespace {

using namespace test;
using Json = nlohmann::json;

std::string u32(uint32_t value, bool big) {
  std::string text;
  for (int i = 0; i < 4; ++i) text += static_cast<char>(value >> (big ? 24 - 8 * i : 8 * i));
  return text;
}

// 24 bits, from the bottom, blue first.
std::string bmp(int side, uint8_t red, uint8_t green, uint8_t blue) {
  std::string pixels;
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x)
      pixels += {static_cast<char>(blue), static_cast<char>(green), static_cast<char>(red)};
    pixels.resize((pixels.size() + 3) / 4 * 4, '\0');
  }
  const auto size = static_cast<uint32_t>(side);
  return "BM" + u32(static_cast<uint32_t>(54 + pixels.size()), false) + u32(0, false) + u32(54, false) +
         u32(40, false) + u32(size, false) + u32(size, false) + std::string("\1\0\x18\0", 4) + u32(0, false) +
         std::string(20, '\0') + pixels;
}

// A grey PNG, its rows stored without compression.
std::string grey_png(int side, const std::vector<int>& values) {
  const auto crc = [](const std::string& bytes) {
    uint32_t c = 0xFFFFFFFFU;
    for (const char b : bytes) {
      c ^= static_cast<uint8_t>(b);
      for (int k = 0; k < 8; ++k) c = (c & 1U) != 0 ? 0xEDB88320U ^ (c >> 1) : c >> 1;
    }
    return ~c;
  };
  const auto chunk = [&](const std::string& name, const std::string& content) {
    return u32(static_cast<uint32_t>(content.size()), true) + name + content + u32(crc(name + content), true);
  };
  std::string raw;
  for (int y = 0; y < side; ++y) {
    raw += '\0';
    for (int x = 0; x < side; ++x) raw += static_cast<char>(values.at(static_cast<size_t>(y * side + x)));
  }
  uint32_t a = 1, b = 0;
  for (const char byte : raw) {
    a = (a + static_cast<uint8_t>(byte)) % 65521;
    b = (b + a) % 65521;
  }
  const auto length = static_cast<uint32_t>(raw.size());
  const std::string stored = std::string("\x78\x01\x01", 3) + static_cast<char>(length) +
                             static_cast<char>(length >> 8) + static_cast<char>(~length) +
                             static_cast<char>(~length >> 8) + raw + u32(b << 16 | a, true);
  const auto size = static_cast<uint32_t>(side);
  return "\x89PNG\r\n\x1A\n" +
         chunk("IHDR", u32(size, true) + u32(size, true) + std::string("\x08\0\0\0\0", 5)) +
         chunk("IDAT", stored) + chunk("IEND", "");
}

class Pictures : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& bytes) const {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
  }

  // A class for each pixel of 3 by a 1x1 convolution, or (pooled) three numbers a picture.
  void write_network(bool pooled) const {
    ModelBuilder m;
    m.input("x", {"batch", "3", "6", "6"});
    m.initializer(values("conv.weight", {3, 3, 1, 1}, -0.5F, 0.5F))
        .initializer(values("conv.bias", {3}, -0.1F, 0.1F));
    m.node("Conv", {"x", "conv.weight", "conv.bias"}, {pooled ? "h" : "out"}, {}, "conv");
    if (pooled) {
      m.output("out", {"batch", "3"});
      m.node("GlobalAveragePool", {"h"}, {"p"}).node("Flatten", {"p"}, {"out"});
    } else {
      m.output("out", {"batch", "3", "6", "6"});
    }
    std::ofstream(folder_ / "net.onnx", std::ios::binary) << m.bytes();
  }

  // Each picture has one colour, and its mask says which: but for a corner, which does not count.
  void write_masks(int extra) const {
    for (int i = 0; i < 12; ++i) {
      const int kind = i % 3;
      for (const std::string part : {"train/", "val/"}) {
        const std::string name = std::to_string(i);
        const auto on = [kind](int which) { return static_cast<uint8_t>(kind == which ? 200 : 30); };
        write(part + "images/" + name + ".bmp", bmp(6, on(0), on(1), on(2)));
        std::vector<int> mask(36, kind);
        mask[0] = extra;
        write(part + "masks/" + name + ".png", grey_png(6, mask));
      }
    }
  }

  TrainOptions options(const std::string& data) const {
    TrainOptions o;
    o.network.model = folder_ / "net.onnx";
    o.network.batch = 4;
    o.network.threads = 1;
    o.data.data = folder_ / data;
    o.out = folder_ / "run";
    o.overwrite = true;
    o.lr = 0.5;
    o.epochs = 30;
    o.quiet = true;
    return o;
  }

  TemporaryFolder folder_;
};

TEST_F(Pictures, MasksAreLearned) {
  write_network(false);
  write_masks(255);
  std::string log;
  const RunResult r = train_model(options("."), [&](const std::string& line) { log += line + "\n"; });
  EXPECT_EQ(log.find("3 classes for each position · 12 train / 12 val · fp16 · "), 0U) << log;
  EXPECT_NE(log.find("its masks have the classes 0, 1, 2; 255 marks pixels that do not count"),
            std::string::npos)
      << log;
  const Json summary = Json::parse(r.summary_json);
  EXPECT_EQ(summary.at("loss"), "cross-entropy");
  EXPECT_GT(r.val_accuracy.value(), 0.99);
  EXPECT_NE(summary.at("metrics").dump().find("iou"), std::string::npos) << r.summary_json;
  // The masks are part of what the run is.
  TrainOptions again = options(".");
  again.overwrite = false;
  again.resume = true;
  again.epochs = 31;
  std::vector<int> other(36, 1);
  write("train/masks/0.png", grey_png(6, other));
  EXPECT_THROW(train_model(again, kSilent), Error);
}

TEST_F(Pictures, MasksOfZeroAnd255AloneAreAskedAbout) {
  write_network(false);
  for (int i = 0; i < 6; ++i) {
    write("images/" + std::to_string(i) + ".bmp", bmp(6, 10, 20, 30));
    std::vector<int> mask(36, 0);
    mask[5] = 255;
    write("masks/" + std::to_string(i) + ".png", grey_png(6, mask));
  }
  TrainOptions o = options(".");
  o.epochs = 1;
  try {
    train_model(o, kSilent);
    ADD_FAILURE() << "it was not refused";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("0 and 255 alone"), std::string::npos) << e.what();
  }
  o.network.ignore_index = 255;
  EXPECT_EQ(train_model(o, kSilent).steps, 1);
}

TEST_F(Pictures, SeveralLabelsTakeALossOfTheirOwn) {
  write_network(true);
  std::string table = "file,red,green,blue\n";
  for (int i = 0; i < 16; ++i) {
    const int bits = i % 8;
    const auto on = [bits](int which) { return static_cast<uint8_t>((bits >> which & 1) != 0 ? 220 : 20); };
    write("p/" + std::to_string(i) + ".bmp", bmp(6, on(0), on(1), on(2)));
    table += "p/" + std::to_string(i) + ".bmp," + std::to_string(bits & 1) + "," +
             std::to_string(bits >> 1 & 1) + "," + std::to_string(bits >> 2 & 1) + "\n";
  }
  write("labels.csv", table);
  TrainOptions o = options("labels.csv");
  o.data.val = o.data.data;
  o.data.normalize = "none";
  o.data.mean = {0.5};
  o.data.std = {0.25};
  std::string log;
  const RunResult r = train_model(o, [&](const std::string& line) { log += line + "\n"; });
  EXPECT_EQ(log.find("3 labels · 16 train / 16 val · fp16 · "), 0U) << log;
  const Json summary = Json::parse(r.summary_json);
  EXPECT_EQ(summary.at("loss"), "bce-with-logits");
  EXPECT_LT(r.val_loss.value(), 0.3);
  const Json metrics = Json::parse(read_file(folder_ / "run/metrics.json"));
  const std::string all = metrics.dump();
  for (const char* label : {"red", "green", "blue"}) EXPECT_NE(all.find(label), std::string::npos) << all;
  // In another order of columns the labels are found by their names.
  std::string turned = "blue,file,green,red\n";
  turned += "0,p/1.bmp,0,1\n1,p/4.bmp,0,0\n";
  write("other.csv", turned);
  EvalOptions e;
  e.network.model = folder_ / "run";
  e.network.batch = 2;
  e.data = o.data;
  e.data.data = folder_ / "other.csv";
  e.data.val.clear();
  EXPECT_LT(evaluate_model(e, kSilent).val_loss.value(), 0.4);
}

// The files stay as they are, and one label changes.
TEST_F(Pictures, LabelsOfATableArePartOfTheRun) {
  write_network(true);
  std::string table;
  for (int i = 0; i < 8; ++i) {
    write("p/" + std::to_string(i) + ".bmp", bmp(6, static_cast<uint8_t>(30 * i), 50, 90));
    table += "p/" + std::to_string(i) + ".bmp," + (i % 3 == 0 ? "a" : i % 3 == 1 ? "b" : "c") + "\n";
  }
  write("labels.csv", table);
  TrainOptions o = options("labels.csv");
  o.epochs = 1;
  EXPECT_EQ(train_model(o, kSilent).steps, 2);
  o.overwrite = false;
  o.resume = true;
  o.epochs = 2;
  EXPECT_EQ(train_model(o, kSilent).steps, 4);
  table[table.size() - 2] = 'a';
  write("labels.csv", table);
  o.epochs = 3;
  EXPECT_THROW(train_model(o, kSilent), Error);
}

}  // namespace
}  // namespace halftone
