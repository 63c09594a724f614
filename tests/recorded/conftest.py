"""Samples of the real exchange lie beside the checkout; where they do not, there is nothing to collect."""

from __future__ import annotations

from pathlib import Path

collect_ignore_glob = [] if (Path(__file__).resolve().parents[2].parent / "shared" / "recorded").exists() else ["*.py"]
