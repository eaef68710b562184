// Grouped convolution and its input gradient, as one kernel: every output value gathers what it is made of.
//
//      tap t of an output pixel at (u, v) reads the input pixel (u·step, v·step) + offset(t)
//
//      forward     outputs: all of y.   step = stride, offset = tap·dilation − padding
//      input grad  outputs: dx, one phase at a time. Only every stride-th tap of a row reaches a pixel of dx, and the
//                  pixels that the same taps reach form a phase: (u, v) = (row / stride, column / stride), step = 1
//
// Nothing is scattered, so nothing needs an atomic, and every run sums in the same order. Which taps a phase has,
// what they read and which weight they multiply is worked out in Python (cuda_plan.py) and arrives as a table.
//
//      input, channels c .. c + chunk of one group           one block: `positions` pixels of a phase,
//      +----------------------------------+                             blockDim.y · TO channels of one group
//      |   staged rows x columns          |
//      |   +--------------------------+   |   shared memory    one thread: TP pixels, blockDim.x apart (neighbouring
//      |   |  tile of output pixels   |   | -------------->                threads read neighbouring words),
//      |   +--------------------------+   |                                TO channels: TP·TO sums in registers
//      +----------------------------------+
//      Small maps: the tile holds several whole images, one staged rectangle each.
//
// RUN: taps that lie side by side come in runs of this length (3 for a 3x3 kernel without dilation, else 1), and cost
// one address for the run instead of one each.

struct Phase {
    int row, column;                                      // where its pixels start in the output
    int rows, columns;                                    // how many it has
    int from_row, from_column;                            // the input pixel at its first staged corner
    int taps, first_tap;                                  // its share of the tap table
};

struct Gather {
    int images, groups, in_channels, out_channels;        // channels of one group
    int in_height, in_width, out_height, out_width;
    int out_step_row, out_step_column;                    // between the pixels of a phase, in the output
    int step_row, step_column;                            // between what neighbours read, in the input
    int weight_group, weight_out, weight_in;              // pitches of the weight: to the next group, channel, channel
    int tile_rows, tile_columns;                          // pixels of one block, in each of staged.images
    int tiles_down, tiles_across, tiles_out, phases;
    int chunk;                                            // input channels staged at once
    Divisor by_tile_rows, by_tile_columns;
    Rectangle staged;
    Phase phase[16];
    int tap_input[144], tap_weight[144];                  // offset in the staged rectangle, in the weight
};

// A pixel of the tile.
struct Place {
    int n, y, x;
};
__device__ inline Place place_of(int position, const Gather &plan) {
    const int line = quotient(position, plan.by_tile_columns), n = quotient(line, plan.by_tile_rows);
    return {n, line - n * plan.tile_rows, position - line * plan.tile_columns};
}

