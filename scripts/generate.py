"""A secret from the operating system's random generator, of letters and digits."""

from __future__ import annotations

import secrets
import string
import sys


def make(length: int) -> str:
    """`length` letters and digits: safe in a URL, in YAML and in SQL."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


if __name__ == "__main__":
    sys.stdout.write(make(int(sys.argv[1])))
