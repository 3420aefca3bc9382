"""Examples of the client library."""
