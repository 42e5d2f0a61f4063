#include <cstdio>

#include "ops/backward.h"
#include "ops/create.h"
#include "ops/dilated_attention.h"
#include "ops/gated_recurrence.h"
#include "ops/view.h"

int main() {  // how much of each of 8 tokens reaches the last one, which looks at every 4th key only?
  const auto x = requires_grad(ratel::ones({1, 8, 1})), query = ratel::zeros({1, 1, 8, 1});
  const auto h = gated_recurrence(ratel::full({1, 8, 1}, 0.8), x).h;  // h[t] = 0.8 h[t-1] + 0.2 x[t]
  for (const auto& value : {x, h}) {
    const auto y = dilated_attention(query, query, reshape(value, {1, 1, 8, 1}), {ratel::Pattern{.dilation = 4}}).out;
    zero_grad(x);
    backward(slice(y, 2, 7, 8));  // d (output of the last token) / d x
    for (const double d : ratel::to_vector<double>(grad(x))) std::printf("%4.0f%%", 100 * d);
    std::puts("");
  }
}
