"""Shared module of the command-line scripts in `src/`: one topic per file."""
