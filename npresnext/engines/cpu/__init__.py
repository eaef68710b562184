"""The engine for NumPy arrays: grouped convolution without the column matrix, and what goes with it in a network.

The idea
--------
The lesson copies every pixel kh·kw times before one big matmul. With few channels in a group, the copying takes far
longer than the arithmetic. This engine copies each pixel only kw times: for each tap column it makes one copy of the
image, shifted by that tap. In memory, the rows are outermost. So the kh rows that one row of results reads follow each
other, and all taps are *one* matrix:

    x (3 rows)        the copies of each row, for a 3x3 kernel with padding 1
                         left            middle          right
                         . . . .         . . . .         . . . .     \\
    a b c d              . a b c         a b c d         b c d .      } rows 0 to 2: the matrix of row 0 of y
    e f g h    ----->    . e f g         e f g h         f g h .      } rows 1 to 3: the matrix of row 1 of y
    i j k l              . i j k         i j k l         j k l .     /  rows 2 to 4: the matrix of row 2 of y
                         . . . .         . . . .         . . . .

    y[row p]  =  W · copies[rows p … p + kh − 1]          (out, K) · (K, N·ow),    K = kh·kw·in

The matrices overlap in memory, and np.matmul multiplies all of them in one call. A row is the row of *all* images: the
engine orders the memory of its results (C, H, N, W), and the matmul writes each row where it belongs (layout.py).

    ==================  ===========================================================================================
    stride              The next row of results reads `stride` rows further on. Every stride-th column is copied.
    input gradient      The same from grad_output to dx, phase by phase (engines/phases.py): gathered, never scattered.
    weight gradient     The sum over all rows of copies · multiplierᵀ.
    both gradients      From the same copies of grad_output. With a stride, the weight gradient copies x instead: the
                        pixels of x that each phase needs lie `stride` apart.
    groups, rows        Batch axes of the matmul.
    small products      OpenBLAS multiplies small matrices faster. Without groups, the batch is cut into parts, which
                        take the place of groups, so that the rows of a part are small.
    many channels       Copying is a small part of the work. Then each tap has a copy of its own, as in the lesson, and
                        all rows are one product; so it is for dilated rows.
    1x1, stride 1       Needs no copies: one matmul for the whole batch (pointwise.py).
    ==================  ===========================================================================================

The work is cut into tiles, so that the copies stay in the cache and memory stays bounded. Threads compute different
tiles at the same time. How tiles are cut depends on shapes alone, so results are the same bits for any number of
threads.

The words
---------
    ===================  ==========================================================================================
    source               The images whose pixels are copied, (G, in, H, N, W): x, or grad_output.
    target               The images that results are written to, (G, out, H, N, W): y or dx.
    multiplier           The images that the copies are multiplied by in a weight gradient: grad_output where x is
                         copied, x where grad_output is copied.
    tap                  One of the kh·kw positions of the kernel; tap row i, tap column j.
    phase                Along one axis, the positions of the result that the same taps read for.
    correlation          Which source pixels every result of one row phase and one column phase reads. In integers.
    P, K                 Number of columns of a product; length of its inner products.
    tile                 A range of groups, images, rows and columns of the results, computed at a time.
    row by row           Each row of a tile is a product of its own, and the matrices of these products overlap.
    task                 What one thread does without a pause: a tile, or part of a weight gradient.
    block                Some channels, or values, of an array: the tile of batch norm, pooling and ReLU.
    workspace            The scratch buffer of a thread, kept from call to call.
    ===================  ==========================================================================================

The modules, each of which imports only from those above it
-----------------------------------------------------------
    =================  ============================================================================================
    thresholds.py      Every number that was chosen by measurement, or by guess.
    workspace.py       The scratch buffer of each thread.
    blas.py            Keeps BLAS's own threads at one.
    threads.py         Shares items of work out over the threads.
    layout.py          The order of results in memory.
    matmul.py          A product of two matrices on the package's threads.
    blocks.py          The same function on all blocks of an array.
    elementwise.py     ReLU and addition; the mask by bits.
    correlation.py     Which pixels every result reads.
    tiles.py           How large the tiles are, and what they copy.
    copies.py          Lays out the copies of a tile.
    sweep.py           The copies and matmuls of a correlation, tile by tile.
    pointwise.py       1x1 convolutions as one matmul.
    convolution.py     The convolution and its gradients.
    batchnorm.py       Batch norm, with addition and ReLU.
    maxpool.py         Max pooling.
    engine.py          CpuEngine: these functions for the arrays that they take, the lesson for all others.
    =================  ============================================================================================
"""
