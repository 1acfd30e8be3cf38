// Convolutions 3 x 3 of stride 1 and padding 1, and their gradients, by the minimal filtering of Winograd: for
// spikeproof/winograd.py; spikeproof/kernels.py builds this.
//
// A tile of 4 x 4 outputs takes 36 products a pair of channels in place of 144: F(4 x 4, 3 x 3) of Lavin and Gray, "Fast Algorithms
// for Convolutional Neural Networks", CVPR 2016. With B^T d B of a tile of 6 x 6 inputs and G g G^T of a kernel, its outputs are
// A^T [(G g G^T) * (B^T d B)] A, the products summed over channels: 36 matrix products. The gradient of the inputs is the same with
// kernels turned round; that of the kernels is G^T [sum over tiles of (B^T d B) * (A dy A^T)] G.
//
// Maps are [images, height, width, channels], kernels [outputs, inputs, 3, 3]; channels are multiples of 32. What a thread computes
// does not depend on how many there are: the bits are the same.
#include <algorithm>
#include <cstdlib>
#include <utility>

namespace {
#if defined(__AVX512F__)
constexpr int BYTES = 64, ROWS = 12;                                 // of a vector; of what a matrix product keeps in registers
#elif defined(__AVX__)
constexpr int BYTES = 32, ROWS = 6;
#else
constexpr int BYTES = 16, ROWS = 4;
#endif
constexpr long TILE = 4, EDGE = 6, POINTS = EDGE * EDGE, KERNEL = 9;
constexpr long NEAR = 768 << 10, SHARED = 2 << 20;                   // bytes of a block of tiles, of a thread and of all

template <class T> constexpr long LANES = BYTES / long(sizeof(T));
template <class T> constexpr long PANEL = 2 * LANES<T>;              // columns of a matrix product at a time
template <class T> struct Vector { typedef T type __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias)); };
template <class T> using V = typename Vector<T>::type;
template <class T> inline V<T> load(const T *from) { return *reinterpret_cast<const V<T> *>(from); }
template <class T> inline void store(T *to, V<T> x) { *reinterpret_cast<V<T> *>(to) = x; }

template <class T> struct Room {
  T *at;
  explicit Room(long count) : at(static_cast<T *>(std::aligned_alloc(64, (count * sizeof(T) + 63) / 64 * 64))) {
    if (!at) std::abort();
  }
  Room(const Room &) = delete;
  ~Room() { std::free(at); }
};

// B^T, A^T and A times a line of numbers that lie `step` apart.
template <class N> inline void input_line(const N *d, long step, N *to, long apart) {
  const N a = d[2 * step] * 4 - d[4 * step], b = d[step] * 4 - d[3 * step];
  const N c = d[4 * step] - d[2 * step], e = (d[3 * step] - d[step]) * 2;
  to[0] = d[0] * 4 - d[2 * step] * 5 + d[4 * step];
  to[apart] = -(a + b);
  to[2 * apart] = b - a;
  to[3 * apart] = c + e;
  to[4 * apart] = c - e;
  to[5 * apart] = d[step] * 4 - d[3 * step] * 5 + d[5 * step];
}
template <class N> inline void output_line(const N *m, long step, N *to, long apart) {
  const N a = m[step] + m[2 * step], b = m[step] - m[2 * step];
  const N c = m[3 * step] + m[4 * step], e = (m[3 * step] - m[4 * step]) * 2;
  to[0] = m[0] + a + c;
  to[apart] = b + e;
  to[2 * apart] = a + c * 4;
  to[3 * apart] = b + e * 4 + m[5 * step];
}
template <class N> inline void gradient_line(const N *y, long step, N *to, long apart) {
  const N a = y[0] + y[2 * step], b = y[step] + y[3 * step];
  const N c = y[0] + y[2 * step] * 4, e = (y[step] + y[3 * step] * 4) * 2;
  to[0] = y[0];
  to[apart] = a + b;
  to[2 * apart] = a - b;
  to[3 * apart] = c + e;
  to[4 * apart] = c - e;
  to[5 * apart] = y[3 * step];
}
constexpr double G[EDGE][3] = {{1 / 4., 0, 0}, {-1 / 6., -1 / 6., -1 / 6.}, {-1 / 6., 1 / 6., -1 / 6.},
                               {1 / 24., 1 / 12., 1 / 6.}, {1 / 24., -1 / 12., 1 / 6.}, {0, 0, 1}};

struct Maps {
  long images, height, width;
  long down() const { return (height + TILE - 1) / TILE; }
  long across() const { return (width + TILE - 1) / TILE; }
  long tiles() const { return images * down() * across(); }
};
struct Tile {                                                        // where it lies in the maps
  long image, row, column;
  Tile(const Maps &maps, long n)
      : image(n / maps.across() / maps.down()), row(n / maps.across() % maps.down() * TILE), column(n % maps.across() * TILE) {}
};
inline bool inside(const Maps &maps, long row, long column) {
  return row >= 0 && row < maps.height && column >= 0 && column < maps.width;
}
inline long place(const Maps &maps, long image, long row, long column, long channels) {
  return ((image * maps.height + row) * maps.width + column) * channels;
}