template <typename T, int TO, int RUN>
__global__ void __launch_bounds__(256)
gather(const T *input, const T *weight, const T *bias, T *output, const Gather plan) {
    typedef typename Sum<T>::type S;
    typedef Pack<S, TO> Weights;
    const int TP = 8;
    extern __shared__ __align__(16) unsigned char shared[];

    // Which block is this? Phases vary fastest: blocks that write alternate columns run side by side and meet in L2.
    unsigned at = blockIdx.x;
    const Phase phase = plan.phase[at % plan.phases];
    at /= plan.phases;
    const int column = at % plan.tiles_across * plan.tile_columns;
    at /= plan.tiles_across;
    const int row = at % plan.tiles_down * plan.tile_rows;
    at /= plan.tiles_down;
    const int out_threads = blockDim.y * TO;
    const int out = at % plan.tiles_out * out_threads;
    at /= plan.tiles_out;
    const int group = at % plan.groups;
    const int image = at / plan.groups * plan.staged.images;

    const int thread = threadIdx.y * blockDim.x + threadIdx.x;
    const int threads = blockDim.x * blockDim.y;
    const int plane = plan.staged.images * plan.staged.rows * plan.staged.columns;
    const int positions = plan.staged.images * plan.tile_rows * plan.tile_columns;
    S *tile_w = (S *)shared;                              // (chunk, taps, out_threads)
    S *tile_x = tile_w + plan.chunk * phase.taps * out_threads;   // (chunk, images, rows, columns)

    // How many bytes behind the first staged word each of this thread's pixels begins to read.
    int offset[TP];
    for (int k = 0; k < TP; ++k) {
        const Place place = place_of(min((int)(threadIdx.x + k * blockDim.x), positions - 1), plan);
        offset[k] = ((place.n * plan.staged.rows + place.y * plan.step_row) * plan.staged.columns
            + place.x * plan.step_column) * (int)sizeof(S);
    }

    S sum[TO][TP];
    for (int o = 0; o < TO; ++o)
        for (int k = 0; k < TP; ++k) sum[o][k] = 0;

    const long long in_plane = (long long)plan.in_height * plan.in_width;
    const T *source = input + ((long long)image * plan.groups + group) * plan.in_channels * in_plane;
    const T *weights = weight + (long long)group * plan.weight_group;

    for (int c = 0; c < plan.in_channels; c += plan.chunk) {
        const int chunk = min(plan.chunk, plan.in_channels - c);
        stage(tile_x, source + c * in_plane, plan.groups * plan.in_channels * in_plane, chunk, plan.images - image,
              row * plan.step_row + phase.from_row, column * plan.step_column + phase.from_column, plan.in_height,
              plan.in_width, plan.staged);

        // Stage the weights, output channels last, so that a thread fetches its TO of them at once.
        for (int pair = thread; pair < chunk * out_threads; pair += threads) {
            const int o = pair / chunk, channel = pair % chunk;
            const T *from = weights + (out + o) * plan.weight_out + (c + channel) * plan.weight_in;
            S *target = tile_w + channel * phase.taps * out_threads + o;
            for (int tap = 0; tap < phase.taps; ++tap)
                fetch(target + tap * out_threads, from + plan.tap_weight[phase.first_tap + tap],
                      out + o < plan.out_channels);
        }
        copies_arrive();
        __syncthreads();

        const S *w = tile_w + threadIdx.y * TO;
        for (int channel = 0; channel < chunk; ++channel) {
            const S *x = tile_x + channel * plane;
            for (int tap = 0; tap < phase.taps; tap += RUN) {
                const S *from = x + plan.tap_input[phase.first_tap + tap];
#pragma unroll
                for (int j = 0; j < RUN; ++j) {
                    const Weights factor = *(const Weights *)w;
                    w += out_threads;
#pragma unroll
                    for (int k = 0; k < TP; ++k) {
                        const S pixel = ((const S *)((const char *)from + offset[k]))[j];
#pragma unroll
                        for (int o = 0; o < TO; ++o) sum[o][k] += factor.value[o] * pixel;
                    }
                }
            }
        }
        __syncthreads();
    }

    const int channel = out + threadIdx.y * TO;
    const long long out_plane = (long long)plan.out_height * plan.out_width;
    for (int k = 0; k < TP; ++k) {
        const int position = threadIdx.x + k * blockDim.x;
        const Place place = place_of(position, plan);
        const int n = image + place.n, y = row + place.y, x = column + place.x;
        if (position >= positions || n >= plan.images || y >= phase.rows || x >= phase.columns) continue;
        T *target = output + (((long long)n * plan.groups + group) * plan.out_channels + channel) * out_plane
            + (long long)(phase.row + y * plan.out_step_row) * plan.out_width + phase.column + x * plan.out_step_column;
        for (int o = 0; o < TO && channel + o < plan.out_channels; ++o) {
            const S value = sum[o][k] + (bias ? widen(bias[group * plan.out_channels + channel + o]) : S(0));
            target[o * out_plane] = narrow<T>(value);
        }
    }
}
