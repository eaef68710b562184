"""Every threshold of the CPU engine, except LEAST_MACS (engine.py), below which the lesson convolves.

Read them as ``thresholds.NAME`` when they are needed, and never import them by value: tests change them here, so that
tiny examples meet every branch. Results are right for any values at least 1; the values decide how fast they come,
and in which order floats are summed.

Comments give the measurement behind a value, or say that none is recorded. All were made on two cores with AVX-512 and
NumPy's OpenBLAS: on the EPYC of docs/performance.md, and on a Xeon where that is said.
"""

from __future__ import annotations

# --- when one thread is faster ---------------------------------------------------------------------------------------

# Multiply-adds below which the calling thread convolves alone, because a second one starts too late to help: with 128
# channels in 32 groups and four maps of 14x14, the call took 0.34 ms in place of 0.52. resnext_small on 32 digits has
# layers of 8.4 million; on two threads of a quiet Xeon, ms inference / step:
#     5 million    3.2 / 16.5        8 million    3.1 / 16.1        12 million    2.7 / 14.9
SINGLE_THREAD = 10_000_000

# Bytes of all parameters together, below which the calling thread updates them alone. A step of SGD on a busy Xeon, the
# fastest tenth and the median of 150, ms on one thread and on two:
#     0.5 MB    0.27 (0.33)   0.26 (0.34)           2 MB    0.75 (0.86)   0.83 (3.40)
#     1 MB      0.45 (0.70)   0.51 (1.74)           8 MB    5.00 (20.6)   4.48 (20.6)
SINGLE_THREAD_UPDATE = 4 * 2**20

# Up to these OpenBLAS itself uses one thread (interface/gemm.c, gemv.c for a vector, and kernel/x86_64/sdot.c for the
# values of a sum). Matmuls above are cut up.
BLAS_SINGLE_THREAD = 2**18
BLAS_SINGLE_THREAD_VECTOR = 2**13
BLAS_SINGLE_THREAD_SUM = 10_000

# --- how much one thread does at a time ------------------------------------------------------------------------------

# Bytes of a tile: where a group has few channels, and from so many on. Smaller tiles stay in the cache, larger ones
# need fewer NumPy calls, and BLAS packs the weights less often. With several threads a call costs more: after it a
# thread may have to wait for the interpreter's lock. A Xeon, ms forward and both gradients:
#                                                                    0.8 MB       1.5 MB       3 MB         6 MB
#   512 channels, 3x3 at 7x7, batch 8, one thread                    28.0 / 99.8  25.1 / 81.0  23.3 / 56.8  20.0 / 53.0
#   128 channels in 32 groups, 3x3 at 56x56, batch 8, one thread                   6.3 / 13.6   6.5 / 15.3   7.5 / 14.2
#                                                     two threads                  6.6 / 10.7   5.1 /  9.9   5.2 /  8.7
#   32 channels in 8 groups, 3x3 at 28x28, batch 64, one thread                    2.9 /  5.5   2.9 /  5.7   3.3 /  6.3
#                                                    two threads                   3.4 /  5.8   2.8 /  4.9   2.6 /  4.8
TILE_BYTES = 3 * 2**20
WIDE_TILE_BYTES = 3 * 2**21
WIDE_TILE_CHANNELS = 64  # with 32, layers of 32 channels in a group take 1.08 to 1.11 times as long

# Results of one row, in all images of a tile together: shorter products are slower.
LONG_ROW = 256

# Up to so many multiply-adds OpenBLAS's AVX-512 kernels do not pack the operands first
# (kernel/x86_64/sgemm_small_kernel_permit_skylakex.c), and a product is fastest with so many columns or a multiple.
# With 32 channels it then runs at 1.2 times the speed of a large matmul, in place of 0.7. One thread of a Xeon, ms
# forward and both gradients, 32 channels, 3x3 at 16x16, batch 128:
#     rows of 64 columns 8.1 / 16.9        rows of 2048 columns 8.9 / 18.2
# A tile has several such rows of a layer without groups, so that one call of matmul computes many products: on two
# threads forward takes 4.1 ms in place of 5.0, both gradients 9.2 in place of 10.9.
# Where no small product has whole panels, one of whole vectors (of AVX-512: 16 columns) is still faster than one that
# is not small. 128 channels in 8 groups, batch 64, part of the time of rows of whole panels:
#     28x28, rows of 336 columns    0.85 / 0.82        14x14, 336    0.69 / 0.82        7x7, 224    0.70 / 0.83
# Below a panel they are not faster (40 channels in a group at 14x14, 56 columns: 1.10 / 1.07). OpenBLAS's kernels for
# AVX2 have no small products: these layers take 0.95 to 1.06 of the time there, those of 24 channels 1.01 to 1.10.
# From 64 channels on, products would have to be cut along the channels: that took 1.1 to 2 times as long.
SMALL_PRODUCT = 10**6
PANEL_COLUMNS = 64
VECTOR_COLUMNS = 16

