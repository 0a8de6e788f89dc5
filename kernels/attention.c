/* Attention over a work list, for the processor it is compiled on: see native.py and compiled.py.

   Each segment is a run of keys that some rows read. Rows of one key head are folded together, and
   for each block of keys the scores, their softmax and the weighted values are made while the block
   is in the cache (online softmax: arXiv:1805.02867, tiled as in arXiv:2205.14135). What a row finds
   in its segments is put together at the end by the log-sum-exp of each.

   Many rows share one packing of the keys, in a register tile of ROWS x WIDE vectors. For a few rows,
   packing would cost more than it saves: they read the keys as they lie. */

#include <math.h>
#include <string.h>

#include "vectors.h"

#define KEYS 64   /* keys of a block */
#define FEW 8     /* folded rows that are not worth packing for */
#define SPAN 512  /* keys of a segment that a few rows read, at most */
#define TILE 192  /* folded rows that share a packing, at most */
#define NOTHING -1e30f

#ifdef __AVX512F__
#define ROWS 6
#define WIDE 4
#else /* 16 registers of half the width */
#define ROWS 2
#define WIDE 2
#endif

/* --- the work of a step --- */

typedef struct { /* `first` is the position of the first key; `part` the partial of the first row */
    int64_t table, first, length, is_masked, rows, count, part;
} segment;

typedef struct {
    int64_t segment, row, count;
} unit;

typedef struct {
    const float *queries;
    int64_t query_stride; /* numbers from one token to the next */
    const void *keys, *values;
    int64_t heads, kv_heads, dim, block;
    float scale;
    const int64_t *table, *rows, *positions;
    const segment *segments;
    const unit *units;
    int64_t unit_count;
    float *parts, *part_lse; /* [parts, heads, dim], [parts, heads] */
    const int64_t *row_begin, *row_parts;
    int64_t tokens;
    float *out; /* [tokens, heads, dim] */
    char *scratch;
    int64_t scratch_size; /* of each thread */
} step;

/* How many keys of a segment row r of it sees. */
INLINE long visible(const step *s, const segment *g, long row) {
    if (!g->is_masked) return g->length;
    long seen = s->positions[s->rows[g->rows + row]] - g->first + 1;
    return seen < 0 ? 0 : seen < g->length ? seen : g->length;
}

/* Where key j of a segment begins in the pool, for head 0. */
INLINE long place(const step *s, const segment *g, long j) {
    return (s->table[g->table + j / s->block] * s->block + j % s->block) * s->kv_heads * s->dim;
}

INLINE const float *query(const step *s, const segment *g, long folded, long head, long group) {
    long token = s->rows[g->rows + folded / group];
    return s->queries + token * s->query_stride + (head * group + folded % group) * s->dim;
}

INLINE long partial(const step *s, const segment *g, long folded, long head, long group) {
    return (g->part + folded / group) * s->heads + head * group + folded % group;
}

/* --- a few rows --- */

