# SPDX-License-Identifier: Apache-2.0
"""Pipes and pipelines: bytes from one process to the next.

>>> from ipcx.pipes import Pipeline
>>> words = Pipeline("sort") | ["head", "-2"]
>>> words.run(input="pear\\napple\\nfig\\n").lines
['apple', 'fig']
"""

from ipcx._pipeline import Completed, Pipeline, StageEnding, StageFailed

__all__ = ["Completed", "Pipeline", "StageEnding", "StageFailed"]
