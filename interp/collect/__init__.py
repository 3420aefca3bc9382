"""Collection: rows of text through the subject and the dictionary, into counts and samples of every feature."""
