"""The variants that can be exported, and what each is held to."""
