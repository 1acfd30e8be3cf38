// All time steps of a layer's neurons in one pass over memory: for spikeproof/neuron_steps.py, which says what they compute, forward
// and backward, and for spikeproof/integer.py. spikeproof/kernels.py builds this.
//
// Of the former arrays are [steps, rows, columns], contiguous. A work item is up to TILE columns of a row: its membranes stay in the
// first-level cache for all steps. What holds for neurons (membranes at the start, draws) is [rows_of, columns], taken in turn; what
// holds for channels (thresholds) is [steps, columns], or [steps] where it is the same for all. Sums and products are rounded one by
// one, as torch's are, and joined (fma) where torch joins them.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace {
constexpr long TILE = 1024;                                          // columns of a work item
constexpr long SMALL = 1 << 15;                                      // so few numbers are one thread's work

struct bfloat16 { uint16_t bits; };

inline float get(float x) { return x; }
inline double get(double x) { return x; }
inline float get(bfloat16 x) {
  return __builtin_bit_cast(float, uint32_t(x.bits) << 16);
}
inline void put(float &to, float x) { to = x; }
inline void put(double &to, double x) { to = x; }
inline void put(bfloat16 &to, float x) {                             // to the nearest, ties to even
  const uint32_t wide = __builtin_bit_cast(uint32_t, x);
  to.bits = uint16_t((wide + 0x7fffu + ((wide >> 16) & 1u)) >> 16);
}
inline float joined(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double joined(double a, double b, double c) { return __builtin_fma(a, b, c); }

// Calls with true or false as a type, so that no loop asks.
template <class Call> inline void known(bool value, Call call) { value ? call(std::true_type{}) : call(std::false_type{}); }

template <class Work> void tiles(long steps, long rows, long columns, int threads, Work work) {
  const long across = (columns + TILE - 1) / TILE;
  #pragma omp parallel for schedule(static) num_threads(threads) if (steps * rows * columns > SMALL)
  for (long item = 0; item < rows * across; ++item) {
    const long row = item / across, first = item % across * TILE;
    work(row, first, columns - first < TILE ? columns - first : TILE);
  }
}

// The thresholds (or another number of channels) of a step for a work item's columns.
template <class A> inline const A *levels(const A *of, long t, long columns, long first, long count, bool per_channel, A *room) {
  if (per_channel) return of + t * columns + first;
  for (long c = 0; c < count; ++c) room[c] = of[t];
  return room;
}

// The derivatives of spikeproof/surrogates.py; GIVEN: in an array.
enum { ATAN, TRIANGLE, RECTANGLE, GIVEN };
template <int shape, class A> inline A derivative(A x, A width) {
  if (shape == ATAN) {
    const A y = x * A(3.141592653589793 / double(width));
    return A(1) / (width * (A(1) + y * y));
  }
  if (shape == TRIANGLE) {
    const A y = A(1) - std::fabs(x) / width;
    return (y > A(0) ? y : A(0)) / width;
  }
  return A(std::fabs(x) < width) / (A(2) * width);
}

template <class T, class A>
void float_forward(const T *drive, long driven, const A *theta, bool per_channel, const A *initial, long rows_of, T *h, T *s,
                   T *v_last, long steps, long rows, long columns, A beta, bool soft, int threads) {
  const long step = rows * columns;
  tiles(steps, rows, columns, threads, [=](long row, long first, long count) {
    A v[TILE], level[TILE];
    const A *start = initial + row % rows_of * columns + first;
    for (long c = 0; c < count; ++c) v[c] = initial ? start[c] : A(0);
    const long at = row * columns + first;
    const A back = soft;                                             // a spike leaves now - threshold, or 0
    known(h != nullptr, [&](auto keep) {
      for (long t = 0; t < steps; ++t) {
        const T *in = drive + (driven > 1 ? t * step : 0) + at;
        const A *threshold = levels(theta, t, columns, first, count, per_channel, level);
        T *kept = keep ? h + t * step + at : nullptr, *out = s + t * step + at;
        #pragma omp simd
        for (long c = 0; c < count; ++c) {
          const A now = joined(v[c], beta, A(get(in[c])));
          const bool fired = now >= threshold[c];
          if constexpr (keep) put(kept[c], now);
          put(out[c], fired ? A(1) : A(0));
          v[c] = fired ? back * (now - threshold[c]) : now;
        }
      }
    });
    for (long c = 0; c < count; ++c) put(v_last[at + c], v[c]);
  });
}

// One step backwards of one neuron: the gradient of the membrane after reset -> that of the membrane before it.
template <class A> inline A through_reset(A grad, A own, A slope, bool fired, A spent, bool soft) {
  const A to_s = own - grad * spent;
  const A kept = !soft && fired ? A(0) : grad;
  return joined(to_s, slope, kept);
}

template <int shape, class T, class A>
void float_backward(const T *grad_s, const T *grad_v, const T *h, const T *s, const T *slopes, const A *theta, bool per_channel,
                    T *total, long driven, long steps, long rows, long columns, A beta, bool soft, A width, int threads) {
  const long step = rows * columns;
  tiles(steps, rows, columns, threads, [=](long row, long first, long count) {
    A grad[TILE], sum[TILE], level[TILE];
    const long at = row * columns + first;
    for (long c = 0; c < count; ++c) {
      grad[c] = grad_v ? A(get(grad_v[at + c])) : A(0);
      sum[c] = A(0);
    }
    known(grad_s != nullptr, [&](auto spiking) { known(driven > 1, [&](auto each) {
      for (long t = steps - 1; t >= 0; --t) {
        const long now = t * step + at;
        const A *threshold = levels(theta, t, columns, first, count, per_channel, level);
        const T *owns = spiking ? grad_s + now : nullptr, *given = shape == GIVEN ? slopes + now : nullptr;
        const T *before = h + now, *spikes = s + now;
        T *to = each ? total + now : nullptr;
        #pragma omp simd
        for (long c = 0; c < count; ++c) {
          const A was = get(before[c]);
          A own = 0, slope;
          if constexpr (spiking) own = get(owns[c]);
          if constexpr (shape == GIVEN) slope = get(given[c]); else slope = derivative<shape>(was - threshold[c], width);
          const A found = through_reset(grad[c], own, slope, A(get(spikes[c])) != A(0), soft ? threshold[c] : was, soft);
          if constexpr (each) put(to[c], found); else sum[c] += found;
          grad[c] = found * beta;
        }
      }
    }); });
    if (driven == 1)
      for (long c = 0; c < count; ++c) put(total[at + c], sum[c]);
  });
}

enum { LEAK_SUBTRACT = 1 };
enum { FLOOR, HALF_UP, HALF_EVEN, STOCHASTIC };

// Numbers of the contract's five steps. `leak` is the factor that is floored: v - floor(v leak), or floor(v leak); 1 without a leak.
struct Codes {
  int leak_kind, rounding;
  double leak, unit, lo, hi, v_reset;
  int soft;
};

template <int rounding, class A>
void code_forward(const A *acc, long driven, const A *theta, bool per_channel, const A *initial, const A *draws, long rows_of, A *h,
                  A *s, A *codes, uint8_t *passed, long steps, long rows, long columns, const Codes given, int threads) {
  const long step = rows * columns;
  tiles(steps, rows, columns, threads, [=](long row, long first, long count) {
    A v[TILE], level[TILE];
    const long own = row % rows_of * columns + first, at = row * columns + first;
    for (long c = 0; c < count; ++c) v[c] = initial ? initial[own + c] : A(0);
    known(h != nullptr, [&](auto keep) {
      // Copies: what a loop reads through a closure it does not vectorise.
      const A unit = A(given.unit), one = A(1 / given.unit), lo = A(given.lo), hi = A(given.hi), leak = A(given.leak);
      const A v_reset = A(given.v_reset);
      const A whole = given.leak_kind == LEAK_SUBTRACT, share = given.leak_kind == LEAK_SUBTRACT ? -1 : 1;
      const bool soft = given.soft;
      for (long t = 0; t < steps; ++t) {
        const A *in = acc + (driven > 1 ? t * step : 0) + at;
        const A *threshold = levels(theta, t, columns, first, count, per_channel, level);
        const A *draw = rounding == STOCHASTIC ? draws + t * rows_of * columns + own : nullptr;
        const long now = t * step + at;
        A *kept = keep ? h + now : nullptr, *out = s + now, *stored = codes + now;
        uint8_t *inside = keep ? passed + now : nullptr;
        #pragma omp simd
        for (long c = 0; c < count; ++c) {
          const A before = whole * v[c] + share * std::floor(v[c] * leak) + in[c];
          const bool fired = before >= threshold[c];
          out[c] = fired ? A(1) : A(0);
          if constexpr (keep) kept[c] = before;
          A u = (fired ? (soft ? before - threshold[c] : v_reset) : before) * one;
          if constexpr (rounding == STOCHASTIC) u = std::floor(u + draw[c] * one);
          else if constexpr (rounding == HALF_UP) u = std::floor(u + A(0.5));
          else if constexpr (rounding == HALF_EVEN) u = __builtin_rint(u);
          else u = std::floor(u);
          const A clipped = u < lo ? lo : u > hi ? hi : u;
          stored[c] = clipped;
          if constexpr (keep) inside[c] = u == clipped;
          v[c] = clipped * unit;
        }
      }
    });
  });
}

template <int shape, class A>
void code_backward(const A *grad_s, const A *grad_codes, const A *h, const A *s, const uint8_t *passed, const A *slopes,
                   const A *theta, const A *worth, bool per_channel, A *total, long driven, long steps, long rows, long columns,
                   A leak,
                   const Codes given, A width, int threads) {
  const long step = rows * columns;
  const A one = A(1 / given.unit), v_reset = A(given.v_reset);
  const bool soft = given.soft;
  tiles(steps, rows, columns, threads, [=](long row, long first, long count) {
    A grad[TILE], sum[TILE], level[TILE], values[TILE];
    const long at = row * columns + first;
    for (long c = 0; c < count; ++c) grad[c] = sum[c] = A(0);
    known(grad_s != nullptr, [&](auto spiking) { known(driven > 1, [&](auto each) {
      for (long t = steps - 1; t >= 0; --t) {
        const long now = t * step + at;
        if (grad_codes) {
          #pragma omp simd
          for (long c = 0; c < count; ++c) grad[c] = joined(grad_codes[now + c], one, grad[c]);
        }
        const A *owns = spiking ? grad_s + now : nullptr, *known_slopes = shape == GIVEN ? slopes + now : nullptr;
        const A *threshold = levels(theta, t, columns, first, count, per_channel, level), *was = h + now, *spikes = s + now;
        const A *value = levels(worth, t, columns, first, count, per_channel, values);
        const uint8_t *inside = passed + now;
        A *to = each ? total + now : nullptr;
        #pragma omp simd
        for (long c = 0; c < count; ++c) {
          A own = 0, slope;
          if constexpr (spiking) own = owns[c];
          if constexpr (shape == GIVEN) slope = known_slopes[c];
          else slope = derivative<shape>((was[c] - threshold[c]) * value[c], width) * value[c];
          const A kept = inside[c] ? grad[c] : A(0);
          const A found = through_reset(kept, own, slope, spikes[c] != A(0), soft ? threshold[c] : was[c] - v_reset, soft);
          if constexpr (each) to[c] = found; else sum[c] += found;
          grad[c] = found * leak;
        }
      }
    }); });
    if (driven == 1)
      for (long c = 0; c < count; ++c) total[at + c] = sum[c];
  });
}
}  // namespace

