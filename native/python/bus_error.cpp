#include "bus_error.hpp"

#if defined(_WIN32)
void onelayer::explain_bus_errors() {}
#else
#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>

namespace onelayer {

namespace {

// The handler may call only what POSIX lists as async-signal-safe, so no allocation and no formatting.
struct Line {
  char text[320];
  std::size_t size = 0;

  void add(const char* words) {
    const std::size_t count = std::strlen(words);
    std::memcpy(text + size, words, count);
    size += count;
  }
  void add_hexadecimal(std::uintptr_t value) {
    for (int shift = 8 * sizeof value - 4; shift >= 0; shift -= 4) text[size++] = "0123456789abcdef"[value >> shift & 15];
  }
};

std::atomic<bool> is_ending{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void say_and_end(int number, siginfo_t* info, void*) {
  // Threads that read the same file come here together: the first one speaks, and the others end with the process.
  while (is_ending.exchange(true)) pause();
  if (info->si_code == BUS_ADRERR || info->si_code == BUS_ADRALN) {  // a page, not somebody's kill
    Line line;
    if (termios settings; tcgetattr(STDERR_FILENO, &settings) == 0) line.add("\n\x1b[?25h");  // a progress bar's cursor
    line.add("error: a file that was being read became shorter, or its disk failed (SIGBUS at 0x");
    line.add_hexadecimal(reinterpret_cast<std::uintptr_t>(info->si_addr));
    line.add("); nothing was saved after the last checkpoint.\n");
    [[maybe_unused]] const auto written = write(STDERR_FILENO, line.text, line.size);
  }
  struct sigaction as_usual = {};
  as_usual.sa_handler = SIG_DFL;
  sigaction(number, &as_usual, nullptr);
  raise(number);  // when this handler has returned
}

}  // namespace

void explain_bus_errors() {
  struct sigaction action = {};
  if (sigaction(SIGBUS, nullptr, &action) != 0 || action.sa_flags & SA_SIGINFO || action.sa_handler != SIG_DFL) return;
  action = {};
  action.sa_sigaction = say_and_end;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace onelayer
#endif
