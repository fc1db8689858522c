"""Texts that the program writes or edits, and the records they are made of: pure functions, no Pulumi, no I/O."""
