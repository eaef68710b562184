// What the kernels share: the storage types, the types that their sums are made in, divisions, the way into shared
// memory. They are compiled by NVRTC through CuPy, and by g++ in the tests (tests/cuda_on_cpu.h stands in for CUDA).

#ifndef CUDA_ON_CPU
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// Copies a value from global into shared memory, or sets it to zero; copies_arrive() waits for the thread's own. On
// Ampere and later the copy goes past the registers, so that a thread has all of its copies under way at once.
template <typename S>
__device__ inline void copy_async(S *to, const S *from, bool reads) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                 :: "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "n"(sizeof(S)),
                    "r"(reads ? (int)sizeof(S) : 0) : "memory");
#else
    *to = reads ? *from : S(0);
#endif
}
__device__ inline void copies_arrive() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}
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
__device__ inline int quotient(unsigned x, Divisor d) { return d.by == 1 ? x : __umulhi(x, d.magic); }

// One value from global into shared memory, in the type of the sums, or zero.
template <typename T>
__device__ inline void fetch(typename Sum<T>::type *to, const T *from, bool reads) {
    *to = reads ? widen(*from) : typename Sum<T>::type(0);
}
__device__ inline void fetch(float *to, const float *from, bool reads) { copy_async(to, from, reads); }
__device__ inline void fetch(double *to, const double *from, bool reads) { copy_async(to, from, reads); }

// The same rectangle of several images, as it lies in shared memory: (channels, images, rows, columns).
struct Rectangle {
    int images, rows, columns;
    Divisor by_area, by_columns;                          // by rows·columns, by columns
};

// Stages the rectangle whose first corner is pixel (row, column), zero where it lies outside of the image: `channels`
// planes of `images` images at `source`, one image `pitch` values after the other. A thread keeps to its pixels and
// walks through the channels, so that places are worked out once.
template <typename T>
__device__ inline void stage(
    typename Sum<T>::type *target, const T *source, long long pitch, int channels, int images, int row, int column,
    int height, int width, const Rectangle &shape) {
    const int threads = blockDim.x * blockDim.y;
    const int words = shape.images * shape.rows * shape.columns;
    const long long plane = (long long)height * width;
    for (int word = threadIdx.y * blockDim.x + threadIdx.x; word < words; word += threads) {
        const int n = quotient(word, shape.by_area);
        const int pixel = word - n * (int)shape.by_area.by;
        const int line = quotient(pixel, shape.by_columns);
        const int y = row + line, x = column + pixel - line * shape.columns;
        const bool inside = n < images && 0 <= y && y < height && 0 <= x && x < width;
        const T *from = source + n * pitch + (long long)y * width + x;
#pragma unroll 4
        for (int channel = 0; channel < channels; ++channel)
            fetch(target + channel * words + word, from + channel * plane, inside);
    }
}
