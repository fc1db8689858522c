"""The components of mautrix_bridges/provider.py, for programs in any language of Pulumi's (docs/components.md)."""

import sys

from pulumi.provider import main

from mautrix_bridges.components.sdk import prepare_process
from mautrix_bridges.provider import Provider

if __name__ == "__main__":
    prepare_process()
    main(Provider(), sys.argv[1:])
