// How work ends that was stopped on request.
#pragma once

#include <stdexcept>
#include <string>

namespace halftone {

// Work that was stopped, by a signal or by the host (halftone/process.h). It is no Error: whoever handles
// damaged files or samples must not take it for one. The message says what was saved and how to go on.
class Interrupted : public std::runtime_error {
 public:
  Interrupted(int signal, const std::string& message) : std::runtime_error(message), signal_(signal) {}
  int signal() const { return signal_; }  // exit code 128 + signal

 private:
  int signal_;
};

}  // namespace halftone
