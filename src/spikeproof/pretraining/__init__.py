"""Ways to a trained full-precision network: one file each."""