// The contract's five steps in 32-bit integers, by shifts: spikeproof/integer.py asks for them where the codes prove that all fits.
// Arrays are [images, steps, neurons]; sums may hold for all steps, thresholds are [steps or 1, neurons].
struct Contract {
  int leak_kind, leak_shift, multiplier, fraction, soft, v_reset, shift, rounding, lo, hi;
};

namespace {
enum { SUBTRACT_SHIFT = 1, SHIFT = 2, MULTIPLY = 3 };

template <int leak, int rounding>
void contract(const int32_t *sums, long driven, const int32_t *theta, long levels, const int32_t *start, const int32_t *draws,
              uint8_t *spikes, int32_t *membranes, long images, long steps, long neurons, const Contract given, int threads) {
  tiles(steps, images, neurons, threads, [=](long image, long first, long count) {
    const int32_t m = given.shift, half = (1 << m) >> 1, odd = m > 0, below = m > 0 ? half - 1 : 0, lo = given.lo, hi = given.hi;
    const int32_t v_reset = given.v_reset, leaks = leak == MULTIPLY ? given.fraction : given.leak_shift, times = given.multiplier;
    const bool soft = given.soft;
    int32_t code[TILE];
    for (long n = 0; n < count; ++n) code[n] = start ? start[first + n] : 0;
    for (long t = 0; t < steps; ++t) {
      const int32_t *in = sums + (driven > 1 ? image * steps + t : image) * neurons + first;
      const int32_t *level = theta + (levels > 1 ? t : 0) * neurons + first;
      const int32_t *draw = rounding == STOCHASTIC ? draws + t * neurons + first : nullptr;
      const long at = (image * steps + t) * neurons + first;
      uint8_t *out = spikes + at;
      int32_t *stored = membranes + at;
      #pragma omp simd
      for (long n = 0; n < count; ++n) {
        const int32_t v = code[n] << m;
        int32_t h = v;
        if constexpr (leak == SUBTRACT_SHIFT) h = v - (v >> leaks);
        else if constexpr (leak == SHIFT) h = v >> leaks;
        else if constexpr (leak == MULTIPLY) h = (v * times) >> leaks;
        h += in[n];
        const bool fired = h >= level[n];
        out[n] = fired;
        h = fired ? (soft ? h - level[n] : v_reset) : h;
        if constexpr (rounding == HALF_UP) h += half;
        else if constexpr (rounding == HALF_EVEN) h += ((h >> m) & odd) + below;
        else if constexpr (rounding == STOCHASTIC) h += draw[n];
        h = h >> m;
        h = h < lo ? lo : h > hi ? hi : h;
        stored[n] = code[n] = h;
      }
    }
  });
}

template <int leak> auto with_rounding(int rounding) {
  return rounding == FLOOR ? contract<leak, FLOOR> : rounding == HALF_UP ? contract<leak, HALF_UP>
         : rounding == HALF_EVEN ? contract<leak, HALF_EVEN> : contract<leak, STOCHASTIC>;
}
}  // namespace

