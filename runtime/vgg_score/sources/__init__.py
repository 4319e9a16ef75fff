"""What images are read from: one kind of source per file, and the table of them."""
