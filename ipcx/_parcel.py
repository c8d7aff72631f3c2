# SPDX-License-Identifier: Apache-2.0
"""Arguments and results of a child's function, as JSON: values alone, and never code.

What JSON lacks (tuples, bytes, keys that are no texts) is an object with the one key TAG, which
says what it is. Invariant: what comes out has the types that went in; what has another type, or a
subclass, does not go in.
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from typing import Any

from ipcx._core import Channel

__all__: list[str] = []

TAG = "\0"  # a dict with this key is itself sent as a list of pairs
_AS_IT_IS = frozenset((str, float, bool, type(None)))
_MOST_BITS = 64  # of a number that is written in decimal digits, which takes long for long ones

_Ends = Callable[[Channel], int]


def pack(value: Any, what: str, ends: _Ends | None = None) -> str:
    """`value` as a text. TypeError: it cannot be sent, in a sentence that begins with `what`.

    `ends` takes an end of a channel and gives the number it has among those handed over.
    """
    try:
        return json.dumps(_plain(value, what, ends))
    except RecursionError:
        raise ValueError(f"{what}: nested too deeply, or a part of itself") from None


def unpack(text: str, ends: Callable[[int], Channel] | None = None) -> Any:
    """The value. ValueError: `text` was not made by `pack`."""

    def restored(found: dict[str, Any]) -> Any:
        if TAG not in found:
            return found
        kind, held = found[TAG]
        if kind == "end" and ends is not None:
            return ends(held)
        return _MAKERS[kind](held)

    try:
        return json.loads(text, object_hook=restored)
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a value that was sent: {error!r}") from None


_MAKERS: dict[str, Callable[[Any], Any]] = {
    "int": lambda text: int(text, 16),
    "bytes": a2b_base64,
    "bytearray": lambda text: bytearray(a2b_base64(text)),
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "dict": lambda pairs: dict(map(tuple, pairs)),
}


def _plain(value: Any, what: str, ends: _Ends | None) -> Any:
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind is int:
        return value if value.bit_length() <= _MOST_BITS else {TAG: ("int", hex(value))}
    if kind is list:
        return _items(value, what, ends)
    if kind in (tuple, set, frozenset):
        return {TAG: (kind.__name__, _items(list(value), what, ends))}
    if kind in (bytes, bytearray):
        return {TAG: (kind.__name__, b2a_base64(value, newline=False).decode())}
    if kind is dict:
        if TAG not in value and all(type(key) is str for key in value):
            return {key: _plain(held, what, ends) for key, held in value.items()}
        return {TAG: ("dict", [_items(list(pair), what, ends) for pair in value.items()])}
    if kind is Channel and ends is not None:
        return {TAG: ("end", ends(value))}
    raise TypeError(
        f"{what}: {_described(value)} cannot be sent to another process; None, bool, numbers, str, "
        f"bytes, and lists, tuples, sets and dicts of them can"
        + (", and unused ends of channels" if ends is not None else "")
    )


def _items(values: list[Any], what: str, ends: _Ends | None) -> list[Any]:
    if set(map(type, values)) <= _AS_IT_IS:  # a long list of numbers, at the speed of C
        return values
    return [_plain(value, what, ends) for value in values]


def _described(value: object) -> str:
    text = repr(value)
    return f"{text[:57]}..." if len(text) > 60 else text
