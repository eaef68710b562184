"""What the checkpoint tests read: written by PyTorch. Run as a script, it writes the files in tests/golden again."""

import collections

from tests.support.paths import GOLDEN as DATA

DTYPES = (
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "complex128",
    "complex64",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint64",
    "uint32",
    "uint16",
    "uint8",
    "bool",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
)


def tensors(torch):
    """Every dtype (random bits), then every way in which a tensor can lie in its storage."""
    draw = torch.Generator().manual_seed(0)
    state = collections.OrderedDict()
    for name in DTYPES:
        dtype = getattr(torch, name)
        bits = torch.randint(0, 2 if name == "bool" else 256, (6 * dtype.itemsize,), generator=draw, dtype=torch.uint8)
        state[f"dtype.{name}"] = bits.view(dtype).reshape(2, 3)
    base = torch.arange(24.0).reshape(2, 3, 4)
    state["shared.whole"] = base
    state["shared.slice"] = base[1, 1:, ::2]
    state["shared.transposed"] = base.permute(2, 0, 1)
    state["expanded"] = torch.tensor([3.0]).expand(4, 5)
    state["channels_last"] = torch.arange(16.0).reshape(1, 4, 2, 2).to(memory_format=torch.channels_last)
    state["conjugated"] = torch.complex(torch.arange(4.0), torch.ones(4)).conj()
    state["negated"] = torch.complex(torch.ones(4), torch.arange(4.0)).conj().imag
    state["scalar"] = torch.tensor(7)
    state["empty"] = torch.empty(0, 3)
    state["empty_in_the_middle"] = torch.empty(2, 0, 3).transpose(0, 2)
    state["parameter"] = torch.nn.Parameter(torch.arange(3.0))
    return state


def bits(torch, tensor):
    """The bytes of a tensor, its dtype's name and its shape: two tensors are equal where these are."""
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return tensor.flatten().view(torch.uint8).numpy().tobytes(), str(tensor.dtype)[6:], tuple(tensor.shape)


def main():
    import json

    import torch

    state = tensors(torch)
    torch.save(state, DATA / "torch_zip.pth")
    torch.save(state, DATA / "torch_stream.pth", _use_new_zipfile_serialization=False)
    torch.save(state, DATA / "torch_protocol4.pth", pickle_protocol=4)
    nested = {"epoch": 3, "args": {"lr": 0.1}, "model": {f"module.{name}": value for name, value in state.items()}}
    torch.save(nested, DATA / "torch_nested.pth")
    torch.save(torch.nn.Linear(2, 2), DATA / "torch_module.pth")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), DATA / "torch_script.pth")
    expected = {name: [bits(torch, value)[0].hex(), *bits(torch, value)[1:]] for name, value in state.items()}
    (DATA / "torch_expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
