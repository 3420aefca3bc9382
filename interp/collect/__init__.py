"""Collection: counts and samples of each feature from rows of text."""
