#pragma once

#include <cstdint>

namespace ratel::io {

/// The value of an IEEE 754 binary16, which every float holds exactly. NaN keeps its sign and the bits of its payload.
float half_to_float(uint16_t bits);

}  // namespace ratel::io
