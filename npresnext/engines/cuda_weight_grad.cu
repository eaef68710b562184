// The weight gradient of a grouped convolution, in two stages that always sum in the same order.
//
//      dweight[o, c, t] = Σ over images and output pixels of grad_output[o, pixel] · x[c, place(pixel) + offset(t)]
//
//      stage 1, weight_grad: the pixels are cut into tiles and dealt to `splits` blocks in turn; a block walks over
//      its tiles and leaves one partial sum for each of its weights
//
//          grad_output, TO channels    x, CB channels, with the rim that the taps reach      both in shared memory
//          +------------------+        +----------------------+
//          | tile of pixels   |        | staged rows x columns|     a warp: one c, TO o's, up to 9 taps:
//          +------------------+        +----------------------+             TO·9 sums in registers
//                                                                   a lane: every 32nd pixel of the tile
//      stage 2, sum_splits: one thread a weight adds the partial sums up, first to last

struct WeightGrad {
    int images, groups, in_channels, out_channels;        // channels of one group
    int in_height, in_width, out_height, out_width;
    int step_row, step_column;                            // the stride
    int from_row, from_column;                            // the input pixel at the first staged corner: −padding
    int tile_images, tile_rows, tile_columns;
    int tiles_images, tiles_down, tiles_across;
    int blocks_out, blocks_in, blocks_tap, splits;
    int rows, columns, stage_lanes, taps;
    Divisor by_image_rows, by_rows, by_positions, by_tile_pixels, by_tile_columns;
    int tap_input[144];                                   // offset in the staged rectangle
};

const int TAPS = 9;                                       // of one thread: all of a 3x3 kernel

