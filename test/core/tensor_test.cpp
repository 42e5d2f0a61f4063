#include "core/tensor.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>

#include "core/memory.h"
#include "core/rng.h"
#include "test/support/compare.h"

using ratel::bfloat16;
using ratel::DType;
using ratel::from_vector;
using ratel::Layout;
using ratel::Shape;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

constexpr DType kEvery[] = {DType::f64, DType::f32, DType::bf16, DType::i64, DType::i32, DType::u16, DType::u8};

std::vector<int64_t> positions(const Layout& layout) {
  std::vector<int64_t> result;
  for_each_position(layout, [&](int64_t position) { result.push_back(position); });
  return result;
}

/// Uses a value that only its computation matters of.
template <class T>
void drop(const T&) {}

float rounded(float value) { return static_cast<float>(bfloat16(value)); }

}  // namespace

BOOST_AUTO_TEST_CASE(dtypes_have_sizes_and_names) {
  for (const DType dtype : kEvery) {
    BOOST_TEST(ratel::dtype_named(name_of(dtype)).has_value());
    BOOST_TEST((ratel::dtype_named(name_of(dtype)) == dtype));
    ratel::visit_any(dtype, [&]<class T>() {
      BOOST_TEST(sizeof(T) == size_of(dtype));
      BOOST_TEST((ratel::dtype_of<T>() == dtype));
    });
  }
  BOOST_TEST(!ratel::dtype_named("float").has_value());
  test::check_error([] { ratel::visit_float(DType::i32, "op", []<class T>() {}); },
                    "op: expected f64, f32 or bf16, found i32");
  test::check_error([] { ratel::visit_integer(DType::f32, "op", []<class T>() {}); }, "op: expected i64");
}

BOOST_AUTO_TEST_CASE(bf16_rounds_to_nearest_even_and_keeps_nan) {
  BOOST_TEST(rounded(1 + 0x1p-8F) == 1.0F);                 // a tie: down to even
  BOOST_TEST(rounded(1 + 3 * 0x1p-8F) == 1 + 2 * 0x1p-7F);  // a tie: up to even
  BOOST_TEST(rounded(1 + 0x1.01p-8F) == 1 + 0x1p-7F);       // above the tie
  BOOST_TEST(rounded(-1 - 0x1.01p-8F) == -1 - 0x1p-7F);
  BOOST_TEST(std::isinf(rounded(std::numeric_limits<float>::max())));
  BOOST_TEST(rounded(-std::numeric_limits<float>::infinity()) == -std::numeric_limits<float>::infinity());
  BOOST_TEST(rounded(0x1p-133F) == 0x1p-133F);  // subnormal
  BOOST_TEST(std::signbit(rounded(-0.0F)));
  // A NaN whose payload lies in the lower half must not become an infinity.
  BOOST_TEST(std::isnan(rounded(std::bit_cast<float>(0x7f800001U))));
  BOOST_TEST(std::isnan(rounded(std::bit_cast<float>(0xffffffffU))));
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    bfloat16 value;
    value.bits = static_cast<uint16_t>(bits);
    const auto back = bfloat16(static_cast<float>(value));
    if (!std::isnan(static_cast<float>(value))) BOOST_REQUIRE(back.bits == value.bits);
  }
}

BOOST_AUTO_TEST_CASE(shapes) {
  const Shape shape{2, 3, 4};
  BOOST_TEST(shape.rank() == 3);
  BOOST_TEST(shape[-1] == 4);
  BOOST_TEST(shape.numel() == 24);
  BOOST_TEST(Shape{}.numel() == 1);
  BOOST_TEST((Shape{3, 0}).numel() == 0);
  BOOST_TEST(ratel::concat_text(shape, Shape{}, Shape{5}) == "(2, 3, 4)()(5)");
  BOOST_TEST(!(Shape{2} == Shape{2, 1}));
  test::check_error([&] { drop(shape[3]); }, "tensor: axis 3 does not exist in shape (2, 3, 4)");
  test::check_error([&] { drop(shape[-4]); }, "axis -4 does not exist");
  test::check_error([] { Shape{1, -2}; }, "cannot have the size -2");
  test::check_error([] { Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}; }, "at most 8 axes, found 9");
  test::check_error([] { drop((Shape{int64_t{1} << 32, int64_t{1} << 32}).numel()); }, "too many elements");
  for (const int64_t zero_at : {0, 1, 2}) {  // of none there are never too many
    Shape huge;
    for (const int64_t axis : {0, 1, 2}) huge.push_back(axis == zero_at ? 0 : int64_t{1} << 40);
    BOOST_TEST(ratel::empty(huge).numel() == 0);
  }

  BOOST_TEST(ratel::broadcast_shapes({2, 1, 4}, {3, 1}, "op") == (Shape{2, 3, 4}));
  BOOST_TEST(ratel::broadcast_shapes({}, {0, 1}, "op") == (Shape{0, 1}));
  BOOST_TEST(ratel::broadcast_shapes({0}, {1}, "op") == Shape{0});
  test::check_error([] { ratel::broadcast_shapes({2}, {3}, "op"); }, "op: shapes (2) and (3) do not broadcast");
}

