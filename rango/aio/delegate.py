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

from rango._ext.stop import Stop
from rango.cancel import carried

P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W")
C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])


class Delegate(Protocol):
    """What the methods need of their object."""

    @property
    def _target(self) -> Any: ...

    async def _run(
        self, call: Callable[[], Any], is_write: bool, interrupt: Callable[[], None] | None = None
    ) -> Any: ...


def _of(delegate: Delegate, function: Callable[..., R]) -> Callable[..., R]:
    """The method of the target, which may be of a subclass."""
    method: Callable[..., R] = getattr(delegate._target, function.__name__)
    return method


def _method(
    function: Callable[Concatenate[Any, P], R], is_write: bool, is_stopped: bool
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    async def method(self: Delegate, /, *args: P.args, **options: P.kwargs) -> R:
        stop = Stop()
        call = carried(functools.partial(_of(self, function), *args, **options), stop)
        result: R = await self._run(call, is_write, stop.cancel if is_stopped else None)
        return result

    functools.update_wrapper(method, function)
    return method


def reading(
    function: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """A method that waits for nobody: it runs among the readers. Cancelling its task stops it."""
    return _method(function, False, True)


def writing(
    function: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """A method that may wait for another writer or for the disk. One that began runs to its end."""
    return _method(function, True, False)


def changing(
    function: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """A write of one commit. Cancelling its task stops its search; then it has done nothing."""
    return _method(function, True, True)


def returning(
    function: Callable[Concatenate[Any, P], Any], wrap: Callable[[Any, Any], W]
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, W]]:
    """A method whose result, a synchronous object, is wrapped by `wrap(self, result)`."""

    async def method(self: Delegate, /, *args: P.args, **options: P.kwargs) -> W:
        stop = Stop()
        call = carried(functools.partial(_of(self, function), *args, **options), stop)
        return wrap(self, await self._run(call, True, stop.cancel))

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


def documented(function: Callable[..., Any]) -> Callable[[F], F]:
    """The help of a synchronous method, for one that is written out because of its types."""

    def document(method: F) -> F:
        functools.update_wrapper(method, function)
        return method

    return document
