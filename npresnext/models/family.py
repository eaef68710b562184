"""The networks by name. Every function takes the keyword arguments of :class:`~npresnext.models.ResNet`."""

from __future__ import annotations

from typing import Any

from .blocks import BasicBlock, Bottleneck
from .pretrained import load_shipped
from .registry import register
from .resnet import ResNet


@register
def resnet18(**options: Any) -> ResNet:
    """ResNet-18: 11,689,512 parameters (He et al., arXiv:1512.03385, table 1).

    Keyword arguments are those of :class:`~npresnext.models.ResNet`, such as `num_classes`, `rng` and `dtype`.
    """
    return ResNet(BasicBlock, [2, 2, 2, 2], **options)


@register
def resnet34(**options: Any) -> ResNet:
    """ResNet-34: 21,797,672 parameters (He et al., arXiv:1512.03385, table 1).

    Keyword arguments are those of :class:`~npresnext.models.ResNet`, such as `num_classes`, `rng` and `dtype`.
    """
    return ResNet(BasicBlock, [3, 4, 6, 3], **options)


@register
def resnet50(**options: Any) -> ResNet:
    """ResNet-50, with the stride in the 3x3: 25,557,032 parameters (He et al., arXiv:1512.03385, table 1).

    Keyword arguments are those of :class:`~npresnext.models.ResNet`, such as `num_classes`, `rng` and `dtype`.
    """
    return ResNet(Bottleneck, [3, 4, 6, 3], **options)


@register
def resnet101(**options: Any) -> ResNet:
    """ResNet-101, with the stride in the 3x3: 44,549,160 parameters (He et al., arXiv:1512.03385, table 1).

    Keyword arguments are those of :class:`~npresnext.models.ResNet`, such as `num_classes`, `rng` and `dtype`.
    """
    return ResNet(Bottleneck, [3, 4, 23, 3], **options)


@register
def resnet152(**options: Any) -> ResNet:
    """ResNet-152, with the stride in the 3x3: 60,192,808 parameters (He et al., arXiv:1512.03385, table 1).

    Keyword arguments are those of :class:`~npresnext.models.ResNet`, such as `num_classes`, `rng` and `dtype`.
    """
    return ResNet(Bottleneck, [3, 8, 36, 3], **options)


@register
def resnext50_32x4d(**options: Any) -> ResNet:
    """ResNeXt-50 with cardinality 32 and width 4: 25,028,904 parameters (Xie et al., arXiv:1611.05431, table 1).

    Keyword arguments are those of :class:`~npresnext.models.ResNet`, such as `num_classes`, `rng` and `dtype`.

    >>> model = resnext50_32x4d(rng=0)
    >>> sum(parameter.data.size for parameter in model.parameters())
    25028904
    >>> model.layer1[0].conv2
    Conv2d(128, 128, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=32, bias=False)
    """
    return ResNet(Bottleneck, [3, 4, 6, 3], groups=32, width_per_group=4, **options)


@register
def resnext101_32x4d(**options: Any) -> ResNet:
    """ResNeXt-101 with cardinality 32 and width 4: 44,177,704 parameters (Xie et al., arXiv:1611.05431, table 3).

    Keyword arguments are those of :class:`~npresnext.models.ResNet`, such as `num_classes`, `rng` and `dtype`.
    """
    return ResNet(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4, **options)


@register
def resnext101_32x8d(**options: Any) -> ResNet:
    """ResNeXt-101 with cardinality 32 and width 8: 88,791,336 parameters; torchvision's.

    Keyword arguments are those of :class:`~npresnext.models.ResNet`, such as `num_classes`, `rng` and `dtype`.
    """
    return ResNet(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=8, **options)


@register
def resnext101_64x4d(**options: Any) -> ResNet:
    """ResNeXt-101 with cardinality 64 and width 4: 83,455,272 parameters (Xie et al., arXiv:1611.05431, table 4).

    Keyword arguments are those of :class:`~npresnext.models.ResNet`, such as `num_classes`, `rng` and `dtype`.
    """
    return ResNet(Bottleneck, [3, 4, 23, 3], groups=64, width_per_group=4, **options)