INLINE void few_rows(const step *s, const segment *g, long row, long folded, const int vectors,
                     const int is_half, char *scratch) {
    const long group = s->heads / s->kv_heads, dim = vectors * LANES, base = row * group;
    float *scores = (float *)scratch; /* [folded, SPAN] */
    vec q[FEW * vectors], found[FEW * vectors];
    long seen[FEW], most = 0;
    for (long m = 0; m < folded; m++) {
        seen[m] = visible(s, g, (base + m) / group);
        most = seen[m] > most ? seen[m] : most;
    }
    for (long head = 0; head < s->kv_heads; head++) {
        for (long m = 0; m < folded; m++)
            for (int v = 0; v < vectors; v++)
                q[m * vectors + v] =
                    load(query(s, g, base + m, head, group) + v * LANES) * splat(s->scale);
        for (long j = 0; j < most; j++) {
            long at = place(s, g, j) + head * dim;
            vec k[vectors];
            for (int v = 0; v < vectors; v++) k[v] = load_kv(s->keys, at + v * LANES, is_half);
            for (long m = 0; m < folded; m++) {
                vec dot = k[0] * q[m * vectors];
                for (int v = 1; v < vectors; v++) dot += k[v] * q[m * vectors + v];
                scores[m * SPAN + j] = sum(dot);
            }
        }
        float weight[FEW], high[FEW];
        for (long m = 0; m < folded; m++) {
            float *own = scores + m * SPAN;
            long end = (seen[m] + LANES - 1) / LANES * LANES;
            for (long j = seen[m]; j < end || j < most; j++) own[j] = NOTHING;
            vec top = splat(NOTHING), total = splat(0);
            for (long j = 0; j < end; j += LANES) top = larger(top, load(own + j));
            high[m] = largest(top);
            for (long j = 0; j < end; j += LANES) {
                vec e = exponential(load(own + j) - splat(high[m]));
                store(own + j, e);
                total += e;
            }
            for (long j = end; j < most; j++) own[j] = 0;
            weight[m] = seen[m] ? sum(total) : 0;
        }
        for (long i = 0; i < folded * vectors; i++) found[i] = splat(0);
        for (long j = 0; j < most; j++) {
            long at = place(s, g, j) + head * dim;
            vec value[vectors];
            for (int v = 0; v < vectors; v++) value[v] = load_kv(s->values, at + v * LANES, is_half);
            for (long m = 0; m < folded; m++) {
                vec e = splat(scores[m * SPAN + j]);
                for (int v = 0; v < vectors; v++) found[m * vectors + v] += e * value[v];
            }
        }
        for (long m = 0; m < folded; m++) {
            long part = partial(s, g, base + m, head, group);
            vec norm = splat(weight[m] > 0 ? 1 / weight[m] : 0);
            for (int v = 0; v < vectors; v++)
                store(s->parts + part * dim + v * LANES, found[m * vectors + v] * norm);
            s->part_lse[part] = weight[m] > 0 ? high[m] + logf(weight[m]) : NOTHING;
        }
    }
}

/* --- many rows: a block of keys is packed, and every tile of rows goes over it --- */

typedef struct {
    float *queries;        /* [rows, dim], or pairs of bfloat16 [rows, dim / 2] */
    float *keys, *values;  /* [dim, KEYS] and [KEYS, dim], or pairs [dim / 2, KEYS], [KEYS / 2, dim] */
    float *found;          /* [rows, dim] */
    float *high, *weight;  /* of each row */
    int64_t *seen;
} packed;

#ifdef __AVX512BF16__
#define HAS_PAIRS 1
INLINE vec multiply(vec to, uint32_t a, words b) {
    return (vec)_mm512_dpbf16_ps((__m512)to, (__m512bh)_mm512_set1_epi32((int)a), (__m512bh)b);
}
/* 32 numbers in bfloat16, in their order. */
INLINE words rounded(vec low, vec high) {
    return (words)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
}
#else
#define HAS_PAIRS 0
#endif

INLINE void pack_queries(const step *s, const segment *g, long row, long folded, long head,
                         const packed *p, const int vectors, const int pairs) {
    const long group = s->heads / s->kv_heads, dim = vectors * LANES;
    const long padded = (folded + ROWS - 1) / ROWS * ROWS;
    for (long m = 0; m < padded; m++) {
        vec q[vectors];
        for (int v = 0; v < vectors; v++)
            q[v] = m < folded ? load(query(s, g, row * group + m, head, group) + v * LANES) *
                                    splat(s->scale)
                              : splat(0);
#if HAS_PAIRS
        if (pairs) {
            for (int v = 0; v + 1 < vectors; v += 2)
                *(words_at *)(p->queries + m * dim / 2 + v * LANES / 2) = rounded(q[v], q[v + 1]);
            continue;
        }
#endif
        for (int v = 0; v < vectors; v++) store(p->queries + m * dim + v * LANES, q[v]);
    }
}

