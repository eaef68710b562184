"""Rows of gradient norms for tests."""

import importlib.util

import numpy as np

from npresnext.gradients.files import FORMATS
from npresnext.gradients.norms import row_of_norms
from npresnext.gradients.provenance import Provenance

# The endings of the files of rows that can be written here.
ENDINGS = [ending for ending in FORMATS if ending != ".parquet" or importlib.util.find_spec("pyarrow")]


def rows_of_a_run(layers=None, steps=4, seed=0, **provenance):
    """Rows of random norms: a layer with 4 groups, a depthwise one with 3, and a dense one, unless `layers` says so."""
    rng = np.random.default_rng(seed)
    about = Provenance(**{"clipped": "no", "loss": "mean", "accumulated": 1, **provenance}).columns()
    rows = []
    for step in range(steps):
        for layer, groups in (layers or {"layer1.0.conv2": 4, "depthwise": 3, "stem": 1}).items():
            for group in range(groups):
                l2, largest, weight_l2 = rng.uniform(0.5, 2.0, 3).tolist()
                row = row_of_norms(group, groups, 9, l2, largest, weight_l2)
                rows.append({"step": step, "epoch": 0, "layer": layer, **row, **about})
    return rows
