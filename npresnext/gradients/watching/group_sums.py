"""Norms of the conv groups of a PyTorch tensor, computed on its device, without waiting for it."""

from __future__ import annotations

from typing import Any


def group_sums(grad: Any, weight: Any, groups: int) -> Any:
    """Return ‖grad‖, ``max |grad|`` and ‖weight‖ of each group, as one tensor (3·G,) on the device.

    It has float64 where the device has it. Nothing here waits for the device.
    """
    import torch

    wide = torch.float32 if grad.device.type == "mps" else torch.float64  # Apple's devices have no float64
    largest = torch.maximum(grad.amax((1, 2, 3)), -grad.amin((1, 2, 3)))  # (C_out,)
    largest = largest.view(groups, -1).amax(1).to(wide)  # (G,)
    return torch.cat([_norms(grad, groups, wide), largest, _norms(weight, groups, wide)])


def _norms(array: Any, groups: int, wide: Any) -> Any:
    """Return √Σx² of each group, (G,), of an array (C_out, C_in/G, kh, kw) in any order of memory.

    float64 is summed in float64. Smaller dtypes are summed filter by filter in float32, and the filters in float64: one
    conversion of all numbers to float64 would take five times as long. A filter has so few numbers that a norm is
    wrong by less than 1e-6 of itself; in one sum in float32 over all numbers of a large layer it was 4e-5.
    """
    import torch

    norm = torch.linalg.vector_norm
    if array.dtype == torch.float64:
        return norm(array.unflatten(0, (groups, -1)), dim=(1, 2, 3, 4))  # (G, C_out/G, C_in/G, kh, kw) -> (G,)
    filters = norm(array, dim=(1, 2, 3), dtype=torch.float32)  # (C_out,)
    return norm(filters.to(wide).view(groups, -1), dim=1)  # (G,)
