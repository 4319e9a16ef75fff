"""Building blocks of the packages; nothing here is public."""