BOOST_AUTO_TEST_CASE(layouts_walk_in_index_order) {
  const Layout layout = Layout::contiguous({2, 3});
  BOOST_TEST(positions(layout) == (std::vector<int64_t>{0, 1, 2, 3, 4, 5}));
  BOOST_TEST(positions(layout.transposed(0, 1)) == (std::vector<int64_t>{0, 3, 1, 4, 2, 5}));
  BOOST_TEST(positions(layout.sliced(1, 1, 3)) == (std::vector<int64_t>{1, 2, 4, 5}));
  BOOST_TEST(positions(layout.sliced(1, 0, 3, 2)) == (std::vector<int64_t>{0, 2, 3, 5}));
  BOOST_TEST(positions(layout.sliced(0, 1, 2)) == (std::vector<int64_t>{3, 4, 5}));
  BOOST_TEST(positions(layout.sliced(0, 1, 1)).empty());
  BOOST_TEST(positions(Layout::contiguous({3}).broadcast_to({2, 3}, "op")) == (std::vector<int64_t>{0, 1, 2, 0, 1, 2}));
  BOOST_TEST(positions(Layout::contiguous({2, 1}).broadcast_to({2, 2}, "op")) == (std::vector<int64_t>{0, 0, 1, 1}));
  BOOST_TEST(positions(Layout{}) == std::vector<int64_t>{0});
  BOOST_TEST(positions(Layout::contiguous({2, 0, 3})).empty());
  BOOST_TEST(layout.transposed(0, 1).sliced(0, 1, 3).extent() == 6);
  BOOST_TEST(layout.sliced(0, 0, 0).extent() == 0);
  test::check_error([&] { drop(layout.sliced(1, 2, 4)); }, "slice: range [2, 4) does not fit axis 1 of size 3");
  test::check_error([&] { drop(layout.sliced(1, 2, 1)); }, "slice: range [2, 1)");
  test::check_error([&] { drop(layout.sliced(1, 0, 3, 0)); }, "slice: step must be at least 1");
  test::check_error([&] { drop(layout.broadcast_to({2, 4}, "op")); }, "op: shapes (2, 3) and (2, 4) do not broadcast");
  test::check_error([&] { drop(layout.broadcast_to({3}, "op")); }, "op: shape (2, 3) does not broadcast to (3)");
}

BOOST_AUTO_TEST_CASE(contiguity_ignores_axes_of_one_and_empty_tensors) {
  BOOST_TEST(Layout{}.is_contiguous());
  BOOST_TEST(Layout::contiguous({1, 4, 1}).transposed(0, 2).is_contiguous());
  BOOST_TEST(Layout::contiguous({3, 1}).transposed(0, 1).is_contiguous());
  BOOST_TEST(Layout::contiguous({4, 4}).sliced(0, 1, 3).is_contiguous());
  BOOST_TEST(!Layout::contiguous({4, 4}).sliced(1, 1, 3).is_contiguous());
  BOOST_TEST(!Layout::contiguous({3}).broadcast_to({2, 3}, "op").is_contiguous());
  BOOST_TEST(Layout::contiguous({3}).broadcast_to({1, 3}, "op").is_contiguous());
  BOOST_TEST(Layout::contiguous({2, 3, 0}).transposed(0, 1).is_contiguous());
}

