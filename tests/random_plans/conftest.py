"""A server of its own for random sagas."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import dev


@pytest.fixture(scope="session")
def dev_address() -> Iterator[str]:
    """Address of a dev server where a lost workflow task costs two seconds instead of ten.

    Without a workflow cache local steps of two runs evict each other, and a thousand sagas lose a task each.
    """
    with dev('history.defaultWorkflowTaskTimeout="2s"') as address:
        yield address
