"""The configuration of one run of a study: the training, the network, and what is measured."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .._support.arguments import as_int
from ..data import ImageSet
from ..errors import ConfigurationError, InvalidTypeError, InvalidValueError
from ..models import Bottleneck, ResNet
from ..nn import Module
from ..training import TrainingConfiguration

FORMAT = "npresnext run 1"
MEASURES = ("history", "steps", "gradnorms", "statistics")
NAME_LENGTH = 12  # hexadecimal digits: the same name for two of a million runs has the probability 0.002

TRAINING_KEYS = tuple(field.name for field in dataclasses.fields(TrainingConfiguration))
NETWORK_KEYS = ("design", "blocks", "planes")
MEASURE_KEYS = (
    "test_limit",
    "measure",
    "gradnorms_every",
    "gradnorms_layers",
    "statistics_epochs",
    "statistics_images",
)
NEEDS = {  # keys that go with a measure alone
    "gradnorms": ("gradnorms_every", "gradnorms_layers"),
    "statistics": ("statistics_epochs", "statistics_images"),
}
FIRST_KEYS, LAST_KEYS = ("data", "model", *NETWORK_KEYS), ("seed", *MEASURE_KEYS)
KEYS = (  # in the order of messages and tables
    *FIRST_KEYS,
    *(key for key in TRAINING_KEYS if key not in FIRST_KEYS + LAST_KEYS),
    *LAST_KEYS,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfiguration:
    """Everything that decides the numbers of one run, and which of them are written.

    :meth:`from_settings` makes one from the keys of a study file.

    Attributes
    ----------
    training : TrainingConfiguration
        Data, length, learning rate, seed and so on. Its `model` is the network unless there is a `design`.
    design : str, optional
        Cardinality and width, "C x d", such as "4x6d": a ResNeXt of bottlenecks with a 3x3 stem, whose grouped
        convolutions have C groups of d channels in the first stage, 2·d in the second, and so on.
    blocks : tuple of int
        With a design: the number of blocks in each stage.
    planes : int
        With a design: the channels of the stem. Blocks of stage i have ``4·planes·2^i`` output channels.
    test_limit : int, optional
        Evaluate on the first `test_limit` test images only.
    measure : tuple of str
        Which rows are written: "history" (loss and accuracy of each epoch), "steps" (the norm of the whole gradient at
        each step), "gradnorms" (see :func:`npresnext.group_grad_norms`), "statistics" (see
        :func:`npresnext.gradients.group_statistics`).
    gradnorms_every : int
        The number of steps from one set of gradient norms to the next.
    gradnorms_layers : tuple of str, optional
        Patterns such as ``*conv2``; all convolutions if None.
    statistics_epochs : tuple of int, optional
        The epochs, counted from 1, after which the statistics are computed; the last one alone if None.
    statistics_images : int
        The statistics are those of the first images of the training set, without augmentation.

    Raises
    ------
    ConfigurationError
        A field has a value that no run can have; the message names the field.

    Examples
    --------
    >>> run = RunConfiguration.from_settings({"data": "digits", "design": "4x6d", "seed": 3})
    >>> run.training.seed, run.training.epochs, run.blocks
    (3, 10, (1, 1, 1))
    >>> run.name == RunConfiguration.from_settings({"seed": 3, "design": "4x6d"}).name  # digits are the default
    True
    """

    training: TrainingConfiguration
    design: str | None = None
    blocks: tuple[int, ...] = (1, 1, 1)
    planes: int = 16
    test_limit: int | None = None
    measure: tuple[str, ...] = ("history",)
    gradnorms_every: int = 10
    gradnorms_layers: tuple[str, ...] | None = None
    statistics_epochs: tuple[int, ...] | None = None
    statistics_images: int = 256

    def __post_init__(self) -> None:
        if self.training.model.lower().endswith(".onnx"):
            raise ConfigurationError("model", self.training.model, "the name of a network, not a file")
        for measure in self.measure:
            if measure not in MEASURES:
                raise ConfigurationError("measure", measure, f"one or more of {', '.join(MEASURES)}")
        if len(set(self.measure)) != len(self.measure):
            raise ConfigurationError("measure", list(self.measure), "a list without repetitions")
        for key in ("gradnorms_every", "planes", "statistics_images"):
            _check_at_least_1(key, getattr(self, key))
        if self.test_limit is not None:
            _check_at_least_1("test_limit", self.test_limit)
        for epoch in self.statistics_epochs or ():
            if not 1 <= as_int(epoch, "statistics_epochs") <= self.training.epochs:
                raise ConfigurationError("statistics_epochs", epoch, f"from 1 to {self.training.epochs}, the epochs")
        for blocks in self.blocks:
            _check_at_least_1("blocks", blocks)
        if not self.blocks:
            raise ConfigurationError("blocks", [], "the number of blocks in each stage, such as [1, 1, 1]")
        if self.design is not None:
            _, width = cardinality_and_width(self.design)
            if 64 * width % self.planes:
                raise ConfigurationError(
                    "design", self.design, f"a width d of which 64·d is a multiple of planes={self.planes}"
                )

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> RunConfiguration:
        """Return a configuration from the keys of a study file; the data set gives the defaults of the others.

        Parameters
        ----------
        settings : mapping of str to value
            The fields of :class:`TrainingConfiguration`, and those of this class.

        Raises
        ------
        ValueError, TypeError
            A key is unknown, two keys contradict each other, or a value is impossible.
        """
        check_keys(settings, KEYS, "a run")
        _check_contradictions(settings)
        own = {key: settings[key] for key in (*NETWORK_KEYS, *MEASURE_KEYS) if key in settings}
        for key in ("blocks", "measure", "gradnorms_layers", "statistics_epochs"):
            if key in own:
                own[key] = _as_tuple(own[key], key)
        if not isinstance(own.get("design", ""), str):
            raise InvalidTypeError(f'design must be text such as "4x6d", but is {own["design"]!r}')
        training = TrainingConfiguration.for_data(
            **{key: value for key, value in settings.items() if key in TRAINING_KEYS}
        )
        return cls(training=training, **own)

    def to_settings(self) -> dict[str, Any]:
        """Return the keys that decide this run, with values that JSON can hold; :meth:`from_settings` is the way back.

        Examples
        --------
        >>> run = RunConfiguration.from_settings({"design": "4x6d"})
        >>> RunConfiguration.from_settings(run.to_settings()) == run
        True
        """
        settings = self.training.to_dict()
        if self.design is not None:
            del settings["model"]
            settings |= {"design": self.design, "blocks": list(self.blocks), "planes": self.planes}
        settings |= {"test_limit": self.test_limit, "measure": sorted(self.measure)}
        for measure, keys in NEEDS.items():
            for key in keys if measure in self.measure else ():
                value = getattr(self, key)
                settings[key] = list(value) if isinstance(value, tuple) else value
        return {key: value for key, value in settings.items() if value is not None}

    @property
    def name(self) -> str:
        """The first digits of the SHA-256 of the canonical configuration: JSON with sorted keys."""
        canonical = {"format": FORMAT, **self.to_settings()}
        text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:NAME_LENGTH]

    def build_model(self, train_set: ImageSet) -> Module | None:
        """Return the network of the design; None without one, and ``training.build`` makes ``training.model``."""
        if self.design is None:
            return None
        cardinality, width = cardinality_and_width(self.design)
        return ResNet(
            Bottleneck,
            self.blocks,
            num_classes=train_set.num_classes,
            in_channels=train_set.shape[0],
            groups=cardinality,
            width_per_group=64 * width // self.planes,
            planes=self.planes,
            stem="cifar",
            init=self.training.init,
            rng=self.training.seed,
            dtype=self.training.dtype,
        )


def cardinality_and_width(design: str) -> tuple[int, int]:
    """Return C and d of a design.

    >>> cardinality_and_width("32x4d")
    (32, 4)
    """
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)d", design)
    if found is None:
        raise ConfigurationError("design", design, "cardinality and width as in 4x6d")
    return int(found[1]), int(found[2])


def check_keys(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Raise if a key is unknown, and suggest the one that was meant.

    >>> check_keys({"sed": 1}, ["seed", "lr"], "[[grid]] 1")
    Traceback (most recent call last):
    ...
    npresnext.errors.InvalidValueError: [[grid]] 1 has no key 'sed' (did you mean 'seed'?): there are seed, lr
    """
    import difflib

    for key in given:
        if key not in known:
            similar = difflib.get_close_matches(key, known, n=1)
            hint = f" (did you mean {similar[0]!r}?)" if similar else ""
            raise InvalidValueError(f"{where} has no key {key!r}{hint}: there are {', '.join(known)}")


def _check_contradictions(settings: Mapping[str, Any]) -> None:
    """Raise if two keys cannot stand together, or one needs another."""
    if "model" in settings and "design" in settings:
        raise InvalidValueError(
            f"model = {settings['model']!r} and design = {settings['design']!r} contradict each other: both name the "
            "network; leave one out"
        )
    for key in ("blocks", "planes"):
        if key in settings and "design" not in settings:
            raise InvalidValueError(f'{key} needs a design such as "4x6d": a network with a name has its own {key}')
    for measure, keys in NEEDS.items():
        for key in keys:
            if key in settings and measure not in settings.get("measure", ()):
                given = settings.get("measure", ["history"])
                raise InvalidValueError(f'{key} needs "{measure}" in measure, but measure is {given}')


def _as_tuple(value: Any, key: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise InvalidTypeError(f"{key} must be a list, but is {value!r}")
    return tuple(value)


def _check_at_least_1(key: str, value: Any) -> None:
    if as_int(value, key) < 1:
        raise ConfigurationError(key, value, "at least 1")
