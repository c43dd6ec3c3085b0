"""Files on disk: atomic, locked, checksummed, and with their provenance."""
