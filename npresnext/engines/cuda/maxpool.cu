// Max pooling, one thread a value of the result: forward gathers a window, backward gathers the windows of a pixel.
//
// A pixel takes the gradient of a window if it is the window's first maximum: equal to the maximum (or NaN, which
// wins), with no such pixel before it. So backward needs no memory of where the maxima were, and no atomics.

struct Pool {
    double outside;                                       // what lies outside the image counts as: −∞
    long long values;                                     // of the result: y forward, dx backward
    int height, width, out_height, out_width;
    int kernel_rows, kernel_columns, stride_row, stride_column, top, left, dilation_row, dilation_column;
};

template <typename T>
__global__ void __launch_bounds__(256)
max_pool(const T *x, T *y, const Pool plan) {
    typedef typename Sum<T>::type S;
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= plan.values) return;
    const int q = at % plan.out_width, p = at / plan.out_width % plan.out_height;
    const T *map = x + at / plan.out_width / plan.out_height * plan.height * plan.width;
    S most = S(plan.outside);
    for (int i = 0; i < plan.kernel_rows; ++i) {
        const int row = p * plan.stride_row - plan.top + i * plan.dilation_row;
        if (row < 0 || row >= plan.height) continue;
        for (int j = 0; j < plan.kernel_columns; ++j) {
            const int column = q * plan.stride_column - plan.left + j * plan.dilation_column;
            if (column < 0 || column >= plan.width) continue;
            const S pixel = widen(map[(long long)row * plan.width + column]);
            if (!(pixel <= most) && most == most) most = pixel;   // the first condition holds for NaN, the second
        }                                                         // keeps it
    }
    y[at] = narrow<T>(most);
}

template <typename T>
__global__ void __launch_bounds__(256)
max_pool_gradient(const T *grad, const T *x, const T *y, T *dx, const Pool plan) {
    typedef typename Sum<T>::type S;
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= plan.values) return;
    const int column = at % plan.width, row = at / plan.width % plan.height;
    const long long image = at / plan.width / plan.height;
    const T *map = x + image * plan.height * plan.width;
    const long long windows = image * plan.out_height * plan.out_width;
    const S pixel = widen(x[at]);
    S sum = 0;
    // Taps in reverse are windows in order.
    for (int i = plan.kernel_rows - 1; i >= 0; --i) {
        const int down = row + plan.top - i * plan.dilation_row;
        if (down < 0 || down % plan.stride_row || down / plan.stride_row >= plan.out_height) continue;
        for (int j = plan.kernel_columns - 1; j >= 0; --j) {
            const int across = column + plan.left - j * plan.dilation_column;
            if (across < 0 || across % plan.stride_column || across / plan.stride_column >= plan.out_width) continue;
            const long long window =
                windows + (long long)(down / plan.stride_row) * plan.out_width + across / plan.stride_column;
            const S most = widen(y[window]);
            bool first = !(pixel < most);                 // equal, or one of them is NaN
            for (int tap = 0; first && tap < i * plan.kernel_columns + j; ++tap) {
                const int r = down - plan.top + tap / plan.kernel_columns * plan.dilation_row;
                const int c = across - plan.left + tap % plan.kernel_columns * plan.dilation_column;
                if (r < 0 || r >= plan.height || c < 0 || c >= plan.width) continue;
                first = widen(map[(long long)r * plan.width + c]) < most;
            }
            if (first) sum += widen(grad[window]);
        }
    }
    dx[at] = narrow<T>(sum);
}
