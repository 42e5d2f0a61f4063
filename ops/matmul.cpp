#include "ops/matmul.h"

#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/reduce.h"
#include "ops/view.h"

namespace ratel {
namespace {

struct Op {
  const char* name;
  Transpose a, b;
};
constexpr Op kNN{"matmul", Transpose::no, Transpose::no};
constexpr Op kNT{"matmul_nt", Transpose::no, Transpose::yes};
constexpr Op kTN{"matmul_tn", Transpose::yes, Transpose::no};

Transpose flipped(Transpose t) { return t == Transpose::yes ? Transpose::no : Transpose::yes; }

/// A stack of matrices as the kernel reads it: rows of neighbouring elements, equally far apart, batch entries too.
struct Stack {
  Tensor tensor;  // keeps the memory alive; a copy where the layout of the operand did not allow reading in place
  int64_t row_stride, batch_stride;
  Transpose transpose;
};

/// The common distance of the batch entries of x, or -1 where there is none.
int64_t batch_stride_of(const Tensor& x) {
  const Layout& layout = x.layout();
  int64_t stride = 0, run = 1;
  for (int axis = x.rank() - 3; axis >= 0; --axis) {
    if (x.dim(axis) == 1) continue;
    if (run == 1)
      stride = layout.stride(axis);
    else if (layout.stride(axis) != stride * run)
      return -1;
    run *= x.dim(axis);
  }
  return stride;
}

Stack stack_of(const Tensor& x, Transpose transpose) {
  const int64_t batch_stride = batch_stride_of(x);
  if (batch_stride >= 0) {
    if (x.layout().has_contiguous_rows()) {
      // A row stride below the width is legal only for a single row; overlapping rows are copied.
      if (x.dim(-2) == 1) return {x, x.dim(-1), batch_stride, transpose};
      if (x.stride(-2) >= x.dim(-1)) return {x, x.stride(-2), batch_stride, transpose};
    }
    if ((x.stride(-2) == 1 || x.dim(-2) == 1) && x.stride(-1) >= x.dim(-2))
      return {x, x.stride(-1), batch_stride, flipped(transpose)};
  }
  const Tensor copy = contiguous(x);
  return {copy, x.dim(-1), x.dim(-2) * x.dim(-1), transpose};
}

struct Sizes {
  Shape out;
  int64_t batch = 1, M, N, K;
  bool shared_b;
};

Sizes check_sizes(const Tensor& a, const Tensor& b, const Op& op) {
  check(is_float(a.dtype()) && a.dtype() == b.dtype(), op.name, ": expected two tensors of one float dtype, found ",
        a.dtype(), " and ", b.dtype());
  check(a.device() == b.device(), op.name, ": tensors on ", a.device(), " and ", b.device());
  check(a.rank() >= 2 && b.rank() >= 2, op.name, ": expected ranks of at least 2, found shapes ", a.shape(), " and ",
        b.shape());
  const bool ta = op.a == Transpose::yes, tb = op.b == Transpose::yes;
  Sizes n{{}, 1, a.dim(ta ? -1 : -2), b.dim(tb ? -2 : -1), a.dim(ta ? -2 : -1), b.rank() == 2};
  bool fits = b.dim(tb ? -1 : -2) == n.K && (n.shared_b || a.rank() == b.rank());
  for (int axis = 0; axis < a.rank() - 2 && fits; ++axis) {
    fits = n.shared_b || a.dim(axis) == b.dim(axis);
    n.batch *= a.dim(axis);
    n.out.push_back(a.dim(axis));
  }
  check(fits, op.name, ": shapes ", a.shape(), " and ", b.shape(), " do not fit");
  n.out.push_back(n.M);
  n.out.push_back(n.N);
  return n;
}

void run(const MatmulArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::matmul(args, current_stream(device));
  cpu::matmul(args);
}

/// What a product becomes: a tensor of some dtype, and where there is memory for it already, that. An addend, where
/// there is one, is added, and may be that memory.
struct Target {
  DType dtype;
  Tensor memory = {};
  Tensor addend = {};
};

/// Off the tape.
Tensor product(const Tensor& a, const Tensor& b, const Op& op, const Target& target) {
  const OpScope scope(op.name);
  Sizes n = check_sizes(a, b, op);
  Tensor out = target.memory.defined() ? target.memory : empty(n.out, target.dtype, a.device());
  check(out.shape() == n.out && out.is_contiguous() && is_leaf(out), op.name, ": expected a contiguous leaf ", n.out,
        " to write to, found ", out.shape());
  check((out.dtype() == a.dtype() || out.dtype() == accumulate_dtype(a.dtype())) && out.device() == a.device(), op.name,
        ": a product in ", a.dtype(), " on ", a.device(), " was to be written in ", out.dtype(), " on ", out.device());
  const Tensor addend = target.addend.defined() ? contiguous(detach(target.addend)) : Tensor();
  if (addend.defined())
    check(addend.shape() == n.out && addend.dtype() == out.dtype() && addend.device() == out.device(), op.name,
          ": expected an addend ", n.out, " in ", out.dtype(), " on ", out.device(), ", found ", addend.shape(), " in ",
          addend.dtype(), " on ", addend.device());
  Stack x = stack_of(detach(a), op.a), y = stack_of(detach(b), op.b);
  if (n.M == 1 && x.transpose == Transpose::no && x.batch_stride >= n.K) x.row_stride = x.batch_stride;
  // A shared b and rows of a that follow one another over the batch make one tall product.
  if (n.shared_b && x.transpose == Transpose::no && (n.batch <= 1 || x.batch_stride == n.M * x.row_stride)) {
    n.M *= n.batch;
    n.batch = 1;
  }
  run({x.transpose, y.transpose, n.batch, n.M, n.N, n.K, a.dtype(), out.dtype(), x.tensor.data(), y.tensor.data(),
       out.data(), x.row_stride, y.row_stride, n.N, x.batch_stride, n.shared_b ? 0 : y.batch_stride, n.M * n.N,
       addend.defined() ? addend.data() : nullptr},
      a.device());
  if (target.memory.defined()) out.storage()->bump_version();
  return out;
}

/// x (..., P, Q) as (... P, Q): the batch folded into the rows.
Tensor folded(const Tensor& x) {
  if (x.rank() == 2) return x;
  int64_t rows = 1;
  for (int axis = 0; axis < x.rank() - 1; ++axis) rows *= x.dim(axis);
  return reshape(x, Shape{rows, x.dim(-1)});
}

/// What the gradient of an input becomes: where the leaf has one already, the product is added to it.
Target target_of(const Needs& needs, size_t input) {
  const Tensor gathered = needs.gathered(input);
  return {needs.dtype(input), gathered, gathered};
}

/// The gradients of one product: how each follows from the output's gradient and the other operand.
template <class GradA, class GradB>
Tensor recorded(const Tensor& a, const Tensor& b, const Op& op, GradA grad_a, GradB grad_b, const Tensor& addend = {}) {
  return record(product(a, b, op, {a.dtype(), {}, addend}), op.name, {a, b, addend},
                [a = Saved(a), b = Saved(b), grad_a, grad_b](const Tensor& grad, const Needs& needs) -> Grads {
                  Grads grads(3);
                  if (needs[0]) grads[0] = grad_a(grad, *b, target_of(needs, 0));
                  if (needs[1]) grads[1] = grad_b(grad, *a, b->rank() == 2, target_of(needs, 1));
                  if (needs[2]) grads[2] = grad;
                  return grads;
                });
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  // c = a b:  da = g b^T;  db = a^T g, and over a batch that shares b one product of the folded rows.
  return recorded(
      a, b, kNN, [](const Tensor& g, const Tensor& b, const Target& into) { return product(g, b, kNT, into); },
      [](const Tensor& g, const Tensor& a, bool shared, const Target& into) {
        return shared ? product(folded(a), folded(g), kTN, into) : product(a, g, kTN, into);
      });
}

Tensor matmul_nt(const Tensor& a, const Tensor& b) { return matmul_nt(a, b, {}); }

Tensor matmul_nt(const Tensor& a, const Tensor& b, const Tensor& addend) {
  // c = a b^T:  da = g b;  db = g^T a.
  return recorded(
      a, b, kNT, [](const Tensor& g, const Tensor& b, const Target& into) { return product(g, b, kNN, into); },
      [](const Tensor& g, const Tensor& a, bool shared, const Target& into) {
        return shared ? product(folded(g), folded(a), kTN, into) : product(g, a, kTN, into);
      },
      addend);
}

Tensor matmul_tn(const Tensor& a, const Tensor& b) {
  // c = a^T b:  da = b g^T = (g b^T)^T;  db = a g, and over a batch that shares b the sum of a[i] g[i] is one product
  // of all columns of a with all rows of g.
  return recorded(
      a, b, kTN,
      [](const Tensor& g, const Tensor& b, const Target& into) {
        return transpose(product(g, b, kNT, {into.dtype}), -1, -2);
      },
      [](const Tensor& g, const Tensor& a, bool shared, const Target& into) {
        return shared ? product(folded(transpose(a, -1, -2)), folded(g), kTN, into) : product(a, g, kNN, into);
      });
}

void matmul_into(const Tensor& into, const Tensor& a, const Tensor& b) { product(a, b, kNN, {into.dtype(), into}); }

void add_matmul_tn_into(const Tensor& into, const Tensor& a, const Tensor& b) {
  product(a, b, kTN, {into.dtype(), into, into});
}

Tensor matmul_reference(const Tensor& a, const Tensor& b) {
  check_sizes(a, b, kNN);
  Shape wide_a = a.shape(), wide_b = b.shape();  // (..., M, K, 1) times (..., 1, K, N)
  wide_a.push_back(1);
  wide_b = Shape(wide_b.dims().first(static_cast<size_t>(b.rank() - 2)));
  for (const int64_t size : {int64_t{1}, b.dim(-2), b.dim(-1)}) wide_b.push_back(size);
  return sum(mul(reshape(a, wide_a), reshape(b, wide_b)), {-2});
}

}  // namespace ratel
