#pragma once

// cuda/device.h on the host twin: the same names as device_gpu.h, with every access to shared memory, every barrier and
// every exchange between lanes checked.

#include <bit>
#include <cmath>
#include <cstring>
#include <numbers>

#include "cuda/device.h"
#include "cuda/twin/block.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace ratel::cuda {

inline Index3 thread_index() { return {twin::position().thread, 0, 0}; }
inline Index3 block_index() {
  const int* at = twin::position().block;
  return {at[0], at[1], at[2]};
}
inline Index3 block_size() { return {twin::position().block_size, 1, 1}; }
inline Index3 grid_size() {
  const int* of = twin::position().grid;
  return {of[0], of[1], of[2]};
}

inline void sync_block(twin::Place place = twin::Place::current()) { twin::wait_for_block(place); }
inline void sync_warp(twin::Place place = twin::Place::current()) {
  twin::exchange("sync_warp", {}, place, twin::Memory::ordered);
}

inline void let_next_begin() {}
inline void wait_for_previous(twin::Place place = twin::Place::current()) { twin::wait_for_previous(place); }

namespace twin {

template <class T>
Word4 as_word(T value) {
  static_assert(sizeof(T) <= sizeof(Word4));
  Word4 word{};
  std::memcpy(&word, &value, sizeof(T));
  return word;
}
template <class T>
T from_word(const Word4& word) {
  T value;
  std::memcpy(static_cast<void*>(&value), &word, sizeof(T));
  return value;
}
inline int lane() { return position().thread % kWarp; }

template <class T>
T take_from(const char* what, T value, int lane, int otherwise, const Place& place) {
  const Word4* all = exchange(what, as_word(value), place);
  return from_word<T>(all[lane >= 0 && lane < kWarp ? lane : otherwise]);
}

}  // namespace twin

template <class T>
T shuffle_xor(T value, int mask, twin::Place place = twin::Place::current()) {
  return twin::take_from("shuffle_xor", value, twin::lane() ^ mask, twin::lane(), place);
}
template <class T>
T shuffle_up(T value, int delta, twin::Place place = twin::Place::current()) {
  return twin::take_from("shuffle_up", value, twin::lane() - delta, twin::lane(), place);
}
template <class T>
T shuffle_down(T value, int delta, twin::Place place = twin::Place::current()) {
  return twin::take_from("shuffle_down", value, twin::lane() + delta, twin::lane(), place);
}
template <class T>
T shuffle(T value, int from, twin::Place place = twin::Place::current()) {
  return twin::take_from("shuffle", value, from % kWarp, twin::lane(), place);
}
inline uint32_t ballot(bool flag, twin::Place place = twin::Place::current()) {
  const twin::Word4* all = twin::exchange("ballot", twin::as_word(flag), place);
  uint32_t flags = 0;
  for (int lane = 0; lane < kWarp; ++lane)
    if (twin::from_word<bool>(all[lane])) flags |= 1u << lane;
  return flags;
}
inline bool any(bool flag, twin::Place place = twin::Place::current()) { return ballot(flag, place) != 0; }
inline bool all(bool flag, twin::Place place = twin::Place::current()) { return ballot(flag, place) == 0xffffffffu; }
inline void trap() { twin::fail_here("trap"); }
inline int count_ones(uint32_t flags) { return std::popcount(flags); }

template <class T>
T atomic_add(T* into, T value) {
  const T before = *into;
  *into = before + value;
  return before;
}

inline float fast_exp2(float x) { return std::exp2(x); }
inline float fast_reciprocal(float x) { return 1 / x; }
inline float fast_inverse_root(float x) { return 1 / std::sqrt(x); }
inline double cos_pi(double x) { return std::cos(std::numbers::pi * std::remainder(x, 2.0)); }
inline double sin_pi(double x) { return std::sin(std::numbers::pi * std::remainder(x, 2.0)); }
inline bfloat16 round_to_bf16(float x) { return bfloat16(x); }
inline uint32_t pack_bf16(float low, float high) {
  return static_cast<uint32_t>(bfloat16(high).bits) << 16 | bfloat16(low).bits;
}

template <int N, class T>
Vec<T, N> load_vec(const T* from) {
  if (reinterpret_cast<uintptr_t>(from) % sizeof(Vec<T, N>) != 0) twin::fail_here("load_vec from a misaligned address");
  Vec<T, N> values;
  for (int i = 0; i < N; ++i) values.at[i] = from[i];
  return values;
}
template <class T, int N>
void store_vec(T* into, const Vec<T, N>& values) {
  if (reinterpret_cast<uintptr_t>(into) % sizeof(Vec<T, N>) != 0) twin::fail_here("store_vec to a misaligned address");
  for (int i = 0; i < N; ++i) into[i] = values.at[i];
}

template <class T>
class Shared {
  static_assert(sizeof(T) % 2 == 0, "what was written is kept for every two bytes");

 public:
  /// An element: told apart by what is done with it are reads and writes.
  class Element {
   public:
    Element(const Shared& in, int index) : in_(in), index_(index) {}
    Element(const Element&) = default;
    operator T() const { return in_.template load<1>(index_).at[0]; }
    T operator=(T value) const {
      in_.store(index_, Vec<T, 1>{{value}});
      return value;
    }
    T operator=(const Element& other) const { return *this = static_cast<T>(other); }
    T operator+=(T value) const { return *this = static_cast<T>(*this) + value; }
    T operator-=(T value) const { return *this = static_cast<T>(*this) - value; }
    T operator*=(T value) const { return *this = static_cast<T>(*this) * value; }
    explicit operator float() const requires(!std::is_same_v<T, float>) {
      return static_cast<float>(static_cast<T>(*this));
    }

