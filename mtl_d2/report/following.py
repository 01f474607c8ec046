"""How an open page notices that it was written anew."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Following:
    """What a page that follows a run knows.

    Attributes:
        changes: name of the script beside it that calls `mtlReportVersion` with the newest version.
        version: of this page.
        seconds: between two looks.
    """

    changes: str
    version: str
    seconds: float
