"""One ComponentResource a file; wiring only. No component reads the config."""
