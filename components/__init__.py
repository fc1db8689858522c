"""What Pulumi makes: one part of the plan a file, which only wires. None reads the config."""
