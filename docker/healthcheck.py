"""Ask a URL whether what serves it is well: exit code 0, or 1 with what it answered."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request


def main(url: str) -> int:
    """Ask, and say what is wrong."""
    try:
        with urllib.request.urlopen(url, timeout=8):
            return 0
    except urllib.error.HTTPError as error:
        why = error.read().decode(errors="replace").strip() or str(error)
    except OSError as error:
        why = str(error)
    print(f"{url}: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
