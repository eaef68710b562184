"""How many small cases the conformance kit tries in a second of the processor, forward and backward, on one core.

    python scripts/benchmarks/kit.py [--cases 500] [--repeats 5]

The implementation under test is npresnext's own, which takes part of the time. The one large case of every check is
left out: these are the small ones. Printed is the best of several repeats, for each dtype.
"""

import argparse
import os
import time

for pool in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[pool] = "1"  # before NumPy loads its BLAS

import npresnext as nx  # noqa: E402
from npresnext.testing.arithmetic import as_arithmetic  # noqa: E402
from npresnext.testing.runner import Runner  # noqa: E402
from npresnext.testing.subject import Subject  # noqa: E402


def cases_per_second(dtype, draws, seed):
    runner = Runner(Subject(nx.conv2d, nx.conv2d_backward, as_arithmetic(dtype)))
    start = time.process_time()
    for case in runner.cases(draws, seed):
        runner.try_case(case)
    seconds = time.process_time() - start
    assert not any(row.failed for row in runner.report.checks.values())
    return runner.report.cases / seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=500, help="drawn cases per repeat, in addition to the fixed ones")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    nx.set_num_threads(1)
    for dtype in ("float32", "float64"):
        best = max(cases_per_second(dtype, args.cases, seed) for seed in range(args.repeats))
        print(f"{dtype}: {best:.0f} cases per second of the processor")


if __name__ == "__main__":
    main()
