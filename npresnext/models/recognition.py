"""Networks from state files: family, depth, groups, width and classes are read off the names and shapes."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any

from .._support.plurals import counted
from ..errors import InvalidTypeError, StateDictError
from ..io import load
from ..nn.init import Undrawn
from .blocks import BasicBlock, Bottleneck
from .resnet import ResNet

# What gives away a network that differs from torchvision's ResNet in more than its size (timm's names first)
_VARIANTS = (
    (r"(^|\.)conv1\.\d|^stem\.", "a deep stem: several convolutions in place of conv1"),
    (r"\.(se|se_module|eca|attn|cbam)\.", "attention inside the blocks, such as squeeze-and-excitation (SE)"),
    (r"\.filt$|\.(aa|blur)\.|^maxpool\.", "anti-aliasing: blur filters where it strides"),
    (r"\.downsample\.2\.", "average pooling in the shortcuts (ResNet-D)"),
    (r"\.(scale|zero_point)$|_packed_params", "quantised layers"),
    (r"\.skip_gain$|\.gain$|^conv1\.bias$|\.conv\d\.bias$", "convolutions with biases or gains in place of batch norm"),
    (r"^(blocks|stages|features|patch_embed|encoder)\.", "a family that is no ResNet"),
)


def from_state(
    source: str | os.PathLike[str] | Mapping[str, Any], *, strip_prefix: str = "", dtype: Any = None
) -> ResNet:
    """Build the network that a state belongs to, load it, and return it in evaluation mode.

    torchvision's and timm's resnet, resnext and wide_resnet states load as they are, as do the CIFAR networks
    and ``resnext_small`` of this package. What names and shapes cannot tell is taken to be as in torchvision: strides
    in the 3x3, no dilation, ReLU.

    Parameters
    ----------
    source : path or mapping
        A state file (see :func:`npresnext.io.load`), or arrays by name.
    strip_prefix : str
        Removed from every name that begins with it, such as ``"module."``.
    dtype : str, optional
        Of the network; by default the state's own.

    Returns
    -------
    ResNet

    Raises
    ------
    ValueError
        The state belongs to a variant (the message says which), to no ResNet (the message says what was seen),
        or lacks arrays or has some of the wrong shape (all listed).

    Examples
    --------
    >>> from npresnext.models import resnext_small
    >>> trained = resnext_small(num_classes=7, rng=0)
    >>> model = from_state(trained.state_dict())
    >>> model.layer3[0].conv2, model.fc.out_features
    (Conv2d(128, 128, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), groups=8, bias=False), 7)
    """
    if isinstance(source, Mapping):
        if not isinstance(strip_prefix, str):
            raise InvalidTypeError(f"strip_prefix must be a text, but is of type {type(strip_prefix).__name__}")
        state = {name.removeprefix(strip_prefix): array for name, array in source.items()}
        if len(state) < len(source):
            raise StateDictError(f"without the prefix {strip_prefix!r} two arrays have the same name")
    else:
        state = load(source, strip_prefix=strip_prefix)
    shapes = {name: tuple(array.shape) for name, array in state.items()}
    _refuse_variants(shapes)
    options = recognise(shapes)
    if dtype is None:
        dtype = state["conv1.weight"].dtype
    model = ResNet(**options, dtype=dtype, rng=Undrawn())
    model.load_state_dict(state)
    return model.eval()


def recognise(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the arguments of :class:`ResNet` that a state of these names and shapes belongs to.

    >>> from npresnext.models import resnext50_32x4d
    >>> recognise({name: array.shape for name, array in resnext50_32x4d(rng=0).state_dict().items()})
    {'block': <class 'npresnext.models.blocks.Bottleneck'>, 'layers': [3, 4, 6, 3], 'num_classes': 1000, \
'in_channels': 3, 'groups': 32, 'width_per_group': 4, 'planes': 64, 'stem': 'imagenet'}
    """
    _need(shapes, {"conv1.weight": 4, "layer1.0.conv1.weight": 4, "layer1.0.conv2.weight": 4, "fc.weight": 2})
    planes, in_channels, kh, kw = shapes["conv1.weight"]
    stems = {(7, 7): "imagenet", (3, 3): "cifar"}
    if (kh, kw) not in stems:
        raise StateDictError(f"conv1 has a kernel of {kh}x{kw}: expected 7x7, or 3x3 for small images")
    block = Bottleneck if "layer1.0.conv3.weight" in shapes else BasicBlock
    layers, (width, group_width, *_) = _layers(shapes), shapes["layer1.0.conv2.weight"]
    if not planes or not group_width or width % group_width:
        raise StateDictError(f"conv1 has {planes} filters, and layer1.0.conv2 {width} in groups of {group_width}")
    classes, features = shapes["fc.weight"]
    if features != planes * 2 ** (len(layers) - 1) * block.expansion:
        raise StateDictError(
            f"fc.weight expects {counted(features, 'channel')}, but {counted(len(layers), 'stage')} of "
            f"{block.__name__} from {counted(planes, 'plane')} on end with "
            f"{planes * 2 ** (len(layers) - 1) * block.expansion}"
        )
    # Bottleneck's rule, width / groups = int(planes·width_per_group/64), solved for the smallest width_per_group
    width_per_group = math.ceil(64 * group_width / planes) if block is Bottleneck else 64
    return {
        "block": block,
        "layers": layers,
        "num_classes": classes,
        "in_channels": in_channels,
        "groups": width // group_width,
        "width_per_group": width_per_group,
        "planes": planes,
        "stem": stems[kh, kw],
    }


def _layers(shapes: Mapping[str, tuple[int, ...]]) -> list[int]:
    """Count the blocks of each stage."""
    blocks = {match.groups() for match in map(re.compile(r"layer(\d{1,4})\.(\d{1,4})\.").match, shapes) if match}
    stages: dict[int, set[int]] = {}
    for stage, index in blocks:
        stages.setdefault(int(stage), set()).add(int(index))
    for number, (stage, indices) in enumerate(sorted(stages.items()), 1):
        if stage != number or indices != set(range(len(indices))):
            raise StateDictError(
                f"the stages or blocks have gaps: layer{stage} has the blocks {', '.join(map(str, sorted(indices)))}, "
                f"expected layer{number} with 0, 1, ..."
            )
    return [len(stages[stage]) for stage in sorted(stages)]


def _refuse_variants(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse the state of a network that is built otherwise, with the reason and the name that shows it."""
    for pattern, reason in _VARIANTS:
        found = [name for name in shapes if re.search(pattern, name)]
        if found:
            raise StateDictError(f"the state of a variant that npresnext does not build: {reason} ({found[0]})")


def _need(shapes: Mapping[str, tuple[int, ...]], axes: dict[str, int]) -> None:
    """Refuse a state that lacks what every ResNet has."""
    missing = [name for name, count in axes.items() if len(shapes.get(name, ())) != count]
    if not missing:
        return
    prefix = os.path.commonprefix(list(shapes)).rpartition(".")[0]
    hint = f"; every name begins with {prefix + '.'!r}, which strip_prefix removes" if prefix else ""
    seen = ", ".join(f"{name} {shape}" for name, shape in list(shapes.items())[:6])
    raise StateDictError(
        f"not the state of a ResNet: {', '.join(missing)} missing or of another number of axes; "
        f"it has {counted(len(shapes), 'array')}: {seen or 'none'}{', ...' if len(shapes) > 6 else ''}{hint}"
    )
