// Batch normalisation in the fewest passes over memory: forward reads x twice and writes y, backward reads
// grad_output and x twice and writes dx. (As array operations it would be a dozen passes.)
//
//      a block owns a slice: some images of one channel             x  (N, C, P)
//
//      1. channel_moments      each slice: its mean, and the squares around it, in two sweeps: the second finds the
//                              slice in the cache. No E[x²] − mean², which cancels
//      2. merge_moments        a thread a channel merges the slices, first to last, in double
//      3. normalise            each slice: y = weight·(x − mean)/√(var + eps) + bias
//
//      4. channel_products     each slice: Σ grad, Σ grad·(x − mean), Σ (x − mean)
//      5. merge_products       a thread a channel: dweight, dbias, and the three numbers that dx is made with
//      6. channel_gradient     each slice: dx = (grad − (x − mean)·slope − shift)·scale
//
// (Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983, equations 1.7 and 2.1.)

struct Slices {
    long long images, pixels;
    int channels, per_slice, slices;                      // images in a slice, slices of a channel
    Divisor by_pixels;                                    // always 0 for slices of one image
};

const int THREADS = 256;

// Calls body(index) for every element of this block's slice, several of them under way at once.
template <typename Body>
__device__ inline void for_each(const Slices &plan, Body body) {
    const int channel = blockIdx.x % plan.channels;
    const long long image = blockIdx.x / plan.channels * (long long)plan.per_slice;
    const int values = int(min((long long)plan.per_slice, plan.images - image) * plan.pixels);
    const long long start = (image * plan.channels + channel) * plan.pixels;
    const long long others = (plan.channels - 1) * plan.pixels;     // of other channels, between two images
#pragma unroll 4
    for (int value = threadIdx.x; value < values; value += THREADS)
        body(start + value + quotient(value, plan.by_pixels) * others);
}

// Adds up one value of each thread, always in the same order; every thread gets the sum.
template <typename S>
__device__ inline S block_sum(S value, S *scratch) {
    const int thread = threadIdx.x;
    __syncthreads();
    scratch[thread] = value;
    __syncthreads();
    for (int half = THREADS / 2; half; half /= 2) {
        if (thread < half) scratch[thread] += scratch[thread + half];
        __syncthreads();
    }
    return scratch[0];
}

template <typename T>
__global__ void __launch_bounds__(256)
channel_moments(const T *x, typename Sum<T>::type *partial, const Slices plan) {
    typedef typename Sum<T>::type S;
    extern __shared__ __align__(16) unsigned char shared[];
    S *scratch = (S *)shared;
    const long long first = blockIdx.x / plan.channels * (long long)plan.per_slice;
    const S count = S((min(first + plan.per_slice, plan.images) - first) * plan.pixels);

    S sum = 0;
    for_each(plan, [&](long long at) { sum += widen(x[at]); });
    const S mean = block_sum(sum, scratch) / count;
    S rest = 0, squares = 0;
    for_each(plan, [&](long long at) {
        const S centred = widen(x[at]) - mean;
        rest += centred;
        squares += centred * centred;
    });
    rest = block_sum(rest, scratch);                      // how far rounding moved the mean, times count
    squares = block_sum(squares, scratch);
    if (threadIdx.x == 0) {
        S *mine = partial + (long long)blockIdx.x * 3;
        mine[0] = mean;
        mine[1] = rest;
        mine[2] = squares;
    }
}

// mean + rest is the mean to twice the precision of S.
template <typename S>
__global__ void __launch_bounds__(256)
merge_moments(const S *partial, S *mean, S *rest, S *var, const Slices plan) {
    const int channel = blockIdx.x * blockDim.x + threadIdx.x;
    if (channel >= plan.channels) return;
    double count = 0, total = 0, squares = 0;
    for (int slice = 0; slice < plan.slices; ++slice) {
        const S *its = partial + ((long long)slice * plan.channels + channel) * 3;
        const long long images = min((long long)plan.per_slice, plan.images - (long long)slice * plan.per_slice);
        const double size = double(images * plan.pixels);
        const double its_mean = double(its[0]) + double(its[1]) / size;
        const double its_squares = double(its[2]) - double(its[1]) * double(its[1]) / size;
        const double between = its_mean - total;
        squares += its_squares + between * between * count * size / (count + size);
        total += between * size / (count + size);
        count += size;
    }
    mean[channel] = S(total);
    rest[channel] = S(total - double(S(total)));
    var[channel] = S(squares / count);
}

