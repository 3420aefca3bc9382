"""Routes of what goes to language models by files."""
