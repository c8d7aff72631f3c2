# SPDX-License-Identifier: Apache-2.0
"""Numbers as people read them."""

__all__ = ["short"]


def short(value: float, of_bytes: bool = False) -> str:
    """At most six characters: 950, 12.3k, 64.0Ki."""
    step, units = (1024, ("", "Ki", "Mi", "Gi", "Ti")) if of_bytes else (1000, ("", "k", "M", "G"))
    if value < 100 * step:
        return f"{value:.0f}"
    unit = ""
    for unit in units[1:]:
        value /= step
        if value < 100 * step or unit == units[-1]:
            break
    return f"{value:.0f}{unit}" if value >= 100 else f"{value:.1f}{unit}"
