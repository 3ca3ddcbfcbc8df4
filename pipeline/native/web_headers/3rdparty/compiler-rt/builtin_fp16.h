// Half precision (IEEE 754 binary16) without a type for it.
#pragma once

#include <cstdint>
#include <cstring>

// A number of fewer bits as one of more: `SRC_REP` and `DST_REP` are unsigned integers of the size of the two, the sizes
// of their significands are without the hidden bit.
template <typename SRC, typename SRC_REP, int SRC_SIG, typename DST, typename DST_REP, int DST_SIG>
inline DST __extendXfYf2__(SRC value) {
  constexpr int src_exp = static_cast<int>(sizeof(SRC_REP)) * 8 - SRC_SIG - 1;
  constexpr int dst_exp = static_cast<int>(sizeof(DST_REP)) * 8 - DST_SIG - 1;
  constexpr int rebias = (1 << (dst_exp - 1)) - (1 << (src_exp - 1));
  SRC_REP bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const DST_REP sign = static_cast<DST_REP>(bits >> (SRC_SIG + src_exp)) << (DST_SIG + dst_exp);
  int exponent = static_cast<int>(bits >> SRC_SIG) & ((1 << src_exp) - 1);
  DST_REP significand = bits & ((SRC_REP(1) << SRC_SIG) - 1);
  DST_REP out = sign;
  if (exponent == (1 << src_exp) - 1) {  // infinity, or not a number
    out |= DST_REP((1 << dst_exp) - 1) << DST_SIG | significand << (DST_SIG - SRC_SIG);
  } else if (exponent != 0) {
    out |= DST_REP(exponent + rebias) << DST_SIG | significand << (DST_SIG - SRC_SIG);
  } else if (significand != 0) {  // subnormal there, normal here
    exponent = 1;
    while (!(significand & (DST_REP(1) << SRC_SIG))) {
      significand <<= 1;
      --exponent;
    }
    significand &= (DST_REP(1) << SRC_SIG) - 1;
    out |= DST_REP(exponent + rebias) << DST_SIG | significand << (DST_SIG - SRC_SIG);
  }
  DST result;
  std::memcpy(&result, &out, sizeof(result));
  return result;
}
