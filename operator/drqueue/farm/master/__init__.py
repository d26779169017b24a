"""The master: hands out a session's frames, and keeps the truth about them."""
