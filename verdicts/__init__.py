"""Judgements: facts or answers in, verdict and words out. Pure; no Pulumi import."""
