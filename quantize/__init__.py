"""Number formats, primitive operations, the frozen model and the integer reference."""
