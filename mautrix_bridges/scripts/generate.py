"""Secrets from the operating system's random generator, of letters and digits: safe in a URL, in YAML and in SQL.

    python3 generate.py NAME:LENGTH …

prints them as a JSON object. It imports nothing of ours, so it travels as it is.
"""

import json
import secrets
import string
import sys


def random_text(length: int) -> str:
    """`length` letters and digits."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


if __name__ == "__main__":
    wanted = (word.partition(":") for word in sys.argv[1:])
    print(json.dumps({name: random_text(int(length)) for name, _, length in wanted}))
