"""How the machine that runs Pulumi reaches the host: right here, or behind SSH."""
