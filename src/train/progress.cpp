#include "train/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "halftone/printable.h"

namespace halftone::train {
namespace {

constexpr double kWindowSeconds =
    15;  // the rate is that of this last while: steady to look at, and soon right again after a pause
constexpr int kLeastBar = 10;
constexpr int kMostBar = 30;
constexpr std::string_view kEraseLine = "\r\x1b[K";

std::string bar(double share, int width) {
  const int full = std::clamp(static_cast<int>(share * width), 0, width);
  std::string cells(static_cast<size_t>(full), '=');
  if (full < width) cells += '>';
  cells.resize(static_cast<size_t>(width), ' ');
  return "[" + cells + "] ";
}

}  // namespace

Progress::Progress(ProgressOptions options, Clock clock, Output output)
    : options_(options), clock_(std::move(clock)), output_(std::move(output)) {}

void Progress::update(const ProgressState& given) {
  ProgressState state = given;
  if (options_.style == ProgressStyle::kQuiet || options_.style == ProgressStyle::kMessages) return;
  const double now = clock_();
  const bool terminal = options_.style == ProgressStyle::kTerminal;
  marks_.push_back({now, state.step, state.samples, state.tokens});
  while (marks_.size() > 2 && marks_[1].time <= now - kWindowSeconds) marks_.pop_front();
  say_how_long(state, now);
  const double wait = terminal ? options_.redraw_seconds : options_.plain_seconds;
  if (shown_at_ && now - *shown_at_ < wait && state.step < state.steps) return;
  shown_at_ = now;

  std::optional<double> samples_per_second;
  std::optional<double> seconds_left;
  const Mark& first = marks_.front();
  if (now > first.time && state.step > first.step) {
    samples_per_second = static_cast<double>(state.samples - first.samples) / (now - first.time);
    if (state.tokens > first.tokens)
      state.tokens_per_second = static_cast<double>(state.tokens - first.tokens) / (now - first.time);
    seconds_left = static_cast<double>(state.steps - state.step) * (now - first.time) /
                   static_cast<double>(state.step - first.step);
  }
  if (options_.memory) state.memory_bytes = options_.memory();
  const std::string text = line(state, samples_per_second, seconds_left, options_.columns, terminal);
  if (terminal) {
    on_screen_ = text;
    output_(std::string(kEraseLine) + text);
  } else {
    output_(text + "\n");
  }
}

// The first steps are slower than the others.
void Progress::say_how_long(const ProgressState& state, double now) {
  constexpr double kMeasuredSeconds = 3;
  constexpr double kWorthSaying = 20;
  const Mark& first = marks_.front();
  if (!options_.says_how_long || said_how_long_ || state.epochs <= 0 || now < first.time + kMeasuredSeconds ||
      state.step < first.step + 2)
    return;
  said_how_long_ = true;
  const double step = (now - first.time) / static_cast<double>(state.step - first.step);
  if (step * static_cast<double>(state.steps) < kWorthSaying) return;
  message(
      how_long(step * static_cast<double>(state.steps) / static_cast<double>(state.epochs), state.epochs));
}

std::string Progress::how_long(double epoch_seconds, int64_t epochs) {
  const auto rough = [](double seconds) {
    return seconds < 10   ? fmt::format("{:.1f} s", seconds)
           : seconds < 90 ? fmt::format("{:.0f} s", seconds)
                          : duration_text(seconds);
  };
  return fmt::format(
      "about {} an epoch{}", rough(epoch_seconds),
      epochs > 1 ? fmt::format(", {} for {}", rough(epoch_seconds * static_cast<double>(epochs)), epochs)
                 : "");
}

void Progress::message(std::string_view text) {
  if (options_.style != ProgressStyle::kQuiet) warning(text);
}

void Progress::warning(std::string_view text) {
  std::string out = on_screen_.empty() ? "" : std::string(kEraseLine);
  out += printable(text, true);  // names of files and tensors cannot act on the terminal
  out += '\n';
  out += on_screen_;
  output_(out);
}

void Progress::finish() {
  if (!on_screen_.empty()) output_("\n");
  on_screen_.clear();
}

std::string Progress::line(const ProgressState& s, std::optional<double> samples_per_second,
                           std::optional<double> seconds_left, int columns, bool with_bar) {
  const double share = s.steps > 0 ? static_cast<double>(s.step) / static_cast<double>(s.steps) : 0;
  const std::string head =
      fmt::format("{:3}% ", static_cast<int>(std::floor(100 * std::clamp(share, 0.0, 1.0))));
  std::string rest = fmt::format("{}/{}", s.step, s.steps);
  if (s.epoch > 0) rest += fmt::format("  epoch {}/{}", s.epoch, s.epochs);
  if (s.loss) rest += fmt::format("  loss {:.4f}", *s.loss);
  if (s.accuracy) rest += fmt::format("  acc {:.1f}%", 100 * *s.accuracy);
  if (samples_per_second)
    rest += *samples_per_second < 10 ? fmt::format("  {:.1f} samples/s", *samples_per_second)
                                     : fmt::format("  {:.0f} samples/s", *samples_per_second);
  if (s.tokens_per_second) rest += fmt::format("  {:.0f} tokens/s", *s.tokens_per_second);
  if (s.memory_bytes) rest += fmt::format("  {} MiB", *s.memory_bytes >> 20);
  if (s.loss_scale) rest += fmt::format("  scale {:.0f}", *s.loss_scale);
  if (seconds_left) rest += "  left " + duration_text(*seconds_left);
  if (!with_bar) return head + rest;

  constexpr int kFrame = 3;  // the brackets and a space
  const int room = columns - 1 - static_cast<int>(head.size() + rest.size()) - kFrame;
  std::string text = head + (room >= kLeastBar ? bar(share, std::min(room, kMostBar)) : "") + rest;
  // A line that wraps could not be redrawn.
  if (static_cast<int>(text.size()) > columns - 1) text.resize(static_cast<size_t>(std::max(columns - 1, 0)));
  return text;
}

ProgressStyle progress_style(bool quiet, int fd) {
  if (quiet) return ProgressStyle::kQuiet;
  return ::isatty(fd) == 1 ? ProgressStyle::kTerminal : ProgressStyle::kPlain;
}

int terminal_columns(int fd) {
  constexpr int kUnknown = 100;
  struct winsize size {};
  return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kUnknown;
}

std::string duration_text(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return "?";
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  const int64_t days = whole / 86400;
  const int64_t hours = whole / 3600 % 24;
  const int64_t minutes = whole / 60 % 60;
  if (days > 0) return fmt::format("{}d {}:{:02}", days, hours, minutes);
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60);
  return fmt::format("{}:{:02}", minutes, whole % 60);
}

}  // namespace halftone::train
