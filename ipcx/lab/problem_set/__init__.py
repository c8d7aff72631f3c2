# SPDX-License-Identifier: Apache-2.0
"""The problems: a module a notebook. A class in a module here is a problem by being here."""

__all__: list[str] = []
