"""What a person looks at after a run: `report.html` and the pictures in it."""

from mtl_d2.report.page import write_report

__all__ = ["write_report"]
