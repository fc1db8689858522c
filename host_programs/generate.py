"""A seed (documents/credentials.py) from the operating system's random generator, as JSON. It imports nothing of ours,
so it travels as it is."""

import json
import secrets

if __name__ == "__main__":
    print(json.dumps({"seed": secrets.token_hex(32)}))
