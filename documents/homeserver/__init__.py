"""homeserver.yaml of somebody else's Synapse: our entries in, our entries out, and not a byte more.

Text in, text out. A YAML parser says where things are. The edit is made in the text, never by a dump, so comments,
quoting and line ends stay. Each line of ours ends in a comment that names its stack:

    app_service_config_files:  # pulumi stack mautrix-signal/contabo
      - /data/registration.yaml  # pulumi stack mautrix-signal/contabo
    experimental_features: # pulumi stack mautrix-signal/contabo; before: ~
      msc3202_transaction_extensions: true  # pulumi stack mautrix-signal/contabo, mautrix-whatsapp/contabo

A line that several stacks need names them all and goes with the last one. `; before: …` is what the line held before
the edit (`~`, `[]`, `{}`, or `on one line` where a flow list was split). Removal puts it back. An entry without such a
comment is somebody else's: it counts as present, but it is never owned and never removed.

Two laws are checked on every edit. A violation is `Refused`, never a wrong file:
parse(add(f)) == parse(f) + our entries, and remove(add(f)) == f byte for byte.
"""
