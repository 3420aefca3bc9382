"""Features that fire together: counts of pairs, their tests, and the relations they show."""
