"""The lesson: the mathematics of every operation in plain array operations, for any array library.

Each module contains one kind of operation, with the backward pass directly below the forward pass. The functions do
not check their arguments (:mod:`npresnext.functional` does that first) and use no tricks for speed (the engines do, and
compute the same results).

    conv               im2col, col2im, and grouped convolution as one matrix product
    batchnorm          batch normalisation and its running statistics
    elementwise        the rectifier and the addition
    pooling            maximum, average and global average
    fully_connected    the fully connected layer
    loss               softmax and cross-entropy

Two words occur everywhere. ``xp`` is the array library of the arguments (NumPy, CuPy, ...). ``widen`` converts 16-bit
numbers to float32, because a sum of many 16-bit numbers would lose too many digits; the result is rounded back once.
"""
