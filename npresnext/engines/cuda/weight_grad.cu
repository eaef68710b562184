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
    int tiles_images, tiles_down, tiles_across;
    int blocks_out, blocks_in, blocks_tap, splits;
    int taps;
    Rectangle tile, staged;                               // output pixels of one step, input pixels that they read
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
    const int positions = plan.tile.images * plan.tile.rows * plan.tile.columns;
    const int plane = plan.staged.images * plan.staged.rows * plan.staged.columns;
    int *place = (int *)shared;                           // (positions)
    S *tile_g = (S *)(place + (positions + positions % 2));   // (TO, positions)
    S *tile_x = tile_g + TO * positions;                  // (CB, tile_images, rows, columns)

    for (int position = thread; position < positions; position += threads) {
        const int n = quotient(position, plan.tile.by_area), pixel = position - n * (int)plan.tile.by_area.by;
        const int y = quotient(pixel, plan.tile.by_columns), x = pixel - y * plan.tile.columns;
        place[position] = ((n * plan.staged.rows + y * plan.step_row) * plan.staged.columns + x * plan.step_column)
            * (int)sizeof(S);
    }

    int offset[TAPS];
    for (int t = 0; t < TAPS; ++t) offset[t] = plan.tap_input[min(first_tap + t, plan.taps - 1)] * (int)sizeof(S);
    S sum[TO][TAPS];
    for (int i = 0; i < TO; ++i)
        for (int t = 0; t < TAPS; ++t) sum[i][t] = 0;

    const long long in_plane = (long long)plan.in_height * plan.in_width;
    const long long out_plane = (long long)plan.out_height * plan.out_width;
    const int tiles = plan.tiles_images * plan.tiles_down * plan.tiles_across;
    for (int tile = split; tile < tiles; tile += plan.splits) {
        const int column = tile % plan.tiles_across * plan.tile.columns;
        const int row = tile / plan.tiles_across % plan.tiles_down * plan.tile.rows;
        const int image = tile / plan.tiles_across / plan.tiles_down * plan.tile.images;
        const long long first = (long long)image * plan.groups + group;   // this group of this image, among all
        __syncthreads();                                  // the tiles of before have been read

        stage(tile_g, grad_output + (first * plan.out_channels + o) * out_plane,
              plan.groups * plan.out_channels * out_plane, min(TO, plan.out_channels - o), plan.images - image, row,
              column, plan.out_height, plan.out_width, plan.tile);
        stage(tile_x, input + (first * plan.in_channels + c) * in_plane, plan.groups * plan.in_channels * in_plane,
              min(channels, plan.in_channels - c), plan.images - image, row * plan.step_row + plan.from_row,
              column * plan.step_column + plan.from_column, plan.in_height, plan.in_width, plan.staged);
        copies_arrive();
        __syncthreads();

        const S *x = tile_x + warp * plane;
        for (int position = lane; position < positions; position += 32) {
            const char *from = (const char *)x + place[position];
            S pixel[TAPS];
#pragma unroll
            for (int t = 0; t < TAPS; ++t) pixel[t] = *(const S *)(from + offset[t]);
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
