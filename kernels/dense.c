/* What lies between the products of an int8 step, one pass each, and the products of a few rows.

   A product of bytes leaves a row of numbers that still wait for the row's own factor (the largest
   magnitude that its inputs had, `scale` here): whoever reads them next multiplies by it. Bytes have
   128 in the place of 0, as dot products of unsigned with signed ones want it. */

#include <math.h>
#include <stddef.h>

#include "vectors.h"

typedef uint8_t bytes __attribute__((vector_size(16)));
typedef bytes bytes_at __attribute__((aligned(1), may_alias));

#define SMALL 16384 /* numbers that one thread is done with before others have begun */
#define PARALLEL(numbers)                                                                         \
    const int team = (numbers) > SMALL ? threads : 1;                                             \
    _Pragma("omp parallel for schedule(static) num_threads(team) if(team > 1)")

INLINE vec magnitude(vec x) { return (vec)((ints)x & 0x7fffffff); }

/* The nearest integer to 127 x / largest, plus 128: the sum with 1.5 * 2^23 has it in its low bits. */
INLINE void store_rounded(uint8_t *to, vec x, float factor) {
    ints bits = (ints)(x * splat(factor) + splat(12582912.0f + 128));
    *(bytes_at *)to = __builtin_convertvector(bits & 255, bytes);
}

INLINE float factor_of(float top) { return top > 0 ? 127 / top : 0; }

/* x += product * scale, if there is a product; and x / |x| * weight, rounded. */
void norm_round(float *x, const float *product, const float *scale, const float *weight,
                float epsilon, uint8_t *rounded, float *tops, int64_t rows, int64_t width,
                int threads) {
    PARALLEL(rows * width)
    for (int64_t r = 0; r < rows; r++) {
        float *row = x + r * width;
        vec squares = splat(0), top = splat(0);
        for (int64_t i = 0; i < width; i += LANES) {
            vec v = load(row + i);
            if (product) {
                v += load(product + r * width + i) * splat(scale[r]);
                store(row + i, v);
            }
            squares += v * v;
        }
        vec factor = splat(1 / sqrtf(sum(squares) / width + epsilon));
        for (int64_t i = 0; i < width; i += LANES)
            top = larger(top, magnitude(load(row + i) * factor * load(weight + i)));
        tops[r] = largest(top);
        for (int64_t i = 0; i < width; i += LANES)
            store_rounded(rounded + r * width + i, load(row + i) * factor * load(weight + i),
                          factor_of(tops[r]));
    }
}

void round_rows(const float *x, uint8_t *rounded, float *tops, int64_t rows, int64_t width,
                int threads) {
    PARALLEL(rows * width)
    for (int64_t r = 0; r < rows; r++) {
        const float *row = x + r * width;
        vec top = splat(0);
        for (int64_t i = 0; i < width; i += LANES) top = larger(top, magnitude(load(row + i)));
        tops[r] = largest(top);
        for (int64_t i = 0; i < width; i += LANES)
            store_rounded(rounded + r * width + i, load(row + i), factor_of(tops[r]));
    }
}

/* Rows of gate and value `[2 * width]`: silu(gate) * value, rounded. `both` is written over. */
void gate_round(float *both, const float *scale, uint8_t *rounded, float *tops, int64_t rows,
                int64_t width, int threads) {
    PARALLEL(4 * rows * width)
    for (int64_t r = 0; r < rows; r++) {
        float *gate = both + r * 2 * width, *value = gate + width;
        vec top = splat(0), s = splat(scale[r]);
        for (int64_t i = 0; i < width; i += LANES) {
            vec g = load(gate + i) * s;
            vec e = exponential((vec)((ints)g | (int32_t)0x80000000)); /* e^-|g| */
            vec y = blend(g < splat(0), e, splat(1)) * g / (splat(1) + e) * load(value + i) * s;
            top = larger(top, magnitude(y));
            store(gate + i, y);
        }
        tops[r] = largest(top);
        for (int64_t i = 0; i < width; i += LANES)
            store_rounded(rounded + r * width + i, load(gate + i), factor_of(tops[r]));
    }
}

/* Rows of heads `[width]`, by their factor and a bias; the first `turned` heads are multiplied with
   the turn of the row's position: `turns` [positions, turning / 2] complex, pairs side by side. */