extern "C" void integer_forward(const int32_t *sums, long driven, const int32_t *theta, long levels, const int32_t *start,
                                const int32_t *draws, uint8_t *spikes, int32_t *membranes, long images, long steps, long neurons,
                                const Contract *given, long threads) {
  const int kind = given->leak_kind, rounding = given->rounding;
  (kind == SUBTRACT_SHIFT ? with_rounding<SUBTRACT_SHIFT>(rounding) : kind == SHIFT ? with_rounding<SHIFT>(rounding)
   : kind == MULTIPLY ? with_rounding<MULTIPLY>(rounding) : with_rounding<0>(rounding))(
      sums, driven, theta, levels, start, draws, spikes, membranes, images, steps, neurons, *given, int(threads));
}

// Sums of bytes times bytes, x [rows, inputs] unsigned and weights signed, into 32 bits: exact where no sum leaves them. Weights come
// as [inputs / 4, outputs, 4], with inputs and outputs filled up to multiples of 4 and 16. For processors whose instructions multiply
// four pairs of bytes and add them up.
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#include <immintrin.h>

namespace {
constexpr long ROWS = 8, VECTORS = 2;                                // of sums; of more, g++ leaves some in memory

template <int rows, int vectors>
void block(const uint8_t *x, const int8_t *weights, int32_t *out, long inputs, long outputs, long wide, __mmask16 last) {
  __m512i sums[rows][vectors];
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) sums[r][v] = _mm512_setzero_si512();
  for (long k = 0; k < inputs; k += 4, weights += wide * 4) {
    __m512i w[vectors];
    for (int v = 0; v < vectors; ++v) w[v] = _mm512_loadu_si512(weights + v * 64);
    for (int r = 0; r < rows; ++r) {
      int32_t four;
      std::memcpy(&four, x + r * inputs + k, 4);
      const __m512i same = _mm512_set1_epi32(four);
      for (int v = 0; v < vectors; ++v) sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], same, w[v]);
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v)
      _mm512_mask_storeu_epi32(out + r * outputs + v * 16, v == vectors - 1 ? last : __mmask16(0xffff), sums[r][v]);
}

