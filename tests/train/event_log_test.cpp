#include "train/event_log.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/failing_memory.h"
#include "base/file.h"
#include "base/full_disk.h"
#include "halftone/resources.h"
#include "train/temporary_folder.h"

namespace halftone::train {
namespace {

std::string record(int64_t step, const std::string& more = "") {
  return "{\"step\":" + std::to_string(step) + more + "}";
}

std::string lines(int64_t first, int64_t last) {
  std::string text;
  for (int64_t step = first; step <= last; ++step) text += record(step) + "\n";
  return text;
}

TEST(EventLog, WritesOneLineARecord) {
  const TemporaryFolder folder;
  const std::string path = folder.file("events.jsonl");
  write_file_atomically(path, "left from an earlier run\n");
  EventLog log = EventLog::fresh(path);
  for (int64_t step = 1; step <= 3; ++step) log.append(step, record(step));
  log.sync();
  EXPECT_EQ(read_file(path), lines(1, 3));
}

// Between a step's end and its record nothing may fail but the disk: a checkpoint would hold a step that the
// log does not have.
TEST(EventLog, APreparedRecordNeedsNoMemory) {
  const TemporaryFolder folder;
  const std::string path = folder.file("events.jsonl");
  EventLog log = EventLog::fresh(path);
  std::string expected;
  for (int64_t step = 1; step <= 3; ++step) {
    const std::string text = record(step, ",\"a\":" + std::to_string(step * 1000000000));
    expected += text + '\n';
    log.prepare(text.size());
    const test::FailingMemory memory(1, true);
    log.append(step, text);
    EXPECT_FALSE(memory.failed());
  }
  EXPECT_EQ(read_file(path), expected);
  if (!test::memory_can_fail()) GTEST_SKIP() << "a sanitizer has its own allocator: only the records were checked";
}

TEST(EventLog, ResumingCutsLaterStepsOffAndGoesOn) {
  const TemporaryFolder folder;
  const std::string path = folder.file("events.jsonl");
  {
    EventLog log = EventLog::fresh(path);
    for (int64_t step = 1; step <= 9; ++step) log.append(step, record(step));
  }
  EventLog log = EventLog::resumed(path, 5);
  EXPECT_EQ(read_file(path), lines(1, 5));
  for (int64_t step = 6; step <= 12; ++step) log.append(step, record(step));
  EXPECT_EQ(read_file(path), lines(1, 12));
}

TEST(EventLog, ResumingKeepsEveryRecordOfTheStepItself) {
  const TemporaryFolder folder;
  const std::string path = folder.file("events.jsonl");
  const std::string kept = record(5) + "\n" + record(5, ",\"val_loss\":1.5") + "\n";
  write_file_atomically(path, kept + record(6) + "\n");
  EventLog::resumed(path, 5);
  EXPECT_EQ(read_file(path), kept);
}

TEST(EventLog, ResumingDropsRecordsOfTheStepThatCameAfterItsCheckpoint) {
  const TemporaryFolder folder;
  const std::string path = folder.file("events.jsonl");
  const std::string before = record(5) + "\n";
  const std::string all = before + record(5, ",\"val_loss\":1.5") + "\n" + record(6) + "\n";
  for (const auto& [bytes, kept] :
       {std::pair<int64_t, std::string>{static_cast<int64_t>(before.size()), before},
        {0, ""},
        {-1, all.substr(0, all.size() - record(6).size() - 1)},
        {3, all.substr(0, all.size() - record(6).size() - 1)},  // no end of a record
        {1000, all.substr(0, all.size() - record(6).size() - 1)}}) {
    write_file_atomically(path, all);
    EventLog log = EventLog::resumed(path, 5, bytes);
    EXPECT_EQ(read_file(path), kept) << bytes;
    EXPECT_EQ(log.bytes(), static_cast<int64_t>(kept.size()));
  }
}

TEST(EventLog, WhatCameAfterTheCheckpointMayBeAnything) {
  const TemporaryFolder folder;
  const std::string path = folder.file("events.jsonl");
  const std::string before = lines(1, 5);
  for (const std::string& behind : {std::string(700, '\0') + "\n" + record(7) + "\n",
                                    std::string("garbage\n"), record(7) + "\n" + record(6) + "\n"}) {
    write_file_atomically(path, before + behind);
    EventLog::resumed(path, 5, static_cast<int64_t>(before.size()));
    EXPECT_EQ(read_file(path), before);
  }
}

TEST(EventLog, ResumingDropsALineCutByAKillAtAnyPlace) {
  const TemporaryFolder folder;
  const std::string path = folder.file("events.jsonl");
  const std::string last = record(3, ",\"loss\":0.25") + "\n";
  for (size_t cut = 0; cut < last.size(); ++cut) {
    write_file_atomically(path, lines(1, 2) + last.substr(0, cut));
    EventLog log = EventLog::resumed(path, 3);
    EXPECT_EQ(read_file(path), lines(1, 2)) << cut;
    log.append(3, record(3));
    EXPECT_EQ(read_file(path), lines(1, 3)) << cut;
  }
}

TEST(EventLog, ResumingWithoutAFileBeginsOne) {
  const TemporaryFolder folder;
  EventLog log = EventLog::resumed(folder.file("events.jsonl"), 5);
  log.append(6, record(6));
  EXPECT_EQ(read_file(folder.file("events.jsonl")), lines(6, 6));
}

TEST(EventLog, DamagedLinesAreNamedAndTheFileIsLeftAsItWas) {
  const TemporaryFolder folder;
  const std::string path = folder.file("events.jsonl");
  for (const std::string bad :
       {"garbage", "[1]", "{}", "{\"step\":\"2\"}", "{\"step\":1.5}", "", "{\"step\":0}"}) {
    const std::string text = record(1) + "\n" + bad + "\n" + record(3) + "\n";
    write_file_atomically(path, text);
    try {
      EventLog::resumed(path, 5);
      ADD_FAILURE() << "accepted '" << bad << "'";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("events.jsonl, line 2"), std::string::npos) << error.what();
    }
    EXPECT_EQ(read_file(path), text);
  }
}

TEST(EventLog, AStepBeyondItsTypeIsNamed) {
  const TemporaryFolder folder;
  const std::string path = folder.file("events.jsonl");
  for (const std::string step : {"-1", "9223372036854775808", "18446744073709551615"}) {
    write_file_atomically(path, "{\"step\":" + step + "}\n");
    try {
      EventLog::resumed(path, 5);
      ADD_FAILURE() << "accepted " << step;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("events.jsonl, line 1"), std::string::npos) << error.what();
    }
  }
}

