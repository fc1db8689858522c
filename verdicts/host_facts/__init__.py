"""What a host looks like: host_programs/facts/ fills in these records, verdicts/preflight/ evaluates them."""
