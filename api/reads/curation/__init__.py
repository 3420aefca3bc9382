"""Answers of what people curate: lists of features, and reviews of labels."""
