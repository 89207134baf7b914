#include "par/start_threads.h"

#include <system_error>

#include "base/resource_error.h"

namespace halftone::par {

void start_threads(std::vector<std::thread>& threads, int count, const std::function<void(int)>& body,
                   const std::function<void()>& end, const char* what, const char* option, int own) {
  const auto give_up = [&] {
    end();
    for (std::thread& thread : threads) thread.join();
    threads.clear();
  };
  int started = own;
  try {
    threads.reserve(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i, ++started) threads.emplace_back(body, i);
  } catch (const std::system_error& e) {
    give_up();
    throw resource_error("only {} of {} {} could be started ({}); try fewer {}", started, own + count, what,
                         e.code().message(), option);
  } catch (...) {
    give_up();
    throw;
  }
}

}  // namespace halftone::par
