"""Studies that need no data and no training of networks: one file each."""
