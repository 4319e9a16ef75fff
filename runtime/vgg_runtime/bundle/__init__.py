"""A bundle on disk: its directory, its manifest, and the checksums that vouch for both."""
