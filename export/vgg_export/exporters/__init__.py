"""From an ``nn.Module`` to a file: one exporter per file, named ``torch2<format>``."""
