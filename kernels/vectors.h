/* Vectors of 16 floats in the compiler's own terms: it makes them of what the processor has. */

#include <stdint.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define LANES 16 /* floats of a vector */

typedef float vec __attribute__((vector_size(64)));
typedef int32_t ints __attribute__((vector_size(64)));
typedef uint32_t words __attribute__((vector_size(64)));
typedef uint16_t halves __attribute__((vector_size(32)));
typedef vec vec_at __attribute__((aligned(4), may_alias));
typedef words words_at __attribute__((aligned(4), may_alias));
typedef halves halves_at __attribute__((aligned(2), may_alias));

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

INLINE vec splat(float x) { return x - (vec){0}; }
INLINE vec load(const float *p) { return *(const vec_at *)p; }
INLINE void store(float *p, vec x) { *(vec_at *)p = x; }
INLINE vec blend(ints which, vec yes, vec no) {
    return (vec)((which & (ints)yes) | (~which & (ints)no));
}

/* 16 numbers of a pool: bfloat16 is the upper half of float32. */
INLINE vec load_kv(const void *pool, long at, const int is_half) {
    if (!is_half) return load((const float *)pool + at);
    halves h = *(const halves_at *)((const uint16_t *)pool + at);
    return (vec)(__builtin_convertvector(h, words) << 16);
}

INLINE vec larger(vec a, vec b) {
#ifdef __AVX512F__
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return blend(a > b, a, b);
#endif
}

INLINE float sum(vec x) {
#ifdef __AVX512F__
    return _mm512_reduce_add_ps((__m512)x);
#else
    float s = 0;
    for (int i = 0; i < LANES; i++) s += x[i];
    return s;
#endif
}

INLINE float largest(vec x) {
#ifdef __AVX512F__
    return _mm512_reduce_max_ps((__m512)x);
#else
    float m = x[0];
    for (int i = 1; i < LANES; i++) m = x[i] > m ? x[i] : m;
    return m;
#endif
}

/* e^x within 2 ulp for x <= 0, and 0 below -87 (Cephes' polynomial after Cody and Waite). */
INLINE vec exponential(vec x) {
    const vec magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    vec bounded = larger(x, splat(-87.0f));
    vec n = (bounded * splat(1.44269504f) + magic) - magic;
    vec f = bounded - n * splat(0.693359375f) + n * splat(2.12194440e-4f);
    vec y = splat(1.9875691500e-4f) * f + splat(1.3981999507e-3f);
    y = y * f + splat(8.3334519073e-3f);
    y = y * f + splat(4.1665795894e-2f);
    y = y * f + splat(1.6666665459e-1f);
    y = y * f + splat(5.0000001201e-1f);
    y = y * f * f + f + splat(1.0f);
    ints power = (__builtin_convertvector(n, ints) + 127) << 23;
    return blend(x < splat(-87.0f), splat(0.0f), y * (vec)power);
}