BOOST_AUTO_TEST_CASE(a_layout_is_viewed_only_where_the_order_stays) {
  const Layout base = Layout::contiguous({4, 6});
  BOOST_TEST(base.transposed(0, 1).can_view_as({6, 2, 2}));
  BOOST_TEST(!base.transposed(0, 1).can_view_as({24}));
  BOOST_TEST(base.sliced(1, 0, 4).can_view_as({2, 2, 4}));
  BOOST_TEST(!base.sliced(1, 0, 4).can_view_as({16}));
  BOOST_TEST(!base.can_view_as({23}));
  BOOST_TEST(Layout{}.can_view_as({1, 1}));
  BOOST_TEST(Layout::contiguous({1, 1}).can_view_as({}));
  BOOST_TEST(Layout::contiguous({2, 0}).can_view_as({0, 7}));
  test::check_error([&] { drop(base.transposed(0, 1).viewed_as({24})); },
                    "view: shape (6, 4) cannot be viewed as (24) without a copy");

  // Whatever the layout: a view must walk the very same positions, and refusing is only right where none exists.
  const Shape targets[] = {{24},      {4, 6},       {6, 4},          {2, 12},     {12, 2}, {3, 8},
                           {1, 24},   {2, 2, 6},    {2, 3, 4},       {4, 3, 2},   {24, 1}, {2, 2, 2, 3},
                           {4, 1, 6}, {2, 2, 3, 2}, {1, 4, 1, 6, 1}, {3, 2, 2, 2}};
  const Layout sources[] = {base,
                            base.transposed(0, 1),
                            Layout::contiguous({8, 6}).sliced(0, 0, 8, 2),
                            Layout::contiguous({4, 12}).sliced(1, 1, 12, 2),
                            Layout::contiguous({2, 3, 4}).transposed(0, 1),
                            Layout::contiguous({2, 3, 4}).transposed(1, 2),
                            Layout::contiguous({6}).broadcast_to({4, 6}, "op"),
                            Layout::contiguous({4, 1}).broadcast_to({4, 6}, "op"),
                            Layout::contiguous({2, 1, 1, 12}).transposed(0, 2),
                            Layout::contiguous({1}).broadcast_to({24}, "op")};
  int viewed = 0;
  for (const Layout& source : sources)
    for (const Shape& target : targets) {
      if (!source.can_view_as(target)) continue;
      ++viewed;
      BOOST_TEST(positions(source.viewed_as(target)) == positions(source));
    }
  BOOST_TEST(viewed >= 60);
}

BOOST_AUTO_TEST_CASE(tensors_own_aligned_counted_memory) {
  const auto before = ratel::memory_use().live;
  {
    const Tensor x = ratel::empty({5, 7}, DType::bf16);
    BOOST_TEST(reinterpret_cast<uintptr_t>(x.data()) % 64 == 0U);
    BOOST_TEST(ratel::memory_use().live == before + 70);
    ratel::reset_peak_memory();
    { const Tensor y = ratel::empty({1000}, DType::f64); }
    BOOST_TEST(ratel::memory_use().peak == before + 70 + 8000);
    const std::vector<Tensor> copies(3, x);  // handles, no memory
    BOOST_TEST(ratel::memory_use().live == before + 70);
  }
  BOOST_TEST(ratel::memory_use().live == before);
  ratel::empty({0, 3});
  BOOST_CHECK_EXCEPTION(ratel::empty({int64_t{1} << 50}), ratel::Error, [](const ratel::Error& error) {
    return error.kind() == ratel::ErrorKind::memory && std::string(error.what()).find("hint: ") != std::string::npos;
  });
  test::check_error([] { ratel::empty({int64_t{1} << 61}); }, "too many bytes");
  test::check_error([] { ratel::empty({2}, DType::f32, {ratel::DeviceType::cuda, 1}); }, "cuda:1");
}

BOOST_AUTO_TEST_CASE(handles_and_views_share) {
  const Tensor x = ratel::from_vector<float>({1, 2, 3, 4, 5, 6}, {2, 3});
  BOOST_TEST(x.solely_owned());
  {
    const std::vector<Tensor> handles(3, x);
    for (const Tensor& handle : handles) BOOST_TEST(is_same_tensor(handle, x));
    BOOST_TEST(!x.solely_owned());
  }
  {
    const Tensor row = view_of(x, x.layout().sliced(0, 1, 2));
    BOOST_TEST(!is_same_tensor(row, x));
    BOOST_TEST(!x.solely_owned());
    BOOST_TEST(!row.solely_owned());
    BOOST_TEST(*row.data<float>() == 4.0F);
    x.data<float>()[3] = 9;
    BOOST_TEST(to_vector<int>(row) == (std::vector<int>{9, 5, 6}));
  }
  BOOST_TEST(x.solely_owned());
  test::check_error([&] { view_of(x, Layout::contiguous({7})); },
                    "view: shape (7) reaches beyond the storage of (2, 3)");
  Layout before = x.layout();
  before.offset = -1;
  test::check_error([&] { view_of(x, before); }, "reaches beyond the storage");
  view_of(x, Layout::contiguous({0, 100}));
}

