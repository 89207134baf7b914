#include "train/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>

#include "base/crc32c.h"
#include "base/error.h"
#include "base/file.h"
#include "base/full_disk.h"
#include "num/random.h"
#include "train/checkpoint_repair.h"
#include "train/mutation.h"
#include "train/temporary_folder.h"

namespace halftone::train {
namespace {

namespace fs = std::filesystem;

Tensor filled(DType dtype, Shape shape, uint64_t stream) {
  Tensor tensor(dtype, std::move(shape));
  const num::RandomKey key = num::random_key(5, stream);
  auto* bytes = static_cast<unsigned char*>(tensor.data());
  // Every bit pattern must survive, NaNs with their payloads included, so bytes are drawn and not numbers.
  for (int64_t i = 0; i < tensor.bytes(); ++i)
    bytes[i] = static_cast<unsigned char>(num::random32(key, static_cast<uint64_t>(i), 0));
  return tensor;
}

Checkpoint example(int64_t step) {
  Checkpoint c;
  c.step = step;
  c.state_json = R"({"epoch":3,"loss_scale":{"scale":1024}})";
  uint64_t stream = static_cast<uint64_t>(step) * 100;
  for (const DType type :
       {DType::kF64, DType::kF32, DType::kF16, DType::kBf16, DType::kI64, DType::kI32, DType::kU8})
    c.tensors.emplace("layer." + std::string(name_of(type)), filled(type, {3, 5, 2}, ++stream));
  c.tensors.emplace("scalar", filled(DType::kF32, {}, ++stream));
  c.tensors.emplace("nothing", Tensor(DType::kF16, {4, 0, 3}));
  c.tensors.emplace("", filled(DType::kU8, {1}, ++stream));
  c.tensors.emplace(std::string("zero\0and / and \xff", 14), filled(DType::kF32, {7}, ++stream));
  return c;
}

void expect_same(const Checkpoint& a, const Checkpoint& b) {
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.state_json, b.state_json);
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, tensor] : a.tensors) {
    const auto other = b.tensors.find(name);
    ASSERT_NE(other, b.tensors.end()) << name;
    EXPECT_EQ(tensor.dtype(), other->second.dtype());
    EXPECT_EQ(tensor.shape(), other->second.shape());
    ASSERT_EQ(tensor.bytes(), other->second.bytes());
    EXPECT_EQ(std::memcmp(tensor.data(), other->second.data(), static_cast<size_t>(tensor.bytes())), 0)
        << name;
  }
}

std::string error_of(const std::string& path) {
  try {
    read_checkpoint(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
    return error.what();
  }
  return "no error";
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

using Names = std::vector<std::string>;

TEST(Checkpoint, GivesBackEveryBit) {
  const TemporaryFolder folder;
  const Checkpoint written = example(42);
  const std::string path = write_checkpoint(folder.path(), written);
  EXPECT_EQ(fs::path(path).filename(), "checkpoint-0000000042.htck");
  expect_same(read_checkpoint(path), written);
  expect_same(parse_checkpoint(read_file(path), path), written);
  EXPECT_EQ(names_in(folder.path()), Names{"checkpoint-0000000042.htck"});
}

TEST(Checkpoint, TheSameContentsGiveTheSameFile) {
  const TemporaryFolder a;
  const TemporaryFolder b;
  EXPECT_EQ(read_file(write_checkpoint(a.path(), example(7))),
            read_file(write_checkpoint(b.path(), example(7))));
}

TEST(Checkpoint, WithoutTensorsAndStateIsStillOne) {
  const TemporaryFolder folder;
  const Checkpoint empty;
  expect_same(read_checkpoint(write_checkpoint(folder.path(), empty)), empty);
}

TEST(Checkpoint, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  const std::string path = write_checkpoint(folder.path(), example(1));
  const std::string whole = read_file(path);
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_THROW(parse_checkpoint(std::string_view(whole).substr(0, size), path), Error) << size;
  EXPECT_THROW(parse_checkpoint(whole + '\0', path), Error);
}

TEST(Checkpoint, EveryFlippedBitIsRefused) {
  const TemporaryFolder folder;
  const std::string path = write_checkpoint(folder.path(), example(1));
  std::string bytes = read_file(path);
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      bytes[i] = static_cast<char>(bytes[i] ^ (1 << bit));
      EXPECT_THROW(parse_checkpoint(bytes, path), Error) << "byte " << i << ", bit " << bit;
      bytes[i] = static_cast<char>(bytes[i] ^ (1 << bit));
    }
  }
  EXPECT_NO_THROW(parse_checkpoint(bytes, path));
}