template <int rows> void across(const uint8_t *x, const int8_t *weights, int32_t *out, long inputs, long outputs, long wide) {
  for (long n = 0; n < wide; n += 16 * VECTORS) {
    const long vectors = (wide - n) / 16 < VECTORS ? (wide - n) / 16 : VECTORS, left = outputs - n - 16 * (vectors - 1);
    const __mmask16 last = left >= 16 ? 0xffff : (1u << left) - 1;
    (vectors == 2 ? block<rows, 2> : block<rows, 1>)(x, weights + n * 4, out + n, inputs, outputs, wide, last);
  }
}
}  // namespace

extern "C" long integer_matmul_known() { return 1; }
extern "C" void integer_matmul(const uint8_t *x, const int8_t *weights, int32_t *out, long rows, long inputs, long outputs, long wide,
                               long threads) {
  #pragma omp parallel for schedule(static) num_threads(int(threads)) if (rows * inputs * outputs > SMALL * 16)
  for (long row = 0; row < rows; row += ROWS) {
    if (row + ROWS <= rows) across<ROWS>(x + row * inputs, weights, out + row * outputs, inputs, outputs, wide);
    else for (long r = row; r < rows; ++r) across<1>(x + r * inputs, weights, out + r * outputs, inputs, outputs, wide);
  }
}
#else
extern "C" long integer_matmul_known() { return 0; }
#endif

