"""Parts of a health report's page."""
