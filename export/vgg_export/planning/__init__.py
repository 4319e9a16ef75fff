"""What an export will do, settled before anything is written."""
