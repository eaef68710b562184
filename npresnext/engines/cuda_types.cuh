// What every kernel shares: the storage types, the types that their sums are made in, and a division.
// The kernels are compiled by NVRTC through CuPy, and by g++ in the tests (tests/cuda_on_cpu.h stands in for CUDA).

#ifndef CUDA_ON_CPU
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

// 16-bit types are summed in float.
template <typename T> struct Sum { typedef float type; };
template <> struct Sum<double> { typedef double type; };

__device__ inline float widen(float value) { return value; }
__device__ inline double widen(double value) { return value; }
__device__ inline float widen(__half value) { return __half2float(value); }
__device__ inline float widen(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename T> __device__ inline T narrow(typename Sum<T>::type value) { return value; }
template <> __device__ inline __half narrow<__half>(float value) { return __float2half_rn(value); }
template <> __device__ inline __nv_bfloat16 narrow<__nv_bfloat16>(float value) { return __float2bfloat16_rn(value); }

// COUNT values that one load fetches from shared memory, 16 bytes at a time where they are that many.
template <typename S, int COUNT>
struct __align__(COUNT * sizeof(S) < 16 ? COUNT * sizeof(S) : 16) Pack {
    S value[COUNT];
};

// Division by a number known on the host: x / by for x·by < 2^32, in one multiplication.
struct Divisor {
    unsigned by, magic;                                   // magic = ceil(2^32 / by)
};
__device__ inline unsigned quotient(unsigned x, Divisor d) { return d.by == 1 ? x : __umulhi(x, d.magic); }
