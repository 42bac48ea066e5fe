"""The kit's own fixtures, as users have them, on the session's dev server."""

from __future__ import annotations

import pytest

from flows.testing import Temporal


@pytest.fixture
def temporal(dev_address: str) -> Temporal:
    """What the plugin's fixture gives; elsewhere in these tests `temporal` is the CLI."""
    return Temporal(dev_address)