void turn(float *mixed, const float *scale, const float *bias, const float *turns,
          const int64_t *positions, int64_t rows, int64_t width, int64_t turned, int64_t dim,
          int64_t turning, int threads) {
    PARALLEL(rows * width)
    for (int64_t r = 0; r < rows; r++) {
        float *row = mixed + r * width;
        const float *angle = turns + positions[r] * turning;
        for (int64_t i = 0; i < width; i += LANES) {
            vec v = load(row + i) * splat(scale[r]);
            store(row + i, bias ? v + load(bias + i) : v);
        }
        for (int64_t i = 0; i < turning; i += LANES) {
            vec t = load(angle + i);
            vec real = __builtin_shufflevector(t, t, 0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12,
                                               14, 14);
            vec imaginary = __builtin_shufflevector(t, -t, 17, 1, 19, 3, 21, 5, 23, 7, 25, 9, 27,
                                                    11, 29, 13, 31, 15);
            for (int64_t head = 0; head < turned; head++) {
                vec v = load(row + head * dim + i);
                vec swapped = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10,
                                                      13, 12, 15, 14);
                store(row + head * dim + i, v * real + swapped * imaginary);
            }
        }
    }
}

INLINE void put(void *pool, int is_half, int64_t to, const float *from, int64_t width) {
    for (int64_t x = 0; x < width; x += LANES) {
        vec v = load(from + x);
        if (is_half) {
            words w = (words)v; /* to the nearest, halves to even */
            w = (w + 0x7fff + ((w >> 16) & 1)) >> 16;
            *(halves_at *)((uint16_t *)pool + to + x) = __builtin_convertvector(w, halves);
        } else {
            store((float *)pool + to + x, v);
        }
    }
}

/* Row i of `keys` and of `values` to place slots[i] of their pools, in the type of those. */
void scatter(void *key_pool, void *value_pool, int is_half, const float *keys, int64_t key_stride,
             const float *values, int64_t value_stride, const int64_t *slots, int64_t count,
             int64_t width, int threads) {
    PARALLEL(2 * count * width)
    for (int64_t i = 0; i < count; i++) {
        put(key_pool, is_half, slots[i] * width, keys + i * key_stride, width);
        put(value_pool, is_half, slots[i] * width, values + i * value_stride, width);
    }
}

/* --- products of a few rows --- */

#define OUTS 4 /* outputs that are made side by side */
#define FEW 4  /* rows, at most */

INLINE void dots(const uint8_t *q, const int8_t *w, const int rows, int64_t width,
                 int32_t sums[FEW][OUTS]) {
#ifdef __AVX512VNNI__
    __m512i c[FEW][OUTS];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int o = 0; o < OUTS; o++) c[r][o] =
        _mm512_setzero_si512();
    for (int64_t i = 0; i < width; i += 64) {
        __mmask64 in = width - i < 64 ? ((uint64_t)1 << (width - i)) - 1 : ~(uint64_t)0;
        __m512i a[FEW];
        UNROLL for (int r = 0; r < rows; r++) a[r] = _mm512_maskz_loadu_epi8(in, q + r * width + i);
        UNROLL for (int o = 0; o < OUTS; o++) {
            __m512i b = _mm512_maskz_loadu_epi8(in, w + o * width + i);
            UNROLL for (int r = 0; r < rows; r++) c[r][o] = _mm512_dpbusd_epi32(c[r][o], a[r], b);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int o = 0; o < OUTS; o++) sums[r][o] =
        _mm512_reduce_add_epi32(c[r][o]);
#else
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < OUTS; o++) {
            int32_t s = 0;
            for (int64_t i = 0; i < width; i++) s += q[r * width + i] * w[o * width + i];
            sums[r][o] = s;
        }
#endif
}

#define PRODUCTS(ROWS)                                                                            \
    static void products_##ROWS(const uint8_t *q, const int8_t *weight, const int32_t *zeros,     \
                                const float *scale, float *out, int64_t outs, int64_t width,      \
                                int threads) {                                                    \
        PARALLEL(outs * width / 8)                                                                \
        for (int64_t o = 0; o < outs; o += OUTS) {                                                \
            int32_t sums[FEW][OUTS];                                                              \
            dots(q, weight + o * width, ROWS, width, sums);                                       \
            for (int r = 0; r < ROWS; r++)                                                        \
                for (int k = 0; k < OUTS; k++)                                                    \
                    out[r * outs + o + k] = (float)(sums[r][k] - zeros[o + k]) * scale[o + k];    \
        }                                                                                         \
    }
PRODUCTS(1) PRODUCTS(2) PRODUCTS(3) PRODUCTS(4)

/* out [rows, outs] = (rounded [rows, width] - 128) x weight [outs, width] * scale [outs], for 1 to 4
   rows; `zeros` are 128 times the sum of an output's weights, and `outs` a multiple of 4. */
void few_products(const uint8_t *rounded, const int8_t *weight, const int32_t *zeros,
                  const float *scale, float *out, int64_t rows, int64_t outs, int64_t width,
                  int threads) {
    switch (rows) {
        case 1: products_1(rounded, weight, zeros, scale, out, outs, width, threads); break;
        case 2: products_2(rounded, weight, zeros, scale, out, outs, width, threads); break;
        case 3: products_3(rounded, weight, zeros, scale, out, outs, width, threads); break;
        case 4: products_4(rounded, weight, zeros, scale, out, outs, width, threads); break;
    }
}