TEST(EventLog, AFullDiskIsAnErrorAndNotHalfARecord) {
  const TemporaryFolder folder;
  EventLog log = EventLog::fresh(folder.file("events.jsonl"));
  log.append(1, record(1));
  {
    const FullDisk full(static_cast<rlim_t>(record(1).size()) + 4);
    try {
      log.append(2, record(2));
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kResources) << error.what();
    }
  }
  EXPECT_EQ(read_file(folder.file("events.jsonl")), lines(1, 1));
  // It is not forgotten.
  log.sync();
  EXPECT_EQ(read_file(folder.file("events.jsonl")), lines(1, 2));
  EXPECT_EQ(log.bytes(), static_cast<int64_t>(lines(1, 2).size()));
  log.append(3, record(3));
  EXPECT_EQ(read_file(folder.file("events.jsonl")), lines(1, 3));
}

TEST(EventLog, IsARegularFile) {
  const TemporaryFolder folder;
  std::filesystem::create_symlink("/dev/null", folder.file("events.jsonl"));
  EXPECT_THROW(EventLog::fresh(folder.file("events.jsonl")), Error);
}

TEST(EventLog, StepsThatDescendAreOurBug) {
  const TemporaryFolder folder;
  EventLog log = EventLog::fresh(folder.file("events.jsonl"));
  log.append(2, record(2));
  EXPECT_THROW(log.append(1, record(1)), InternalError);
  EXPECT_THROW(log.append(3, "{\n}"), InternalError);
}

}  // namespace
}  // namespace halftone::train
