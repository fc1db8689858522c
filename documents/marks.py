"""By what a later run knows that something on the host is ours."""

STACK_LABEL = "mautrix-bridge.stack"  # on the container: the stack that made it
CONFIG_LABEL = "mautrix-bridge.config"  # the version of the config that it was made for
ATTEMPT_LABEL = "mautrix-bridge.attempt"  # see verdicts/preflight.py, _attempt
