#include "cuda/twin/block.h"

#include <algorithm>
#include <boost/context/fiber.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "core/error.h"
#include "cuda/launch.h"
#include "cuda/runtime.h"
#include "cuda/twin/graph.h"
#include "cuda/twin/twin.h"

namespace ratel::cuda {
namespace twin {
namespace {

namespace context = boost::context;

constexpr size_t kStack = size_t{256} << 10;

enum class State { ready, at_barrier, at_start, at_exchange, ended };

struct Warp {
  Word4 slots[2][kWarp];  // in turns: the next exchange may begin while some lanes still read of this one
  int turn = 0, arrived = 0;
  const char* what = nullptr;
  Place place;
  uint32_t epoch = 0;
};

/// A fiber that runs the kernel for one thread of one block after another.
struct Worker {
  context::fiber self, scheduler;
  State state = State::ended;
  Place place;
  std::exception_ptr error;
};

struct Block {
  std::function<void()> body;
  std::string kernel;
  Start start = Start::in_order;
  bool has_waited = true;  // for earlier kernels, where it has to
  uint32_t epoch = 0;
  std::vector<Warp> warps;
};

Block block;
std::vector<std::unique_ptr<Worker>> workers;  // by thread
bool in_thread = false;
std::map<std::string, int64_t> counts;  // of launches
Order order = [] {
  const char* wanted = std::getenv("RATEL_TWIN_ORDER");
  return wanted != nullptr && std::strcmp(wanted, "reverse") == 0 ? Order::reverse : Order::forward;
}();

Worker& worker(int thread) { return *workers[static_cast<size_t>(thread)]; }

bool same(const Place& a, const Place& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

std::string text(const Place& place) { return concat_text(place.file_name(), ':', place.line()); }

void run_threads(Worker& me) {
  for (;;) {
    try {
      block.body();
      if (has_products()) fail_here("ended without waiting for its products");
      if (!block.has_waited) fail_here("ended without wait_for_previous(), in a kernel that may start early");
    } catch (const context::detail::forced_unwind&) {
      throw;  // of a fiber that is being destroyed
    } catch (...) {
      me.error = std::current_exception();
    }
    me.state = State::ended;
    me.scheduler = std::move(me.scheduler).resume();
  }
}

void make_workers(int threads) {
  while (workers.size() < static_cast<size_t>(threads)) {
    auto made = std::make_unique<Worker>();
    made->self = context::fiber(std::allocator_arg, context::protected_fixedsize_stack(kStack),
                                [me = made.get()](context::fiber&& scheduler) {
                                  me->scheduler = std::move(scheduler);
                                  run_threads(*me);
                                  return std::move(me->scheduler);
                                });
    workers.push_back(std::move(made));
  }
}

/// Lets the scheduler run until it comes back to this thread.
void pause(Worker& me) { me.scheduler = std::move(me.scheduler).resume(); }

void resume(int thread) {
  running.thread = thread;
  Worker& w = worker(thread);
  in_thread = true;
  w.self = std::move(w.self).resume();
  in_thread = false;
}

bool waits_for_block(const Worker& w) { return w.state == State::at_barrier || w.state == State::at_start; }

/// No thread can go on: all of them wait at one barrier, which opens, or the kernel is wrong.
void open_barrier(int threads) {
  int waiting = -1;
  for (int thread = 0; thread < threads; ++thread)
    if (waits_for_block(worker(thread)) && waiting < 0) waiting = thread;
  for (int thread = 0; thread < threads; ++thread) {
    const Worker& w = worker(thread);
    running.thread = thread;
    if (w.state == State::at_exchange)
      fail_here(concat_text("waits in ", block.warps[static_cast<size_t>(thread / kWarp)].what, " at ", text(w.place),
                            " for lanes that never come"));
    if (waiting < 0) continue;
    const Place& barrier = worker(waiting).place;
    if (w.state == State::ended)
      fail_here(concat_text("ended, while thread ", waiting, " waits at the barrier at ", text(barrier)));
    if (!same(w.place, barrier))
      fail_here(concat_text("waits at the barrier at ", text(w.place), ", thread ", waiting, " at the one at ",
                            text(barrier)));
  }
  if (worker(waiting).state == State::at_start) {  // which orders nothing within the block
    block.has_waited = true;
    set_recorded_access(Access::all);
  } else {
    ++block.epoch;
  }
  for (int thread = 0; thread < threads; ++thread) worker(thread).state = State::ready;
}

void run_block(int threads, size_t shared_bytes) {
  reset_shared(shared_bytes, threads);
  block.warps.assign(static_cast<size_t>(threads / kWarp), Warp());
  block.epoch = 0;
  for (int thread = 0; thread < threads; ++thread) worker(thread).state = State::ready;
  block.has_waited = block.start == Start::in_order;
  if (!block.has_waited && std::ranges::all_of(running.block, [](int i) { return i == 0; }))
    set_recorded_access(Access::none);
  for (int left = threads; left > 0;) {
    bool moved = false;
    for (int i = 0; i < threads; ++i) {
      const int thread = order == Order::forward ? i : threads - 1 - i;
      Worker& w = worker(thread);
      if (w.state != State::ready) continue;
      resume(thread);
      moved = true;
      if (w.error != nullptr) std::rethrow_exception(w.error);
      if (w.state == State::ended) --left;
    }
    if (!moved) open_barrier(threads);
  }
}

/// An access that no allocation allows becomes an Error in the thread that made it. The kernels are compiled so that an
/// instruction may throw.
void on_fault(int, siginfo_t* info, void*) {
  if (!in_thread) {  // a fault of the host's own: let it end the program
    std::signal(SIGSEGV, SIG_DFL);
    return;
  }
  fail_here(concat_text("touches address ", info->si_addr,
                        is_recorded_memory(info->si_addr) ? ", which an earlier kernel may write, before it waited"
                                                          : ", which lies in no allocation"));
}

class FaultsBecomeErrors {
 public:
  FaultsBecomeErrors() {
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, &before_);
  }
  ~FaultsBecomeErrors() { sigaction(SIGSEGV, &before_, nullptr); }
  FaultsBecomeErrors(const FaultsBecomeErrors&) = delete;
  FaultsBecomeErrors& operator=(const FaultsBecomeErrors&) = delete;

 private:
  struct sigaction before_ {};
};

}  // namespace

void set_order(Order wanted) { order = wanted; }

const std::map<std::string, int64_t>& launches() { return counts; }
void count_launch(const std::string& name) { ++counts[name]; }

void fail_here(const std::string& what) {
  const Position& at = running;
  fail(block.kernel, ", block (", at.block[0], ", ", at.block[1], ", ", at.block[2], "), thread ", at.thread, ": ",
       what);
}

void wait_for_block(const Place& place) {
  Worker& me = worker(running.thread);
  me.state = State::at_barrier;
  me.place = place;
  pause(me);
}

void wait_for_previous(const Place& place) {
  if (block.has_waited) return;
  Worker& me = worker(running.thread);
  me.state = State::at_start;
  me.place = place;
  pause(me);
}

const Word4* exchange(const char* what, const Word4& mine, const Place& place, Memory memory) {
  const int thread = running.thread, first = thread / kWarp * kWarp;
  Warp& warp = block.warps[static_cast<size_t>(thread / kWarp)];
  Worker& me = worker(thread);
  if (warp.arrived == 0) {
    warp.what = what;
    warp.place = place;
  } else if (!same(warp.place, place)) {
    fail_here(concat_text("is in ", what, " at ", text(place), ", other lanes of its warp in ", warp.what, " at ",
                          text(warp.place)));
  }
  const int turn = warp.turn;
  warp.slots[turn][thread - first] = mine;
  if (++warp.arrived < kWarp) {
    me.state = State::at_exchange;
    me.place = place;
    pause(me);
  } else {
    warp.arrived = 0;
    warp.turn = 1 - turn;
    if (memory == Memory::ordered) ++warp.epoch;
    for (int lane = 0; lane < kWarp; ++lane) worker(first + lane).state = State::ready;
  }
  return warp.slots[turn];
}

Moment now() {
  const int thread = running.thread, warp = thread / kWarp;
  return {thread, warp, block.epoch, block.warps[static_cast<size_t>(warp)].epoch};
}

}  // namespace twin

namespace {

/// Copies of a kernel's arguments, for when the call that brought them is over.
class KeptArguments {
 public:
  KeptArguments(void** arguments, const size_t* sizes) {
    constexpr size_t kUnit = sizeof(std::max_align_t);
    size_t units = 0;
    for (int i = 0; sizes[i] > 0; ++i) units += (sizes[i] + kUnit - 1) / kUnit;
    values_.resize(units);
    units = 0;
    for (int i = 0; sizes[i] > 0; ++i) {
      std::memcpy(&values_[units], arguments[i], sizes[i]);
      addresses_.push_back(&values_[units]);
      units += (sizes[i] + kUnit - 1) / kUnit;
    }
  }
  [[nodiscard]] void** addresses() { return addresses_.data(); }

