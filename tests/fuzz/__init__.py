"""Input that nobody should send, through the real CLI."""