/* Keys from, up to `count` of them; beyond there are zeros. */
INLINE void pack_keys(const step *s, const segment *g, long from, long count, long head,
                      const packed *p, const int vectors, const int is_half, const int pairs) {
    const long dim = vectors * LANES;
    for (long j = 0; j < KEYS; j++) {
        long at = j < count ? place(s, g, from + j) + head * dim : -1;
        if (pairs) {
            uint32_t *to = (uint32_t *)p->keys + j, *keys = (uint32_t *)((uint16_t *)s->keys + at);
            for (long x = 0; x < dim / 2; x++) to[x * KEYS] = at < 0 ? 0 : keys[x];
        } else {
            float *to = p->keys + j, row[dim];
            for (int v = 0; v < vectors; v++)
                store(row + v * LANES,
                      at < 0 ? splat(0) : load_kv(s->keys, at + v * LANES, is_half));
            for (long x = 0; x < dim; x++) to[x * KEYS] = row[x];
        }
    }
}

INLINE void pack_values(const step *s, const segment *g, long from, long count, long head,
                        const packed *p, const int vectors, const int is_half, const int pairs) {
    const long dim = vectors * LANES;
    for (long j = 0; j < KEYS; j += pairs ? 2 : 1) {
        long at = j < count ? place(s, g, from + j) + head * dim : -1;
        long next = pairs && j + 1 < count ? place(s, g, from + j + 1) + head * dim : -1;
        for (int v = 0; v < vectors; v++) {
            vec value = at < 0 ? splat(0) : load_kv(s->values, at + v * LANES, is_half);
            if (pairs) {
                vec other = next < 0 ? splat(0) : load_kv(s->values, next + v * LANES, is_half);
                *(words_at *)(p->values + j / 2 * dim + v * LANES) =
                    ((words)value >> 16) | ((words)other & 0xffff0000u);
            } else {
                store(p->values + j * dim + v * LANES, value);
            }
        }
    }
}

/* Scores of ROWS rows with WIDE vectors of keys from `key` on. */
INLINE void score(const packed *p, long row, long key, float *scores, const int vectors,
                  const int pairs) {
    const long dim = vectors * LANES;
    vec c[ROWS][WIDE];
    UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int n = 0; n < WIDE; n++) c[i][n] = splat(0);
    if (pairs) {
#if HAS_PAIRS
        const uint32_t *q = (const uint32_t *)p->queries + row * dim / 2;
        for (long x = 0; x < dim / 2; x++) {
            words b[WIDE];
            UNROLL for (int n = 0; n < WIDE; n++) b[n] =
                *(const words_at *)(p->keys + x * KEYS + key + n * LANES);
            UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int n = 0; n < WIDE; n++) c[i][n] =
                multiply(c[i][n], q[i * dim / 2 + x], b[n]);
        }
#endif
    } else {
        const float *q = p->queries + row * dim;
        for (long x = 0; x < dim; x++) {
            vec b[WIDE];
            UNROLL for (int n = 0; n < WIDE; n++) b[n] = load(p->keys + x * KEYS + key + n * LANES);
            UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int n = 0; n < WIDE; n++) c[i][n] +=
                splat(q[i * dim + x]) * b[n];
        }
    }
    UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int n = 0; n < WIDE; n++)
        store(scores + i * KEYS + key + n * LANES, c[i][n]);
}

/* The weights of a row's scores, of which it sees `seen`; what was found before is worth `decay`. */
INLINE void soften(float *scores, long seen, float *high, float *weight, float *decay) {
    *decay = 1;
    if (seen <= 0) {
        for (int j = 0; j < KEYS; j += LANES) store(scores + j, splat(0));
        return;
    }
    for (long j = seen; j < KEYS; j++) scores[j] = NOTHING;
    vec top = splat(*high), total = splat(0);
    for (int j = 0; j < KEYS; j += LANES) top = larger(top, load(scores + j));
    float now = largest(top);
    if (now > *high) *decay = *weight > 0 ? expf(*high - now) : 0;
    for (int j = 0; j < KEYS; j += LANES) {
        vec e = exponential(load(scores + j) - splat(now));
        store(scores + j, e);
        total += e;
    }
    *weight = *weight * *decay + sum(total);
    *high = now;
}

