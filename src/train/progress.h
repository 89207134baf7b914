// The progress line of a run, on standard error.
//
// On a terminal one line is redrawn in place:
//    37% [=======>           ] 145/390  epoch 1/1  loss 0.5031  acc 82.4%  812 samples/s  312 MiB  scale 1024  left
//    1:03
// elsewhere a whole line is written now and then. Time and output are handed in, so that tests need neither.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace halftone::train {

enum class ProgressStyle {
  kTerminal,
  kPlain,
  kMessages,  // no progress, only what else there is to say
  kQuiet,     // only warnings
};

struct ProgressState {
  int64_t step = 0;  // steps done
  int64_t steps = 0;
  int64_t epoch = 0;  // the running one, from 1; 0: not shown
  int64_t epochs = 0;
  int64_t samples = 0;                                     // done in all
  int64_t tokens = 0;                                      // likewise, of texts; 0: they are none
  std::optional<double> tokens_per_second = std::nullopt;  // update() finds it
  std::optional<double> loss = std::nullopt;
  std::optional<double> accuracy = std::nullopt;  // a share in [0, 1]
  std::optional<double> loss_scale = std::nullopt;
  std::optional<int64_t> memory_bytes = std::nullopt;  // of the process, at its largest
};

struct ProgressOptions {
  ProgressStyle style = ProgressStyle::kPlain;
  int columns = 100;  // of the terminal; the bar takes what the rest leaves, and goes when that is too little
  double plain_seconds = 10;    // the time between two plain lines
  double redraw_seconds = 0.1;  // the least time between two redraws on a terminal
  bool says_how_long = false;   // once, when the rate is known: what an epoch takes
  std::function<std::optional<int64_t>()> memory =
      {};  // asked when a line is shown: ProgressState::memory_bytes
};

class Progress {
 public:
  using Clock = std::function<double()>;  // seconds, never falling
  using Output = std::function<void(std::string_view)>;

  Progress(ProgressOptions options, Clock clock, Output output);

  // After each step. The first and the last step are always shown.
  void update(const ProgressState& state);
  // A line of its own that stays, such as a warning; shown in every style but quiet.
  void message(std::string_view text);
  // The same, shown in every style.
  void warning(std::string_view text);
  // Ends the redrawn line, so that what follows begins on a line of its own. Also after an error.
  void finish();

  // The text of a state at a moment, without escapes; samples per second and time left are none in the first
  // moment.
  static std::string line(const ProgressState& state, std::optional<double> samples_per_second,
                          std::optional<double> seconds_left, int columns, bool with_bar);
  // "about 40 s an epoch, 3:20 for 5 of them".
  static std::string how_long(double epoch_seconds, int64_t epochs);

 private:
  void say_how_long(const ProgressState& state, double now);
  struct Mark {
    double time;
    int64_t step;
    int64_t samples;
    int64_t tokens;
  };

  ProgressOptions options_;
  Clock clock_;
  Output output_;
  std::deque<Mark> marks_;  // the last kWindowSeconds, for the rate
  std::optional<double> shown_at_;
  bool said_how_long_ = false;
  std::string on_screen_;
};

// kQuiet if asked for, else kTerminal when the file descriptor is one, else kPlain.
ProgressStyle progress_style(bool quiet, int fd);
// The terminal's width, or 100 when it is not known.
int terminal_columns(int fd);
// 59 -> "0:59", 3725 -> "1:02:05", 200000 -> "2d 7:33".
std::string duration_text(double seconds);

}  // namespace halftone::train
