"""Settings that hold inside a ``with`` block, a decorated function, or a decorated generator function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")
Function = TypeVar("Function", bound=Callable[..., Any])


class Scope(Generic[Value]):
    """Give a context variable a value inside a ``with`` block, or in all code of a decorated function.

    A decorated generator function has the value whenever its own code runs, whichever thread or context resumes it;
    the code that uses the generator never has it. (A ``with`` block inside a generator cannot do that: Python enters it
    in the context of whoever asks for the first item, and that context keeps the value while the generator is
    suspended. So decorate generator functions.)

    Parameters
    ----------
    variable : ContextVar
    value : object

    Examples
    --------
    >>> depth = ContextVar("depth", default=0)
    >>> with Scope(depth, 1):
    ...     depth.get()
    1
    >>> @Scope(depth, 2)
    ... def items():
    ...     yield depth.get()
    ...     yield depth.get()
    >>> [(item, depth.get()) for item in items()]
    [(2, 0), (2, 0)]
    """

    def __init__(self, variable: ContextVar[Value], value: Value) -> None:
        self._variable, self._value = variable, value
        self._entered: list[tuple[Token[Value], Value]] = []

    def __enter__(self) -> None:
        before = self._variable.get()
        self._entered.append((self._variable.set(self._value), before))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        token, before = self._entered.pop()
        try:
            self._variable.reset(token)
        except ValueError:  # left in another context than entered, as by a generator that a thread pool resumes
            self._variable.set(before)

    def again(self) -> Scope[Value]:
        """Return a new scope of the same variable and value: each call of a decorated function has its own."""
        return Scope(self._variable, self._value)

    def __call__(self, function: Function) -> Function:
        """Decorate a function or a generator function."""
        if inspect.isgeneratorfunction(function):
            return functools.wraps(function)(lambda *args, **kwargs: self._resumed(function(*args, **kwargs)))  # type: ignore[return-value]

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.again():
                return function(*args, **kwargs)

        return call  # type: ignore[return-value]

    def _resumed(self, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Run a generator so that each of its steps, and nothing between them, is inside the scope."""
        step: Callable[[], Any] = functools.partial(next, generator)
        while True:
            with self.again():
                try:
                    item = step()
                except StopIteration as stop:
                    return stop.value
            try:
                sent = yield item
                step = functools.partial(generator.send, sent)
            except GeneratorExit:
                with self.again():
                    generator.close()
                raise
            except BaseException as error:  # thrown into the generator
                step = functools.partial(generator.throw, error)
