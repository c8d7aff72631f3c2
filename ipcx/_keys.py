# SPDX-License-Identifier: Apache-2.0
"""What may be given as `authkey` and `allow_uids`, made into what the core takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed import ReadableBuffer

__all__: list[str] = []


def key_bytes(authkey: str | ReadableBuffer | None) -> bytes | None:
    """The key as bytes; of a str its UTF-8."""
    if authkey is None:
        return None
    if isinstance(authkey, str):
        key = authkey.encode()
    else:
        try:
            key = bytes(memoryview(authkey))
        except TypeError:
            kind = type(authkey).__name__
            raise TypeError(f"authkey is bytes, a str or None, not {kind}") from None
    if not key:
        raise ValueError("authkey is empty: secrets.token_bytes(32) makes a good one")
    return key


def uid_bytes(allow_uids: Iterable[int] | None) -> bytes | None:
    """The user ids, each as a C unsigned int."""
    if allow_uids is None:
        return None
    import array

    try:
        return array.array("I", allow_uids).tobytes()
    except (TypeError, OverflowError):
        raise ValueError(f"allow_uids are user ids, not {allow_uids!r}") from None
