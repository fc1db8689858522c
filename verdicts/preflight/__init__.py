"""Preflight: evaluates a host before anything is planned. What stops the deployment, what to know, what will change.

Pure: it evaluates the facts that host_programs/facts/ brings. Each problem is one line: what, where, and its fix.
"""