 private:
  std::vector<std::max_align_t> values_;
  std::vector<void*> addresses_;
};

void run_kernel(const Launch& how, const void* kernel, void (*call)(const void*, void**), void** arguments) {
  const size_t most_shared = shared_bytes_of(how.stream.device);
  check(how.shared_bytes <= most_shared, how.kernel, ": ", how.shared_bytes, " bytes of shared memory, a GPU has ",
        most_shared);
  twin::count_launch(how.kernel);
  twin::block.body = [=] { call(kernel, arguments); };
  twin::block.kernel = how.kernel;
  twin::block.start = how.start;
  twin::running = {
      0, how.block_x, {}, {static_cast<int>(how.grid_x), static_cast<int>(how.grid_y), static_cast<int>(how.grid_z)}};
  twin::make_workers(how.block_x);
  const twin::FaultsBecomeErrors faults;
  try {
    for (int z = 0; z < how.grid_z; ++z)
      for (int y = 0; y < how.grid_y; ++y)
        for (int x = 0; x < how.grid_x; ++x) {
          const bool forward = twin::order == twin::Order::forward;
          const twin::Position& at = twin::running;
          const int index[3] = {forward ? x : at.grid[0] - 1 - x, forward ? y : at.grid[1] - 1 - y,
                                forward ? z : at.grid[2] - 1 - z};
          std::copy_n(index, 3, twin::running.block);
          twin::run_block(how.block_x, how.shared_bytes);
        }
  } catch (...) {
    twin::in_thread = false;
    twin::workers.clear();  // some are in the middle of the kernel
    twin::set_recorded_access(twin::Access::all);
    throw;
  }
  twin::check_memory(how.kernel);
}

}  // namespace

void launch_kernel(const Launch& how, const void* kernel, void (*call)(const void*, void**), void** arguments,
                   const size_t* sizes) {
  if (how.grid_x == 0 || how.grid_y == 0 || how.grid_z == 0) return;
  check_launch(how);
  if (!twin::is_recording()) return run_kernel(how, kernel, call, arguments);
  const auto kept = std::make_shared<KeptArguments>(arguments, sizes);
  twin::record([=] { run_kernel(how, kernel, call, kept->addresses()); });
}

}  // namespace ratel::cuda
