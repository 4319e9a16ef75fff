"""Planning an export before anything is written."""
