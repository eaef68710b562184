"""The engine for NumPy arrays: grouped convolution without the column matrix, and what goes with it in a network.

The idea
--------
The lesson copies every pixel kh·kw times before one big matmul, and the copying takes far longer than the arithmetic.
This engine copies each pixel only kw times. For each of the kw tap columns it makes one copy of the image, shifted by
that tap, with the rows one after the other:

    x (3 rows)         the copies for a 3x3 kernel with padding 1: one for each tap column
                         left            middle          right
                         . . . .         . . . .         . . . .      <- a row of zeros above
    a b c d              . a b c         a b c d         b c d .      <- tap row 0 reads from the row above on,
    e f g h    ----->    . e f g         e f g h         f g h .      <- tap row 1 from here,
    i j k l              . i j k         i j k l         j k l .      <- tap row 2 from here
                         . . . .         . . . .         . . . .      <- a row of zeros below

    y  =  W[:, :, 0] · copies[rows 0, 1, 2]  +  W[:, :, 1] · copies[rows 1, 2, 3]  +  W[:, :, 2] · copies[rows 2, 3, 4]

Rows that follow each other are contiguous in memory. So what a tap row reads is a *view* of the copies, shifted by some
rows, and each of the kh matmuls multiplies a whole map. Everything else follows from this **row shift**:

    ==================  ===========================================================================================
    stride              The copies keep every stride-th column. Their rows are sorted by the remainder modulo the
                        stride, so that the rows of a tap row are contiguous again.
    input gradient      The same from grad_output to dx, phase by phase (engines/phases.py): gathered, never scattered.
    weight gradient     The same copies times the other array: dW[:, :, i] = grad_output · copies[rows i …]ᵀ.
    both gradients      With many groups, both come from the same copies of grad_output.
    groups              A batch axis of the matmul.
    1x1, stride 1       Needs no copies: the matmul reads the image where it lies.
    ==================  ===========================================================================================

Results are written with the channels outermost in memory (layout.py): then batch norm sums long rows, and two kinds of
convolution need none of the above. A 1x1 convolution of the whole batch is one matmul (pointwise.py). A small
convolution is computed for the whole batch at once, by few NumPy calls (small.py).

The work is cut into tiles, so that the copies stay in the cache and memory stays bounded. Threads compute different
tiles at the same time. How tiles are cut depends on shapes alone, so results are the same bits for any number of
threads.

The words
---------
    ===================  ==========================================================================================
    source               The array whose pixels are copied, (N, G, in, H, W): x, or grad_output for both gradients.
    target               The array that results are written to, (N, G, out, H, W): y or dx.
    multiplier           The array that the copies are multiplied by in a weight gradient, (N, G, out, H, W):
                         grad_output where x is copied, x where grad_output is copied.
    upstream gradient    grad_output, the gradient of the loss by y.
    tap                  One of the kh·kw positions of the kernel; tap row i, tap column j.
    phase                Along one axis, the positions of the result that the same taps read for.
    gather plan          Which source pixels are copied where, and which matmuls read the copies. In integers alone.
    row block            Source rows one below the other in a copy; a row stack is one or several of them.
    product              One product of two matrices. A matmul is one call of np.matmul, for several products.
    packed weights       The weights in the order of the matmuls: (products, 1, G, out, K).
    P, K                 Positions of a map (columns of a matrix); length of the inner products.
    workload             A gather plan and the sizes of the arrays that it is applied to.
    tile                 A range of images, groups, rows and columns of the result.
    side by side         The images of a tile are columns of one matmul, where single maps are too small for one.
    task                 What one thread does without a pause: a tile, or part of a weight gradient.
    chunk                A part of an axis (groups, images, channels) that goes to one task.
    block                Some channels, or values, of an array: the tile of batch norm, pooling and ReLU.
    workspace            The scratch buffer of a thread, kept from call to call.
    epilogue             What follows a convolution while its results are in the cache: bias, addition, ReLU.
    ===================  ==========================================================================================

The modules
-----------
Each imports only from those above it.

    =================  ============================================================================================
    thresholds.py      Every number that was chosen by measurement, or by guess.
    workspace.py       The scratch buffer of each thread.
    blas.py            Keeps BLAS's own threads at one.
    threads.py         Shares items of work out over the threads.
    layout.py          The order of results in memory.
    matmul.py          A product of two matrices on the package's threads.
    plan.py            Gather plans, made from the phases of engines/phases.py.
    tiles.py           How large the tiles of a workload are.
    copies.py          Lays out the copies of a tile.
    packing.py         Weights to packed weights, and packed gradients back.
    blocks.py          The same function on all blocks of an array.
    elementwise.py     ReLU and addition; the mask by bits.
    epilogue.py        Bias, addition and ReLU on a tile.
    tile_buffers.py    The matmuls of a tile.
    gather.py          All tiles of a forward pass or an input gradient.
    weight_grad.py     All tiles of a weight gradient.
    pointwise.py       1x1 convolutions as one matmul.
    small.py           Small convolutions, the whole batch at once.
    convolution.py     The convolution and its gradients.
    batchnorm.py       Batch norm, with addition and ReLU.
    maxpool.py         Max pooling.
    engine.py          CpuEngine: these functions for the arrays that they take, the lesson for all others.
    =================  ============================================================================================
"""
