"""The counts of a network: one row for each call of a module, and the totals."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

# column -> its heading, with torchinfo's names where torchinfo has the column
COLUMNS = {
    "input_size": "Input",
    "output_size": "Output",
    "kernel_size": "Kernel",
    "groups": "Groups",
    "num_params": "Parameters",
    "params_percent": "Share",
    "macs": "MACs",
    "activation_bytes": "Output bytes",
    "dense_params": "Parameters with G=1",
    "dense_macs": "MACs with G=1",
}
DEFAULT_COLUMNS = ("output_size", "kernel_size", "groups", "num_params", "params_percent", "macs")


@dataclass(frozen=True)
class Row:
    """One call of a module: of a layer, or of a module made of others, whose counts include theirs.

    ``dense_params`` and ``dense_macs`` are what the same channels would cost if every convolution had G = 1. Where a
    module is called again, its MACs count again; its parameters do not, and stand in the row of its first call.
    """

    path: str
    name: str
    type: str
    depth: int
    index: int
    is_layer: bool
    input_size: tuple[int, ...]
    output_size: tuple[int, ...]
    kernel_size: tuple[int, ...] | None
    groups: int | None
    num_params: int
    params_percent: float
    macs: int
    activation_bytes: int
    dense_params: int
    dense_macs: int


@dataclass(frozen=True)
class Counts:
    """The counts of a network: its rows, and their totals.

    Attributes
    ----------
    rows : list of Row
        Every call in the order of the forward pass, modules made of others before their parts.
    total_params : int
        Of the whole network, each parameter once.
    parameter_bytes, input_bytes : int
    col_names : tuple of str
        The columns that are shown.
    shown_depth : int
        Rows deeper than this are left out of the text, and counted in the row above them.
    """

    rows: list[Row]
    total_params: int
    parameter_bytes: int
    input_bytes: int
    col_names: tuple[str, ...]
    shown_depth: int

    @property
    def layers(self) -> list[Row]:
        """The rows of layers alone: their parameters, MACs and bytes add up to the network's."""
        return [row for row in self.rows if row.is_layer]

    @property
    def grouped_layers(self) -> list[Row]:
        """The convolutions with more than one group, each in its first call."""
        return [row for row in self.layers if row.groups is not None and row.groups > 1 and row.num_params]

    @property
    def total_macs(self) -> int:
        """Multiply-adds of convolutions and linear layers, for the whole batch."""
        return self.rows[0].macs

    @property
    def activation_bytes(self) -> int:
        """Bytes of all outputs of layers together."""
        return self.rows[0].activation_bytes

    @property
    def dense_params(self) -> int:
        """Parameters of the network if every convolution had G = 1 at the same channels."""
        return self.total_params + sum(row.dense_params - row.num_params for row in self.grouped_layers)

    @property
    def dense_macs(self) -> int:
        """Multiply-adds of the network if every convolution had G = 1 at the same channels."""
        return self.rows[0].dense_macs

    def to_dict(self) -> dict[str, Any]:
        """Return everything as dictionaries, lists and numbers."""
        return {
            "total_params": self.total_params,
            "total_macs": self.total_macs,
            "dense_params": self.dense_params,
            "dense_macs": self.dense_macs,
            "parameter_bytes": self.parameter_bytes,
            "input_bytes": self.input_bytes,
            "activation_bytes": self.activation_bytes,
            "rows": [asdict(row) for row in self.rows],
        }

    def to_json(self, indent: int | None = 2) -> str:
        """Return everything as JSON."""
        return json.dumps(self.to_dict(), indent=indent)
