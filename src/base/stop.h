// A request to stop, by a signal or by the host (halftone/process.h), as seen from inside: long work asks now
// and then.
#pragma once

#include <sys/types.h>

#include <string>

#include "halftone/interrupted.h"

namespace halftone {

// The signal of the request; 0 when there is none. Cheap: one relaxed load.
int stop_requested() noexcept;

// Throws Interrupted when there is a request. Call it wherever work takes longer than a fraction of a second,
// at points that leave everything as it was before the work.
void check_stop();

// "SIGINT", or "signal 42".
std::string signal_name(int signal);

// The same, but only while an Interruptible of this thread lives: for inner loops that serve both work which
// may end anywhere and work which may not, as a training step.
void check_stop_inside();

// While it lives, work of this thread may end anywhere: nobody needs what it leaves.
class Interruptible {
 public:
  Interruptible();
  ~Interruptible();
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;
};

// The child that gets the signals too (compare runs one at a time); 0: none any more. A request that came
// before is passed on at once.
void pass_stops_to(pid_t child);

// While it lives, the signals of stop_on_signals() are held back in this thread: around fork(), whose child
// must not run our handler.
class HeldSignals {
 public:
  HeldSignals();
  ~HeldSignals();
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;

  // In the child, before exec: signals do what they do by default.
  static void reset_in_child();
};

}  // namespace halftone