# Bytes of a block of one array, for batch norm, pooling and elementwise work: several arrays fit in the cache, and a
# NumPy call takes longer than a wait for the lock. Batch norm with ReLU on 8x256x56x56, forward, two threads, on a
# Xeon: 13.9 ms with 0.25 MB, 9.6 with 1 MB, 7.0 with 4 MB.
BLOCK_BYTES = 5 * 2**19

# Bytes of a block of one parameter, of which the optimizer reads three arrays and makes three more. A step of SGD for
# 5.6 million parameters, one thread of a Xeon: 12.9 ms with 128 KB, 14.4 with 512 KB, 18.9 with 2.5 MB.
UPDATE_BYTES = 2**19

# Values of a buffer of NumPy's ufuncs while they work on blocks; a multiple of 16. Where one value stands for a row, as
# the factor of a channel does, and the row is shorter than the buffer, NumPy first copies the value into the buffer
# again and again. The factors of 64 channels of 2048 values: 42 microseconds with 8192, which is NumPy's own choice,
# and 16 with 512; those of 128 channels of 512 values: 20 and 10. NumPy also copies several short rows into the buffer.
# A value in rows of 384: 0.94 ns to add a bias and 0.70 to rectify with 8192, 0.38 and 0.53 with 512.
UFUNC_BUFFER = 512

# --- how the work is cut for the threads -----------------------------------------------------------------------------

# At most so many parts of a weight gradient or of a matmul; it must not depend on the number of threads.
MAX_PARTS = 8

# Rows of the result in one part of a weight gradient that is cut along rows.
ROWS_PER_PART = 4

# A weight gradient is cut along its channels only while K stays about this long in each part: matmuls with a shorter
# side are slower. No measurement of the value is recorded.
INNER_SIZE_PER_PART = 256

# Rows or columns of a matmul in one chunk, at least: BLAS is slower on shorter ones.
CHUNK_SIDE = 512

# Bytes of the partial sums of the weight gradient of a 1x1 convolution. Larger ones are cut along their channels.
PARTIAL_SUM_BYTES = 4 * 2**20

# --- the form of the matmuls -----------------------------------------------------------------------------------------

# With fewer channels of a group, results are computed row by row, so that all tap rows share the copies of a row. With
# more, each tap has a copy of its own, and the products of all rows are one. Dense 3x3 layers, batch 8, one thread of a
# Xeon, ms forward and both gradients:     128 channels at 28x28    256 at 14x14    512 at 7x7
#     row by row                           17.8 / 45.4              20.8 / 43.5     20.7 / 52.3
#     each tap with a copy of its own      23.0 / 47.6              18.8 / 48.0     22.2 / 58.3
# Runs of the last two differ by more than that.
ROW_BY_ROW_CHANNELS = 192

# A small product whose second operand is transposed, as in a weight gradient, must also have at most so many values for
# OpenBLAS not to pack (the file of SMALL_PRODUCT). So each tap row is a product of its own where that has so few: with
# 16 channels at 32x32 and 128 images, both gradients take 0.89 of the time. Other small products have a transposed copy
# of the multiplier: with 32 channels at 16x16 and 128 images, the matmuls take 4.3 ms in place of 7.3, copies and sums
# 2.5 in place of 1.1. Large products need neither: 128 channels at 28x28, 8 images, 21.4 ms with it, 19.8 without.
SMALL_GRADIENT = 1200

# --- batch norm ------------------------------------------------------------------------------------------------------

# A mean of more than this many standard deviations costs more than two digits, unless values are centred first.
CENTRING_RATIO = 4.0
