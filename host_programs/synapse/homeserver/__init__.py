"""homeserver.yaml on the host: its text, the edit of it, and the way back."""