BOOST_AUTO_TEST_CASE(values_are_read_and_converted) {
  for (const DType dtype : kEvery) {
    const Tensor x = ratel::from_vector<double>({0, 1, 2, 3, 4, 5.75}, {2, 3}, dtype);
    const double last = is_float(dtype) ? 5.75 : 5;
    BOOST_TEST(to_vector<double>(x) == (std::vector<double>{0, 1, 2, 3, 4, last}));
    BOOST_TEST(to_vector<double>(test::scattered(x)) == (std::vector<double>{0, 1, 2, 3, 4, last}));
  }
  BOOST_TEST(ratel::from_vector<double>({2.5}, {1, 1}).item() == 2.5);
  test::check_error([] { ratel::from_vector<float>({1, 2}, {3}); }, "from_vector: shape (3) needs 3 values, found 2");
  test::check_error([] { drop(ratel::empty({2}).item()); }, "item: expected one element, found shape (2)");
  test::check_error([] { drop(ratel::empty({2}).data<double>()); }, "a tensor of f32 was read as f64");
  for (const auto& use :
       {+[](const Tensor& x) { static_cast<void>(x.shape()); }, +[](const Tensor& x) { static_cast<void>(x.dtype()); },
        +[](const Tensor& x) { static_cast<void>(x.data()); }, +[](const Tensor& x) { static_cast<void>(detach(x)); }})
    test::check_error([&] { use(Tensor()); }, "tensor: an undefined tensor was used");
}

BOOST_AUTO_TEST_CASE(a_storage_keeps_a_foreign_owner_alive) {
  auto owner = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3});
  const std::weak_ptr<std::vector<float>> watch = owner;
  const auto held = ratel::memory_use().live;
  {
    auto impl = std::make_shared<ratel::TensorImpl>();
    impl->storage = std::make_shared<ratel::Storage>(owner->data(), 12, owner);
    impl->layout = Layout::contiguous({3});
    const Tensor x(impl);
    owner.reset();
    impl.reset();
    BOOST_TEST(to_vector<float>(x) == (std::vector<float>{1, 2, 3}));
    BOOST_TEST(!watch.expired());
    BOOST_TEST(ratel::memory_use().live == held);  // not ours, not counted
  }
  BOOST_TEST(watch.expired());
  BOOST_TEST(ratel::memory_use().live == held);
}

BOOST_AUTO_TEST_CASE(tensors_are_printed_row_by_row) {
  const auto text = [](const Tensor& x) {
    std::ostringstream out;
    out << x;
    return out.str();
  };
  BOOST_TEST(text(Tensor()) == "undefined");
  BOOST_TEST(text(from_vector<double>({1.0 / 3}, {})) == "0.3333");
  BOOST_TEST(text(from_vector<float>({}, {0})) == "[]");
  BOOST_TEST(text(from_vector<int64_t>({9007199254740993, -2, 3, 4}, {2, 2})) == "[[9007199254740993, -2],\n [3, 4]]");
  BOOST_TEST(text(from_vector<double>({1, 2, 3, 4, 5, 6, 7, 1e20}, {2, 2, 2})) ==
             "[[[1, 2],\n  [3, 4]],\n [[5, 6],\n  [7, 1e+20]]]");
  std::vector<float> many(26);
  for (size_t i = 0; i < many.size(); ++i) many[i] = static_cast<float>(i);
  BOOST_TEST(text(from_vector(many, {2, 13})) ==
             "[[0, 1, 2, 3, 4, ..., 8, 9, 10, 11, 12],\n [13, 14, 15, 16, 17, ..., 21, 22, 23, 24, 25]]");
  const Tensor transposed = view_of(from_vector(many, {13, 2}), Layout::contiguous({13, 2}).transposed(0, 1));
  BOOST_TEST(text(transposed) ==
             "[[0, 2, 4, 6, 8, ..., 16, 18, 20, 22, 24],\n [1, 3, 5, 7, 9, ..., 17, 19, 21, 23, 25]]");
}