TEST(Checkpoint, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  const std::string path = write_checkpoint(folder.path(), example(1));
  const std::string good = read_file(path);
  const auto with = [&](const std::string& bytes) {
    write_file_atomically(path, bytes);
    return error_of(path);
  };
  EXPECT_NE(with("hello").find("only 5 bytes"), std::string::npos);
  EXPECT_NE(with(std::string(100, 'x')).find("is not a checkpoint"), std::string::npos);
  EXPECT_NE(with(good.substr(0, good.size() - 10))
                .find(fmt::format("should have {} bytes and has {}", good.size(), good.size() - 10)),
            std::string::npos);
  std::string flipped = good;
  const size_t place =
      good.find("layer.fp32") + 10 + 24 + 4 + 1;  // behind the name, three dimensions and a checksum
  flipped[place] = static_cast<char>(flipped[place] ^ 1);
  EXPECT_NE(with(flipped).find("tensor 'layer.fp32' has a wrong checksum"), std::string::npos);
  flipped = good;
  flipped[good.find("epoch")] = 'E';
  EXPECT_NE(with(flipped).find("the state has a wrong checksum"), std::string::npos);
  fs::remove(path);
  EXPECT_NE(error_of(path).find("cannot open"), std::string::npos);
  fs::create_directory(path);
  EXPECT_NE(error_of(path).find("not a regular file"), std::string::npos);
}

TEST(Checkpoint, AnotherVersionIsNotCalledDamaged) {
  const TemporaryFolder folder;
  const std::string path = write_checkpoint(folder.path(), example(1));
  std::string bytes = read_file(path);
  bytes[8] = 9;
  const uint32_t crc = crc32c(bytes.data(), 32);
  std::memcpy(&bytes[32], &crc, sizeof crc);
  write_file_atomically(path, bytes);
  const std::string error = error_of(path);
  EXPECT_NE(error.find("format version 9; this program reads version 1"), std::string::npos) << error;
  EXPECT_EQ(error.find("damaged"), std::string::npos);
}

TEST(Checkpoint, DamageBehindTheChecksumsIsAnErrorOrReadsWithinTheFile) {
  const TemporaryFolder folder;
  const std::string path = write_checkpoint(folder.path(), example(1));
  const std::string whole = read_file(path);
  Mutator mutator(4);
  int read = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string damaged = mutator.mutated(whole);
    repair_checksums(damaged);
    try {
      const Checkpoint checkpoint = parse_checkpoint(damaged, path);
      int64_t bytes = static_cast<int64_t>(checkpoint.state_json.size());
      for (const auto& [name, tensor] : checkpoint.tensors) bytes += tensor.bytes();
      ASSERT_LE(bytes, static_cast<int64_t>(damaged.size()));
      ++read;
    } catch (const Error&) {
    }
  }
  // With repaired checksums a changed number or name reads; what makes the structure contradict itself does
  // not.
  EXPECT_GT(read, 2000);
  EXPECT_LT(read, 18000);
}

