"""The NamedTuple of typing, made in a tenth of the time: for the classes that an open loads.

typing's asks the compiler for a constructor and for what every annotation says, 0.2 to 0.3 ms a
class. Here all classes share one constructor, which takes 0.3 to 1 us longer, and nobody looks at
what an annotation says. Type checkers see typing's.
"""

from __future__ import annotations

from collections import _tuplegetter  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NamedTuple


__all__ = ["NamedTuple"]

_new = tuple.__new__


class _Fields(tuple[Any, ...]):
    """What all of them share."""

    __slots__ = ()
    _fields: ClassVar[tuple[str, ...]] = ()
    _field_defaults: ClassVar[dict[str, Any]] = {}

    def __new__(cls, /, *values: Any, **named: Any) -> Self:
        if named or len(values) != len(cls._fields):
            values = cls._complete(values, named)
        return _new(cls, values)

    @classmethod
    def _complete(cls, values: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """All values, in order. Raises TypeError for one too many, of no field, or missing."""
        rest, defaults = cls._fields[len(values) :], cls._field_defaults
        try:
            whole = (*values, *[named.pop(x) if x in named else defaults[x] for x in rest])
        except KeyError:
            whole = ()
        if named or len(whole) != len(cls._fields):
            raise TypeError(
                f"{cls.__name__}({', '.join(cls._fields)}): given {len(values)} values"
                f" and {sorted(named)}"
            )
        return whole

    @classmethod
    def _make(cls, values: Iterable[Any]) -> Self:
        return cls(*values)

    def _replace(self, /, **named: Any) -> Self:
        return type(self)(**{**self._asdict(), **named})

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        fields = (f"{name}={value!r}" for name, value in self._asdict().items())
        return f"{type(self).__name__}({', '.join(fields)})"


class _Maker(type):
    """Makes a tuple with names of a class statement."""

    def __new__(cls, name: str, _bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
        fields = tuple(namespace.get("__annotations__", ()))
        defaults = {field: namespace[field] for field in fields if field in namespace}
        namespace |= {field: _tuplegetter(at, "") for at, field in enumerate(fields)}
        namespace |= {"__slots__": (), "_fields": fields, "_field_defaults": defaults}
        namespace["__match_args__"] = fields
        return type(name, (_Fields,), namespace)


if not TYPE_CHECKING:
    NamedTuple = type.__new__(_Maker, "NamedTuple", (), {})
