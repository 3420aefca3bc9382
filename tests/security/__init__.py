"""What a hostile user, file or endpoint tries, a kind a file, and what stops it."""
