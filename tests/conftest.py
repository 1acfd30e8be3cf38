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


def pytest_terminal_summary(terminalreporter):
    """Print what tests recorded (record_property), such as the coverage of options."""
    recorded = [(name, value) for reports in terminalreporter.stats.values() for report in reports
                if getattr(report, "when", "") == "call" for name, value in report.user_properties]
    for name, value in sorted(set(recorded)):
        terminalreporter.write_line(f"{name}: {value}")