@register
def wide_resnet50_2(**options: Any) -> ResNet:
    """ResNet-50 with every 3x3 twice as wide: 68,883,240 parameters (Zagoruyko and Komodakis, arXiv:1605.07146).

    Keyword arguments are those of :class:`~npresnext.models.ResNet`, such as `num_classes`, `rng` and `dtype`.
    """
    return ResNet(Bottleneck, [3, 4, 6, 3], width_per_group=128, **options)


@register
def wide_resnet101_2(**options: Any) -> ResNet:
    """ResNet-101 with every 3x3 twice as wide: 126,886,696 parameters (Zagoruyko and Komodakis, arXiv:1605.07146).

    Keyword arguments are those of :class:`~npresnext.models.ResNet`, such as `num_classes`, `rng` and `dtype`.
    """
    return ResNet(Bottleneck, [3, 4, 23, 3], width_per_group=128, **options)


@register
def resnext29_8x64d(*, num_classes: int = 10, **options: Any) -> ResNet:
    """ResNeXt-29 for 32x32 images: 34,426,698 parameters (Xie et al., arXiv:1611.05431, section 5.3 and table 7).

    Three stages of three bottlenecks after a 3x3 stem. Any other C x d:
    ``ResNet(Bottleneck, [3, 3, 3], stem="cifar", groups=C, width_per_group=d, num_classes=10)``.
    Keyword arguments are those of :class:`~npresnext.models.ResNet`, such as `num_classes`, `rng` and `dtype`.

    >>> resnext29_8x64d(rng=0).layer3[0].conv2
    Conv2d(2048, 2048, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), groups=8, bias=False)
    """
    return ResNet(Bottleneck, [3, 3, 3], num_classes=num_classes, groups=8, width_per_group=64, stem="cifar", **options)


@register
def resnext29_16x64d(*, num_classes: int = 10, **options: Any) -> ResNet:
    """ResNeXt-29 for 32x32 images: 68,155,210 parameters (Xie et al., arXiv:1611.05431, section 5.3 and table 7).

    Keyword arguments are those of :class:`~npresnext.models.ResNet`, such as `num_classes`, `rng` and `dtype`.
    """
    return ResNet(
        Bottleneck, [3, 3, 3], num_classes=num_classes, groups=16, width_per_group=64, stem="cifar", **options
    )


@register
def resnext_small(
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    groups: int = 8,
    width_per_group: int = 16,
    weights: str | None = None,
    **options: Any,
) -> ResNet:
    """A ResNeXt that trains in NumPy within seconds an epoch: for the embedded 8x8 digits and for 28x28 images.

    A 3x3 stem of 16 channels and three stages of one bottleneck, whose 3x3 convolutions have 32, 64 and 128
    channels in 8 groups.

    Parameters
    ----------
    num_classes, in_channels, groups, width_per_group : int
        As for :class:`~npresnext.models.ResNet`.
    weights : str, optional
        A name that :func:`shipped_weights` lists, such as "digits": the network comes trained, in evaluation mode.
    **options
        Other keyword arguments of :class:`~npresnext.models.ResNet`.

    Raises
    ------
    ValueError
        There are no such weights, or they belong to another shape of this network.

    Examples
    --------
    >>> resnext_small(rng=0).layer3[0].conv2
    Conv2d(128, 128, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), groups=8, bias=False)
    >>> resnext_small(weights="digits").training
    False
    """
    model = ResNet(
        Bottleneck,
        [1, 1, 1],
        num_classes=num_classes,
        in_channels=in_channels,
        groups=groups,
        width_per_group=width_per_group,
        planes=16,
        stem="cifar",
        **options,
    )
    if weights is not None:
        load_shipped(model, "resnext_small", weights)
    return model
