"""The flows of :mod:`tests.canary`, without the converter that encrypts."""

from tests.canary import Copies, Inner, copies, copy, copy_here, tear

__all__ = ["Copies", "Inner", "copies", "copy", "copy_here", "tear"]
