"""What a host looks like: host_programs/facts.py fills in these records, verdicts/preflight/ evaluates them."""
