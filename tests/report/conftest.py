from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from synthetic_run import CONFIG


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes the files of a run; a part that is None is left out."""

    def write(
        metrics: list[dict[str, float]] | str | None = None,
        config: dict[str, Any] | None = CONFIG,
        results: dict[str, Any] | None = None,
    ) -> Path:
        if metrics is not None:
            text = metrics if isinstance(metrics, str) else "".join(json.dumps(row) + "\n" for row in metrics)
            (tmp_path / "metrics.json").write_text(text)
        if config is not None:
            (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        if results is not None:
            (tmp_path / "results.json").write_text(json.dumps(results))
        return tmp_path

    return write