TEST(Checkpoint, SizesThatTheFileDoesNotExplainAreRefusedBeforeAllocating) {
  const TemporaryFolder folder;
  const std::string path = write_checkpoint(folder.path(), example(1));
  const std::string whole = read_file(path);
  const auto with = [&](size_t at, auto value) {
    std::string bytes = whole;
    std::memcpy(&bytes[at], &value, sizeof value);
    repair_checksums(bytes);
    try {
      parse_checkpoint(bytes, path);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_NE(with(12, uint32_t{0}).find("no sections"), std::string::npos);
  EXPECT_NE(with(12, ~uint32_t{0}).find("would need"), std::string::npos);
  EXPECT_NE(with(16, int64_t{-1}).find("its step is -1"), std::string::npos);
  EXPECT_NE(with(36 + 4, uint32_t{0x7FFFFFFF}).find("a description of 2147483647 bytes"), std::string::npos);
  EXPECT_NE(with(36 + 8, uint64_t{1} << 62).find("would need 4611686018427387904 bytes"), std::string::npos);
  EXPECT_NE(with(36 + 8, ~uint64_t{0}).find("would need 18446744073709551615 bytes"), std::string::npos);
  const size_t shape = whole.find("layer.fp32") + 10;
  EXPECT_NE(with(shape, int64_t{1} << 40).find("tensor 'layer.fp32' (fp32 1099511627776x5x2) needs"),
            std::string::npos);
  EXPECT_NE(with(shape, int64_t{-3}).find("impossible shape"), std::string::npos);
  EXPECT_NE(with(shape, INT64_MAX).find("impossible shape"), std::string::npos);
}

TEST(FindLatest, TakesTheOneBeforeADamagedOneAndNamesIt) {
  const TemporaryFolder folder;
  write_checkpoint(folder.path(), example(100));
  write_checkpoint(folder.path(), example(200));
  const std::string cut = write_checkpoint(folder.path(), example(300));
  fs::resize_file(cut, fs::file_size(cut) - 1);
  const std::string rotten = write_checkpoint(folder.path(), example(400));
  std::string bytes = read_file(rotten);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 0x10);
  write_file_atomically(rotten, bytes);
  fs::copy_file(folder.file(checkpoint_name(100)), folder.file(checkpoint_name(500)));

  const LatestCheckpoint latest = find_latest(folder.path());
  ASSERT_TRUE(latest.checkpoint.has_value());
  expect_same(*latest.checkpoint, example(200));
  EXPECT_EQ(latest.path, folder.file(checkpoint_name(200)));
  ASSERT_EQ(latest.refused.size(), 3U);
  EXPECT_EQ(latest.refused[0].path, folder.file(checkpoint_name(500)));
  EXPECT_NE(latest.refused[0].reason.find("is of step 100, its name says 500"), std::string::npos);
  EXPECT_EQ(latest.refused[1].path, rotten);
  EXPECT_EQ(latest.refused[2].path, cut);
  EXPECT_NE(latest.refused[2].reason.find(cut), std::string::npos);

  for (const RefusedCheckpoint& refused : latest.refused) set_aside(refused.path);
  EXPECT_TRUE(find_latest(folder.path()).refused.empty());
  EXPECT_TRUE(fs::exists(cut + ".damaged"));
}

TEST(FindLatest, AnEmptyFolderHasNoneAndAMissingOneIsAnError) {
  const TemporaryFolder folder;
  write_file_atomically(folder.file("checkpoint-12.htck"), "too few digits");
  write_file_atomically(folder.file("checkpoint-000000001x.htck"), "no number");
  write_file_atomically(folder.file("checkpoint-0000000001.htck.tmp"), "left over");
  write_file_atomically(folder.file("model.onnx"), "something else");
  const LatestCheckpoint latest = find_latest(folder.path());
  EXPECT_FALSE(latest.checkpoint.has_value());
  EXPECT_TRUE(latest.refused.empty());
  EXPECT_THROW(find_latest(folder.file("missing")), Error);
}

TEST(FindLatest, OrdersByNumberBeyondTenDigits) {
  const TemporaryFolder folder;
  write_checkpoint(folder.path(), example(9999999999));
  write_checkpoint(folder.path(), example(10000000000));
  EXPECT_EQ(find_latest(folder.path()).checkpoint.value().step, 10000000000);
}

TEST(Prune, KeepsTheNewestAndTheBest) {
  const TemporaryFolder folder;
  for (int64_t step = 1; step <= 6; ++step) write_checkpoint(folder.path(), example(step));
  write_file_atomically(folder.file("events.jsonl"), "{}");
  prune(folder.path(), 2, folder.file(checkpoint_name(3)));
  EXPECT_EQ(names_in(folder.path()),
            (Names{checkpoint_name(3), checkpoint_name(5), checkpoint_name(6), "events.jsonl"}));
  prune(folder.path(), 1, "");
  EXPECT_EQ(names_in(folder.path()), (Names{checkpoint_name(6), "events.jsonl"}));
}

TEST(Prune, IncompleteOnesDoNotCount) {
  const TemporaryFolder folder;
  for (int64_t step = 1; step <= 4; ++step) write_checkpoint(folder.path(), example(step));
  for (const int64_t step : {2, 4}) fs::resize_file(folder.file(checkpoint_name(step)), 200);
  prune(folder.path(), 1, "");
  EXPECT_EQ(names_in(folder.path()), (Names{checkpoint_name(3), checkpoint_name(4)}));
  EXPECT_EQ(find_latest(folder.path()).checkpoint.value().step, 3);
}

TEST(Prune, RemovesNothingWhileNoneIsComplete) {
  const TemporaryFolder folder;
  for (int64_t step = 1; step <= 3; ++step) {
    write_checkpoint(folder.path(), example(step));
    fs::resize_file(folder.file(checkpoint_name(step)), 100);
  }
  prune(folder.path(), 1, "");
  EXPECT_EQ(names_in(folder.path()).size(), 3U);
}

TEST(Best, SurvivesPruningAndIsReplacedWhole) {
  const TemporaryFolder folder;
  for (int64_t step = 1; step <= 3; ++step) {
    const std::string path = write_checkpoint(folder.path(), example(step));
    if (step == 2) {
      keep_as_best(folder.path(), path);
      keep_as_best(folder.path(), path);  // the same once more must not leave a temporary file
    }
    prune(folder.path(), 1, "");
  }
  EXPECT_EQ(names_in(folder.path()), (Names{"best.htck", checkpoint_name(3)}));
  expect_same(read_checkpoint(folder.file("best.htck")), example(2));
  keep_as_best(folder.path(), folder.file(checkpoint_name(3)));
  expect_same(read_checkpoint(folder.file("best.htck")), example(3));
  EXPECT_THROW(keep_as_best(folder.path(), folder.file("missing")), Error);
  expect_same(read_checkpoint(folder.file("best.htck")), example(3));
}

TEST(Best, IsNotChangedWhenItsCheckpointIsWrittenAgain) {
  const TemporaryFolder folder;
  keep_as_best(folder.path(), write_checkpoint(folder.path(), example(1)));
  Checkpoint again = example(2);
  again.step = 1;
  write_checkpoint(folder.path(), again);
  expect_same(read_checkpoint(folder.file("best.htck")), example(1));
}

TEST(CleanTemporaries, RemovesOursOnly) {
  const TemporaryFolder folder;
  for (const char* name : {"checkpoint-0000000001.htck.tmp", "best.htck.tmp", "notes.tmp", "before.json.tmp",
                           "checkpoint-x.htck.tmp", "model.onnx.tmp"})
    write_file_atomically(folder.file(name), "x");
  EXPECT_EQ(clean_temporaries(folder.path()),
            (Names{folder.file("before.json.tmp"), folder.file("best.htck.tmp"),
                   folder.file("checkpoint-0000000001.htck.tmp")}));
  EXPECT_EQ(names_in(folder.path()), (Names{"checkpoint-x.htck.tmp", "model.onnx.tmp", "notes.tmp"}));
}

TEST(FullDisk, LeavesTheOlderCheckpointWhole) {
  const TemporaryFolder folder;
  write_checkpoint(folder.path(), example(1));
  try {
    const halftone::FullDisk full(100);
    write_checkpoint(folder.path(), example(2));
    FAIL() << "no error";
  } catch (const Error& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find("step 2"), std::string::npos) << what;
    EXPECT_NE(what.find("File too large"), std::string::npos) << what;
    EXPECT_NE(what.find("--resume"), std::string::npos) << what;
  }
  EXPECT_EQ(names_in(folder.path()), Names{checkpoint_name(1)});
  expect_same(find_latest(folder.path()).checkpoint.value(), example(1));
}

