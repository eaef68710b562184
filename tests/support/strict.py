"""Networks on array_api_strict: a stand-in for a GPU that refuses everything only NumPy can do."""

import array_api_strict as xp
import numpy as np

STRICT = xp


def to_strict(model):
    """Move every parameter and buffer of `model` to array_api_strict, in place; returns the model."""
    for module in model.modules():
        for parameter in (value for value in vars(module).values() if hasattr(value, "add_grad")):
            parameter.data = xp.asarray(parameter.data)
        for name in module.buffer_names:
            if getattr(module, name) is not None:
                setattr(module, name, xp.asarray(getattr(module, name)))
    return model


def run(model, x, upstream):
    """Run forward and backward; return the output, the input's gradient and all state and gradients, as NumPy's."""
    y = model(x)
    dx = model.backward(upstream)
    results = {"y": y, "dx": dx, **model.state_dict()}
    results |= {f"{name}.grad": parameter.grad for name, parameter in model.named_parameters()}
    return {name: np.asarray(array) for name, array in results.items()}


def assert_same_on_strict_arrays(build, x, upstream, rtol):
    """``build()`` gives the same numbers on NumPy and on array_api_strict."""
    expected = run(build(), x, upstream)
    got = run(to_strict(build()), xp.asarray(x), xp.asarray(upstream))
    assert list(got) == list(expected)
    for name, array in expected.items():
        scale = np.abs(array).max(initial=0)
        np.testing.assert_allclose(got[name], array, rtol=rtol, atol=rtol * float(scale), err_msg=name)
