"""The variants that can be exported, and their tolerances."""