/* found = found * decay + weights x values, for ROWS rows and `wide` vectors from `at` on. */
INLINE void weigh(const packed *p, long row, const float *weights, const float *decay, long at,
                  const int wide, const int vectors, const int pairs) {
    const long dim = vectors * LANES;
    float *found = p->found + row * dim + at;
    vec c[ROWS][WIDE];
    UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int n = 0; n < wide; n++) c[i][n] =
        load(found + i * dim + n * LANES) * splat(decay[i]);
    if (pairs) {
#if HAS_PAIRS
        const uint32_t *w = (const uint32_t *)weights;
        for (long j = 0; j < KEYS / 2; j++) {
            words b[WIDE];
            UNROLL for (int n = 0; n < wide; n++) b[n] =
                *(const words_at *)(p->values + j * dim + at + n * LANES);
            UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int n = 0; n < wide; n++) c[i][n] =
                multiply(c[i][n], w[i * KEYS / 2 + j], b[n]);
        }
#endif
    } else {
        for (long j = 0; j < KEYS; j++) {
            vec b[WIDE];
            UNROLL for (int n = 0; n < wide; n++) b[n] = load(p->values + j * dim + at + n * LANES);
            UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int n = 0; n < wide; n++) c[i][n] +=
                splat(weights[i * KEYS + j]) * b[n];
        }
    }
    UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int n = 0; n < wide; n++)
        store(found + i * dim + n * LANES, c[i][n]);
}

INLINE void many_rows(const step *s, const segment *g, long row, long folded, const int vectors,
                      const int is_half, char *scratch) {
    const int pairs = HAS_PAIRS && is_half && vectors % 2 == 0;
    const long group = s->heads / s->kv_heads, dim = vectors * LANES;
    const long padded = (folded + ROWS - 1) / ROWS * ROWS, room = TILE + ROWS;
    packed p;
    p.queries = (float *)scratch;
    p.found = p.queries + room * dim;
    p.keys = p.found + room * dim;
    p.values = p.keys + KEYS * dim;
    p.high = p.values + KEYS * dim;
    p.weight = p.high + room;
    p.seen = (int64_t *)(p.weight + room);
    float scores[ROWS * KEYS] __attribute__((aligned(64))), decay[ROWS];
    long most = 0;
    for (long m = 0; m < padded; m++) {
        p.seen[m] = m < folded ? visible(s, g, row + m / group) : 0;
        most = p.seen[m] > most ? p.seen[m] : most;
    }
    for (long head = 0; head < s->kv_heads; head++) {
        pack_queries(s, g, row, folded, head, &p, vectors, pairs);
        memset(p.found, 0, padded * dim * sizeof(float));
        for (long m = 0; m < padded; m++) p.high[m] = NOTHING, p.weight[m] = 0;
        for (long from = 0; from < most; from += KEYS) {
            long count = most - from < KEYS ? most - from : KEYS;
            pack_keys(s, g, from, count, head, &p, vectors, is_half, pairs);
            pack_values(s, g, from, count, head, &p, vectors, is_half, pairs);
            for (long m = 0; m < padded; m += ROWS) {
                long any = 0;
                for (int i = 0; i < ROWS; i++) any |= p.seen[m + i] > from;
                if (!any) continue;
                for (long key = 0; key < KEYS; key += WIDE * LANES)
                    score(&p, m, key, scores, vectors, pairs);
                for (int i = 0; i < ROWS; i++) {
                    long left = p.seen[m + i] - from;
                    soften(scores + i * KEYS, left < KEYS ? left : KEYS, p.high + m + i,
                           p.weight + m + i, decay + i);
                }
#if HAS_PAIRS
                if (pairs) /* in place: what is written is behind what is read */
                    for (int i = 0; i < ROWS * KEYS; i += 2 * LANES)
                        *(words_at *)(scores + i / 2) =
                            rounded(load(scores + i), load(scores + i + LANES));
#endif
                for (int v = 0; v + WIDE <= vectors; v += WIDE)
                    weigh(&p, m, scores, decay, v * LANES, WIDE, vectors, pairs);
                if (vectors % WIDE)
                    weigh(&p, m, scores, decay, vectors / WIDE * WIDE * LANES, vectors % WIDE,
                          vectors, pairs);
            }
        }
        for (long m = 0; m < folded; m++) {
            long part = partial(s, g, row * group + m, head, group);
            vec norm = splat(p.weight[m] > 0 ? 1 / p.weight[m] : 0);
            for (int v = 0; v < vectors; v++)
                store(s->parts + part * dim + v * LANES, load(p.found + m * dim + v * LANES) * norm);
            s->part_lse[part] = p.weight[m] > 0 ? p.high[m] + logf(p.weight[m]) : NOTHING;
        }
    }
}