// The points of a block of tiles are [POINTS][step]; a point [tiles][channels], or in panels [channels / PANEL][tiles][PANEL].
// Steps that are no multiples of 4096 bytes keep points out of each other's sets of the cache.
inline long apart(long numbers) { return numbers + 32; }

template <class T> void input_points(const T *x, const Maps &maps, long n, long channels, T *to, long step) {
  const Tile tile(maps, n);
  for (long c = 0; c < channels; c += LANES<T>) {
    V<T> d[POINTS], w[POINTS];
    for (long i = 0; i < EDGE; ++i)
      for (long j = 0; j < EDGE; ++j) {
        const long row = tile.row + i - 1, column = tile.column + j - 1;
        d[i * EDGE + j] = inside(maps, row, column) ? load(x + place(maps, tile.image, row, column, channels) + c) : V<T>{};
      }
    for (long j = 0; j < EDGE; ++j) input_line(d + j, EDGE, w + j, EDGE);
    for (long i = 0; i < EDGE; ++i) input_line(w + i * EDGE, 1, d + i * EDGE, 1);
    for (long p = 0; p < POINTS; ++p) store(to + p * step + c, d[p]);
  }
}
template <class T> void gradient_points(const T *dy, const Maps &maps, long n, long channels, T *to, long step, long block) {
  const Tile tile(maps, n);
  for (long c = 0; c < channels; c += LANES<T>) {
    V<T> y[TILE * TILE], w[EDGE * TILE], o[POINTS];
    for (long i = 0; i < TILE; ++i)
      for (long j = 0; j < TILE; ++j) {
        const long row = tile.row + i, column = tile.column + j;
        y[i * TILE + j] = inside(maps, row, column) ? load(dy + place(maps, tile.image, row, column, channels) + c) : V<T>{};
      }
    for (long j = 0; j < TILE; ++j) gradient_line(y + j, TILE, w + j, TILE);
    for (long i = 0; i < EDGE; ++i) gradient_line(w + i * TILE, 1, o + i * EDGE, 1);
    T *panel = to + c / PANEL<T> * PANEL<T> * block + c % PANEL<T>;
    for (long p = 0; p < POINTS; ++p) store(panel + p * step, o[p]);
  }
}
template <class T> void outputs(const T *from, long step, const Maps &maps, long n, long channels, T *y) {
  const Tile tile(maps, n);
  for (long c = 0; c < channels; c += LANES<T>) {
    V<T> m[POINTS], w[TILE * EDGE], o[TILE * TILE];
    for (long p = 0; p < POINTS; ++p) m[p] = load(from + p * step + c);
    for (long j = 0; j < EDGE; ++j) output_line(m + j, EDGE, w + j, EDGE);
    for (long i = 0; i < TILE; ++i) output_line(w + i * EDGE, 1, o + i * TILE, 1);
    for (long i = 0; i < TILE; ++i)
      for (long j = 0; j < TILE; ++j)
        if (inside(maps, tile.row + i, tile.column + j))
          store(y + place(maps, tile.image, tile.row + i, tile.column + j, channels) + c, o[i * TILE + j]);
  }
}

// c [R][across] (+)= a [R][depth], whose rows lie `row` and columns `column` apart, times a panel b [depth][PANEL].
template <class T, int R, bool add>
inline void some_rows(const T *a, long row, long column, const T *b, T *c, long across, long depth) {
  V<T> sum[R][2];
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < 2; ++n) sum[r][n] = add ? load(c + r * across + n * LANES<T>) : V<T>{};
  for (long k = 0; k < depth; ++k) {
    const V<T> first = load(b + k * PANEL<T>), second = load(b + k * PANEL<T> + LANES<T>);
    for (int r = 0; r < R; ++r) {
      const T left = a[r * row + k * column];
      sum[r][0] += left * first;
      sum[r][1] += left * second;
    }
  }
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < 2; ++n) store(c + r * across + n * LANES<T>, sum[r][n]);
}
// c [rows][columns] (+)= a times b, whose panels lie `between` apart.
template <class T, bool add>
void multiply(const T *a, long row, long column, const T *b, long between, T *c, long rows, long depth, long columns) {
  for (long n = 0; n < columns; n += PANEL<T>, b += between) {
    long r = 0;
    for (; r + ROWS <= rows; r += ROWS) some_rows<T, ROWS, add>(a + r * row, row, column, b, c + r * columns + n, columns, depth);
    for (; r + 2 <= rows; r += 2) some_rows<T, 2, add>(a + r * row, row, column, b, c + r * columns + n, columns, depth);
    for (; r < rows; ++r) some_rows<T, 1, add>(a + r * row, row, column, b, c + r * columns + n, columns, depth);
  }
}

