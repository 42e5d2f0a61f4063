#include <iostream>

#include "ops/backward.h"
#include "ops/create.h"
#include "ops/dilated_attention.h"
#include "ops/gated_recurrence.h"
#include "ops/view.h"

int main() {  // how much of each of 8 tokens reaches the last one, which looks at every 4th key only?
  for (const double gate : {0.0, 0.8}) {
    const auto x = requires_grad(ratel::ones({1, 8, 1})), query = ratel::zeros({1, 1, 8, 1});
    const auto h = gated_recurrence(ratel::full({1, 8, 1}, gate), x).h;  // h[t] = g h[t-1] + (1 - g) x[t]
    const auto y = dilated_attention(query, query, reshape(h, {1, 1, 8, 1}), {ratel::Pattern{.dilation = 4}}).out;
    backward(slice(y, 2, 7, 8));  // d (output of the last token) / d x
    std::cout << "g = " << gate << ":  " << reshape(grad(x), {8}) << '\n';
  }
}
