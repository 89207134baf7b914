// Threads start all together or not at all.
#pragma once

#include <functional>
#include <thread>
#include <vector>

namespace halftone::par {

// Adds threads that run body(0), …, body(count - 1); the body must not throw. Error (resources) when the
// system refuses one, and whatever else goes wrong: then `end` was called and the threads that had started
// have ended. `what` names them for people ("threads that read data"), `option` is what takes fewer of them;
// `own` threads besides run already.
void start_threads(std::vector<std::thread>& threads, int count, const std::function<void(int)>& body,
                   const std::function<void()>& end, const char* what, const char* option, int own = 0);

}  // namespace halftone::par
