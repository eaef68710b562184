"""The pytest plugin of npresnext: two options for tests made by ``npresnext.testing.conv_tests``.

It stands outside the package so that pytest, which loads it in every run where npresnext is installed, imports nothing
else: no NumPy, and no module of npresnext before a coverage tool has started.
"""


def pytest_addoption(parser):
    """Declare the options."""
    group = parser.getgroup("npresnext", "convolutions tested by npresnext.testing.conv_tests")
    group.addoption(
        "--npresnext-seed", type=int, metavar="N", help="seed of the drawn cases, in place of the tests' own"
    )
    group.addoption(
        "--npresnext-case", metavar="CASE", help="try one case alone: the text after 'case:' in a report of npresnext"
    )
