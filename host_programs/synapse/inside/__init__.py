"""What runs in the containers of Synapse and its workers, where PyYAML and Synapse are."""
