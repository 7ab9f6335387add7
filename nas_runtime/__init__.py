"""What the other packages stand on and what knows no networks: settings, files, records, the console."""
