"""Settings hold in a block, a function and a generator's own code, and nowhere else; leaving them never raises."""

import contextvars
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import npresnext as nx
from npresnext.engines import engine_for


def kept():
    """Whether a layer keeps what its backward needs, here."""
    layer = nx.nn.ReLU()
    layer(np.ones(1))
    try:
        layer.backward(np.ones(1))
    except nx.errors.BackwardError:
        return False
    return True


SCOPES = {
    "use_engine": (lambda: nx.use_engine("im2col"), lambda: engine_for(np).name, "cpu", "im2col"),
    "use_backend": (lambda: nx.use_backend("numpy"), lambda: nx.backend._of_block.get(), None, "numpy"),
    "no_grad": (nx.no_grad, kept, True, False),
}


@pytest.mark.parametrize("name", SCOPES)
def test_a_block_and_a_decorated_function(name):
    scope, look, outside, inside = SCOPES[name]
    assert look() == outside
    with scope():
        assert look() == inside
        with scope():
            assert look() == inside
        assert look() == inside
    assert look() == outside

    @scope()
    def fall(depth):
        assert look() == inside
        return fall(depth - 1) if depth else look()

    assert fall(3) == inside and look() == outside


@pytest.mark.parametrize("name", SCOPES)
def test_a_decorated_generator_has_the_setting_in_its_own_code_only(name):
    scope, look, outside, inside = SCOPES[name]

    @scope()
    def generate():
        sent = yield look()
        try:
            yield sent, look()
        except KeyError:
            yield "caught", look()
        return look()

    generator = generate()
    assert next(generator) == inside and look() == outside
    assert generator.send(5) == (5, inside) and look() == outside
    assert generator.throw(KeyError()) == ("caught", inside) and look() == outside
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == inside and look() == outside
    assert generate.__name__ == "generate"


@pytest.mark.parametrize("name", SCOPES)
def test_a_decorated_generator_may_be_resumed_by_any_thread(name):
    scope, look, outside, inside = SCOPES[name]

    @scope()
    def generate():
        for _ in range(4):
            yield look()

    generator = generate()
    with ThreadPoolExecutor(3) as pool:
        found = [pool.submit(contextvars.copy_context().run, next, generator).result() for _ in range(4)]
    assert found == [inside] * 4 and look() == outside


@pytest.mark.parametrize("name", SCOPES)
def test_a_closed_generator_ends_inside_the_setting(name):
    scope, look, outside, inside = SCOPES[name]
    seen = []

    @scope()
    def generate():
        try:
            yield
        finally:
            seen.append(look())

    generator = generate()
    next(generator)
    generator.close()
    assert seen == [inside] and look() == outside


@pytest.mark.parametrize("name", SCOPES)
def test_a_block_in_a_generator_that_other_contexts_resume_ends_without_an_error(name):
    scope, look, outside, _ = SCOPES[name]

    def generate():
        with scope():
            yield 1
            yield 2
        yield look()

    generator = generate()
    context = contextvars.copy_context
    assert [context().run(next, generator) for _ in range(3)] == [1, 2, outside]
