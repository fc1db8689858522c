"""What a destroy ends with: whatever names this stack and is still there."""
