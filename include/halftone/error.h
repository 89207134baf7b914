// What goes wrong, as one exception type.
#pragma once

#include <stdexcept>
#include <string>

namespace halftone {

// What kind of mistake it was; the command line turns it into its exit code.
enum class ErrorKind {
  kUsage,      // an option or a combination of options (exit code 2)
  kInput,      // a file: model, data, checkpoint (exit code 3)
  kNumerical,  // training stopped for numerical reasons (exit code 4)
};

// A mistake of the user or of a file. The message says what was wrong, where, expected, got, and what to try.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace halftone
