"""A bundle on disk: its directory, its manifest, and their checksums."""
