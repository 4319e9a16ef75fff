"""Writing a bundle whole or not at all: its variants, its report, its ranking."""
