"""A scripted language model behind an HTTP server, for tests, benchmarks and trials."""
