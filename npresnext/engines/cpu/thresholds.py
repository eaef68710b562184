"""Every threshold of the CPU engine, except LEAST_MACS (engine.py), below which the lesson convolves.

Read them as ``thresholds.NAME`` when they are needed, and never import them by value: tests change them here, so that
tiny examples meet every branch. Results are right for any values at least 1; the values decide how fast they come,
and in which order floats are summed.

Comments give the measurement behind a value, or say that none is recorded. All were made on two cores with AVX-512 and
NumPy's OpenBLAS: on the EPYC of docs/performance.md, and on a Xeon where that is said.
"""

from __future__ import annotations

# --- when one thread is faster (multiply-adds) -----------------------------------------------------------------------

# Below it the calling thread works alone, because a second one starts too late to help: with 128 channels in 32 groups
# and four maps of 14x14, the call took 0.34 ms in place of 0.52.
SINGLE_THREAD = 5_000_000

# Up to these OpenBLAS itself uses one thread (interface/gemm.c, and gemv.c for a vector). Matmuls above are cut up.
BLAS_SINGLE_THREAD = 2**18
BLAS_SINGLE_THREAD_VECTOR = 2**13

# --- small convolutions (small.py) -----------------------------------------------------------------------------------

# Up to so many multiply-adds, and bytes of columns, the whole batch is computed at once on one thread.
SMALL_MACS = 10_000_000
SMALL_BYTES = 6 * 2**20

# --- how much one thread does at a time ------------------------------------------------------------------------------

# Bytes of a tile. Smaller tiles stay in the cache, larger ones need fewer NumPy calls, at each of which threads may
# wait for the interpreter's lock. For dense 3x3 layers no size from 0.8 to 12 MB was better than 6. For 128 channels in
# 32 groups, 3x3 at 56x56, batch 8, the forward pass on a Xeon took 8.7 ms with 1 MB and 14.7 with 6 MB on one thread,
# but 15.6 and 7.8 on two.
TILE_BYTES = 6 * 2**20

# Bytes of a block of one array, for batch norm, pooling and elementwise work: several arrays fit in the cache, and a
# NumPy call takes longer than a wait for the lock. Batch norm with ReLU on 8x256x56x56, forward, two threads, on a
# Xeon: 13.9 ms with 0.25 MB, 9.6 with 1 MB, 7.0 with 4 MB.
BLOCK_BYTES = 5 * 2**19

# Bytes of weights packed at a time, so that they stay in the cache from tap to tap. In a step of ResNet-18 packing took
# 13 to 15 ms in place of 20 to 23.
PACK_BYTES = 2**19

# Weights below which one thread packs. No measurement is recorded.
SMALL_PACKING = 2**16

# --- how the work is cut for the threads -----------------------------------------------------------------------------

# At most so many chunks of groups, images or channels; the number of chunks must not depend on that of the threads.
# So many groups keep the threads busy by themselves, and both gradients come from the same copies of grad_output. With
# fewer, a weight gradient is cut along its images or channels as well.
MAX_CHUNKS = 8

# Where images lie side by side in one matmul, more images make it longer: the batch is cut in two, not into MAX_CHUNKS.
SIDE_BY_SIDE_CHUNKS = 2

# A tile that is the only one is cut into at most so many chunks of about so many output channels. No measurement of
# the two is recorded.
MAX_CHANNEL_CHUNKS = 4
CHANNELS_PER_CHUNK = 64

# A weight gradient is cut along its input channels only while K, the inner size of its plan, stays about this long in
# each chunk: matmuls with a shorter side are slower. No measurement of the value is recorded.
INNER_SIZE_PER_CHUNK = 256

# Rows or columns of a matmul in one chunk, at least: BLAS is slower on shorter ones.
CHUNK_SIDE = 512

# Bytes of the partial sums of the weight gradient of a 1x1 convolution. Larger ones are cut along their channels.
PARTIAL_SUM_BYTES = 4 * 2**20

# --- the form of the matmuls -----------------------------------------------------------------------------------------

# M·N·K up to which OpenBLAS multiplies without packing its operands first.
SMALL_MATMUL = 10**6

# Positions of a map below which the matmul of one image is not worth its packing, so that the images of a tile are laid
# side by side: where the image would otherwise be read in place, and where it is copied anyway. About 200 positions
# were measured for 1x1 convolutions; no measurement of the two values is recorded.
SHORT_MAP = 128
SHORT_COPIED_MAP = 400

# Channels from which on a small weight gradient is computed transposed, from a transposed copy of the multiplier. From
# 16 channels of a group on, such matmuls ran at 100 to 110 GFLOP/s in place of 50 to 75; why the bound is 24 is not
# recorded.
TRANSPOSED_CHANNELS = 24

# The time to add one result to another and read it again, where copying one value takes 1: an estimate.
ADDITION_COST = 2

# --- batch norm ------------------------------------------------------------------------------------------------------

# A squared mean of more than this many variances costs more than two digits, unless values are centred first.
CENTRING_RATIO = 16.0
