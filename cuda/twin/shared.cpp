// Shared memory of the running block: for every two bytes, whether they were written, and who wrote and read them last.

#include <cstring>
#include <vector>

#include "core/error.h"
#include "cuda/twin/block.h"

namespace ratel::cuda::twin {
namespace {

constexpr int kMany = -1;

/// Who did something last; kMany stands for several threads, or for threads of several warps.
struct Access {
  Moment by{-2, -2, 0, 0};
  [[nodiscard]] bool happened() const { return by.thread != -2; }
};

enum class Content : uint8_t { nothing, under_way, written };

struct Cell {
  Content content = Content::nothing;
  Access write, read;
  uint64_t write_number = 0;
};

struct Copy {
  int at, size;
  unsigned char bytes[16];
};
using Group = std::vector<Copy>;

/// What one thread has begun and not waited for.
struct Copies {
  Group open;
  std::vector<Group> closed;
};

std::vector<unsigned char> memory;
std::vector<Cell> cells;
std::vector<Copies> copies;  // by thread
uint64_t writes = 0;
std::vector<uint64_t> published;  // by thread: the writes when it last published its own

/// What one thread has multiplied and not waited for.
struct Products {
  using Group = std::vector<std::function<void()>>;
  bool begun = false;
  Group open;
  std::vector<Group> closed;
};
std::vector<Products> products;  // by thread

/// True where what was done is over for the thread at `now`: it was its own, or a barrier lies between.
bool is_over(const Access& access, const Moment& now) {
  if (!access.happened() || access.by.thread == now.thread || access.by.block_epoch < now.block_epoch) return true;
  return access.by.warp == now.warp && access.by.warp_epoch < now.warp_epoch;
}

std::string thread_name(const Access& access) {
  return access.by.thread == kMany ? "other threads" : concat_text("thread ", access.by.thread);
}

void check_inside(Stretch within, int64_t at, int bytes) {
  if (at < within.begin || at + bytes > within.end)
    fail_here(concat_text("touches bytes ", at - within.begin, " to ", at - within.begin + bytes,
                          " of a piece of shared memory of ", within.end - within.begin, " bytes"));
  if (at % bytes != 0) fail_here(concat_text("accesses ", bytes, " bytes of shared memory at the odd place ", at));
}

void note_write(int at, int bytes, Content content) {
  const Moment moment = now();
  for (int i = at / 2; i < (at + bytes) / 2; ++i) {
    Cell& cell = cells[static_cast<size_t>(i)];
    if (cell.content == Content::under_way) fail_here("writes shared memory that an asynchronous copy is writing");
    if (!is_over(cell.read, moment))
      fail_here("overwrites shared memory that " + thread_name(cell.read) + " reads, with no barrier between");
    if (!is_over(cell.write, moment))
      fail_here("overwrites shared memory that " + thread_name(cell.write) + " wrote, with no barrier between");
    cell.content = content;
    cell.write.by = moment;
    cell.write_number = ++writes;
    cell.read = {};
  }
}

void note_read(int at, int bytes) {
  const Moment moment = now();
  for (int i = at / 2; i < (at + bytes) / 2; ++i) {
    Cell& cell = cells[static_cast<size_t>(i)];
    if (cell.content == Content::nothing) fail_here("reads shared memory that nobody wrote");
    if (cell.content == Content::under_way) fail_here("reads an asynchronous copy before waiting for it");
    if (!is_over(cell.write, moment))
      fail_here("reads shared memory that " + thread_name(cell.write) + " wrote, with no barrier between");
    Moment& last = cell.read.by;
    const bool alone = !cell.read.happened() || last.block_epoch < moment.block_epoch;
    const int thread = alone || last.thread == moment.thread ? moment.thread : kMany;
    const int warp = alone || last.warp == moment.warp ? moment.warp : kMany;
    last = {thread, warp, moment.block_epoch, moment.warp_epoch};
  }
}

void finish(const Group& group) {
  for (const Copy& copy : group) {
    std::memcpy(memory.data() + copy.at, copy.bytes, static_cast<size_t>(copy.size));
    for (int i = copy.at / 2; i < (copy.at + copy.size) / 2; ++i) {
      Cell& cell = cells[static_cast<size_t>(i)];
      cell.content = Content::written;
      cell.write.by = now();
      cell.write_number = ++writes;
    }
  }
}

Copies& own_copies() { return copies[static_cast<size_t>(position().thread)]; }
Products& own_products() { return products[static_cast<size_t>(position().thread)]; }

}  // namespace

void reset_shared(size_t bytes, int threads) {
  memory.assign((bytes + 15) / 16 * 16, 0xff);
  cells.assign(memory.size() / 2, Cell());
  copies.assign(static_cast<size_t>(threads), Copies());
  published.assign(static_cast<size_t>(threads), 0);
  products.assign(static_cast<size_t>(threads), Products());
}

Stretch cut_shared(int& used, int64_t bytes) {
  const Stretch stretch{used, used + static_cast<int>(bytes)};
  used += static_cast<int>((bytes + 15) / 16 * 16);
  if (static_cast<size_t>(used) > memory.size())
    fail_here(concat_text("takes ", used, " bytes of shared memory, the launch asked for ", memory.size()));
  return stretch;
}

void read_shared(Stretch within, int64_t at, void* into, int bytes) {
  check_inside(within, at, bytes);
  note_read(static_cast<int>(at), bytes);
  std::memcpy(into, memory.data() + at, static_cast<size_t>(bytes));
}

void write_shared(Stretch within, int64_t at, const void* from, int bytes) {
  check_inside(within, at, bytes);
  note_write(static_cast<int>(at), bytes, Content::written);
  std::memcpy(memory.data() + at, from, static_cast<size_t>(bytes));
}

void publish_shared() { published[static_cast<size_t>(position().thread)] = writes; }

void read_published(Stretch within, int64_t at, void* into, int bytes) {
  read_shared(within, at, into, bytes);
  for (int64_t i = at / 2; i < (at + bytes) / 2; ++i) {
    const Cell& cell = cells[static_cast<size_t>(i)];
    if (cell.write_number > published[static_cast<size_t>(cell.write.by.thread)])
      fail_here("multiplies shared memory that " + thread_name(cell.write) + " wrote and did not publish");
  }
}

void begin_products() { own_products().begun = true; }

void add_product(std::function<void()> product) {
  if (!own_products().begun) fail_here("products that were not begun");
  own_products().open.push_back(std::move(product));
}

void commit_products() {
  Products& own = own_products();
  own.begun = false;
  own.closed.push_back(std::move(own.open));
  own.open.clear();
}

void wait_products(int pending) {
  Products& own = own_products();
  while (own.closed.size() > static_cast<size_t>(pending)) {
    for (const auto& product : own.closed.front()) product();
    own.closed.erase(own.closed.begin());
  }
}

bool has_products() { return !own_products().open.empty() || !own_products().closed.empty(); }

void begin_copy(Stretch within, int64_t at, const void* from, int bytes, bool valid) {
  check_inside(within, at, bytes);
  if (valid && reinterpret_cast<uintptr_t>(from) % static_cast<uintptr_t>(bytes) != 0)
    fail_here(concat_text("copies ", bytes, " bytes from a misaligned address"));
  Copy copy{static_cast<int>(at), bytes, {}};
  if (valid) std::memcpy(copy.bytes, from, static_cast<size_t>(bytes));
  note_write(copy.at, bytes, Content::under_way);
  own_copies().open.push_back(copy);
}

void commit_copies() {
  Copies& own = own_copies();
  own.closed.push_back(std::move(own.open));
  own.open.clear();
}

void wait_copies(int pending) {
  for (auto& closed = own_copies().closed; closed.size() > static_cast<size_t>(pending); closed.erase(closed.begin()))
    finish(closed.front());
}

}  // namespace ratel::cuda::twin
