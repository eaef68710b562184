"""Other thresholds for the CPU engine, so that tiny examples meet every branch."""

import contextlib

import pytest

from npresnext.engines.cpu import thresholds, tiles, workspace

CACHES = (tiles._workload, tiles.cut_into_tiles)


@contextlib.contextmanager
def changed_thresholds(**values):
    """Change thresholds by name inside the block; whatever was computed from the old ones is computed anew."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setattr(thresholds, name, value)
        patch.setattr(workspace, "_workspace", workspace._Workspace())
        _clear_caches()
        yield
    _clear_caches()


def _clear_caches():
    for cache in CACHES:
        cache.cache_clear()