template <typename T, int TO>
__global__ void __launch_bounds__(256)
weight_grad(const T *grad_output, const T *input, typename Sum<T>::type *partial, const WeightGrad plan) {
    typedef typename Sum<T>::type S;
    extern __shared__ __align__(16) unsigned char shared[];

    unsigned at = blockIdx.x;
    const int split = at % plan.splits;
    at /= plan.splits;
    const int first_tap = at % plan.blocks_tap * TAPS;
    at /= plan.blocks_tap;
    const int channels = blockDim.y;                      // CB, one a warp
    const int c = at % plan.blocks_in * channels;
    at /= plan.blocks_in;
    const int o = at % plan.blocks_out * TO;
    const int group = at / plan.blocks_out;

    const int lane = threadIdx.x, warp = threadIdx.y;
    const int thread = warp * blockDim.x + lane, threads = blockDim.x * blockDim.y;
    const int pixels = plan.tile_rows * plan.tile_columns;
    const int positions = plan.tile_images * pixels;
    const int plane = plan.tile_images * plan.rows * plan.columns;
    int *place = (int *)shared;                           // (positions)
    S *tile_g = (S *)(place + (positions + positions % 2));   // (TO, positions)
    S *tile_x = tile_g + TO * positions;                  // (CB, tile_images, rows, columns)

    for (int position = thread; position < positions; position += threads) {
        const int line = position / plan.tile_columns;
        const int x = position % plan.tile_columns, y = line % plan.tile_rows, n = line / plan.tile_rows;
        place[position] = (n * plan.rows + y * plan.step_row) * plan.columns + x * plan.step_column;
    }

    int offset[TAPS];
    for (int t = 0; t < TAPS; ++t) offset[t] = plan.tap_input[min(first_tap + t, plan.taps - 1)];
    S sum[TO][TAPS];
    for (int i = 0; i < TO; ++i)
        for (int t = 0; t < TAPS; ++t) sum[i][t] = 0;

    const int stage_column = thread % plan.stage_lanes;
    const int tiles = plan.tiles_images * plan.tiles_down * plan.tiles_across;
    for (int tile = split; tile < tiles; tile += plan.splits) {
        const int column = tile % plan.tiles_across * plan.tile_columns;
        const int row = tile / plan.tiles_across % plan.tiles_down * plan.tile_rows;
        const int image = tile / plan.tiles_across / plan.tiles_down * plan.tile_images;
        __syncthreads();                                  // the tiles of before have been read

        for (int index = thread; index < TO * positions; index += threads) {
            const int channel = quotient(index, plan.by_positions);
            const int position = index - channel * positions;
            const int n = quotient(position, plan.by_tile_pixels);
            const int pixel = position - n * pixels;
            const int line = quotient(pixel, plan.by_tile_columns);
            const int y = row + line, x = column + pixel - line * plan.tile_columns;
            const bool reads = o + channel < plan.out_channels && image + n < plan.images && y < plan.out_height
                && x < plan.out_width;
            const long long map = ((long long)(image + n) * plan.groups + group) * plan.out_channels + o + channel;
            tile_g[index] = reads ? widen(grad_output[(map * plan.out_height + y) * plan.out_width + x]) : S(0);
        }
        for (int line = thread / plan.stage_lanes; line < channels * plan.tile_images * plan.rows;
             line += threads / plan.stage_lanes) {
            const int channel = quotient(line, plan.by_image_rows);
            const int rest = line - channel * (int)plan.by_image_rows.by;
            const int n = quotient(rest, plan.by_rows);
            const int y = row * plan.step_row + plan.from_row + rest - n * plan.rows;
            const bool inside =
                c + channel < plan.in_channels && image + n < plan.images && 0 <= y && y < plan.in_height;
            const long long map = ((long long)(image + n) * plan.groups + group) * plan.in_channels + c + channel;
            const T *source = input + (map * plan.in_height + y) * plan.in_width;
            for (int x = stage_column; x < plan.columns; x += plan.stage_lanes) {
                const int source_column = column * plan.step_column + plan.from_column + x;
                const bool reads = inside && 0 <= source_column && source_column < plan.in_width;
                tile_x[line * plan.columns + x] = reads ? widen(source[source_column]) : S(0);
            }
        }
        __syncthreads();

        const S *x = tile_x + warp * plane;
        for (int position = lane; position < positions; position += 32) {
            const S *from = x + place[position];
            S pixel[TAPS];
#pragma unroll
            for (int t = 0; t < TAPS; ++t) pixel[t] = from[offset[t]];
#pragma unroll
            for (int i = 0; i < TO; ++i) {
                const S upstream = tile_g[i * positions + position];
#pragma unroll
                for (int t = 0; t < TAPS; ++t) sum[i][t] += upstream * pixel[t];
            }
        }
    }

    // Add up the lanes: each writes its sums side by side, then lane t adds those of tap t, first lane to last.
    S *lanes = (S *)shared + warp * TAPS * 33;            // (TAPS, 32), the 33rd word keeps the banks apart
#pragma unroll
    for (int i = 0; i < TO; ++i) {
        __syncthreads();
#pragma unroll
        for (int t = 0; t < TAPS; ++t) lanes[t * 33 + lane] = sum[i][t];
        __syncthreads();
        if (lane < TAPS && first_tap + lane < plan.taps && o + i < plan.out_channels && c + warp < plan.in_channels) {
            S total = 0;
            for (int k = 0; k < 32; ++k) total += lanes[lane * 33 + k];
            const long long weight = ((long long)group * plan.out_channels + o + i) * plan.in_channels + c + warp;
            const long long weights = (long long)plan.groups * plan.out_channels * plan.in_channels;
            partial[(split * weights + weight) * plan.taps + first_tap + lane] = total;
        }
    }
}

template <typename T>
__global__ void __launch_bounds__(256)
sum_splits(const typename Sum<T>::type *partial, T *dweight, const long long splits, const long long weights) {
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= weights) return;
    typename Sum<T>::type total = 0;
    for (long long split = 0; split < splits; ++split) total += partial[split * weights + at];
    dweight[at] = narrow<T>(total);
}
