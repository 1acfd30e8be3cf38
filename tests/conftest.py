"""Shared fixtures. A test that cannot run says "not run"; SPIKEPROOF_REQUIRE_ALL=1 makes that a failure."""
import os
from pathlib import Path

import pytest

# pytest's workers are as many as there are cores: with a thread for every core in each of them, threads mostly wait for one another
# (measured with two workers on two cores: half again the time). Read when OpenMP starts, so before torch is imported; tests of
# what several threads compute ask for them.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


def not_run(reason):
    """Report a test as not run, or fail it where everything must run (CI)."""
    if os.environ.get("SPIKEPROOF_REQUIRE_ALL") == "1":
        pytest.fail(f"not run: {reason}")
    pytest.skip(f"not run: {reason}")


def pytest_terminal_summary(terminalreporter):
    """Print what tests recorded (record_property), such as the coverage of options."""
    recorded = [(name, value) for reports in terminalreporter.stats.values() for report in reports
                if getattr(report, "when", "") == "call" for name, value in report.user_properties]
    for name, value in sorted(set(recorded)):
        terminalreporter.write_line(f"{name}: {value}")
