"""Numbers as a report shows them."""

from __future__ import annotations


def format_number(value: float | str | None) -> str:
    """Whole numbers as they are, others with four digits, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)