template <typename T>
__global__ void __launch_bounds__(256)
normalise(
    const T *__restrict__ x, const typename Sum<T>::type *mean, const typename Sum<T>::type *rest,
    const typename Sum<T>::type *var, const T *weight, const T *bias, T *__restrict__ y, const double eps, const Slices plan) {
    typedef typename Sum<T>::type S;
    const int channel = blockIdx.x % plan.channels;
    const S centre = mean[channel];
    const S scale = (weight ? widen(weight[channel]) : S(1)) / S(sqrt(double(var[channel]) + eps));
    const S shift = (bias ? widen(bias[channel]) : S(0)) - (rest ? rest[channel] : S(0)) * scale;
    for_each(plan, [&](long long at) { y[at] = narrow<T>((widen(x[at]) - centre) * scale + shift); });
}

template <typename T>
__global__ void __launch_bounds__(256)
channel_products(const T *grad, const T *x, const typename Sum<T>::type *mean, typename Sum<T>::type *partial,
                 const Slices plan) {
    typedef typename Sum<T>::type S;
    extern __shared__ __align__(16) unsigned char shared[];
    S *scratch = (S *)shared;
    const S centre = mean[blockIdx.x % plan.channels];
    S sum = 0, products = 0, rest = 0;
    for_each(plan, [&](long long at) {
        const S upstream = widen(grad[at]), centred = widen(x[at]) - centre;
        sum += upstream;
        products += upstream * centred;
        rest += centred;
    });
    sum = block_sum(sum, scratch);
    products = block_sum(products, scratch);
    rest = block_sum(rest, scratch);
    if (threadIdx.x == 0) {
        S *mine = partial + (long long)blockIdx.x * 3;
        mine[0] = sum;
        mine[1] = products;
        mine[2] = rest;
    }
}

template <typename T>
__global__ void __launch_bounds__(256)
merge_products(
    const typename Sum<T>::type *partial, const typename Sum<T>::type *var, const T *weight, T *dweight, T *dbias,
    typename Sum<T>::type *terms, const double eps, const int batch_statistics, const Slices plan) {
    typedef typename Sum<T>::type S;
    const int channel = blockIdx.x * blockDim.x + threadIdx.x;
    if (channel >= plan.channels) return;
    double sum = 0, products = 0, rest = 0;
    for (int slice = 0; slice < plan.slices; ++slice) {
        const S *its = partial + ((long long)slice * plan.channels + channel) * 3;
        sum += double(its[0]);
        products += double(its[1]);
        rest += double(its[2]);
    }
    const double count = double(plan.images * plan.pixels), inverse = 1 / sqrt(double(var[channel]) + eps);
    const double offset = batch_statistics ? rest / count : 0;   // how far rounding moved the mean
    const double normalised = (products - offset * sum) * inverse;
    const double slope = batch_statistics ? inverse * normalised / count : 0;
    const double shift = batch_statistics ? sum / count - offset * slope : 0;
    dweight[channel] = narrow<T>(S(normalised));
    dbias[channel] = narrow<T>(S(sum));
    S *mine = terms + (long long)channel * 3;
    mine[0] = S((weight ? double(widen(weight[channel])) : 1.0) * inverse);
    mine[1] = S(slope);
    mine[2] = S(shift);
}

template <typename T>
__global__ void __launch_bounds__(256)
channel_gradient(const T *__restrict__ grad, const T *__restrict__ x, const typename Sum<T>::type *mean,
                 const typename Sum<T>::type *terms, T *__restrict__ dx, const Slices plan) {
    typedef typename Sum<T>::type S;
    const int channel = blockIdx.x % plan.channels;
    const S centre = mean[channel];
    const S scale = terms[channel * 3LL], slope = terms[channel * 3LL + 1], shift = terms[channel * 3LL + 2];
    for_each(plan, [&](long long at) {
        dx[at] = narrow<T>((widen(grad[at]) - (widen(x[at]) - centre) * slope - shift) * scale);
    });
}
