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
    int tile_images, tile_rows, tile_columns;             // pixels of one block
    int tiles_down, tiles_across, tiles_out, phases;
    int rows, columns, chunk, stage_lanes;                // the staged rectangle, channels at once, threads a row
    Divisor by_image_rows, by_rows;
    Phase phase[16];
    int tap_input[144], tap_weight[144];                  // offset in the staged rectangle, in the weight
};

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
    const int image = at / plan.groups * plan.tile_images;

    const int thread = threadIdx.y * blockDim.x + threadIdx.x;
    const int threads = blockDim.x * blockDim.y;
    const int plane = plan.tile_images * plan.rows * plan.columns;
    const int positions = plan.tile_images * plan.tile_rows * plan.tile_columns;
    S *tile_w = (S *)shared;                              // (chunk, taps, out_threads)
    S *tile_x = tile_w + plan.chunk * phase.taps * out_threads;   // (chunk, tile_images, rows, columns)

    // The staged word that the first tap of each of this thread's pixels reads.
    int place[TP];
    for (int k = 0; k < TP; ++k) {
        const int position = min((int)(threadIdx.x + k * blockDim.x), positions - 1);
        const int line = position / plan.tile_columns;
        const int x = position % plan.tile_columns, y = line % plan.tile_rows, n = line / plan.tile_rows;
        place[k] = (n * plan.rows + y * plan.step_row) * plan.columns + x * plan.step_column;
    }

    S sum[TO][TP];
    for (int o = 0; o < TO; ++o)
        for (int k = 0; k < TP; ++k) sum[o][k] = 0;

    const int stage_column = thread % plan.stage_lanes;
    const int from_row = row * plan.step_row + phase.from_row;
    const int from_column = column * plan.step_column + phase.from_column;

    for (int c = 0; c < plan.in_channels; c += plan.chunk) {
        const int chunk = min(plan.chunk, plan.in_channels - c);

        // Stage the input: a thread keeps to its columns, and walks down the rows of all images and channels.
        for (int line = thread / plan.stage_lanes; line < chunk * plan.tile_images * plan.rows;
             line += threads / plan.stage_lanes) {
            const int channel = quotient(line, plan.by_image_rows);
            const int rest = line - channel * (int)plan.by_image_rows.by;
            const int n = quotient(rest, plan.by_rows);
            const int y = from_row + rest - n * plan.rows;
            const bool inside = image + n < plan.images && 0 <= y && y < plan.in_height;
            const long long map =
                ((long long)(image + n) * plan.groups + group) * plan.in_channels + c + channel;
            const T *source = input + (map * plan.in_height + y) * plan.in_width;
            for (int x = stage_column; x < plan.columns; x += plan.stage_lanes) {
                const int source_column = from_column + x;
                const bool reads = inside && 0 <= source_column && source_column < plan.in_width;
                tile_x[line * plan.columns + x] = reads ? widen(source[source_column]) : S(0);
            }
        }

        // Stage the weights, output channels last, so that a thread fetches its TO of them at once.
        const T *weights = weight + (long long)group * plan.weight_group;
        for (int pair = thread; pair < chunk * out_threads; pair += threads) {
            const int o = pair / chunk, channel = pair % chunk;
            const T *source = weights + (out + o) * plan.weight_out + (c + channel) * plan.weight_in;
            S *target = tile_w + channel * phase.taps * out_threads + o;
            for (int tap = 0; tap < phase.taps; ++tap)
                target[tap * out_threads] =
                    out + o < plan.out_channels ? widen(source[plan.tap_weight[phase.first_tap + tap]]) : S(0);
        }
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
                        const S pixel = from[place[k] + j];
#pragma unroll
                        for (int o = 0; o < TO; ++o) sum[o][k] += factor.value[o] * pixel;
                    }
                }
            }
        }
        __syncthreads();
    }

    for (int k = 0; k < TP; ++k) {
        const int position = threadIdx.x + k * blockDim.x;
        const int line = position / plan.tile_columns;
        const int x = column + position % plan.tile_columns;
        const int y = row + line % plan.tile_rows;
        const int n = image + line / plan.tile_rows;
        if (position >= positions || n >= plan.images || y >= phase.rows || x >= phase.columns) continue;
        for (int o = 0; o < TO; ++o) {
            const int channel = out + threadIdx.y * TO + o;
            if (channel >= plan.out_channels) break;
            const long long map = ((long long)n * plan.groups + group) * plan.out_channels + channel;
            const long long target = (map * plan.out_height + phase.row + y * plan.out_step_row) * plan.out_width
                + phase.column + x * plan.out_step_column;
            const S value = sum[o][k] + (bias ? widen(bias[group * plan.out_channels + channel]) : S(0));
            output[target] = narrow<T>(value);
        }
    }
}
