"""The measured processes, and what is measured of the machine itself."""