TEST(FullDisk, AtEveryPointOfTheFileLeavesNothingHalf) {
  const TemporaryFolder folder;
  const auto size = static_cast<rlim_t>(fs::file_size(write_checkpoint(folder.path(), example(1))));
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  for (rlim_t limit = 0; limit < size; limit += 37) {
    const struct rlimit tight { .rlim_cur = limit, .rlim_max = before.rlim_max };
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
    bool failed = false;
    try {
      write_checkpoint(folder.path(), example(2));
    } catch (const Error&) {
      failed = true;
    }
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    ASSERT_TRUE(failed) << limit;
    ASSERT_EQ(names_in(folder.path()), Names{checkpoint_name(1)});
  }
  std::signal(SIGXFSZ, handler);
  expect_same(find_latest(folder.path()).checkpoint.value(), example(1));
}

TEST(Killed, AtAnyByteLeavesTheOlderCheckpointAndOnlyATemporaryFile) {
  const TemporaryFolder folder;
  const auto size = static_cast<rlim_t>(fs::file_size(write_checkpoint(folder.path(), example(1))));
  for (rlim_t limit = 0; limit < size; limit += 97) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      // SIGXFSZ kills the process at exactly this byte of the file.
      const struct rlimit none { .rlim_cur = 0, .rlim_max = 0 };
      const struct rlimit tight { .rlim_cur = limit, .rlim_max = limit };
      if (::setrlimit(RLIMIT_CORE, &none) != 0 || ::setrlimit(RLIMIT_FSIZE, &tight) != 0) ::_exit(3);
      std::signal(SIGXFSZ, SIG_DFL);
      try {
        write_checkpoint(folder.path(), example(2));
      } catch (...) {
      }
      ::_exit(4);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ)
        << "status " << status << " at byte " << limit;
    ASSERT_EQ(names_in(folder.path()), (Names{checkpoint_name(1), checkpoint_name(2) + ".tmp"}));
    const LatestCheckpoint latest = find_latest(folder.path());
    ASSERT_EQ(latest.path, folder.file(checkpoint_name(1)));
    ASSERT_TRUE(latest.refused.empty());
    ASSERT_EQ(clean_temporaries(folder.path()).size(), 1U);
  }
}

}  // namespace
}  // namespace halftone::train
