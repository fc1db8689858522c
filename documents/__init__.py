"""Texts and verdicts: pure functions, no Pulumi, no I/O."""
