"""`typing.NamedTuple` without `typing`, whose import takes a third of the time that python takes to start."""

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:

    class _Fields(type):
        """Makes a named tuple of a class with fields, defaults and methods."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: "dict[str, Any]") -> type:
            if not bases:
                return type.__new__(cls, name, bases, body)
            fields = body["__annotations__"]
            defaults = [body.pop(field) for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])
            for key, value in body.items():
                setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Fields):
        """Base of a class whose annotated names are the fields of a tuple."""


__all__ = ["NamedTuple"]
