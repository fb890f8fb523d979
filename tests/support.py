"""What several test tiers share."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
RECORDED = SHARED / "recorded"

needs_recordings = pytest.mark.skipif(
    not RECORDED.is_dir(), reason="the recorded provider payloads (../shared/recorded) are not on this machine"
)
