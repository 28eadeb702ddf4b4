"""bench.json as one HTML page."""
