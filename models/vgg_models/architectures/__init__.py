"""The architectures that can be built by name, and the modules that recognition builds."""
