"""Verdicts: facts or answers in, a verdict and its words out. Pure functions, no Pulumi, no I/O."""
