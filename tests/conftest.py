"""What several tests need."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

HERE = Path(__file__).parent

# How long an example takes is the machine's business, and a busy one must not turn a test red.
hypothesis.settings.register_profile(
    "gradbench", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("gradbench")


@pytest.fixture(autouse=True)
def _workers_can_import_the_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes find `faults`, the adapters that misbehave."""
    paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in paths if p))


@pytest.fixture(autouse=True)
def _answers_are_kept_apart(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees an answer that another kept, nor one of the person who runs the tests."""
    monkeypatch.setenv("GRADBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def cases_file(tmp_path: Path):
    """Writes a case file and returns its path."""

    def write(text: str, name: str = "cases.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write
