"""Shared fixtures. A test that cannot run says "not run"; SPIKEPROOF_REQUIRE_ALL=1 makes that a failure."""
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def not_run(reason):
    """Report a test as not run, or fail it where everything must run (CI)."""
    if os.environ.get("SPIKEPROOF_REQUIRE_ALL") == "1":
        pytest.fail(f"not run: {reason}")
    pytest.skip(f"not run: {reason}")
