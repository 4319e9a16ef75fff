"""Score many images with a bundle: from folders, tables and archives to shards of predictions.

Importing this package imports neither an engine nor pyarrow; the first use of a name below imports what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgg_runtime._internal.lazy import lazy_names

if TYPE_CHECKING:
    from vgg_score.scoring import ScoringProgress, ScoringSummary, score

    __version__: str

__all__ = [
    "ScoringProgress",
    "ScoringSummary",
    "__version__",
    "score",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ScoringProgress": "vgg_score.scoring",
        "ScoringSummary": "vgg_score.scoring",
        "score": "vgg_score.scoring",
    },
)
