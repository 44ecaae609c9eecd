#include "kernels.h"

#if defined(__x86_64__)
const q8_f32_table q8_f32_avx2 = {.gemm_name = NULL};
#endif
