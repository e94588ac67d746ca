"""Makes the methods of the asynchronous classes out of those of the synchronous ones.

A class of rango.aio names a method once, `insert_one = writing(Collection.insert_one)`, and gets
its signature, types and docstring; the body is here: run it on a worker. What a synchronous class
has and the asynchronous one does not name is added by `completed`, as a write.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W")
C = TypeVar("C", bound=type)


class Delegate(Protocol):
    """What the methods need of their object."""

    @property
    def _target(self) -> Any: ...

    async def _run(self, call: Callable[[], Any], is_write: bool) -> Any: ...


def _method(
    function: Callable[Concatenate[Any, P], R], is_write: bool
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    async def method(self: Delegate, /, *args: P.args, **options: P.kwargs) -> R:
        call = functools.partial(function, self._target, *args, **options)
        result: R = await self._run(call, is_write)
        return result

    functools.update_wrapper(method, function)
    return method


def reading(
    function: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """A method that waits for nobody: it runs among the readers."""
    return _method(function, False)


def writing(
    function: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """A method that may wait for another writer or for the disk."""
    return _method(function, True)


def returning(
    function: Callable[Concatenate[Any, P], Any], wrap: Callable[[Any, Any], W]
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, W]]:
    """A method whose result, a synchronous object, is wrapped by `wrap(self, result)`."""

    async def method(self: Delegate, /, *args: P.args, **options: P.kwargs) -> W:
        call = functools.partial(function, self._target, *args, **options)
        return wrap(self, await self._run(call, True))

    functools.update_wrapper(method, function)
    return method


def completed(source: type) -> Callable[[C], C]:
    """Adds the public methods of `source` that the class does not have."""

    def complete(target: C) -> C:
        for name, function in inspect.getmembers(source, inspect.isfunction):
            if not name.startswith("_") and not hasattr(target, name):
                setattr(target, name, writing(function))
        return target

    return complete