#define FLOATS(NAME, T, A)                                                                                                     \
  extern "C" void NAME##_float_forward(const T *drive, long driven, const A *theta, long per_channel, const A *initial, long rows_of, \
                                       T *h, T *s, T *v_last, long steps, long rows, long columns, double beta, long soft,     \
                                       long threads) {                                                                         \
    float_forward<T, A>(drive, driven, theta, per_channel, initial, rows_of, h, s, v_last, steps, rows, columns, A(beta), soft, \
                        threads);                                                                                              \
  }                                                                                                                            \
  extern "C" void NAME##_float_backward(const T *grad_s, const T *grad_v, const T *h, const T *s, const T *slopes, const A *theta, \
                                        long per_channel, T *total, long driven, long steps, long rows, long columns, double beta, \
                                        long soft, long shape, double width, long threads) {                                   \
    (shape == ATAN ? float_backward<ATAN, T, A> : shape == TRIANGLE ? float_backward<TRIANGLE, T, A>                           \
     : shape == RECTANGLE ? float_backward<RECTANGLE, T, A> : float_backward<GIVEN, T, A>)(                                    \
        grad_s, grad_v, h, s, slopes, theta, per_channel, total, driven, steps, rows, columns, A(beta), soft, A(width), threads); \
  }

#define CODES(NAME, A)                                                                                                         \
  extern "C" void NAME##_code_forward(const A *acc, long driven, const A *theta, long per_channel, const A *initial, const A *draws, \
                                      long rows_of, A *h, A *s, A *codes, uint8_t *passed, long steps, long rows, long columns, \
                                      const Codes *given, long threads) {                                                      \
    (given->rounding == FLOOR ? code_forward<FLOOR, A> : given->rounding == HALF_UP ? code_forward<HALF_UP, A>                 \
     : given->rounding == HALF_EVEN ? code_forward<HALF_EVEN, A> : code_forward<STOCHASTIC, A>)(                               \
        acc, driven, theta, per_channel, initial, draws, rows_of, h, s, codes, passed, steps, rows, columns, *given, threads); \
  }                                                                                                                            \
  extern "C" void NAME##_code_backward(const A *grad_s, const A *grad_codes, const A *h, const A *s, const uint8_t *passed,    \
                                       const A *slopes, const A *theta, const A *worth, long per_channel, A *total, long driven, \
                                       long steps, long rows, long columns, double leak, const Codes *given, long shape,       \
                                       double width, long threads) {                                                           \
    (shape == ATAN ? code_backward<ATAN, A> : shape == TRIANGLE ? code_backward<TRIANGLE, A>                                   \
     : shape == RECTANGLE ? code_backward<RECTANGLE, A> : code_backward<GIVEN, A>)(                                            \
        grad_s, grad_codes, h, s, passed, slopes, theta, worth, per_channel, total, driven, steps, rows, columns, A(leak), *given, \
        A(width), threads);                                                                                                    \
  }

FLOATS(single, float, float)
FLOATS(double, double, double)
FLOATS(half, bfloat16, float)
CODES(single, float)
CODES(double, double)
