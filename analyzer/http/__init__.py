"""What the HTTP dissectors share, and what is too large for their own file: semantics, conversations, rows."""
