#pragma once

/// What ThreadSanitizer is told of a parallel loop, since it does not see into Debian's libtbb, which is built without
/// it: pieces begin after their caller gave them out, and the caller goes on after all of them ended. It still finds
/// races between pieces. In other builds this is nothing.
#ifdef __SANITIZE_THREAD__
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#endif

namespace ratel::cpu {

struct TaskOrder {
#ifdef __SANITIZE_THREAD__
  static void give_out() { __tsan_release(&begun); }
  static void begin_piece() { __tsan_acquire(&begun); }
  static void end_piece() { __tsan_release(&ended); }
  static void go_on() { __tsan_acquire(&ended); }

 private:
  // Of all loops: a piece must not have to read where its own loop's are before it was told that it may.
  static inline char begun = 0, ended = 0;
#else
  static void give_out() {}
  static void begin_piece() {}
  static void end_piece() {}
  static void go_on() {}
#endif
};

}  // namespace ratel::cpu