// Points of the kernels, [POINTS] of panels [to / PANEL][from][PANEL]; turned, kernels are turned round, from outputs to inputs.
template <class T> void kernel_points(const T *g, long from, long to, bool turned, T *u, int threads) {
  #pragma omp parallel for schedule(static) num_threads(threads)
  for (long f = 0; f < from; ++f)
    for (long t = 0; t < to; ++t) {
      const T *k = g + (turned ? f * to + t : t * from + f) * KERNEL;
      T w[EDGE][3];
      for (int i = 0; i < EDGE; ++i)
        for (int j = 0; j < 3; ++j) {
          w[i][j] = 0;
          for (int m = 0; m < 3; ++m) w[i][j] += T(G[i][m]) * k[turned ? 8 - (m * 3 + j) : m * 3 + j];
        }
      T *at = u + t / PANEL<T> * PANEL<T> * from + f * PANEL<T> + t % PANEL<T>;
      for (int i = 0; i < EDGE; ++i)
        for (int j = 0; j < EDGE; ++j) {
          T sum = 0;
          for (int m = 0; m < 3; ++m) sum += w[i][m] * T(G[j][m]);
          at[(i * EDGE + j) * from * to] = sum;
        }
    }
}

// y [.., to] of x [.., from]
template <class T> void convolve(const T *x, const T *g, T *y, const Maps &maps, long from, long to, bool turned, int threads) {
  Room<T> u(POINTS * from * to);
  kernel_points(g, from, to, turned, u.at, threads);
  const long tiles = maps.tiles(), fit = NEAR / long(sizeof(T)) / (POINTS * (from + to));
  const long block = std::max(2L, fit / ROWS) * ROWS, step = apart(block * from), to_step = apart(block * to);
  #pragma omp parallel num_threads(threads)
  {
    Room<T> v(POINTS * step), m(POINTS * to_step);
    #pragma omp for schedule(dynamic)
    for (long first = 0; first < tiles; first += block) {
      const long count = std::min(block, tiles - first);
      for (long n = 0; n < count; ++n) input_points(x, maps, first + n, from, v.at + n * from, step);
      for (long p = 0; p < POINTS; ++p)
        multiply<T, false>(v.at + p * step, from, 1, u.at + p * from * to, from * PANEL<T>, m.at + p * to_step, count, from, to);
      for (long n = 0; n < count; ++n) outputs(m.at + n * to, to_step, maps, first + n, to, y);
    }
  }
}

template <class T> void kernel_gradient(const T *x, const T *dy, T *dg, const Maps &maps, long from, long to, int threads) {
  const long tiles = maps.tiles(), fit = SHARED / long(sizeof(T)) / (POINTS * (from + to));
  const long block = std::min(tiles, std::max(16L, fit)), step = apart(block * from), to_step = apart(block * to);
  Room<T> u(POINTS * from * to), v(POINTS * step), m(POINTS * to_step);
  #pragma omp parallel num_threads(threads)
  {
    for (long first = 0; first < tiles; first += block) {
      const long count = std::min(block, tiles - first);
      #pragma omp for schedule(dynamic, 4)
      for (long n = 0; n < count; ++n) {
        input_points(x, maps, first + n, from, v.at + n * from, step);
        gradient_points(dy, maps, first + n, to, m.at + n * PANEL<T>, to_step, block);
      }
      #pragma omp for schedule(dynamic)
      for (long p = 0; p < POINTS; ++p)
        (first ? multiply<T, true> : multiply<T, false>)(v.at + p * step, 1, from, m.at + p * to_step, block * PANEL<T>,
                                                         u.at + p * from * to, from, count, to);
    }
    #pragma omp for schedule(static)
    for (long t = 0; t < to; ++t)
      for (long f = 0; f < from; ++f) {
        T w[3][EDGE];
        for (int i = 0; i < 3; ++i)
          for (int j = 0; j < EDGE; ++j) {
            w[i][j] = 0;
            for (int k = 0; k < EDGE; ++k) w[i][j] += T(G[k][i]) * u.at[((k * EDGE + j) * from + f) * to + t];
          }
        for (int i = 0; i < 3; ++i)
          for (int j = 0; j < 3; ++j) {
            T sum = 0;
            for (int k = 0; k < EDGE; ++k) sum += w[i][k] * T(G[k][j]);
            dg[(t * from + f) * KERNEL + i * 3 + j] = sum;
          }
      }
  }
}
}  // namespace

#define EXPORT(NAME, T) \
  extern "C" void NAME##_convolve(const T *x, const T *g, T *y, long images, long height, long width, long from, long to, \
                                  long turned, long threads) { \
    convolve(x, g, y, Maps{images, height, width}, from, to, turned != 0, int(threads)); \
  } \
  extern "C" void NAME##_kernel_gradient(const T *x, const T *dy, T *dg, long images, long height, long width, long from, long to, \
                                         long threads) { \
    kernel_gradient(x, dy, dg, Maps{images, height, width}, from, to, int(threads)); \
  }
EXPORT(single, float)
EXPORT(double, double)
