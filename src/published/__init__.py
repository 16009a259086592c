"""The published solution's files: fetched, checked, converted."""
