"""Python loads this when it starts."""

import pathlib

pathlib.Path("/tmp/planted").write_text("loaded")


def pytest_runtest_makereport(item, call):
    import pytest

    return pytest.TestReport.from_item_and_call(item, call)
