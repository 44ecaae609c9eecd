#include "kernels.h"

#if defined(__x86_64__)
const q8_conv_table q8_conv_avx2 = {.depthwise = NULL};
#endif
