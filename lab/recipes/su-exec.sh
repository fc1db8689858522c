#!/bin/sh
# su-exec UID:GID COMMAND...: run a command as that user, in this process.
set -eu
owner=$1
shift
exec setpriv --reuid="${owner%:*}" --regid="${owner#*:}" --clear-groups -- "$@"
