/* x86_vec_avx512vbmi.c - tables of 256 codes with shuffles of bytes across whole vectors. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,avx2,fma")

/* Seven bits of a code choose among 128 entries, the eighth between the halves of the table. */
X86_INLINE __m512i look_up(const __m512i table[4], __m512i x)
{
    const __m512i low = _mm512_permutex2var_epi8(table[0], x, table[1]);
    const __m512i high = _mm512_permutex2var_epi8(table[2], x, table[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high);
}

#include "x86_table512.inc"

Q8_TARGET_END

const q8_vec_table q8_vec_avx512vbmi = {.table = table};

#endif
