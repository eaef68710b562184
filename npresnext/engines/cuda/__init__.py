"""The engine for CuPy arrays: kernels that gather for grouped convolutions, and cuBLAS for dense ones.

A convolution is computed in one of three ways. The geometry and the dtype alone decide which:

    way        for                                     how
    gather     up to 64 channels per group             gather.cu and weight_grad.cu: every result gathers its terms
    pointwise  1x1 kernels, groups=1, no padding       one cuBLAS product per image, no columns
    columns    everything else: more channels, complex the columns of the lesson, for some images at a time so that
               numbers, strides above 4                memory is bounded, and cuBLAS

    module        content
    engine        CudaEngine: which way an operation takes
    plan          the integers of a launch of gather.cu and weight_grad.cu
    launch        compiles a kernel at its first use, and starts it
    matmul        products by cuBLAS
    pointwise, columns, batchnorm, maxpool      one operation each
"""