INLINE void run_unit(const step *s, const unit *u, const int vectors, const int is_half,
                     char *scratch) {
    const segment *g = s->segments + u->segment;
    long folded = u->count * (s->heads / s->kv_heads);
    if (folded <= FEW && g->length <= SPAN)
        few_rows(s, g, u->row, folded, vectors, is_half, scratch);
    else
        many_rows(s, g, u->row, folded, vectors, is_half, scratch);
}

/* What a token found in its segments, weighed by the sums that they had. */
static void merge(const step *s, long token) {
    long begin = s->row_begin[token], end = s->row_begin[token + 1];
    for (long head = 0; head < s->heads; head++) {
        float *out = s->out + (token * s->heads + head) * s->dim;
        float high = NOTHING, total = 0;
        for (long i = begin; i < end; i++) {
            float lse = s->part_lse[s->row_parts[i] * s->heads + head];
            high = lse > high ? lse : high;
        }
        for (long x = 0; x < s->dim; x += LANES) store(out + x, splat(0));
        for (long i = begin; i < end; i++) {
            long part = s->row_parts[i] * s->heads + head;
            float weight = s->part_lse[part] > NOTHING ? expf(s->part_lse[part] - high) : 0;
            total += weight;
            for (long x = 0; x < s->dim; x += LANES)
                store(out + x, load(out + x) + splat(weight) * load(s->parts + part * s->dim + x));
        }
        float norm = total > 0 ? 1 / total : 0;
        for (long x = 0; x < s->dim; x += LANES) store(out + x, load(out + x) * splat(norm));
    }
}

/* What native.py cuts by. */
const int64_t few = FEW, span = SPAN, tile = TILE;

/* Bytes that a thread needs for heads of this size. */
int64_t scratch_size(int64_t dim) {
    int64_t room = TILE + ROWS, many = (2 * room + 2 * KEYS) * dim * 4 + room * 16;
    int64_t few = FEW * SPAN * 4;
    return ((many > few ? many : few) + 63) / 64 * 64 + 64;
}

#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num(void) { return 0; }
#endif

#define STEP(VECTORS, HALF)                                                                       \
    static void units_##VECTORS##_##HALF(const step *s, int threads) {                            \
        _Pragma("omp parallel num_threads(threads)") {                                            \
            char *scratch = s->scratch + omp_get_thread_num() * s->scratch_size;                  \
            _Pragma("omp for schedule(dynamic, 1)") for (long i = 0; i < s->unit_count; i++)      \
                run_unit(s, s->units + i, VECTORS, HALF, scratch);                                \
            _Pragma("omp for schedule(static)") for (long t = 0; t < s->tokens; t++) merge(s, t); \
        }                                                                                         \
    }
STEP(1, 0) STEP(2, 0) STEP(4, 0) STEP(5, 0) STEP(6, 0) STEP(8, 0)
STEP(1, 1) STEP(2, 1) STEP(4, 1) STEP(5, 1) STEP(6, 1) STEP(8, 1)

#define CASE(VECTORS)                                                                             \
    case VECTORS:                                                                                 \
        if (is_half) units_##VECTORS##_1(s, threads);                                             \
        else units_##VECTORS##_0(s, threads);                                                     \
        return 0;

/* 0, or 1 for a size of head that there is no code for. */
int attend(const step *s, int is_half, int threads) {
    switch (s->dim / LANES * (s->dim % LANES == 0)) { CASE(1) CASE(2) CASE(4) CASE(5) CASE(6) CASE(8) }
    return 1;
}