   private:
    Shared in_;
    int index_;
  };

  Shared(twin::Stretch within, int64_t at) : within_(within), at_(at) {}
  Element operator[](int index) const { return Element(*this, index); }
  Shared operator+(int offset) const { return Shared(within_, byte_of(offset)); }
  template <int N>
  Vec<T, N> load(int index) const {
    Vec<T, N> values;
    twin::read_shared(within_, byte_of(index), &values, static_cast<int>(sizeof(values)));
    return values;
  }
  template <int N>
  void store(int index, const Vec<T, N>& values) const {
    twin::write_shared(within_, byte_of(index), &values, static_cast<int>(sizeof(values)));
  }
  [[nodiscard]] twin::Stretch within() const { return within_; }
  [[nodiscard]] int64_t byte_of(int index) const { return at_ + index * static_cast<int64_t>(sizeof(T)); }

 private:
  twin::Stretch within_;
  int64_t at_;
};

class SharedArena {
 public:
  template <class T>
  Shared<T> take(int count) {
    const twin::Stretch stretch = twin::cut_shared(used_, count * static_cast<int64_t>(sizeof(T)));
    return Shared<T>(stretch, stretch.begin);
  }

 private:
  int used_ = 0;
};

template <class T>
void copy_async_16(Shared<T> into, int index, const T* from, bool valid = true) {
  twin::begin_copy(into.within(), into.byte_of(index), from, 16, valid);
}
template <class T>
void copy_async_4(Shared<T> into, int index, const T* from, bool valid = true) {
  twin::begin_copy(into.within(), into.byte_of(index), from, 4, valid);
}
inline void commit_copies() { twin::commit_copies(); }
template <int Pending>
void wait_copies() {
  twin::wait_copies(Pending);
}

namespace twin {

/// A lane's row of 8 elements, as the other lanes need it to read from it.
struct Row {
  Stretch within;
  int64_t at;
};
enum class Transposed { no, yes };

template <int N>
void load_matrices(uint32_t (&to)[N], const Shared<bfloat16>& from, int index, Transposed transposed,
                   const Place& place) {
  const Word4* rows = exchange("load_matrix", as_word(Row{from.within(), from.byte_of(index)}), place);
  const int row = lane() / 4, pair = 2 * (lane() % 4);
  for (int matrix = 0; matrix < N; ++matrix) {
    uint16_t bits[2];
    for (int i = 0; i < 2; ++i) {
      const int r = transposed == Transposed::yes ? pair + i : row, c = transposed == Transposed::yes ? row : pair + i;
      const auto source = from_word<Row>(rows[matrix * 8 + r]);
      if (source.at % 16 != 0) fail_here("load_matrix: a row that does not begin at a multiple of 16 bytes");
      read_shared(source.within, source.at + c * 2, &bits[i], 2);
    }
    to[matrix] = static_cast<uint32_t>(bits[1]) << 16 | bits[0];
  }
}

inline float half_of(uint32_t pair, int i) { return std::bit_cast<float>(i == 0 ? pair << 16 : pair & 0xffff0000u); }

}  // namespace twin

inline void load_matrix_x4(uint32_t (&to)[4], const Shared<bfloat16>& from, int index,
                           twin::Place place = twin::Place::current()) {
  twin::load_matrices(to, from, index, twin::Transposed::no, place);
}
inline void load_matrix_x4_transposed(uint32_t (&to)[4], const Shared<bfloat16>& from, int index,
                                      twin::Place place = twin::Place::current()) {
  twin::load_matrices(to, from, index, twin::Transposed::yes, place);
}
inline void load_matrix_x2(uint32_t (&to)[2], const Shared<bfloat16>& from, int index,
                           twin::Place place = twin::Place::current()) {
  twin::load_matrices(to, from, index, twin::Transposed::no, place);
}
inline void load_matrix_x2_transposed(uint32_t (&to)[2], const Shared<bfloat16>& from, int index,
                                      twin::Place place = twin::Place::current()) {
  twin::load_matrices(to, from, index, twin::Transposed::yes, place);
}

inline void multiply_16x8x16(FragmentC& c, const FragmentA& a, const FragmentB& b,
                             twin::Place place = twin::Place::current()) {
  struct Operands {
    FragmentA a;
    FragmentB b;
  };
  const twin::Word4* all = twin::exchange("multiply_16x8x16", twin::as_word(Operands{a, b}), place);
  const int group = twin::lane() / 4, pair = 2 * (twin::lane() % 4);
  double rows[2][16], columns[2][16];  // group and group + 8 of a, pair and pair + 1 of b
  for (int quarter = 0; quarter < 4; ++quarter) {
    const FragmentA left = twin::from_word<Operands>(all[4 * group + quarter]).a;
    for (int i = 0; i < 2; ++i) {
      const FragmentB right = twin::from_word<Operands>(all[4 * (pair + i) + quarter]).b;
      for (int half = 0; half < 2; ++half)
        for (int j = 0; j < 2; ++j) {
          const int k = half * 8 + quarter * 2 + j;
          rows[i][k] = twin::half_of(left.at[half * 2 + i], j);
          columns[i][k] = twin::half_of(right.at[half], j);
        }
    }
  }
  for (int i = 0; i < 4; ++i) {
    double sum = c.at[i];
    for (int k = 0; k < 16; ++k) sum += rows[i / 2][k] * columns[i % 2][k];
    c.at[i] = static_cast<float>(sum);
  }
}

}  // namespace ratel::cuda
