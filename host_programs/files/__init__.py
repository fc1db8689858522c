"""Files and directories that root makes, writes and removes on the host."""
