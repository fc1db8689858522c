"""Is what was deployed still well? What the verb `status` saw, what that means, and the table for a person."""
