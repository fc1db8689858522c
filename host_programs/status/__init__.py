"""Is what was deployed still well? The verb `status`, and the file that tells it what was deployed."""
